"""Where things lie while training, and how work shows itself and is resumed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent
CACHE = ROOT / "cache"
DOWNLOADS = CACHE / "downloads"
UNPACKED = CACHE / "unpacked"
BUNDLED = ROOT.parent / "memewatchd" / "encoders" / "bundled"

SEED = 20261124


def progress(items: Iterable[T], what: str, total: int | None = None, every_s: float = 10.0) -> Iterator[T]:
    """Yields ``items`` and says on stderr, every ``every_s`` seconds, how far it is and how long it takes yet."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    start = last = time.monotonic()
    done = 0
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= every_s:
            last = now
            rate = done / (now - start)
            left = f" of {total}, {(total - done) / rate:.0f} s left" if total else ""
            print(f"  {what}: {done}{left} ({rate:.1f}/s)", file=sys.stderr, flush=True)
    print(f"  {what}: {done} in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


@contextmanager
def finished(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path`` and renames it when the block ends well: what exists is whole."""
    temporary = path.with_name(f"{path.stem}.part{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    yield temporary
    temporary.replace(path)
