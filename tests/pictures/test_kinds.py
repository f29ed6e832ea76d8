from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from memewatchd.pictures.kinds import HEAD_BYTES, VIDEOS, has_picture_extension, sniff, why_not_a_picture

if TYPE_CHECKING:
    from PIL import Image

    from tests.pictures.conftest import Encode


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    brands = major + bytes(4) + b"".join(compatible)
    return (8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "avif", "heic", "bmp", "tiff"])
def test_knows_what_encoders_write(kind: str, photo: Image.Image, encode: Encode) -> None:
    assert sniff(encode(photo, kind)[:HEAD_BYTES]) == kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"GIF87a", "gif"),
        (b"\xff\xd8\xff\xdb", "jpeg"),
        (b"II*\x00\x08\x00\x00\x00", "tiff"),
        (b"MM\x00*\x00\x00\x00\x08", "tiff"),
        (b"II+\x00\x08\x00\x00\x00", "tiff"),
        (b"MM\x00+\x00\x08\x00\x00", "tiff"),
        (b"BM" + bytes(12) + (40).to_bytes(4, "little"), "bmp"),
        (b"BM" + bytes(12) + (124).to_bytes(4, "little"), "bmp"),
        (ftyp(b"avif"), "avif"),
        (ftyp(b"avis", b"mif1"), "avif"),
        (ftyp(b"mif1", b"miaf", b"avif"), "avif"),
        (ftyp(b"mif1", b"heic"), "heic"),
        (ftyp(b"msf1", b"hevc"), "heic"),
        (ftyp(b"heix"), "heic"),
    ],
)
def test_knows_by_the_first_bytes(head: bytes, kind: str) -> None:
    assert sniff(head) == kind


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x89PNG",
        b"\xff\xd8",
        b"GIF8",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"BMW is a maker of cars, and of motorcycles",
        b"BM",
        b"II*\x00\x10\x00\x00\x00CR\x02\x00",
        ftyp(b"mp42", b"avif"),
        ftyp(b"isom", b"mp41"),
        b"avif lies behind this box"[:4] + b"ftypisom" + bytes(4) + b"....avif",
        b"%PDF-1.7",
        b"<svg xmlns=",
    ],
)
def test_takes_nothing_else(head: bytes) -> None:
    assert sniff(head) is None


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (ftyp(b"isom", b"mp41"), "mp4"),
        (ftyp(b"mp42", b"avif"), "mp4"),
        (ftyp(b"M4V ", b"isom"), "mp4"),
        (ftyp(b"qt  "), "mov"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm\x42\x87", "webm"),
        (ftyp(b"avis", b"mif1", b"isom"), "avif"),
        (ftyp(b"heic", b"mp42"), "heic"),
        (ftyp(b"M4A ", b"isom"), None),
        (ftyp(b"crx "), None),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x88matroska\x42\x87", None),
        (b"\x89PNG\r\n\x1a\n", "png"),
    ],
)
def test_knows_films_where_they_are_wanted(head: bytes, kind: str | None) -> None:
    assert sniff(head, videos=True) == kind
    assert sniff(head) == (None if kind in VIDEOS else kind)


def test_names_that_promise_a_film() -> None:
    for name in (b"a.mp4", b"x/a.WEBM", b"a.mov", b"a.m4v"):
        assert has_picture_extension(name, videos=True)
        assert not has_picture_extension(name)
    assert has_picture_extension(b"a.png", videos=True)
    assert not has_picture_extension(b"a.mkv", videos=True)


def test_telegrams_stickers_are_named_with_a_remedy() -> None:
    assert has_picture_extension(b"/m/cat.tgs")
    reason = why_not_a_picture(b"/m/cat.tgs", 3000)
    assert reason.startswith("Telegram's animated stickers (.tgs) are not supported")
    assert "GIF" in reason
    assert why_not_a_picture(b"/m/cat.tgs", 0) == "empty file"


def test_reads_no_brand_behind_the_box() -> None:
    assert sniff(ftyp(b"mif1", b"heic") + b"avif") == "heic"


@pytest.mark.parametrize("name", [b"a.png", b"A.JPG", b"x/y/z.Jpeg", b"a.b.webp", b"\xff\xfe.gif", b"a.tif"])
def test_names_that_promise_a_picture(name: bytes) -> None:
    assert has_picture_extension(name)


@pytest.mark.parametrize("name", [b"", b"png", b".png", b"dir.png/.gif", b"dir.png/a", b"a.png.txt", b"a.png "])
def test_names_that_do_not(name: bytes) -> None:
    assert not has_picture_extension(name)


def test_says_why_a_file_is_not_a_picture() -> None:
    assert why_not_a_picture(b"/m/a.png", 0) == "empty file"
    assert why_not_a_picture(b"/m/a.PNG", 9) == "not a picture inside, though it is named .PNG"
