"""Prepares a meme for the clipboard, in the form that chats take, as a file in the user's cache.

Stills become PNGs of a modest size; of an animation only its file will do, as a real GIF. Runs in the threads of
whoever calls; the pictures themselves are opened by a child.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memewatchd.errors import BadRequest, Degraded, PictureError
from memewatchd.pictures.kinds import VIDEOS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from memewatchd.pictures.renderer import Renderer

URI_LIST = "text/uri-list"
_MIMES = {"png": "image/png", "gif": "image/gif"}

# What was prepared is kept for a while: programs read a file by its address when people paste, not when they copy.
KEPT_FILES = 50
KEPT_BYTES = 256 * 1024 * 1024
KEPT_S = 7 * 24 * 3600.0
_NAME_BYTES = 100


@dataclass(frozen=True, slots=True)
class Exported:
    """A file to hand out, what it holds, and whether it moves. ``as_file``: its address is what is to be copied."""

    file: bytes
    mime: str
    animated: bool
    as_file: bool


class Exporter:
    """Prepares files under ``folder``. Any thread may call.

    ``roots``: only what lies in the watched folders is handed out. ``max_px``: the longer side, unless asked otherwise.
    """

    def __init__(
        self,
        renderer: Renderer,
        folder: str,
        roots: Sequence[bytes],
        max_px: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._renderer = renderer
        self._folder = os.fsencode(folder)
        self._roots = tuple(root.rstrip(b"/") + b"/" for root in roots)
        self._max_px = max_px
        self._now = now

    def export(self, path: bytes, how: str = "auto", max_px: int | None = None) -> Exported:
        """``how``: "auto" (still: png, animated: gif, film: uri), "png" (its first frame), "gif", or "uri" (as it is).

        Raises BadRequest for what is no meme of ours or can't be read, Degraded where nothing can be written.
        """
        fd = self._open(path)
        try:
            return self._export(fd, path, how, max_px or self._max_px)
        except PictureError as error:
            raise BadRequest(f"{os.fsdecode(path)}: {error}") from error
        finally:
            os.close(fd)

    def _open(self, path: bytes) -> int:
        if os.path.normpath(path) != path or not path.startswith(self._roots):
            raise BadRequest(f"{os.fsdecode(path)} lies in no watched folder; copy takes memes of these only")
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            raise BadRequest(f"{os.fsdecode(path)}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise BadRequest(f"{os.fsdecode(path)} is no regular file")
        return fd

    def _export(self, fd: int, path: bytes, how: str, max_px: int) -> Exported:
        found = self._renderer.look(fd)
        animated = found.n_frames > 1
        if how == "auto":
            how = "uri" if found.format in VIDEOS else "gif" if animated else "png"
        if how == "uri":
            return Exported(path, URI_LIST, animated, as_file=True)
        as_file = how == "gif"
        if as_file and found.format == "gif" and path.lower().endswith(b".gif"):
            return Exported(path, _MIMES["gif"], animated, as_file)
        target = self._target(fd, path, how, max_px)
        if not _touch(target):
            if how == "png":
                data = self._renderer.png(fd, max_px).data
            elif found.format == "gif":
                data = _whole(fd)
            else:
                data = self._renderer.gif(fd, max_px).data
            self._write(target, data)
        self._clean(target)
        return Exported(target, _MIMES[how], animated, as_file)

    def _target(self, fd: int, path: bytes, how: str, max_px: int) -> bytes:
        """A folder for this very content and form, and in it a name like the meme's: people see it when they paste."""
        status = os.fstat(fd)
        made_of = (path, status.st_size, status.st_mtime_ns, status.st_ino, how, max_px)
        key = hashlib.blake2b(repr(made_of).encode(), digest_size=8).hexdigest().encode()
        stem = os.path.splitext(os.path.basename(path))[0][:_NAME_BYTES].decode("utf-8", "ignore").lstrip(".") or "meme"
        return os.path.join(self._folder, key, f"{stem}.{how}".encode())

    def _write(self, target: bytes, data: bytes) -> None:
        folder = os.path.dirname(target)
        part = os.path.join(folder, b".part-%d" % time.monotonic_ns())
        try:
            os.makedirs(self._folder, 0o700, exist_ok=True)
            os.makedirs(folder, 0o700, exist_ok=True)
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
            os.rename(part, target)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise Degraded(
                f"can't prepare the picture in {os.fsdecode(self._folder)}: {error.strerror}; if this is the"
                " service's sandbox, make install-service (in the clone) renews it"
            ) from error

    def _clean(self, keep: bytes) -> None:
        """Removes the oldest of what was prepared: too many, too large, too old; never ``keep``."""
        entries = []
        with contextlib.suppress(OSError), os.scandir(self._folder) as folders:
            for folder in folders:
                if folder.is_dir(follow_symlinks=False):
                    entries += list(_files_of(folder.path))
        entries.sort(reverse=True)
        total = 0
        for number, (used_at, size, file) in enumerate(entries):
            total += size
            too_old = self._now() - used_at > KEPT_S
            if file != keep and (number >= KEPT_FILES or total > KEPT_BYTES or too_old):
                with contextlib.suppress(OSError):
                    os.unlink(file)
                    os.rmdir(os.path.dirname(file))


def _files_of(folder: bytes) -> list[tuple[float, int, bytes]]:
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as files:
        for file in files:
            status = file.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                found.append((status.st_mtime, status.st_size, file.path))
    return found


def _touch(target: bytes) -> bool:
    """Whether it is there; it then counts as new."""
    try:
        os.utime(target)
    except OSError:
        return False
    return True


def _whole(fd: int) -> bytes:
    parts = []
    at = 0
    while part := os.pread(fd, 1 << 24, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)
