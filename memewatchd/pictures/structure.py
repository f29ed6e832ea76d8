"""What a file's skeleton says without drawing it: size, number of frames, and whether parts are missing.

Pillow counts a GIF's frames by parsing each; a file of a few megabytes can hold a hundred thousand.
These walks hop from block to block, stop after ``_MAX_BLOCKS``, and see what Pillow and its libraries
let pass: an animation that is cut off behind its first frame, a PNG whose last rows are missing or
damaged (they would be black), a tiled HEIC without its last tiles (they would be grey).
"""

from __future__ import annotations

import struct
import zlib

# Bounds the walks to about a second of Python. An honest GIF of 256 MB has 1.1 million blocks.
# Past it the count is what was seen so far: "at least".
_MAX_BLOCKS = 2_000_000

_INFLATE_STEP = 1 << 20  # bytes of pixels held at a time while a PNG's rows are counted

# Boxes whose length can be believed. Phones append trailers of their own, which are no boxes at all.
_ISO_BOXES = frozenset(b"ftyp meta mdat moov free skip idat uuid wide moof mfra sidx styp emsg pdin prft".split())

_IDAT_CRC = zlib.crc32(b"IDAT")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

# Adam7: where each of the seven passes of an interlaced PNG begins, and its steps (x, y, dx, dy).
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)

_EBML_HEADER = b"\x1a\x45\xdf\xa3"
_EBML_SEGMENT = b"\x18\x53\x80\x67"

_U16 = struct.Struct("<H")


class CutOffError(Exception):
    """The file ends in the middle of a block."""


def declared_size(kind: str, data: bytes) -> tuple[int, int] | None:
    """Width and height as the header gives them, where opening alone would already allocate by them."""
    if kind == "gif" and len(data) >= 10:
        return _u16(data, 6), _u16(data, 8)
    if kind == "webp" and len(data) >= 30:
        chunk = data[12:16]
        if chunk == b"VP8X":  # 24 bits each, less one
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        if chunk == b"VP8L":  # 14 bits each, less one, behind a signature byte
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if chunk == b"VP8 ":
            return _u16(data, 26) & 0x3FFF, _u16(data, 28) & 0x3FFF
    return None


def count_gif_frames(data: bytes) -> int:
    """The number of images in a GIF (at least 1). Raises CutOffError when the data end inside a block.

    A missing trailer byte is forgiven where every block is whole: many encoders forget it. Bytes
    between blocks are skipped, as Pillow does; nothing but such bytes up to the end is a download
    that reserved its space and never came.
    """
    frames = blocks = 0
    skipped = False
    try:
        at = 13 + _colour_table(data[10])
        while blocks < _MAX_BLOCKS:
            blocks += 1
            if at >= len(data):
                if skipped:
                    raise CutOffError
                break
            introducer = data[at]
            if introducer == 0x3B:  # the trailer
                break
            if introducer == 0x2C:  # an image: descriptor, colours, LZW code size, sub-blocks
                frames += 1
                at += 10 + _colour_table(data[at + 9]) + 1
            elif introducer == 0x21:  # an extension: label, sub-blocks
                at += 2
            else:
                skipped = True
                at += 1
                continue
            skipped = False
            while size := data[at]:
                at += 1 + size
                blocks += 1
                if blocks >= _MAX_BLOCKS:
                    return max(frames, 1)
            at += 1
    except IndexError:
        raise CutOffError from None
    return max(frames, 1)


def count_png_frames(data: bytes) -> int:
    """The number of frames in a PNG: 1, or for an animated one how many it really holds.

    The number in its header is only a claim. Raises CutOffError where an *animated* PNG ends before its
    end; a still one is judged by its pixels alone.
    """
    animated = False
    frames = chunks = 0
    at = 8
    while chunks < _MAX_BLOCKS:
        head = data[at : at + 8]
        if len(head) < 8 or at + 12 + (length := int.from_bytes(head[:4], "big")) > len(data):
            if animated:
                raise CutOffError
            return 1
        chunk = head[4:]
        if chunk == b"IEND":
            break
        if chunk == b"acTL":
            animated = True
        elif chunk == b"fcTL" or (chunk == b"IDAT" and not frames):
            # A first image without a control chunk is for programs that know no animation; Pillow
            # gives it as frame 0, so it counts.
            frames += 1
        at += 12 + length
        chunks += 1
    return max(frames, 1) if animated else 1


def check_png_rows(data: bytes) -> None:
    """Unpacks a still PNG's pixels (or an animated one's first image), counts them and tests their checksum.

    Pillow takes what there is and leaves the rest black, and where part of a file is all zeros (a
    download that reserved its space) it draws noise. Raises CutOffError when rows are missing,
    ValueError when the compressed data are damaged.
    """
    missing = _png_bytes(data)
    unpacker = zlib.decompressobj()
    at = 8
    view = memoryview(data)
    while missing > 0 and not unpacker.eof and at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            packed: memoryview | bytes = view[at + 8 : at + 8 + length]
            checksum = data[at + 8 + length : at + 12 + length]
            if len(checksum) == 4 and zlib.crc32(packed, _IDAT_CRC) != int.from_bytes(checksum, "big"):
                raise ValueError("wrong checksum of its pixels")
            try:
                while packed and missing > 0 and not unpacker.eof:
                    missing -= len(unpacker.decompress(packed, _INFLATE_STEP))
                    packed = unpacker.unconsumed_tail
            except zlib.error as error:
                raise ValueError(f"its compressed pixels are broken: {error}") from None
        at += 12 + length
    if missing > 0:
        raise CutOffError


def check_boxes(data: bytes) -> None:
    """Raises CutOffError where one of the top-level boxes of a HEIC, AVIF, MP4 or MOV is longer than the file."""
    at = 0
    while data[at + 4 : at + 8] in _ISO_BOXES:
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:  # it lasts to the end
            return
        at += max(size, 8)
        if at > len(data):
            raise CutOffError


def check_ebml(data: bytes) -> None:
    """Raises CutOffError where a WebM's header or its one segment is longer than the file.

    One that a browser recorded doesn't say how long its segment is, and can't be checked so.
    """
    at = 0
    for identifier in (_EBML_HEADER, _EBML_SEGMENT):
        if not data.startswith(identifier, at):
            return
        at += 4
        if at >= len(data) or not data[at]:
            raise CutOffError
        length = 9 - data[at].bit_length()  # leading zero bits say how many bytes the number has
        size = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
        if size == (1 << 7 * length) - 1:
            return
        at += length + size
        if at > len(data):
            raise CutOffError


def check_riff(data: bytes) -> None:
    """Raises CutOffError where a WebP is shorter than it says (but for its last byte, mere padding)."""
    if 8 + int.from_bytes(data[4:8], "little") > len(data) + 1:
        raise CutOffError


def _png_bytes(data: bytes) -> int:
    """How many bytes a PNG's pixels are when unpacked, filter bytes included; 0 for what isn't valid."""
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    depth, colour, interlaced = data[24], data[25], data[28]
    bits = depth * _PNG_CHANNELS.get(colour, 0)
    if not interlaced:
        return height * (1 + (width * bits + 7) // 8)
    total = 0
    for x, y, dx, dy in _ADAM7:
        across, down = -((x - width) // dx), -((y - height) // dy)
        if across > 0 and down > 0:
            total += down * (1 + (across * bits + 7) // 8)
    return total


def _u16(data: bytes, at: int) -> int:
    return int(_U16.unpack_from(data, at)[0])


def _colour_table(flags: int) -> int:
    """The bytes that a GIF's colour table takes, from the flags that announce it."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
