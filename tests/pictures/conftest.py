"""Pictures made on the spot, and one pool of decode children for the whole room."""

from __future__ import annotations

import io
import os
import struct
import zlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest
from PIL import Image

from memewatchd.meme import Decoded, FrameSpec
from memewatchd.pictures.pool import DecodePool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEC = FrameSpec("shortest", 32, 32)


class Decode(Protocol):
    def __call__(
        self, data: bytes, spec: FrameSpec = SPEC, max_frames: int = 1, pool: DecodePool | None = None
    ) -> Decoded: ...


class Encode(Protocol):
    def __call__(self, im: Image.Image, kind: str, **options: Any) -> bytes: ...


class MakePng(Protocol):
    def __call__(
        self, rows: bytes, size: tuple[int, int], depth: int, colour: int, *extra: tuple[bytes, bytes]
    ) -> bytes: ...


@pytest.fixture(scope="session")
def pool() -> Iterator[DecodePool]:
    with DecodePool(1) as pool:
        yield pool


@pytest.fixture
def decode(pool: DecodePool, tmp_path: Path) -> Decode:
    """Writes bytes into a file and has a real child decode it."""
    path = tmp_path / "picture"

    def run(data: bytes, spec: FrameSpec = SPEC, max_frames: int = 1, pool: DecodePool = pool) -> Decoded:
        path.write_bytes(data)
        fd = os.open(path, os.O_RDONLY)
        try:
            future = pool.submit(fd, spec, max_frames)
        finally:
            os.close(fd)
        return future.result(60)

    return run  # type: ignore[return-value]


@pytest.fixture(scope="session")
def encode() -> Encode:
    def run(im: Image.Image, kind: str, **options: Any) -> bytes:
        import pillow_heif

        pillow_heif.register_heif_opener()
        out = io.BytesIO()
        im.save(out, "HEIF" if kind == "heic" else kind.upper(), **options)
        return out.getvalue()

    return run


@pytest.fixture(scope="session")
def make_png() -> MakePng:
    """A PNG built by hand: ``rows`` are the raw rows, each behind its filter byte 0."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def run(rows: bytes, size: tuple[int, int], depth: int, colour: int, *extra: tuple[bytes, bytes]) -> bytes:
        head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
        parts = [chunk(b"IHDR", head), *(chunk(name, data) for name, data in extra)]
        parts += [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts)

    return run


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A picture of 67 x 45 pixels with smooth and rough parts, in colour."""
    y, x = np.mgrid[0:45, 0:67]
    noise = np.random.default_rng(7).integers(0, 40, (45, 67))
    channels = (x * 255 / 66, y * 255 / 44, (x + y) % 64 * 3 + noise)
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def bmp_of_short_runs(width: int, height: int) -> bytes:
    """A run-length encoded BMP in runs of one: Pillow unpacks those in Python, a few million a second."""
    pixels = (b"\1\7" * width + b"\0\0") * height + b"\0\1"
    palette = bytes(range(256)) * 4
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    offset = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + head + palette + pixels


@pytest.fixture(scope="session")
def slow_picture() -> bytes:
    """One that takes a second or so."""
    return bmp_of_short_runs(2048, 2048)


@pytest.fixture(scope="session")
def endless_picture() -> bytes:
    """One that takes long beyond any limit that a test sets."""
    return bmp_of_short_runs(2048, 20_000)
