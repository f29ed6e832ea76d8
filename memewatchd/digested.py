"""What is made of large dictionaries in seconds, kept in the user's cache, where it is read in milliseconds. A leaf.

A kept file says by its name what it was made of; where that has changed, or the file is damaged, it is made anew.
Where nothing can be written, all is made at every start.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from memewatchd.cache_names import digested_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Parts = dict[str, bytes]


def digested(name: str, make: Callable[[], Parts], *, files: Iterable[Path], packages: Iterable[str]) -> Parts:
    """The parts that ``make`` gives, by name, or gave in an earlier run. Raises what ``make`` raises.

    ``files`` and ``packages``: what the parts are made of and by; when one changes they are made anew.
    """
    folder = Path(digested_dir(os.environ))
    kept = folder / f"{name}-{_key(files, packages)}.zip"
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(kept) as archive:
        return {part: archive.read(part) for part in archive.namelist()}  # which checks each part's CRC
    parts = make()
    with contextlib.suppress(OSError):
        _keep(folder, kept, parts)
        for old in folder.glob(f"{name}-*.zip"):
            if old != kept:
                old.unlink()
    return parts


def _key(files: Iterable[Path], packages: Iterable[str]) -> str:
    hasher = hashlib.blake2b(sys.byteorder.encode(), digest_size=12)
    for file in files:
        hasher.update(hashlib.blake2b(file.read_bytes()).digest())
    for package in packages:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version = "?"
        hasher.update(f"\n{package} {version}".encode())
    return hasher.hexdigest()


def _keep(folder: Path, kept: Path, parts: Mapping[str, bytes]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = kept.with_suffix(f".{os.getpid()}-{time.monotonic_ns()}.part")
    try:
        with zipfile.ZipFile(part, "x") as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
        part.replace(kept)
    finally:
        part.unlink(missing_ok=True)
