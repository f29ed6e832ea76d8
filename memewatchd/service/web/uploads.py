"""A picture that came over the wire becomes a file in the folder: safe name, all or nothing, never over another.

Blocking; call in a thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import unicodedata
from hashlib import blake2b
from typing import TYPE_CHECKING, BinaryIO

from memewatchd.meme import Digest
from memewatchd.service.web import trash
from memewatchd.service.web.refusal import Refusal, of_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FILE_BYTES = 64 * 1024 * 1024
"""The largest picture that is taken."""
HEAD_BYTES = 64
_STEM_BYTES = 180
_PIECE = 1 << 20
# What other systems' file systems can't hold, so that a folder can be copied to them.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_EXTENSIONS = {"jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"), "tiff": (".tif", ".tiff"), "heic": (".heic", ".heif")}


def safe_name(given: str, kind: str) -> str:
    """A name for a file of this kind, from what a browser said: one part of a path, not hidden, real extension."""
    name = unicodedata.normalize("NFC", given.replace("\\", "/").rpartition("/")[2])
    name = "".join(char for char in name if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    name = _FORBIDDEN.sub("_", name)
    extensions = _EXTENSIONS.get(kind, (f".{kind}",))
    stem, extension = os.path.splitext(name)
    if extension.lower() not in extensions:
        # A name like v1.final keeps its end; one like x.exe does too, before the true extension.
        stem, extension = name, extensions[0]
    stem = " ".join(stem.split()).strip(". ~")
    stem = stem.encode()[:_STEM_BYTES].decode("utf-8", "ignore").rstrip(". ")
    return (stem or "meme") + extension.lower()


class Uploads:
    """New files for one folder. Any thread.

    ``sniff``: first bytes → kind or None; ``paths_of``: digest → the paths that the index has for it.
    """

    def __init__(
        self, folder: bytes, sniff: Callable[[bytes], str | None], paths_of: Callable[[Digest], Iterable[bytes]]
    ) -> None:
        self._folder = folder
        self._sniff = sniff
        self._paths_of = paths_of
        self._lately: dict[Digest, bytes] = {}  # what the index may not know yet

    def save(self, stream: BinaryIO, name: str, size: int) -> bytes:
        """Keep one picture; its path. Raises Refusal: not a picture, too large, there already, the disk says no."""
        if size > FILE_BYTES:
            raise Refusal(413, "too_large", f"a picture may have {FILE_BYTES // 1024 // 1024} MiB at most")
        stream.seek(0)
        kind = self._sniff(stream.read(HEAD_BYTES))
        if kind is None:
            raise Refusal(400, "not_a_picture", "this is not a picture" if size else "this is empty, not a picture")
        stream.seek(0)
        digest = blake2b(digest_size=32)
        while piece := stream.read(_PIECE):
            digest.update(piece)
        key = Digest(digest.hexdigest())
        for path in (*self._paths_of(key), self._lately.get(key)):
            if path is not None and os.path.exists(path):
                raise Refusal(400, "exists", "Image already exists")
        stream.seek(0)
        try:
            path = self._write(stream, safe_name(name, kind))
        except OSError as error:
            raise of_disk(error, "not added", self._folder) from error
        while len(self._lately) > 1000:
            self._lately.pop(next(iter(self._lately)))
        self._lately[key] = path
        return path

    def _write(self, stream: BinaryIO, name: str) -> bytes:
        half = os.path.join(self._folder, os.fsencode(f".memewatchd-{secrets.token_hex(8)}.part"))
        try:
            with open(half, "xb") as out:  # noqa: PTH123 - raw bytes
                while piece := stream.read(_PIECE):
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            stem, extension = os.path.splitext(name)
            for number in range(1, 10_000):
                target = os.path.join(self._folder, os.fsencode(name if number == 1 else f"{stem}-{number}{extension}"))
                with contextlib.suppress(FileExistsError):
                    trash.move_new(half, target)
                    return target
            raise FileExistsError
        finally:
            with contextlib.suppress(OSError):
                os.unlink(half)
