"""Descriptions in files of every kind, through a real decode child; which of them people wrote; and what attacks."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from memewatchd.pictures import human, xmp
from memewatchd.pictures.child import _text
from memewatchd.pictures.human import human_text

if TYPE_CHECKING:
    from tests.pictures.conftest import Decode, Encode, MakePng

RED = Image.new("RGB", (40, 30), "red")


def packet(inside: str, before: str = "") -> bytes:
    """An XMP packet, wrapped as editors do it."""
    return (
        f"<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>{before}"
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
        f" xmp:CreatorTool='GIMP 2.10' photoshop:Headline='Monday again'>{inside}</rdf:Description></rdf:RDF>"
        f"</x:xmpmeta>{' ' * 2000}<?xpacket end='w'?>"
    ).encode()


SUBJECTS = "<dc:subject><rdf:Bag><rdf:li>angry cat</rdf:li><rdf:li>生气</rdf:li></rdf:Bag></dc:subject>"
TITLE = "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>No &amp; no</rdf:li></rdf:Alt></dc:title>"
XMP = packet(TITLE + SUBJECTS + "<dc:creator><rdf:Seq><rdf:li>nobody</rdf:li></rdf:Seq></dc:creator>")
OF_XMP = "Monday again\nNo & no\nangry cat\n生气"


def exif(entries: dict[int, bytes], of_camera: dict[int, bytes] = {}) -> bytes:  # noqa: B006 - only read
    """EXIF by hand, little-endian, with raw bytes as values: a tag's type is ASCII below 0x8000, else BYTE."""

    def directory(values: dict[int, bytes], at: int, more: list[tuple[int, int]]) -> bytes:
        fields, heap = b"", b""
        rest = at + 2 + 12 * (len(values) + len(more)) + 4
        for tag, value in sorted(values.items()):
            kind = 7 if tag == 0x9286 else 1 if tag >= 0x8000 else 2
            if len(value) > 4:
                fields += struct.pack("<HHII", tag, kind, len(value), rest + len(heap))
                heap += value
            else:
                fields += struct.pack("<HHI4s", tag, kind, len(value), value)
        for tag, number in more:
            fields += struct.pack("<HHII", tag, 4, 1, number)
        return struct.pack("<H", len(values) + len(more)) + fields + b"\0\0\0\0" + heap

    camera_at = 8 + len(directory(entries, 8, [(0x8769, 0)]))
    return (
        b"Exif\0\0II*\0\x08\0\0\0" + directory(entries, 8, [(0x8769, camera_at)]) + directory(of_camera, camera_at, [])
    )


def iptc(*texts: tuple[int, bytes], utf8: bool = True) -> bytes:
    data = b"\x1c\x01\x5a" + struct.pack(">H", 3) + b"\x1b%G" if utf8 else b""
    return data + b"".join(b"\x1c\x02" + struct.pack(">BH", number, len(text)) + text for number, text in texts)


def jpeg_with(segment: bytes) -> bytes:
    out = io.BytesIO()
    RED.save(out, "JPEG")
    data = out.getvalue()
    return data[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def photoshop(data: bytes) -> bytes:
    return b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(data)) + data


# ---- where descriptions are


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "avif", "tiff"])
def test_xmp(kind: str, decode: Decode, encode: Encode) -> None:
    if kind == "png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        data = encode(RED, kind, pnginfo=info)
    elif kind == "tiff":
        data = encode(RED, kind, tiffinfo={700: XMP})
    else:
        data = encode(RED, kind, xmp=XMP)
    assert decode(data).description == OF_XMP


def test_heic(decode: Decode, encode: Encode) -> None:
    data = encode(RED, "heic", xmp=XMP, exif=exif({0x010E: "一只红的\0".encode()}))
    assert decode(data).description == OF_XMP + "\n一只红的"


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif"])
def test_exif(kind: str, decode: Decode, encode: Encode) -> None:
    windows = {
        0x9C9B: "a title".encode("utf-16-le") + b"\0\0",
        0x9C9C: "ein Kommentar: süß".encode("utf-16-le") + b"\0\0",
        0x9C9E: "猫;red".encode("utf-16-le") + b"\0\0",
    }
    data = encode(RED, kind, exif=exif({0x010E: "穿红的\0".encode(), **windows}, {0x9286: b"ASCII\0\0\0said by hand"}))
    assert decode(data).description.split("\n") == ["穿红的", "a title", "猫 red", "ein Kommentar: süß", "said by hand"]


@pytest.mark.parametrize("text", ["a red one", "生气的猫", "我不想上班 really", "Привет"])
@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be", "utf-16"])
def test_a_user_comment_in_either_byte_order(text: str, order: str, decode: Decode, encode: Encode) -> None:
    data = encode(RED, "jpeg", exif=exif({}, {0x9286: b"UNICODE\0" + text.encode(order)}))
    assert decode(data).description == text


def test_iptc(decode: Decode) -> None:
    texts = iptc((5, "猫".encode()), (25, b"angry"), (25, b"cat"), (80, b"an author"), (120, b"When it is Monday"))
    assert decode(jpeg_with(photoshop(texts))).description == "猫\nangry\ncat\nWhen it is Monday"
    old = iptc((120, "süß".encode("latin-1")), utf8=False)
    assert decode(jpeg_with(photoshop(old))).description == "süß"
    assert decode(jpeg_with(photoshop(texts[:-3] + b"\xff"))).description.startswith("猫\nangry\ncat")


def test_texts_of_a_png(decode: Decode, encode: Encode) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "Grumpy", zip=True)
    info.add_itxt("Description", "一只猫 sits", "zh", "描述")
    info.add_text("Comment", "Created with GIMP")
    info.add_text("Software", "an editor")
    info.add_text("Author", "somebody")
    assert decode(encode(RED, "png", pnginfo=info)).description == "Grumpy\n一只猫 sits"


def test_a_text_behind_the_pixels_in_utf8(decode: Decode, make_png: MakePng) -> None:
    """Against the norm, which says Latin-1; and many do it."""
    data = make_png(b"\0\0\0\0", (1, 1), 8, 2)
    text = b"Comment\0" + "späte Katze".encode()
    chunk = struct.pack(">I", len(text)) + b"tEXt" + text + struct.pack(">I", zlib.crc32(b"tEXt" + text))
    assert decode(data[:-12] + chunk + data[-12:]).description == "späte Katze"


def test_comments(decode: Decode, encode: Encode) -> None:
    assert decode(encode(RED, "jpeg", comment="when 猫 falls".encode())).description == "when 猫 falls"
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    gif = encode(frames[0], "gif", save_all=True, append_images=frames[1:], comment=b"it moves")
    decoded = decode(gif, max_frames=3)
    assert (decoded.n_frames, len(decoded.frames), decoded.description) == (3, 3, "it moves")


def test_none(decode: Decode, encode: Encode) -> None:
    for kind in ("png", "jpeg", "gif", "webp", "avif", "heic", "bmp", "tiff"):
        assert decode(encode(RED, kind)).description == ""


def test_the_camera_itself_is_not_a_description(decode: Decode, encode: Encode) -> None:
    data = encode(RED, "jpeg", exif=exif({0x010E: b"Zeta 9\0", 0x010F: b"Acme\0", 0x0110: b"Zeta 9\0"}))
    assert decode(data).description == ""


# ---- what goes wrong


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\0" * 100,
        b"<",
        b"<a>" * 100_000,
        b"\xff\xfe<\0a",
        b"<?xml version='1.0' encoding='no-such'?><a/>",
        XMP[:300],
    ],
)
def test_damaged_xmp_fails_no_picture(bad: bytes, decode: Decode, encode: Encode) -> None:
    assert decode(encode(RED, "webp", xmp=bad)).description in ("", "Monday again")


def test_what_comes_before_the_damage_is_kept() -> None:
    cut = packet(SUBJECTS + TITLE)
    assert xmp.texts_in(cut[: cut.index(b"<dc:title")]) == ["Monday again", "angry cat", "生气"]


def test_utf16() -> None:
    assert xmp.texts_in(XMP.decode().replace("\ufeff", "").encode("utf-16")) == OF_XMP.split("\n")


BOMB = "<!DOCTYPE b [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {name} '{f'&{before};' * 50}'>" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "doctype",
    [
        BOMB + "]>",
        "<!DOCTYPE b SYSTEM 'file:///etc/passwd'>",
        "<!DOCTYPE b [<!ENTITY i SYSTEM 'file:///etc/passwd'>]>",
        "<!DOCTYPE b [<!ENTITY % i SYSTEM 'http://127.0.0.1:1/x'> %i;]>",
    ],
)
def test_no_entities_from_anywhere(doctype: str) -> None:
    assert xmp.texts_in(packet("<dc:title>&i;</dc:title>", doctype)) == []


def test_a_packet_without_end() -> None:
    items = "<rdf:li>a word</rdf:li>" * 100_000
    assert len(xmp.texts_in(packet(f"<dc:subject>{items}</dc:subject>"))) == 256
    assert sum(map(len, xmp.texts_in(packet(f"<dc:title>{'x' * 3_000_000}</dc:title>")))) < 10_000


@given(st.binary(max_size=300))
def test_any_bytes_are_read_as_xmp(data: bytes) -> None:
    xmp.texts_in(data)
    xmp.texts_in(XMP[:400] + data + XMP[400:])


def test_garbage_in_exif_and_iptc_fails_no_picture(decode: Decode, encode: Encode) -> None:
    whole = exif({0x010E: b"a red one\0", 0x9C9C: b"\0\xd8" * 9}, {0x9286: b"UNICODE\0\0\xd8x"})
    for cut in range(6, len(whole), 7):
        assert decode(encode(RED, "jpeg", exif=whole[:cut] + b"\xff" * 30)).width == 40
    for data in (b"", b"\x1c", b"\x1c\x02\x78\xff\xff", b"\x1c\x02\x78\x80\x04\0\0\0\0", b"\x1c\x02\x19\0\xff"):
        assert decode(jpeg_with(photoshop(data))).description == ""


# ---- who wrote it


@pytest.mark.parametrize(
    "text",
    [
        *("Created with GIMP", "Created with The GIMP", "created with paint.net 5.0", "Edited with Snapseed"),
        *("OLYMPUS DIGITAL CAMERA         ", "SONY DSC", "KODAK Digital Still Camera", "Exif_JPEG_PICTURE"),
        *("File written by Adobe Photoshop\xa8 4.0", "Adobe Photoshop CS6 (Windows)", "GIMP 2.10.34", "Lavc60.3.100"),
        *("CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 82", "Optimized by JPEGmini 3.9.2.5L 0x9f"),
        *(
            "Screenshot",
            "untitled",
            "binary comment",
            "charset=Ascii",
            "AppleMark",
            "xr:d:DAFabc123,j:456",
            "vid:v0f025",
        ),
        *("https://i.imgur.com/abc.jpg", "www.memes.example https://a.b", "someone@mail.example", "imgflip.com"),
        *("1234", "12:30 / 5", "!!!", "", " ", "\x00\x01", "d41d8cd98f00b204e9800998ecf8427e", "IMG_1234.jpg"),
        *('{"prompt": {"3": {"inputs": {}}}}', '[{"a": 1}]', '<?xml version="1.0"?><a>text</a>', "<html>hi</html>"),
        "filter: 0; fileterIntensity: 0.0; filterMask: 0; captureOrientation: 0; algolist: 0; multi-frame: 1;",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    ],
)
def test_machines(text: str) -> None:
    assert human_text([text]) == ""


@pytest.mark.parametrize(
    "text",
    [
        *("猫", "生气的猫", "Made in China", "Saved by the bell", "Photoshop fail", "my camera", "ok boomer"),
        *("Created to be wild", "me: hi, you: hello, dog: woof, me: no", "[confused] cat [screams]", "<3 you", "E=mc²"),
        *("Canon event", "this is fine.", "Software engineers be like", "when your test fails", "Google it", "👍 cat"),
    ],
)
def test_people(text: str) -> None:
    assert human_text([text]) == text


def test_a_link_in_a_text_is_left_out() -> None:
    assert human_text(["This is fine, from https://example.com/x?y=1 by KC"]) == "This is fine, from by KC"


def test_of_a_generated_picture_the_prompt() -> None:
    parameters = (
        "a cat in a suit, <lora:memes:0.8> oil painting\nNegative prompt: blurry, hands\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 123, Size: 512x512, Model hash: 6ce0161689"
    )
    assert human_text([parameters]) == "a cat in a suit, oil painting"
    assert len(human_text(["word " * 300 + "Steps: 20, Sampler: x"])) <= 300


def test_what_is_said_twice_is_said_once() -> None:
    assert human_text(["A cat", "a  CAT", "an angry dog", "dog"]) == "A cat\nan angry dog"
    assert human_text(["cat", "the cat sat", "sat"]) == "the cat sat"


@given(st.lists(st.text(max_size=60) | st.sampled_from(["猫" * 900, "word " * 500])))
def test_any_texts(texts: list[str]) -> None:
    said = human_text(texts)
    assert len(said.encode()) <= human.MAX_BYTES
    assert all(line == " ".join(line.split()) and line for line in said.splitlines())
    assert _text(said) == said


@pytest.mark.parametrize("unit", ["a", "a.", " a", "1:", "a:1;", "{'", "www.", "x@", "0x1", "Steps: 1, ", "made by "])
def test_texts_made_to_be_slow_to_look_at(unit: str, decode: Decode, encode: Encode) -> None:
    """A picture may take so many seconds of the processor and fails beyond."""
    items = "".join(f"<rdf:li>{unit * 2000}{number}</rdf:li>" for number in range(80))
    data = encode(RED, "webp", xmp=packet(f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>"))
    assert decode(data).width == 40


def test_the_parent_believes_no_description() -> None:
    assert _text("a\x1b[31mb\x00\nc\ud800\n\n") == "a [31mb\nc"
    assert len(_text("x" * 10_000)) == human.MAX_BYTES
    bad: Any
    for bad in (None, 3, ["a"]):
        with pytest.raises(ValueError, match="no text"):
            _text(bad)
