"""A home and a tiny model for a campaign on a folder, and what it asks there again and again."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from real_daemon import REPO, Daemon, on_disk

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from report import Row


@functools.cache
def tiny_model() -> Path:
    """A tiny CLIP in the hub's format, as long as this process lives."""
    folder = tempfile.mkdtemp(prefix="meme-model-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = REPO / "tests" / "tiny_checkpoints.py"
    subprocess.run([sys.executable, program, "clip", folder], check=True, capture_output=True)
    return Path(folder)


@contextmanager
def new_home() -> Iterator[Path]:
    """A home of its own, with a path short enough for a socket."""
    home = Path(tempfile.mkdtemp(prefix="meme-"))
    (home / "Memes").mkdir()
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def within(seconds: float, condition: Callable[[], object]) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def settle(daemon: Daemon, row: Row, when: str, *folders: Path) -> float:
    """Wait, compare the index with the disk, and say how long the wait was."""
    began = time.monotonic()
    daemon.wait()
    took = time.monotonic() - began
    wanted: dict[bytes, str] = {}
    for folder in folders or (daemon.folder,):
        wanted |= on_disk(folder)
    row.compare(wanted, daemon.listed(), when)
    row.check(not daemon.failed(), f"{when}: good pictures failed: {daemon.failed()}")
    return took


def encoded(daemon: Daemon) -> int:
    """How many pictures went through the model since the daemon started."""
    count: int = daemon.status()["encoded"]
    return count


def why_not(*command: str | os.PathLike[str]) -> str:
    """ "" if this command succeeds, else what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"it ended with {done.returncode}"
