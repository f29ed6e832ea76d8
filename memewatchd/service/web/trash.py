"""The desktop's trash, with a way back: the freedesktop.org Trash specification 1.0.

Written here because a way back needs to know where a file went, which Send2Trash doesn't say. Blocking; call in a
thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME_BYTES = 200  # with a number and ".trashinfo" below the 255 of most file systems


@dataclass(frozen=True, slots=True)
class Trashed:
    """A file in the trash: where it was, where it is, and the ``.trashinfo`` beside it."""

    original: bytes
    file: bytes
    info: bytes


def home_trash(environ: Mapping[str, str]) -> bytes:
    """``$XDG_DATA_HOME/Trash``."""
    given = environ.get("XDG_DATA_HOME", "")
    base = given if given.startswith("/") else os.path.expanduser("~/.local/share")
    return os.fsencode(os.path.join(base, "Trash"))


def trash(path: bytes, environ: Mapping[str, str]) -> Trashed:
    """Move a file (a link itself, not where it leads) into the trash. Raises OSError; then it is where it was."""
    path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    found = os.lstat(path)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        raise OSError(errno.EINVAL, "not a regular file")
    home = home_trash(environ)
    if found.st_dev != _device(home) and (top := _top_folder(path, found.st_dev)) is not None:
        shared, uid = os.path.join(top, b".Trash"), b"%d" % os.getuid()
        folders = [os.path.join(shared, uid)] if _is_shared_trash(shared) else []
        for folder in (*folders, os.path.join(top, b".Trash-" + uid)):
            with contextlib.suppress(OSError):
                return _into(folder, path, os.path.relpath(path, top))
    # "Home trash" takes files of other disks too, where these can't keep them; it costs a copy.
    return _into(home, path, path)


def restore(entry: Trashed) -> None:
    """Put it back. Raises FileExistsError where something else has its name now, and OSError."""
    os.makedirs(os.path.dirname(entry.original), exist_ok=True)
    move_new(entry.file, entry.original)
    with contextlib.suppress(OSError):
        os.unlink(entry.info)


def move_new(source: bytes, target: bytes) -> None:
    """Rename without ever replacing a file; across disks by a copy. Raises FileExistsError, OSError."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if isinstance(error, FileExistsError) or not os.path.lexists(source):
            raise
        if error.errno == errno.EXDEV:
            _copy_new(source, target)
        else:
            # A file system without hard links (FAT): keep the name with an empty file of ours, then replace that.
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            try:
                os.rename(source, target)
            except BaseException:
                os.unlink(target)
                raise
            return
    try:
        os.unlink(source)
    except OSError:
        os.unlink(target)  # as it was before
        raise


def _copy_new(source: bytes, target: bytes) -> None:
    """Content, times and extended attributes, under a hidden name first."""
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    half = os.path.join(os.path.dirname(target), b".memewatchd-%d-%d.part" % (os.getpid(), time.monotonic_ns()))
    try:
        with open(source, "rb") as read, open(half, "xb") as write:  # noqa: PTH123 - raw bytes
            shutil.copyfileobj(read, write, 1 << 20)
            write.flush()
            os.fsync(write.fileno())
        shutil.copystat(source, half)
        move_new(half, target)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(half)


def _into(folder: bytes, path: bytes, named: bytes) -> Trashed:
    """Into one trash folder. ``named``: the path that the ``.trashinfo`` is to say."""
    files, infos = os.path.join(folder, b"files"), os.path.join(folder, b"info")
    for each in (os.path.dirname(folder), folder, files, infos):
        if not os.path.isdir(each):
            os.makedirs(each, 0o700, exist_ok=True)
    when = time.strftime("%Y-%m-%dT%H:%M:%S")
    text = f"[Trash Info]\nPath={quote_from_bytes(named, safe='/')}\nDeletionDate={when}\n"
    stem, extension = os.path.splitext(os.path.basename(path))
    if len(stem) > _NAME_BYTES:
        stem = stem[:_NAME_BYTES].decode("utf-8", "ignore").encode()
    for number in range(1, 10_000):
        name = stem + (b"" if number == 1 else b".%d" % number) + extension
        info, file = os.path.join(infos, name + b".trashinfo"), os.path.join(files, name)
        try:
            # The specification's own way to claim a name.
            descriptor = os.open(info, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            continue
        try:
            with open(descriptor, "w", encoding="ascii") as stream:  # noqa: PTH123 - a descriptor
                stream.write(text)
            move_new(path, file)
        except FileExistsError:  # somebody's file without a .trashinfo
            os.unlink(info)
            continue
        except BaseException:
            os.unlink(info)
            raise
        return Trashed(path, file, info)
    raise OSError(errno.EEXIST, "the trash holds thousands of files with this name")


def _device(path: bytes) -> int:
    """The disk that a path is, or would be, on."""
    while True:
        try:
            return os.stat(path).st_dev
        except OSError:
            if path in (b"/", b""):
                return -1
            path = os.path.dirname(path)


def _top_folder(path: bytes, device: int) -> bytes | None:
    """Where the disk is mounted; None for the root disk, which isn't ours to write on."""
    folder = os.path.dirname(path)
    while folder != b"/" and os.lstat(os.path.dirname(folder)).st_dev == device:
        folder = os.path.dirname(folder)
    return None if folder == b"/" else folder


def _is_shared_trash(folder: bytes) -> bool:
    """Whether an administrator made ``$topdir/.Trash`` as the specification has it: a folder, no link, sticky."""
    with contextlib.suppress(OSError):
        mode = os.lstat(folder).st_mode
        return stat.S_ISDIR(mode) and bool(mode & stat.S_ISVTX)
    return False
