"""Pictures, good, bad and dreadful, as bytes."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pillow_heif
from PIL import Image

if TYPE_CHECKING:
    import random

GOOD, BAD, MEME, IGNORED = "good", "bad", "meme", "ignored"
"""What is expected: to be found; to be failed; one of the two; neither."""

MIB = 1 << 20
SUFFIXES = {
    "PNG": b".png",
    "JPEG": b".jpg",
    "GIF": b".gif",
    "WEBP": b".webp",
    "BMP": b".bmp",
    "TIFF": b".tif",
    "AVIF": b".avif",
    "HEIF": b".heic",
}
LAYOUTS: list[tuple[str, str, dict[str, Any]]] = [
    *((kind, mode, {}) for kind, modes in {
        "PNG": ("RGB", "P", "RGBA", "1"), "JPEG": ("RGB", "L", "CMYK"), "GIF": ("P",), "WEBP": ("RGB", "RGBA"),
        "BMP": ("RGB", "P", "1"), "TIFF": ("RGB", "CMYK"), "AVIF": ("RGB", "RGBA"), "HEIF": ("RGB",),
    }.items() for mode in modes),
    *((kind, "RGB", {"animated": True}) for kind in ("PNG", "GIF", "WEBP", "AVIF")),
    *(("TIFF", "RGB", {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits")),
    ("TIFF", "1", {"compression": "group4"}), ("JPEG", "RGB", {"progressive": True}),
    ("WEBP", "RGBA", {"lossless": True}), ("GIF", "P", {"interlace": True}),
]  # fmt: skip
"""Kind, Pillow's mode, and options: of each way to be a picture, one."""

MAGICS = [
    *(b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"GIF87a", b"RIFF\x20\0\0\0WEBPVP8 "),
    *(b"RIFF\x20\0\0\0WEBPVP8X", b"RIFF\xff\xff\xff\xffWEBPVP8L", b"\0\0\0\x18ftypavif", b"\0\0\0\x18ftypheic"),
    *(b"\0\0\0\x18ftypmif1\0\0\0\0avif", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0"),
    *(b"BM" + bytes(12) + b"\x28\0\0\0", b"<svg", b"#!/bin/sh\n", b"%PDF-1.7", b"\x7fELF"),
]


def picture(unique: int) -> Image.Image:
    """A small picture that no other number gives."""
    rough = np.random.default_rng(unique).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((40 + unique % 30, 36), Image.Resampling.BICUBIC)


def encode(im: Image.Image, kind: str, *, animated: bool = False, **options: Any) -> bytes:
    """A file's bytes."""
    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    if animated:
        options |= {"save_all": True, "append_images": [im.rotate(90), im.rotate(180)], "duration": 40}
    im.save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """One of a PNG's chunks, checksum and all."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(size: tuple[int, int], depth: int, colour: int, packed: bytes, *extra: bytes) -> bytes:
    """A PNG from what its pixels are packed to."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    return b"".join((b"\x89PNG\r\n\x1a\n", head, *extra, chunk(b"IDAT", packed), chunk(b"IEND", b"")))


def tiff(tags: dict[int, int], strip: bytes) -> bytes:
    """A TIFF of one strip, which is put behind its only directory."""
    at = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = sorted({**tags, 273: at, 279: len(strip)}.items())
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + strip


def giant(chance: random.Random) -> tuple[str, bytes]:
    """A few bytes that say that they are gigapixels."""
    wide, high = chance.randrange(20_000, 65_536), chance.randrange(20_000, 65_536)
    kind = chance.choice(["PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG"])
    if kind == "PNG":
        sizes = [(wide, high), (2**31 - 1, 2**31 - 1), (0, high), (2**31, 1), (2**32 - 1, 2**32 - 1)]
        return kind, png(chance.choice(sizes), 8, 6, zlib.compress(bytes(1000)))
    if kind == "GIF":
        return kind, b"GIF89a" + struct.pack("<HHBBB", wide, high, 0, 0, 0) + b","
    if kind == "WEBP":
        small = (wide.to_bytes(3, "little"), high.to_bytes(3, "little"))
        return kind, b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X\x0a" + bytes(7) + b"".join(small) + bytes(8)
    if kind == "BMP":
        high = chance.choice((high, -high, 2**31 - 1, -(2**31)))
        fields = (60, 0, 0, 54, 40, wide, high, 1, 24, 0, 0, 0, 0, 0, 0)
        return kind, b"BM" + struct.pack("<IHHIIiiHHIIiiII", *fields)
    if kind == "TIFF":
        return kind, tiff({256: wide * chance.choice((1, 60_000)), 257: high, 258: 8, 259: 8, 262: 1}, bytes(100))
    data = bytearray(encode(picture(wide), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", high, wide)
    return kind, bytes(data)


def spoilt_margin(chance: random.Random, im: Image.Image) -> tuple[str, bytes]:
    """A good picture with something dreadful in its metadata."""
    exif = Image.Exif()
    exif[0x0112] = chance.choice((6, 3, 5))
    told = bytearray(exif.tobytes())
    how = chance.randrange(5)
    if how == 0:
        told = bytearray(b"Exif\0\0" + chance.randbytes(chance.choice((0, 3, 20, 2000))))
    elif how == 1:
        for _ in range(4):
            told[chance.randrange(6, len(told))] = chance.choice((0, 1, 0x7F, 0xFF))
    elif how == 2:  # a directory that is its own next one, and one that claims 65,535 entries
        told = bytearray(b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 8))
    elif how == 3:
        told = bytearray(b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + chance.randbytes(30))
    kind = chance.choice(["JPEG", "PNG", "WEBP"])
    profile = chance.randbytes(chance.choice((1, 128, 4000)))
    if chance.random() < 0.3:
        profile = profile[:36] + b"acsp" + profile[40:]
    return kind, encode(im, kind, exif=bytes(told), icc_profile=profile)


def bombs(big: bool) -> list[tuple[bytes, str, bytes]]:
    """(name, what is expected, bytes): small files that unpack to very much."""
    side = 12_000 if big else 4_000
    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(1 + side * 3) * 50) for _ in range(side // 50)) + rows.flush()
    huge = zlib.compressobj(9)
    profile = b"x\0\0" + b"".join(huge.compress(bytes(MIB)) for _ in range(100)) + huge.flush()
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    screen = b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    wide = b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\2\2\x44\1\0;"
    strip = zlib.compress(bytes(side * side), 9)
    sizes = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 278: side}
    loop = bytearray(tiff({256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 277: 1, 278: 8}, bytes(64)))
    loop[8 + 2 + 12 * 9 : 8 + 2 + 12 * 9 + 4] = struct.pack("<I", 8)  # the next directory is the first
    webp = Image.new("RGB", (side * 2 // 3, side * 2 // 3), (7, 80, 200))
    return [
        (b"pixels.png", GOOD, png((side, side), 8, 2, packed)),
        (b"too-many.png", BAD, png((50_000, 50_000), 8, 2, packed)),
        (b"short.png", BAD, png((side + 1, side + 1), 8, 2, packed)),
        (b"profile.png", BAD, png((1, 1), 8, 0, zlib.compress(b"\0\0"), chunk(b"iCCP", profile))),
        (b"text.png", BAD, png((1, 1), 8, 0, zlib.compress(b"\0\0"), chunk(b"zTXt", profile))),
        (b"frames.gif", GOOD, screen + frame * (100_000 if big else 10_000) + b";"),
        (b"screen.gif", BAD, screen + wide),
        (b"strip.tif", GOOD, tiff(sizes, strip)),
        (b"giant.tif", BAD, tiff({**sizes, 256: 60_000, 257: 60_000, 278: 60_000}, strip)),
        (b"loop.tif", MEME, bytes(loop)),
        (b"pixels.webp", GOOD, encode(webp, "WEBP", lossless=True, quality=0, method=0)),
    ]
