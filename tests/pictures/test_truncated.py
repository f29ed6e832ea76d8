"""A picture that doesn't decode completely is failed, never half indexed."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from memewatchd.errors import PictureError
from memewatchd.meme import FrameSpec
from memewatchd.pictures import structure

if TYPE_CHECKING:
    from tests.pictures.conftest import Decode, Encode, MakePng

EXACT = FrameSpec("exact", 64, 64, 0)
ANIMATED = {"gif-animated", "webp-animated", "png-animated", "avif-animated"}
CASES = {
    "png": {},
    "png-palette": {"mode": "P"},
    "png-animated": {},
    "jpeg": {},
    "jpeg-progressive": {"progressive": True},
    "jpeg-cmyk": {"mode": "CMYK"},
    "gif": {},
    "gif-animated": {},
    "webp": {},
    "webp-lossless": {"lossless": True},
    "webp-animated": {},
    "avif": {},
    "avif-animated": {},
    "heic": {},
    "heic-tiled": {"tile_size": 64},
    "bmp": {},
    "bmp-grey": {"mode": "L"},
    "tiff": {},
    "tiff-strips": {"strip_size": 2048, "compression": "tiff_lzw"},
    "tiff-lzw": {"compression": "tiff_lzw"},
    "tiff-jpeg": {"compression": "jpeg"},
    "tiff-fax": {"mode": "1", "compression": "group4"},
}


@pytest.fixture(scope="module", params=CASES)
def whole(request: pytest.FixtureRequest, photo: Image.Image, encode: Encode) -> bytes:
    options = dict(CASES[request.param])
    im = photo.resize((160, 128), Image.Resampling.BICUBIC)
    im = im.convert(str(options.pop("mode", "RGB")))
    if request.param in ANIMATED:
        options |= {"save_all": True, "append_images": [im.rotate(45), im.rotate(90)], "duration": 40}
    return encode(im, request.param.partition("-")[0], **options)


def test_cut_off_anywhere(whole: bytes, decode: Decode) -> None:
    complete = decode(whole, EXACT)
    length = len(whole)
    failed = 0
    for cut in sorted({length * part // 16 for part in range(16)} | {length - last for last in (1, 2, 5, 13)}):
        try:
            decoded = decode(whole[:cut], EXACT)
        except PictureError as error:
            failed += 1
            assert "truncated" in str(error) or "damaged" in str(error) or (cut == 0 and str(error) == "empty file")
        else:
            assert decoded == complete
            np.testing.assert_array_equal(decoded.frames[0], complete.frames[0])
    assert failed >= 15


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif"])
@pytest.mark.parametrize("animated", [False, True])
def test_a_download_that_only_reserved_its_space(
    kind: str, animated: bool, photo: Image.Image, decode: Decode, encode: Encode
) -> None:
    options = {"save_all": True, "append_images": [photo.rotate(45), photo.rotate(90)]} if animated else {}
    data = encode(photo, kind, **({} if kind == "jpeg" else options))
    for part in (0.4, 0.7, 0.95):
        there = int(len(data) * part)
        with pytest.raises(PictureError):
            decode(data[:there] + bytes(len(data) - there), EXACT)


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    at = 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def test_a_png_whose_last_rows_are_missing_inside_a_valid_stream(decode: Decode, make_png: MakePng) -> None:
    rows = b"".join(b"\0" + bytes([200]) * 8 for _ in range(8))
    assert decode(make_png(rows, (8, 8), 8, 0), EXACT).frames[0].min() == 200
    with pytest.raises(PictureError, match=r"^the file is cut off \(truncated PNG\)$"):
        decode(make_png(rows[:-9], (8, 8), 8, 0), EXACT)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 8), (9, 17), (3, 1), (1, 9)])
@pytest.mark.parametrize(("depth", "colour"), [(1, 0), (4, 3), (8, 2), (16, 6)])
def test_interlaced_pngs_are_counted_pass_by_pass(size: tuple[int, int], depth: int, colour: int) -> None:
    width, height = size
    bits = depth * {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    pixels = [(x, y) for y in range(height) for x in range(width)]
    expected = 0
    grid = [
        "16462646",
        "77777777",
        "56565656",
        "77777777",
        "36463646",
        "77777777",
        "56565656",
        "77777777",
    ]  # PNG §8.2
    for number in "1234567":
        in_pass = [(x, y) for x, y in pixels if grid[y % 8][x % 8] == number]
        for row in {y for _, y in in_pass}:
            across = sum(y == row for _, y in in_pass)
            expected += 1 + (across * bits + 7) // 8
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, depth, colour, 0, 0, 1)
    assert structure._png_bytes(head + bytes(4)) == expected


def test_a_wrong_checksum_of_the_pixels(photo: Image.Image, decode: Decode, encode: Encode) -> None:
    data = bytearray(encode(photo, "png"))
    data[data.index(b"IDAT") + 900] ^= 0x10
    with pytest.raises(PictureError, match="damaged"):
        decode(bytes(data), EXACT)


def test_a_png_without_its_end_is_whole_when_its_pixels_are(decode: Decode, make_png: MakePng) -> None:
    png = make_png(b"\0\7" * 2, (1, 2), 8, 0)
    assert decode(png[:-12], EXACT).frames[0].max() == 7


def test_a_gif_without_its_trailer_is_whole(photo: Image.Image, decode: Decode, encode: Encode) -> None:
    data = encode(photo, "gif")
    assert decode(data[:-1], EXACT) == decode(data, EXACT)


def test_junk_behind_the_end_is_no_harm(photo: Image.Image, decode: Decode, encode: Encode) -> None:
    """Phones and forums append their own."""
    for kind in ("png", "jpeg", "gif", "webp", "bmp", "heic", "avif"):
        data = encode(photo, kind)
        decoded = decode(data + b"SEFT\0\0\0\1" * 50, EXACT)
        np.testing.assert_array_equal(decoded.frames[0], decode(data, EXACT).frames[0])


def test_an_idat_split_into_many_chunks(decode: Decode, make_png: MakePng) -> None:
    rows = b"".join(b"\0" + bytes([y * 30] * 8) for y in range(8))
    parts = chunks(make_png(rows, (8, 8), 8, 0))
    packed = next(data for name, data in parts if name == b"IDAT")
    png = b"\x89PNG\r\n\x1a\n"
    for name, data in [parts[0], *((b"IDAT", packed[i : i + 1]) for i in range(len(packed))), parts[-1]]:
        png += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    assert decode(png, EXACT).frames[0][-1, 0, 0] == 210
