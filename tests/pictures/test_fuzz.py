"""Whatever the bytes are, the answer is a picture or a reason, and the child lives on."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from memewatchd.errors import PictureError
from memewatchd.meme import Decoded, FrameSpec
from memewatchd.pictures.formats import explain
from memewatchd.pictures.kinds import sniff
from memewatchd.pictures.pool import DecodePool, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pictures.conftest import Decode, Encode

SPEC = FrameSpec("shortest", 16, 16)
KINDS = ["png", "jpeg", "gif", "webp", "avif", "heic", "bmp", "tiff"]


@pytest.fixture(scope="module")
def tight_pool() -> Iterator[DecodePool]:
    with DecodePool(1, Limits(memory_bytes=512 << 20, cpu_s=5, deadline_s=30)) as pool:
        yield pool


@pytest.fixture(scope="module")
def samples(photo: Image.Image, encode: Encode) -> dict[str, list[bytes]]:
    """Small ones, so that a few flips hit the structure as often as the pixels."""
    small = photo.resize((24, 16))
    alpha = small.convert("RGBA")
    animated = {"save_all": True, "append_images": [small.rotate(90)], "duration": 40}
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {kind: [encode(small, kind)] for kind in KINDS}
    found["png"] += [
        encode(small.convert("P"), "png"),
        encode(alpha, "png"),
        encode(small, "png", **animated),
    ]
    found["jpeg"] += [encode(small, "jpeg", progressive=True), encode(small, "jpeg", exif=exif.tobytes())]
    found["gif"] += [encode(small, "gif", **animated)]
    found["webp"] += [encode(alpha, "webp", lossless=True), encode(small, "webp", **animated)]
    found["avif"] += [encode(small, "avif", **animated)]
    found["bmp"] += [encode(small.convert("1"), "bmp"), encode(alpha, "bmp")]
    found["tiff"] += [encode(small, "tiff", compression=name) for name in ("tiff_lzw", "jpeg", "packbits")]
    found["tiff"] += [encode(small.convert("1"), "tiff", compression="group4")]
    return found


def answer(pool: DecodePool, data: bytes) -> Decoded | None:
    fd = os.memfd_create("picture")
    try:
        os.write(fd, data)
        future = pool.submit(fd, SPEC, max_frames=3)
    finally:
        os.close(fd)
    try:
        return future.result(120)
    except PictureError as error:
        assert 5 < len(str(error)) < 300
        assert "nonsense" not in str(error)
        return None


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_damaged_pictures(
    kind: str, data: st.DataObject, samples: dict[str, list[bytes]], tight_pool: DecodePool
) -> None:
    damaged = bytearray(data.draw(st.sampled_from(samples[kind])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        action = data.draw(st.sampled_from(["set", "set", "delete", "insert", "repeat"]))
        if action == "set":
            damaged[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
        elif action == "delete":
            del damaged[at : at + data.draw(st.integers(1, 9))]
        elif action == "insert":
            damaged[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        else:
            damaged[at:at] = damaged[at : at + 40]
        if not damaged:
            break
    decoded = answer(tight_pool, bytes(damaged))
    if decoded:
        assert decoded.format == sniff(bytes(damaged))
        assert all(frame.shape == (16, 16, 3) for frame in decoded.frames)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    head=st.sampled_from([b"", *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x20\0\0\0WEBPVP8 ")])
    | st.sampled_from(
        [b"\0\0\0\x18ftypavif", b"\0\0\0\x18ftypheic", b"II*\0\x08\0\0\0", b"BM" + bytes(12) + b"\x28\0\0\0"]
    ),
    tail=st.binary(max_size=300),
)
def test_random_bytes_behind_a_good_start(head: bytes, tail: bytes, tight_pool: DecodePool) -> None:
    answer(tight_pool, head + tail)


def tiff(**changes: int) -> bytes:
    """8×8 grey pixels in one strip; ``t257=9``: with another value of tag 257."""
    tags = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 122, 277: 1, 278: 8, 279: 64}
    tags |= {int(name[1:]): value for name, value in changes.items()}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + directory + bytes(4) + b"\x63" * 64


def test_a_tiff_without_its_last_strips_is_cut_off(decode: Decode) -> None:
    """Pillow draws the rows that it has, and leaves the others black."""
    assert decode(tiff()).width == 8
    for missing in ({"t257": 99}, {"t257": 9, "t274": 6}):
        with pytest.raises(PictureError, match=r"^the file is cut off \(truncated TIFF\)$"):
            decode(tiff(**missing))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(t259=99), "damaged or cut off (TIFF)"),  # KeyError: 99
        (b"II+\0\x08\0\0\0$\xff\xff\xff\xff\0\xa7", "the file is cut off (truncated TIFF)"),  # struct.error
    ],
)
def test_a_reason_is_no_text_of_pythons(data: bytes, reason: str, decode: Decode) -> None:
    with pytest.raises(PictureError) as caught:
        decode(data)
    assert str(caught.value) == reason


def test_a_reason_holds_no_control_characters() -> None:
    """A library may quote the file."""
    said = explain("heic", ValueError("Unsupported feature: could not parse item property 'c\x7fa\x1bp'"))
    assert said.isprintable()
    assert "could not parse item property 'cap'" in said


def test_bytes_that_are_no_text_are_damage() -> None:
    """A HEIC whose names have flipped bits, and pillow-heif, which says so as an error of another type."""
    with pytest.raises(UnicodeDecodeError) as caught:
        b"\x80".decode()
    for error in (caught.value, SyntaxError(str(caught.value))):
        assert explain("heic", error) == "damaged or cut off (HEIC)"
