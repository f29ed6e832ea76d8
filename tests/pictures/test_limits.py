"""Bombs and giants end as one clear sentence, and the next picture is decoded as if nothing had been."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from memewatchd.errors import PictureError
from memewatchd.pictures.pool import DecodePool, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pictures.conftest import Decode, Encode, MakePng

MIB = 1 << 20


@pytest.fixture(scope="module")
def small_pool() -> Iterator[DecodePool]:
    """Children that may have only 64 MiB beyond what they start with."""
    with DecodePool(1, Limits(memory_bytes=64 * MIB)) as pool:
        yield pool


def test_a_png_of_gigapixels(decode: Decode, make_png: MakePng) -> None:
    packed = bytes(1000)
    with pytest.raises(PictureError) as caught:
        decode(make_png(packed, (60_000, 60_000), 8, 2))
    assert str(caught.value) == "too large: 60000×60000 = 3.6 gigapixels (limit 178 megapixels)"


def test_a_zip_bomb(decode: Decode, make_png: MakePng) -> None:
    """313 MB of black, in 300 KB."""
    with pytest.raises(PictureError, match=r"^too large: 50000×50000 = 2\.5 gigapixels"):
        decode(make_png(bytes(50_000 * (1 + 50_000 // 8)), (50_000, 50_000), 1, 0))


def headers() -> dict[str, bytes]:
    ifd = struct.pack("<H", 4)
    for tag, value in ((256, 100_000), (257, 100_000), (262, 1), (273, 8)):
        ifd += struct.pack("<HHII", tag, 4, 1, value)
    return {
        "tiff": b"II*\0" + struct.pack("<I", 8) + ifd + bytes(4),
        "gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",",
        "webp": b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X\x0a" + bytes(7) + b"\xff\xff\0" * 2 + bytes(8),
        "webp-lossless": b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8L" + struct.pack("<I", 18) + b"\x2f" + b"\xff" * 17,
        "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(headers()))
def test_headers_that_promise_too_much(kind: str, decode: Decode) -> None:
    with pytest.raises(PictureError, match=r"^too large: \d{5,6}×\d{5,6} = "):
        decode(headers()[kind])


def test_a_jpeg_that_promises_too_much(photo: Image.Image, decode: Decode, encode: Encode) -> None:
    data = bytearray(encode(photo, "jpeg"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(PictureError, match=r"^too large: 65000×65000"):
        decode(bytes(data))


def test_a_gif_whose_first_frame_is_larger_than_its_screen(decode: Decode) -> None:
    head = b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    image = b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\2\2\x44\1\0;"
    with pytest.raises(PictureError, match=r"^too large"):
        decode(head + image)


@pytest.mark.parametrize("name", [b"iCCP", b"zTXt", b"iTXt"])
def test_a_bomb_in_the_margin(name: bytes, decode: Decode, make_png: MakePng) -> None:
    packed = zlib.compress(bytes(200 * MIB), 1)
    prefix = {b"iCCP": b"x\0\0", b"zTXt": b"x\0\0", b"iTXt": b"x\0\1\0\0\0"}[name]
    with pytest.raises(PictureError, match="unpacks to far too much"):
        decode(make_png(b"\0\0", (1, 1), 8, 0, (name, prefix + packed)))


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("png", "RGB", {"compress_level": 1}),
        ("png", "P", {"compress_level": 1}),
        ("jpeg", "RGB", {"progressive": True}),
        ("gif", "P", {}),
        ("webp", "RGB", {"method": 0}),
        ("avif", "RGB", {"speed": 10}),
        ("tiff", "RGB", {"compression": "tiff_lzw"}),
    ],
)
def test_more_memory_than_allowed(
    kind: str, mode: str, options: dict[str, object], small_pool: DecodePool, decode: Decode, encode: Encode
) -> None:
    data = encode(Image.new(mode, (5000, 4500), 1), kind, **options)
    with pytest.raises(PictureError) as caught:
        decode(data, pool=small_pool)
    assert str(caught.value) == "needed more than 64 MiB of memory to decode"
    assert decode(encode(Image.new("L", (20, 20), 99), "png"), pool=small_pool).frames[0].min() == 99


def test_running_out_of_memory_again_and_again(small_pool: DecodePool, decode: Decode, encode: Encode) -> None:
    """Each time the child answers and leaves at once; that is no crash."""
    data = encode(Image.new("L", (9000, 9000)), "png", compress_level=1)
    for _ in range(15):
        with pytest.raises(PictureError, match=r"^needed more than 64 MiB"):
            decode(data, pool=small_pool)


def test_a_file_larger_than_allowed(tmp_path: Path, pool: DecodePool) -> None:
    from memewatchd.meme import FrameSpec

    path = tmp_path / "sparse.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    os.truncate(path, 1 << 30)
    with path.open("rb") as file, pytest.raises(PictureError) as caught:
        pool.submit(file.fileno(), FrameSpec("exact", 8, 8)).result(60)
    assert str(caught.value) == "too large: a file of 1 GiB (limit 256 MiB)"


def test_no_time_left_on_the_wall(endless_picture: bytes, decode: Decode) -> None:
    reason = r"^took longer than 0\.5 s to decode$"
    with DecodePool(1, Limits(deadline_s=0.5)) as pool, pytest.raises(PictureError, match=reason):
        decode(endless_picture, pool=pool)


def test_no_processor_time_left(endless_picture: bytes, decode: Decode, encode: Encode) -> None:
    with DecodePool(1, Limits(cpu_s=1)) as pool:
        with pytest.raises(PictureError, match=r"^took more than 1 s of processor time to decode$"):
            decode(endless_picture, pool=pool)
        assert decode(encode(Image.new("L", (20, 20), 99), "png"), pool=pool).frames[0].min() == 99


def test_processor_time_is_counted_anew_for_each_picture(decode: Decode, photo: Image.Image, encode: Encode) -> None:
    data = encode(photo.resize((1800, 1800)), "png", compress_level=1)
    with DecodePool(1, Limits(cpu_s=1)) as pool:
        decode(data, pool=pool)
        (pid,) = pool.pids
        used = 0.0
        while used < 2.2:  # more than one picture may have
            decode(data, pool=pool)
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
            used = ticks / os.sysconf("SC_CLK_TCK")
        assert pool.pids == [pid]
