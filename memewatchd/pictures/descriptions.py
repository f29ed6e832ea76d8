"""What somebody wrote about a picture inside its file: XMP, IPTC, EXIF, PNG's texts, comments.

Runs in the decode child, on an image that Pillow has opened and loaded. Pillow has parsed the containers; what is in
them is read here, and nothing that goes wrong in it makes a picture fail.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from memewatchd.pictures.human import human_text
from memewatchd.pictures.xmp import texts_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from PIL import Image

# Before any text is looked at. The longest that people write are some thousand characters.
_MOST_BYTES: Final = 16 * 1024

_PNG_KEYS = ("Title", "Subject", "Description", "Keywords", "Comment", "parameters")

# EXIF's tags.
_IMAGE_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE = 0x010E, 0x010F, 0x0110, 0x0131
_XP = (0x9C9B, 0x9C9F, 0x9C9E, 0x9C9C)  # title, subject, keywords, comment: UTF-16, as Windows writes them
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
# TIFF's.
_TIFF_XMP, _TIFF_IPTC, _TIFF_PHOTOSHOP = 700, 33723, 34377

_IPTC_RESOURCE = 0x0404  # among Photoshop's
_IPTC_UTF8 = b"\x1b%G"
_IPTC_CHARSET = (1, 90)
_IPTC_TEXTS = frozenset(((2, 5), (2, 25), (2, 105), (2, 120)))  # title, keywords, headline, caption
_MOST_DATASETS = 1000


def description_of(image: Image.Image) -> str:
    """People's words in the file, a line for each text; "" if there are none. At most 2 kB in UTF-8.

    Give it the image after its first frame was loaded (a PNG's texts may follow its pixels) and before another is
    (a GIF's comment is gone then).
    """
    texts: list[str] = []
    for source in (_of_xmp, _of_iptc, _of_exif, _of_png, _of_comment):
        texts += _harmless(source, image)
    return human_text(texts, _harmless(_machines, image))


def _harmless(source: Callable[[Image.Image], Iterator[str]], image: Image.Image) -> list[str]:
    """What ``source`` yields, up to where it breaks: these parsers break in every way there is."""
    texts: list[str] = []
    try:
        texts.extend(source(image))  # keeps what came before an exception
    except Exception:  # noqa: BLE001
        pass
    return texts


def _of_xmp(image: Image.Image) -> Iterator[str]:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or _tiff_tag(image, _TIFF_XMP)
    if isinstance(packet, str):
        packet = packet.encode()
    if isinstance(packet, bytes):
        yield from texts_in(packet)


def _of_iptc(image: Image.Image) -> Iterator[str]:
    resources = image.info.get("photoshop")
    data = resources.get(_IPTC_RESOURCE) if isinstance(resources, dict) else _tiff_tag(image, _TIFF_IPTC)
    if not isinstance(data, bytes):
        return
    is_utf8 = False
    for key, value in _datasets(data):
        if key == _IPTC_CHARSET:
            is_utf8 = value == _IPTC_UTF8
        elif key in _IPTC_TEXTS:
            yield value[:_MOST_BYTES].decode("utf-8", "replace") if is_utf8 else _guessed(value)


def _datasets(data: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    """IPTC's records: ((record, number), value)."""
    at = 0
    for _ in range(_MOST_DATASETS):
        if data[at : at + 1] != b"\x1c" or at + 5 > len(data):
            return
        record, number, length = struct.unpack_from(">BBH", data, at + 1)
        at += 5
        if length & 0x8000:  # of a value of 32 kB and more: no caption
            return
        yield (record, number), data[at : at + length]
        at += length


def _of_exif(image: Image.Image) -> Iterator[str]:
    exif = image.getexif()
    yield _guessed(exif.get(_IMAGE_DESCRIPTION, ""))
    for tag in _XP:
        value = exif.get(tag, b"")
        if isinstance(value, tuple):
            value = bytes(value)
        if isinstance(value, bytes):
            yield value[:_MOST_BYTES].decode("utf-16-le", "replace").rstrip("\0").replace(";", " ")
    comment = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    if isinstance(comment, bytes):
        yield _user_comment(comment[:_MOST_BYTES], big_endian=exif.endian == ">")
    else:
        yield _guessed(comment)


def _user_comment(value: bytes, *, big_endian: bool) -> str:
    """EXIF's UserComment: eight bytes that name its encoding, then the text."""
    encoding, text = value[:8].rstrip(b"\0 ").upper(), value[8:]
    if encoding == b"UNICODE":
        if text.startswith((b"\xff\xfe", b"\xfe\xff")):
            return text.decode("utf-16", "replace")
        # Of the file's byte order, says the norm; many programs write their own.
        orders = ("utf-16-be", "utf-16-le") if big_endian else ("utf-16-le", "utf-16-be")
        return max((text.decode(order, "replace") for order in orders), key=_likelihood)
    if encoding == b"JIS":
        return text.decode("iso2022_jp", "replace")
    return _guessed(text if encoding in (b"ASCII", b"") else value)


def _likelihood(text: str) -> int:
    """How much a text looks like one: two for each letter of an alphabet, one for what is common in East Asia."""
    code_points = [ord(character) for character in text]
    alphabets = sum(0 < code < 0x0600 or 0x2000 <= code < 0x2070 for code in code_points)
    asian = sum(
        0x3000 <= code < 0x3100 or 0x4E00 <= code < 0xA000 or 0xAC00 <= code < 0xD7A4 or 0xFF00 <= code < 0xFFF0
        for code in code_points
    )
    return 2 * alphabets + asian


def _of_png(image: Image.Image) -> Iterator[str]:
    if image.format == "PNG":
        for key in _PNG_KEYS:
            yield _guessed(image.info.get(key, ""))


def _of_comment(image: Image.Image) -> Iterator[str]:
    yield _guessed(image.info.get("comment", b""))


def _machines(image: Image.Image) -> Iterator[str]:
    exif = image.getexif()
    make, model, software = (_guessed(exif.get(tag, "")) for tag in (_MAKE, _MODEL, _SOFTWARE))
    yield from (make, model, f"{make} {model}", software, _guessed(image.info.get("Software", "")))


def _tiff_tag(image: Image.Image, tag: int) -> Any:
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def _guessed(value: object) -> str:
    """Text of an encoding that nobody names: UTF-8 if it can be that, else Latin-1. "" for what is no text."""
    if isinstance(value, str):
        try:
            data = value[:_MOST_BYTES].encode("latin-1")  # as which Pillow has read it
        except UnicodeEncodeError:
            return value[:_MOST_BYTES]
    elif isinstance(value, bytes):
        data = value[:_MOST_BYTES]
    else:
        return ""
    data = data.strip(b"\0 ")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        # Cut off in the middle of a character, by us or by a field's fixed length.
        is_cut = error.reason == "unexpected end of data" and not before.isascii()
        return before if is_cut else data.decode("latin-1")
