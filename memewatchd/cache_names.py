"""Where things lie in the user's cache: thumbnails, as the freedesktop specification has them, and what is prepared for
pasting. A leaf with the standard library only, and little of that: client and daemon must agree on each name.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

THUMBNAIL_SIDES = {"normal": 128, "large": 256, "x-large": 512}
"""The specification's folders, and the pixels of a thumbnail's longer side in each."""

# What GLib leaves as it is in a file's URI (g_filename_to_uri). The name of a thumbnail is a hash of that URI, so
# file managers and we must spell it alike.
_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!$&'()*+,-./:=@_~"
_ESCAPED = {code: chr(code) if code in _PLAIN else f"%{code:02X}" for code in range(256)}

_PNG_START = b"\x89PNG\r\n\x1a\n"
_CHUNKS_READ = 16 * 1024  # the texts that we look for stand before the pixels


def cache_dir(environ: Mapping[str, str]) -> str:
    """``$XDG_CACHE_HOME``, else ``~/.cache``; the specification has relative ones ignored."""
    given = environ.get("XDG_CACHE_HOME", "")
    if given.startswith("/"):
        return given
    home = environ.get("HOME", "")
    return os.path.join(home if home.startswith("/") else os.path.expanduser("~"), ".cache")


def thumbnails_dir(environ: Mapping[str, str]) -> str:
    """The folder that all of a user's programs share."""
    return os.path.join(cache_dir(environ), "thumbnails")


def paste_dir(environ: Mapping[str, str]) -> str:
    """Where the daemon puts what it prepares for the clipboard."""
    return os.path.join(cache_dir(environ), "memewatchd", "paste")


def digested_dir(environ: Mapping[str, str]) -> str:
    """Where the daemon keeps what it makes of its dictionaries."""
    return os.path.join(cache_dir(environ), "memewatchd", "dictionaries")


def file_uri(path: bytes) -> str:
    """``file://…`` of an absolute path, spelled as GLib spells it; nothing is looked up or resolved."""
    return "file://" + "".join(map(_ESCAPED.__getitem__, path))


def path_of_uri(uri: str) -> bytes:
    """The path that a ``file:`` URI names. Raises ValueError for one of another machine, or that names no path."""
    if not uri.startswith("file:/"):
        raise ValueError(f"not the address of a file on this machine: {uri}")
    rest = uri.removeprefix("file:").removeprefix("//localhost").encode("utf-8", "surrogateescape")
    if rest.startswith(b"//"):
        if not rest.startswith(b"///"):
            raise ValueError(f"not the address of a file on this machine: {uri}")
        rest = rest[2:]
    first, *others = rest.split(b"%")
    path = first + b"".join(bytes.fromhex(part[:2].decode("ascii", "replace")) + part[2:] for part in others)
    if b"\0" in path:
        raise ValueError("a path holds no NUL")
    return path


def thumbnail_name(path: bytes) -> str:
    """The file name that the thumbnail of ``path`` has in each of the folders."""
    from hashlib import md5  # late: not every start needs it

    return md5(file_uri(path).encode("ascii"), usedforsecurity=False).hexdigest() + ".png"


def png_texts(data: bytes) -> dict[str, str]:
    """The ``tEXt`` chunks that stand before a PNG's pixels; {} for what is no PNG."""
    found: dict[str, str] = {}
    if not data.startswith(_PNG_START):
        return found
    at = len(_PNG_START)
    while len(head := data[at : at + 8]) == 8 and head[4:] != b"IDAT":
        size = int.from_bytes(head[:4], "big")
        if head[4:] == b"tEXt":
            key, _, text = data[at + 8 : at + 8 + size].partition(b"\0")
            found[key.decode("latin-1")] = text.decode("latin-1")
        at += 12 + size
    return found


def is_fresh(thumbnail: str, path: bytes, mtime_s: int) -> bool:
    """Whether ``thumbnail`` is there and was made of ``path`` as it stood at ``mtime_s`` (whole seconds)."""
    try:
        fd = os.open(thumbnail, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        texts = png_texts(os.read(fd, _CHUNKS_READ))
    except OSError:
        return False
    finally:
        os.close(fd)
    # Some programs write fractions; only whole seconds are the specification's.
    made_of = texts.get("Thumb::MTime", "").partition(".")[0]
    return made_of == str(mtime_s) and texts.get("Thumb::URI", file_uri(path)) == file_uri(path)
