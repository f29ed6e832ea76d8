"""Pictures as files over HTTP: what their first bytes say they are, and never as anything that can run."""

from __future__ import annotations

import asyncio
import os
import stat
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from memewatchd.service.web.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "heic": "image/heic",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
}
# What the user's browser makes of a picture that is opened by itself: nothing but a picture.
_HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'none'; sandbox",
    "cache-control": "private, no-cache",
}
_PIECE = 256 * 1024
_HEAD = 64


async def picture(
    request: Request, path: bytes, sniff: Callable[[bytes], str | None], *, download: bool = False
) -> Response:
    """A picture's own bytes. Raises Refusal where it is gone, or no picture any more."""
    descriptor, size, etag, kind = await asyncio.to_thread(_open, path, sniff)
    headers = {**_HEADERS, "etag": etag}
    if request.headers.get("if-none-match") == etag:
        os.close(descriptor)
        return Response(status_code=304, headers=headers)
    name = os.path.basename(path).decode("utf-8", "replace")
    how = "attachment" if download else "inline"
    headers |= {"content-length": str(size), "content-disposition": f"{how}; filename*=utf-8''{quote(name, safe='')}"}
    if request.method == "HEAD":
        os.close(descriptor)
        return Response(headers=headers, media_type=_TYPES.get(kind, "application/octet-stream"))
    return StreamingResponse(
        _pieces(descriptor, size), headers=headers, media_type=_TYPES.get(kind, "application/octet-stream")
    )


async def thumbnail(
    request: Request, path: bytes, sniff: Callable[[bytes], str | None], small: Callable[[bytes], bytes | None]
) -> Response:
    """The desktop's thumbnail where there is one, else the picture itself."""
    found = await asyncio.to_thread(small, path)
    if found is None:
        return await picture(request, path, sniff)
    headers = {**_HEADERS, "etag": f'"{blake2b(found, digest_size=12).hexdigest()}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(found, headers=headers, media_type="image/png")


def _open(path: bytes, sniff: Callable[[bytes], str | None]) -> tuple[int, int, str, str]:
    """An open descriptor at its beginning, bytes, a tag of this state of the file, kind."""
    try:
        # Not waiting: somebody may have put a FIFO there.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Refusal(404, "gone", "it isn't there any more") from error
    try:
        found = os.fstat(descriptor)
        kind = sniff(os.pread(descriptor, _HEAD, 0)) if stat.S_ISREG(found.st_mode) else None
        if kind is None:
            raise Refusal(404, "gone", "it is no picture any more")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, found.st_size, f'"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"', kind


async def _pieces(descriptor: int, size: int) -> AsyncIterator[bytes]:
    """Exactly ``size`` bytes, or an end too early where the file was cut meanwhile, which the browser notices."""
    try:
        at = 0
        while at < size:
            piece = await asyncio.to_thread(os.pread, descriptor, min(_PIECE, size - at), at)
            if not piece:
                return
            at += len(piece)
            yield piece
    finally:
        os.close(descriptor)
