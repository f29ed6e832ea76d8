"""`memewatch tag`: words of your own, kept on the file itself, so that they move with it.

They stand in the extended attribute ``user.xdg.tags``, with commas between, where Dolphin shows and changes the same
ones. Written here and not by the daemon, whose view of the folder may be read-only; it sees the change by itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
import unicodedata

from memewatchd.desktop import output
from memewatchd.desktop.arguments import UsageError
from memewatchd.protocol import EXIT_OK, EXIT_REFUSED, path_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from memewatchd.desktop.output import Output

ATTRIBUTE = "user.xdg.tags"
# What the daemon reads of a tag, and of all tags of a file.
MAX_TAG_CHARS = 128
MAX_TAGS_CHARS = 4096

# Full-width signs are what a Chinese input method types.
_PLUS, _MINUS = "+＋", "-－−"
_LOCK_S = 2.0
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af々〇"
_WORD = re.compile(rf"[{_HAN}]+|(?:(?![{_HAN}_])\w)+")
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class CannotTagError(Exception):
    """Why a file's tags can't be read or changed, for people."""


def run(words: Sequence[str], as_json: bool, out: Output, complain: Callable[[str], None]) -> int:
    """Does what ``memewatch tag`` was asked, and returns the exit code. ``words``: paths and changes, mixed.

    Without changes (or with ``as_json``) prints each file's tags. A file that can't be tagged is complained about, and
    the others are tagged all the same. Raises UsageError.
    """
    paths, changes = read(words)
    code = EXIT_OK
    for path in paths:
        raw = os.fsencode(path)
        try:
            tags = tag(raw, changes)
        except CannotTagError as error:
            out.flush()
            complain(f"{_printable(path)}: {error}")
            code = EXIT_REFUSED
            continue
        shown = [_printable(each) for each in tags]
        if as_json:
            out.write(output.as_json({**path_fields(raw), "tags": shown}))
        elif not changes:
            out.write(raw + b":" + (" " + ", ".join(shown)).rstrip().encode(errors="replace") + b"\n")
    return code


def read(words: Sequence[str]) -> tuple[list[str], list[tuple[bool, str]]]:
    """Paths, and changes in their order: (whether to add it, tag). Raises UsageError."""
    paths: list[str] = []
    changes: list[tuple[bool, str]] = []
    for word in words:
        if word[:1] not in (*_PLUS, *_MINUS):
            paths.append(word)
            continue
        if os.path.lexists(word):  # "+1.png", of `memewatch tag *.png +reaction`
            shown = _printable(word)
            raise UsageError(f"{shown} is a file here: ./{shown} means the file; set that tag from another folder")
        tags = [_checked(part) for part in word[1:].split(",") if part.strip()]
        if not tags:
            raise UsageError(f"no tag behind the {word[:1]}; write +word or -word")
        changes += [(word[0] in _PLUS, each) for each in tags]
    if not paths:
        raise UsageError("tag which file? memewatch tag PATH… [+word|-word]…")
    return paths, changes


def changed(tags: Sequence[str], changes: Sequence[tuple[bool, str]]) -> list[str]:
    """``tags`` after ``changes``, in their order, new ones last. Compared by :func:`key`; the first spelling stays."""
    after = list(tags)
    for adds, each in changes:
        wanted = key(each)
        if not adds:
            after = [old for old in after if key(old) != wanted]
        elif all(key(old) != wanted for old in after):
            after.append(each)
    return after


def key(each: str) -> str:
    """A tag as it is compared: as in the daemon, which takes traditional characters as simplified ones too."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", each).casefold())
    return " ".join(_WORD.findall(folded)) or " ".join(folded.split())


def tag(path: bytes, changes: Sequence[tuple[bool, str]] = ()) -> list[str]:
    """Changes the tags of the file behind ``path`` (links are followed) and returns them. Raises CannotTagError."""
    try:
        # For reading only: who may change a file's attributes needn't be able to open it for writing, and a file that
        # is open for writing is one that the daemon waits for.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise CannotTagError(_why(error, path)) from None
    try:
        _check_kind(fd)
        if not changes:
            return _tags(fd)
        _lock(fd)
        before = _tags(fd)
        after = changed(before, changes)
        if after != before:
            _write(fd, after)
        return after
    except OSError as error:
        raise CannotTagError(_why(error, path)) from None
    finally:
        os.close(fd)


def _check_kind(fd: int) -> None:
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise CannotTagError("it is a folder; name the pictures in it")
    if not stat.S_ISREG(mode):
        raise CannotTagError("it is no regular file")


def _tags(fd: int) -> list[str]:
    try:
        value = os.getxattr(fd, ATTRIBUTE)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return []
    # As others have written them, bytes that are not UTF-8 too.
    return [part for each in os.fsdecode(value).split(",") if (part := each.strip())]


def _write(fd: int, tags: list[str]) -> None:
    if not tags:
        os.removexattr(fd, ATTRIBUTE)
        return
    value = ",".join(tags)
    if len(value) > MAX_TAGS_CHARS:
        raise CannotTagError(f"too many tags: {len(value)} characters (limit {MAX_TAGS_CHARS})")
    os.setxattr(fd, ATTRIBUTE, os.fsencode(value))


def _lock(fd: int) -> None:
    """So that of two that tag a file at once neither loses the other's. Others don't know of it, and it isn't vital."""
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR) or time.monotonic() > deadline:
                return  # a share without locks, or somebody who keeps it
        time.sleep(0.01)


def _checked(word: str) -> str:
    each = " ".join(unicodedata.normalize("NFC", word).split())
    try:
        each.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the tag {_printable(each)} is not UTF-8") from None
    if _printable(each) != each:
        raise UsageError(f"the tag {_printable(each)} has control characters")
    if len(each) > MAX_TAG_CHARS:
        raise UsageError(f"a tag has at most {MAX_TAG_CHARS} characters, not {len(each)}")
    return each


def _printable(text: str) -> str:
    return "".join("?" if unicodedata.category(character) in ("Cc", "Cs") else character for character in text)


def _why(error: OSError, path: bytes) -> str:
    code = error.errno
    if code in (errno.ENOENT, errno.ENOTDIR):
        return "no such file"
    if code in _NO_ATTRIBUTES:
        return (
            f"{_file_system(path)} keeps no extended attributes, and so no tags; keep the picture on a file system that"
            " does (ext4, btrfs, xfs), or put the words into its name"
        )
    if code == errno.EROFS:
        return f"{_file_system(path)} is mounted read-only"
    if code in (errno.EACCES, errno.EPERM):
        return "you may not read and change this file (permission denied)"
    if code in (errno.E2BIG, errno.ENOSPC, errno.ERANGE, errno.EDQUOT):
        return f"no room for its tags: too many of them for {_file_system(path)}, or the disk is full"
    return error.strerror or str(error)


def _file_system(path: bytes) -> str:
    """The file system that a file lies on, as people know it: "the vfat file system at /media/stick"."""
    real = os.path.realpath(path)
    place, kind = b"", b""
    try:
        with open("/proc/self/mountinfo", "rb") as mounts:  # noqa: PTH123 - pathlib is slow to import
            for line in mounts:
                fields = line.split(b" ")
                point = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), fields[4])
                if (real + b"/").startswith(point.rstrip(b"/") + b"/") and len(point) >= len(place):
                    place, kind = point, fields[fields.index(b"-") + 1]
    except (OSError, ValueError, IndexError):
        pass
    if not place:
        return "its file system"
    return f"the {kind.decode(errors='replace')} file system at {_printable(os.fsdecode(place))}"
