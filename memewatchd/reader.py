"""Opens one file, once nobody writes to it any more, and says what its bytes are."""

from __future__ import annotations

import errno
import os
import stat as stat_module
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memewatchd.folder.stable import writer_state
from memewatchd.meme import Digest, FileStat, new_digest
from memewatchd.pictures.kinds import HEAD_BYTES, has_picture_extension, sniff, why_not_a_picture

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK_BYTES = 1 << 20
# Kernels stamp files with a clock that ticks every 1 to 10 ms: a write within one tick of another leaves the
# same times. A file so young is read a little later.
YOUNG_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class Gone:
    """The file is not there any more, or isn't a regular file any more."""


@dataclass(frozen=True, slots=True)
class Unstable:
    """Somebody may still be writing; ``stat`` is how it stood."""

    stat: FileStat


@dataclass(frozen=True, slots=True)
class NoMeme:
    """Neither the bytes nor the name say that this is a picture."""

    stat: FileStat


@dataclass(frozen=True, slots=True)
class Broken:
    """Should be a picture, and can't be read as one. ``reason`` is for people."""

    stat: FileStat
    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture by its first bytes. Whoever takes this closes ``fd``."""

    stat: FileStat
    digest: Digest
    fd: int


Outcome = Gone | Unstable | NoMeme | Broken | Picture


class Reader:
    """Reads files for the mirror; owned by the sync thread.

    ``settle_s``: seconds of an unchanged size and mtime after which a file counts as written, where the kernel
    can't tell. ``max_bytes``: larger files are broken, unread. ``videos``: whether films are memes too.
    """

    def __init__(
        self,
        settle_s: float,
        max_bytes: int,
        *,
        videos: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._settle_s = settle_s
        self._max_bytes = max_bytes
        self._videos = videos
        self._clock = clock
        self._wall_ns = wall_ns

    def read(self, path: bytes, seen: FileStat, since: float) -> Outcome:
        """What ``path`` holds. ``seen`` is how it stood at ``since`` (this reader's clock)."""
        try:
            # Not blocking: by now it may be a FIFO.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            return self._cannot_open(path, seen, error)
        keep = False
        try:
            outcome = self._read(fd, path, seen, since)
            keep = isinstance(outcome, Picture)
            return outcome
        except OSError as error:
            return Broken(seen, Digest(""), f"can't be read: {error.strerror or error}")
        finally:
            if not keep:
                os.close(fd)

    def _cannot_open(self, path: bytes, seen: FileStat, error: OSError) -> Outcome:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return Gone()
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR):
            return Unstable(seen)  # our trouble, not the file's
        if error.errno == errno.EAGAIN:
            return Unstable(seen)  # someone has a lease on it (Samba, for a client that writes) and gives it back soon
        try:
            now = FileStat.of(os.stat(path))
        except OSError:
            return Gone()  # or its folder is closed, which says nothing of the file
        if not has_picture_extension(path, videos=self._videos):
            return NoMeme(seen)
        if error.errno in (errno.EACCES, errno.EPERM):
            return Broken(now, Digest(""), "permission denied: memewatchd's user may not read this file")
        return Broken(now, Digest(""), f"can't be opened: {error.strerror or error}")

    def _read(self, fd: int, path: bytes, seen: FileStat, since: float) -> Outcome:
        result = os.fstat(fd)
        if not stat_module.S_ISREG(result.st_mode):
            return Gone()
        before = FileStat.of(result)
        head = os.pread(fd, HEAD_BYTES, 0)
        kind = sniff(head, videos=self._videos)
        promised = has_picture_extension(path, videos=self._videos)
        if kind is None and not promised:
            return Unstable(before) if self._is_young(before) else NoMeme(before)
        if not self._is_stable(fd, before, seen, since):
            return Unstable(before)
        if before.size > self._max_bytes:
            reason = f"too large: {before.size / 2**20:.0f} MiB (limit {self._max_bytes / 2**20:.0f} MiB)"
            return Broken(before, Digest(""), reason)
        digest = self._digest(fd)
        if FileStat.of(os.fstat(fd)) != before:
            return Unstable(before)
        if kind is None:
            return Broken(before, digest, why_not_a_picture(path, before.size))
        return Picture(before, digest, fd)

    def _is_stable(self, fd: int, now: FileStat, seen: FileStat, since: float) -> bool:
        if self._is_young(now):
            return False
        state = writer_state(fd)
        if state == "unknown":
            unchanged = (now.size, now.mtime_ns) == (seen.size, seen.mtime_ns)
            return unchanged and self._clock() - since >= self._settle_s
        return state == "closed"

    def _is_young(self, now: FileStat) -> bool:
        return 0 <= self._wall_ns() - now.ctime_ns < YOUNG_NS

    def _digest(self, fd: int) -> Digest:
        hasher = new_digest()
        offset = 0
        while chunk := os.pread(fd, CHUNK_BYTES, offset):
            hasher.update(chunk)
            offset += len(chunk)
        return Digest(hasher.hexdigest())
