"""Every kind and mode of picture, through a real child."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw

from memewatchd.errors import PictureError
from memewatchd.meme import FrameSpec
from memewatchd.pictures import preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.pictures.conftest import Decode, Encode, MakePng

EXACT = FrameSpec("exact", 8, 8, 0)
"""Nearest neighbour at 8 x 8: a picture of that size comes out as it is."""


def grey(values: object) -> NDArray[np.uint8]:
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, -1)


def rows(pixels: NDArray[np.generic]) -> bytes:
    """PNG rows without filter, of big-endian samples."""
    return b"".join(b"\0" + row.tobytes() for row in pixels)


# -- kinds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "avif", "heic", "bmp", "tiff"])
def test_each_kind(kind: str, photo: Image.Image, decode: Decode, encode: Encode) -> None:
    decoded = decode(encode(photo, kind), FrameSpec("shortest", 32, 32))
    assert (decoded.format, decoded.width, decoded.height, decoded.n_frames) == (kind, 67, 45, 1)
    (frame,) = decoded.frames
    assert frame.shape == (32, 32, 3)
    assert frame.dtype == np.uint8
    assert frame.flags.writeable
    original = np.asarray(preprocess.fit(photo, FrameSpec("shortest", 32, 32)))
    assert np.abs(frame.astype(int) - original).mean() < 12  # GIF has 256 colours, the others lose a little


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff"])
def test_lossless_kinds_are_exact(kind: str, photo: Image.Image, decode: Decode, encode: Encode) -> None:
    spec = FrameSpec("exact", 32, 32)
    frame = decode(encode(photo, kind), spec).frames[0]
    np.testing.assert_array_equal(frame, np.asarray(preprocess.fit(photo, spec)))


# -- PNG --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_png_of_every_depth(depth: int, decode: Decode, make_png: MakePng) -> None:
    top = (1 << depth) - 1
    values = (np.arange(64).reshape(8, 8) * top) // 63
    if depth == 16:
        packed = rows(values.astype(">u2"))
    else:
        bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        packed = rows(np.packbits(bits.reshape(8, -1), axis=-1))
    frame = decode(make_png(packed, (8, 8), depth, 0), EXACT).frames[0]
    np.testing.assert_array_equal(frame, grey(np.rint(values * 255 / top)))


def test_16_bit_grey_is_scaled_and_not_clipped(decode: Decode, make_png: MakePng) -> None:
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(">u2")
    frame = decode(make_png(rows(values), (8, 8), 16, 0), EXACT).frames[0]
    np.testing.assert_array_equal(frame[..., 0], np.rint(values.astype(float) / 257))


def test_16_bit_colour(decode: Decode, make_png: MakePng) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (8, 8, 3)).astype(">u2")
    frame = decode(make_png(rows(values.reshape(8, -1)), (8, 8), 16, 2), EXACT).frames[0]
    assert np.abs(frame - values / 257).max() <= 1


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_with_transparency(depth: int, decode: Decode, make_png: MakePng) -> None:
    """Colour 0 is blue and half transparent, colour 1 red and opaque."""
    index = np.indices((8, 8)).sum(0) % 2
    bits = np.unpackbits(index.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
    packed = rows(np.packbits(bits.reshape(8, -1), axis=-1))
    png = make_png(packed, (8, 8), depth, 3, (b"PLTE", bytes((0, 0, 255, 255, 0, 0))), (b"tRNS", bytes((128, 255))))
    frame = decode(png, EXACT).frames[0].astype(int)
    expected = np.where(index[..., None] == 1, (255, 0, 0), (127, 127, 255))
    assert np.abs(frame - expected).max() <= 1


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_one_transparent_grey_is_white(depth: int, decode: Decode, make_png: MakePng) -> None:
    top = (1 << depth) - 1
    transparent = 0 if depth == 1 else 1
    values = np.where(np.indices((8, 8)).sum(0) % 2 == 1, transparent, top if depth > 1 else 1)
    values[0, 0] = 0
    if depth == 16:
        packed = rows(values.astype(">u2"))
    else:
        bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        packed = rows(np.packbits(bits.reshape(8, -1), axis=-1))
    png = make_png(packed, (8, 8), depth, 0, (b"tRNS", struct.pack(">H", transparent)))
    frame = decode(png, EXACT).frames[0]
    expected = grey(np.rint(np.where(values == transparent, top, values) * 255 / top))
    np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize("depth", [8, 16])
def test_one_transparent_colour_is_white(depth: int, decode: Decode, make_png: MakePng) -> None:
    high = 1 if depth == 8 else 257
    values = np.full((8, 8, 3), 10 * high)
    values[::2] = (200 * high, 20 * high, 3 * high)
    kind = ">u1" if depth == 8 else ">u2"
    png = make_png(
        rows(values.astype(kind).reshape(8, -1)),
        (8, 8),
        depth,
        2,
        (b"tRNS", struct.pack(">HHH", *values[0, 0].tolist())),
    )
    frame = decode(png, EXACT).frames[0]
    assert (frame[::2] == 255).all()
    assert (frame[1::2] == 10).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("dpi", [(1, 1), (72, 72), (600, 300), (0.01, 99999)])
def test_any_mode_at_any_dpi(
    mode: str, dpi: tuple[float, float], photo: Image.Image, decode: Decode, encode: Encode
) -> None:
    im = photo.convert("L") if mode == "I;16" else photo.convert(mode)
    if mode == "I;16":
        im = Image.fromarray(np.asarray(im).astype(np.uint16) * 257)
    decoded = decode(encode(im, "png", dpi=dpi), FrameSpec("exact", 16, 16))
    assert (decoded.width, decoded.height) == (67, 45)
    wanted = photo.convert("L" if mode == "I;16" else mode).convert("RGB")
    np.testing.assert_array_equal(decoded.frames[0], np.asarray(preprocess.fit(wanted, FrameSpec("exact", 16, 16))))


# -- alpha over white -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "webp", "tiff", "avif", "heic"])
def test_alpha_lies_over_white(kind: str, decode: Decode, encode: Encode) -> None:
    im = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    im.paste((0, 0, 0, 0), (0, 0, 64, 32))
    im.paste((0, 0, 255, 128), (0, 32, 32, 64))
    options = {"lossless": True} if kind == "webp" else {"quality": 100} if kind in ("avif", "heic") else {}
    frame = decode(encode(im, kind, **options), FrameSpec("exact", 64, 64)).frames[0].astype(int)
    assert np.abs(frame[4:28] - 255).max() <= 6
    assert np.abs(frame[36:60, 36:60] - (255, 0, 0)).max() <= 6
    assert np.abs(frame[36:60, 4:28] - (127, 127, 255)).max() <= 6


def test_grey_with_alpha(decode: Decode, encode: Encode) -> None:
    im = Image.merge("LA", (Image.new("L", (8, 8), 50), Image.new("L", (8, 8), 51)))
    frame = decode(encode(im, "png"), EXACT).frames[0]
    assert np.abs(frame.astype(int) - (50 * 0.2 + 255 * 0.8)).max() <= 1


def test_alpha_of_a_tall_picture_is_laid_on_in_bands(decode: Decode, encode: Encode) -> None:
    alpha = np.tile(np.linspace(0, 255, 700).astype(np.uint8)[:, None], (1, 3))
    im = Image.merge("RGBA", (*[Image.new("L", (3, 700), 0)] * 3, Image.fromarray(alpha)))
    out = np.asarray(preprocess.to_rgb(im))
    np.testing.assert_allclose(out[..., 0].astype(int), 255 - alpha.astype(int), atol=1)


def test_a_transparent_gif(decode: Decode, encode: Encode) -> None:
    im = Image.new("P", (8, 8), 0)
    im.putpalette([0, 0, 0, 255, 0, 0])
    im.paste(1, (0, 0, 8, 4))
    frame = decode(encode(im, "gif", transparency=0), EXACT).frames[0]
    assert (frame[:4] == (255, 0, 0)).all()
    assert (frame[4:] == 255).all()


# -- BMP --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 8, 24])
def test_bmp_of_each_depth(bits: int, photo: Image.Image, decode: Decode, encode: Encode) -> None:
    im = photo.convert({1: "1", 8: "P", 24: "RGB"}[bits])
    frame = decode(encode(im, "bmp"), FrameSpec("exact", 16, 16)).frames[0]
    np.testing.assert_array_equal(frame, np.asarray(preprocess.fit(im.convert("RGB"), FrameSpec("exact", 16, 16))))


def test_bmp_of_32_bits_with_alpha(decode: Decode, encode: Encode) -> None:
    im = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    im.paste((0, 0, 0, 0), (0, 0, 8, 4))
    frame = decode(encode(im, "bmp"), EXACT).frames[0]
    assert (frame[:4] == 255).all()
    assert (frame[4:] == (255, 0, 0)).all()


def test_bmp_of_32_bits_whose_fourth_byte_is_unused(decode: Decode, encode: Encode) -> None:
    frame = decode(encode(Image.new("RGBA", (8, 8), (9, 8, 7, 0)), "bmp"), EXACT).frames[0]
    assert (frame == (9, 8, 7)).all()


def test_bmp_with_a_version_5_header_and_alpha(decode: Decode) -> None:
    pixels = struct.pack("<I", 0x80FF0000) * 64  # half transparent red
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 124, 8, -8, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks + bytes(68)
    bmp = b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + head + pixels
    frame = decode(bmp, EXACT).frames[0].astype(int)
    assert np.abs(frame - (255, 127, 127)).max() <= 1


# -- JPEG -------------------------------------------------------------------------------------------


def test_cmyk_jpeg(photo: Image.Image, decode: Decode, encode: Encode) -> None:
    """Pillow writes CMYK inverted, with Adobe's marker, as Photoshop does."""
    data = encode(photo.convert("CMYK"), "jpeg", quality=95)
    assert b"Adobe" in data
    frame = decode(data, FrameSpec("exact", 16, 16)).frames[0]
    original = np.asarray(preprocess.fit(photo, FrameSpec("exact", 16, 16)))
    assert np.abs(frame.astype(int) - original).mean() < 6


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("size", [(3000, 2001), (2001, 3000)])
@pytest.mark.parametrize("spec", [FrameSpec("shortest", 64, 64), FrameSpec("exact", 64, 64), FrameSpec("pad", 64, 64)])
def test_big_jpegs_decoded_at_reduced_scale_look_the_same(
    mode: str, size: tuple[int, int], spec: FrameSpec, photo: Image.Image, decode: Decode, encode: Encode
) -> None:
    im = photo.resize(size, Image.Resampling.BICUBIC).convert(mode)
    data = encode(im, "jpeg", quality=90)
    decoded = decode(data, spec)
    assert (decoded.width, decoded.height) == size
    full = np.asarray(preprocess.fit(im.convert("RGB"), spec))
    assert np.abs(decoded.frames[0].astype(int) - full).mean() < 2


def test_a_big_jpeg_that_the_model_sees_large_is_decoded_in_full(
    photo: Image.Image, decode: Decode, encode: Encode
) -> None:
    im = photo.resize((2100, 2000), Image.Resampling.NEAREST)
    data = encode(im, "jpeg", quality=90)
    spec = FrameSpec("shortest", 1200, 1200)
    from io import BytesIO

    full = np.asarray(preprocess.fit(Image.open(BytesIO(data)), spec))
    np.testing.assert_array_equal(decode(data, spec).frames[0], full)


def test_a_jpeg_near_the_size_that_the_model_sees_is_decoded_in_full(
    photo: Image.Image, decode: Decode, encode: Encode
) -> None:
    data = encode(photo.resize((255, 300), Image.Resampling.BICUBIC), "jpeg", quality=90)
    spec = FrameSpec("shortest", 64, 64)
    from io import BytesIO

    full = np.asarray(preprocess.fit(Image.open(BytesIO(data)), spec))
    np.testing.assert_array_equal(decode(data, spec).frames[0], full)


def drawing() -> Image.Image:
    im = Image.new("RGB", (1000, 1000), "white")
    draw = ImageDraw.Draw(im)
    draw.ellipse((100, 100, 900, 900), fill="yellow", outline="black", width=12)
    draw.text((120, 420), "ONE DOES NOT SIMPLY", fill="black", font_size=70)
    return im


@pytest.mark.parametrize("side", [1290, 1500, 1990])
def test_the_vector_of_a_jpeg_decoded_at_reduced_scale_is_the_same(
    side: int, photo: Image.Image, decode: Decode, encode: Encode
) -> None:
    from io import BytesIO

    from memewatchd.encoders import bundled

    bundled.register()
    from memewatchd.encoders.clip import ClipEncoder

    encoder = ClipEncoder.load(bundled.FOLDER, "bundled", device="cpu", threads=1)
    for im in (photo, drawing()):
        data = encode(im.resize((side, side), Image.Resampling.BICUBIC), "jpeg", quality=80)
        ours = decode(data, encoder.spec).frames[0]
        full = np.asarray(preprocess.fit(Image.open(BytesIO(data)), encoder.spec))
        assert not np.array_equal(ours, full)
        one, other = encoder.encode_images([ours, full])
        assert one @ other >= 0.999


# -- orientation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "avif", "heic"])
def test_exif_orientation(orientation: int, kind: str, decode: Decode, encode: Encode) -> None:
    """A white picture, twice as wide as high, with a dark top left quarter, is stored turned."""
    upright = Image.new("RGB", (128, 64), "white")
    upright.paste("black", (0, 0, 64, 32))
    undo = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]  # Image.Transpose that the viewer will undo
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encode(stored, kind, exif=exif.tobytes()), FrameSpec("exact", 16, 16, 2))
    assert (decoded.width, decoded.height) == (128, 64)
    frame = decoded.frames[0]
    assert frame[:7, :7].max() < 40
    assert frame[9:].min() > 215
    assert frame[:, 9:].min() > 215


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_of_a_big_jpeg(orientation: int, decode: Decode, encode: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.new("RGB", (2400, 2399), "white")
    stored.paste("black", (0, 0, 1200, 1200))
    decoded = decode(encode(stored, "jpeg", exif=exif.tobytes()), FrameSpec("exact", 16, 16, 2))
    assert (decoded.width, decoded.height) == ((2399, 2400) if orientation > 4 else (2400, 2399))
    corner = {1: (0, 0), 3: (1, 1), 6: (0, 1), 8: (1, 0)}[orientation]
    quarters = decoded.frames[0].reshape(2, 8, 2, 8, 3).mean((1, 3, 4))
    assert np.unravel_index(quarters.argmin(), (2, 2)) == corner


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"\0" * 40])
def test_broken_exif_says_nothing(exif: bytes, photo: Image.Image, decode: Decode, encode: Encode) -> None:
    decoded = decode(encode(photo, "jpeg", exif=exif))
    assert (decoded.width, decoded.height) == (67, 45)


# -- TIFF -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"])
@pytest.mark.parametrize("big", [False, True])
def test_tiff_of_each_compression(
    compression: str | None, big: bool, photo: Image.Image, decode: Decode, encode: Encode
) -> None:
    data = encode(photo, "tiff", compression=compression, big_tiff=big)
    decoded = decode(data, FrameSpec("exact", 16, 16))
    assert decoded.format == "tiff"
    original = np.asarray(preprocess.fit(photo, FrameSpec("exact", 16, 16)))
    assert np.abs(decoded.frames[0].astype(int) - original).mean() < (8 if compression == "jpeg" else 0.001)


def tiff(order: str, values: NDArray[np.generic], photometric: int, sample_format: int) -> bytes:
    """An uncompressed grey TIFF of one strip, in either byte order ("<" or ">")."""
    pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()
    height, width = values.shape
    entries = [
        (256, 3, width), (257, 3, height), (258, 3, values.itemsize * 8), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(pixels)), (339, 3, sample_format),
    ]  # fmt: skip
    ifd = struct.pack(order + "H", len(entries))
    for tag, kind, value in entries:
        packed = struct.pack(order + ("H2x" if kind == 3 else "I"), value)
        ifd += struct.pack(order + "HHI", tag, kind, 1) + packed
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", 8 + len(pixels)) + pixels + ifd + bytes(4)


@pytest.mark.parametrize(("order", "photometric"), [("<", 0), ("<", 1), (">", 1)])
def test_16_bit_tiff(order: str, photometric: int, decode: Decode) -> None:
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    frame = decode(tiff(order, values, photometric, 1), EXACT).frames[0]
    expected = np.rint(values / 257)
    np.testing.assert_array_equal(frame[..., 0], 255 - expected if photometric == 0 else expected)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_float_tiff(top: float, decode: Decode) -> None:
    values = np.linspace(0, top, 64).reshape(8, 8).astype(np.float32)
    frame = decode(tiff("<", values, 1, 3), EXACT).frames[0]
    assert np.abs(frame[..., 0] - values / top * 255).max() <= 0.51


def test_float_tiff_of_any_range(decode: Decode) -> None:
    values = np.linspace(-3e6, 5e7, 64).reshape(8, 8).astype(np.float32)
    values[0, 0] = np.nan
    frame = decode(tiff("<", values, 1, 3), EXACT).frames[0]
    assert frame.max() == 255
    assert frame[0, 1, 0] <= 1


# -- animations -------------------------------------------------------------------------------------


def frames(count: int, size: int = 16) -> list[Image.Image]:
    return [Image.new("RGB", (size, size), (i * 200 // count, 255 - i * 200 // count, 0)) for i in range(count)]


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "avif"])
def test_first_frame_and_number_of_frames(kind: str, decode: Decode, encode: Encode) -> None:
    first, *rest = frames(7, 64)
    decoded = decode(encode(first, kind, save_all=True, append_images=rest, duration=50), FrameSpec("exact", 8, 8))
    assert decoded.n_frames == 7
    assert len(decoded.frames) == 1
    assert np.abs(decoded.frames[0].astype(int) - (0, 255, 0)).max() <= 8


ANIMATED = ["gif", "webp", "png", "avif"]


@pytest.mark.parametrize("kind", ANIMATED)
def test_several_frames_are_spread(kind: str, decode: Decode, encode: Encode) -> None:
    first, *rest = frames(8, 64)
    data = encode(first, kind, save_all=True, append_images=rest, duration=50)
    decoded = decode(data, FrameSpec("exact", 8, 8), max_frames=4)
    assert decoded.n_frames == 8
    assert len(decoded.frames) == 4
    reds = np.array([int(frame[..., 0].mean()) for frame in decoded.frames])
    assert np.abs(reds - 25 * np.array(decoded.numbers)).max() <= 8
    assert decoded.numbers[0] == 0
    assert np.diff(decoded.numbers).max() <= 3
    assert decoded.numbers[-1] >= 6


@pytest.mark.parametrize("kind", ANIMATED)
def test_frames_are_taken_where_the_picture_changes(kind: str, decode: Decode, encode: Encode) -> None:
    scenes = [(Image.new("RGB", (64, 64), colour), shown) for colour, shown in (("red", 5), ("blue", 2), ("lime", 4))]
    # One pixel moves, or encoders would join frames that are the same.
    pictures = []
    for im, shown in scenes:
        for number in range(shown):
            one = im.copy()
            one.putpixel((number, 0), (0, 0, 0))
            pictures.append(one)
    data = encode(pictures[0], kind, save_all=True, append_images=pictures[1:], duration=50)
    decoded = decode(data, EXACT, max_frames=8)
    assert (decoded.n_frames, decoded.numbers) == (11, (0, 5, 7))
    for frame, colour in zip(decoded.frames, ((255, 0, 0), (0, 0, 255), (0, 255, 0)), strict=True):
        assert np.abs(frame[2:].astype(int) - colour).max() <= 8


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_a_blank_first_frame_is_not_taken(kind: str, decode: Decode, encode: Encode) -> None:
    first, second, third = (Image.new("RGBA", (32, 32), colour) for colour in ((0, 0, 0, 0), "red", "blue"))
    data = encode(first, kind, save_all=True, append_images=[second, third], duration=50)
    decoded = decode(data, EXACT, max_frames=8)
    assert (decoded.n_frames, decoded.numbers) == (3, (1, 2))
    assert (decoded.frames[0][..., 0] > 240).all()
    assert decode(data, EXACT).numbers == (0,)


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_an_animation_with_a_damaged_frame_is_failed(
    kind: str, photo: Image.Image, decode: Decode, encode: Encode
) -> None:
    others = [photo.rotate(90), photo.rotate(180)]
    data = bytearray(encode(photo, kind, save_all=True, append_images=others, duration=50))
    assert len(decode(bytes(data), EXACT, max_frames=8).frames) == 3
    at = data.rindex(b"fdAT" if kind == "png" else b"VP8 ") + 8
    data[at : at + 40] = bytes(40)
    with pytest.raises(PictureError):
        decode(bytes(data), EXACT, max_frames=8)


def test_asking_for_more_frames_than_there_are(decode: Decode, encode: Encode, photo: Image.Image) -> None:
    first, *rest = frames(3)
    data = encode(first, "gif", save_all=True, append_images=rest, duration=50)
    assert decode(data, max_frames=10).numbers == (0, 1, 2)
    assert len(decode(data, max_frames=10).frames) == 3
    assert decode(encode(photo, "jpeg"), max_frames=10).numbers == (0,)


def test_a_gif_of_very_many_frames_is_counted_without_decoding_them(decode: Decode, encode: Encode) -> None:
    first, second = frames(2)
    data = encode(first, "gif", save_all=True, append_images=[second], duration=20)
    at = data.rindex(b"!\xf9")  # the second frame's control block
    long = data[:at] + data[at:-1] * 100_000 + b";"
    assert decode(long).n_frames == 100_001
    assert decode(long, max_frames=8).numbers == (0, 1)


def test_a_png_that_claims_frames_it_does_not_have(decode: Decode, make_png: MakePng) -> None:
    claim = (b"acTL", struct.pack(">II", 2**31 - 1, 0))
    data = make_png(rows(np.zeros((8, 8), np.uint8)), (8, 8), 8, 0, claim)
    assert decode(data).n_frames == 1
    assert decode(data, max_frames=8).numbers == (0,)


def test_pages_of_a_tiff_are_no_animation(decode: Decode, encode: Encode) -> None:
    first, *rest = frames(3)
    decoded = decode(encode(first, "tiff", save_all=True, append_images=rest), max_frames=8)
    assert (decoded.n_frames, len(decoded.frames)) == (1, 1)


# -- the bytes decide -------------------------------------------------------------------------------


def test_large_text_in_a_png_is_no_reason_to_fail(decode: Decode, make_png: MakePng) -> None:
    """Image generators keep their whole workflow in there."""
    text = b"workflow\0\0" + zlib.compress(b"node " * 500_000)
    assert decode(make_png(rows(np.full((8, 8), 77, np.uint8)), (8, 8), 8, 0, (b"zTXt", text)), EXACT).format == "png"
