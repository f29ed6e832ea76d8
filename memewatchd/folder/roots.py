"""A root that is away is not a root without files: its rows are kept until it comes back."""

from __future__ import annotations

import os
from dataclasses import dataclass

Identity = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True, slots=True)
class RootLook:
    """``away`` is "" or a reason for people; ``identity`` is None where the root can't be looked at."""

    away: str
    identity: Identity | None


def identify(path: bytes) -> Identity | None:
    """Device and inode of a folder (links followed); None if it isn't there, or is no folder."""
    try:
        stat = os.stat(os.path.join(path, b"."))
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino)


def shown(path: bytes) -> str:
    """A path for people: what isn't UTF-8 becomes a question mark."""
    return os.fsdecode(path).encode("utf-8", "replace").decode()


def look_at_root(path: bytes, known: Identity | None, holds_files: bool) -> RootLook:
    """Is the root there, and is it the one we know?

    ``known`` is its identity when it was last seen, None if that isn't known; ``holds_files`` says whether
    the index has files of it. Empty and not the one we know, while the index holds files of it, is what an
    unmounted disk looks like: away. Hidden names don't count as something in it.
    """
    try:
        before = os.stat(path)
        with os.scandir(path) as entries:
            empty = all(entry.name.startswith(b".") for entry in entries)
        after = os.stat(path)
    except FileNotFoundError:
        return RootLook(f"{shown(path)} is missing (is its disk mounted?)", None)
    except NotADirectoryError:
        return RootLook(f"{shown(path)} is not a folder", None)
    except OSError as error:
        return RootLook(f"{shown(path)} can't be read ({(error.strerror or 'unknown error').lower()})", None)
    identity = (before.st_dev, before.st_ino)
    if identity != (after.st_dev, after.st_ino):
        return RootLook(f"{shown(path)} is being mounted or moved", None)
    if empty and holds_files and identity != known:
        return RootLook(
            f"{shown(path)} stands empty and is not the folder it was (is its disk mounted?); "
            "if its files are gone for good: memewatch rescan --forget-missing",
            identity,
        )
    return RootLook("", identity)


@dataclass(slots=True)
class RootState:
    """What is remembered of one root between looks."""

    path: bytes
    identity: Identity | None = None
    away: str = ""

    def look(self, holds_files: bool) -> RootLook:
        """Looks again. The identity is taken over only while the root isn't away."""
        look = look_at_root(self.path, self.identity, holds_files)
        self.away = look.away
        if not look.away:
            self.identity = look.identity
        return look

    def accept(self) -> None:
        """Take the root as it now stands for the real one (``rescan --forget-missing``)."""
        self.identity = identify(self.path)
        self.away = ""
