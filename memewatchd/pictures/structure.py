"""What a file's skeleton says without decoding it: size, number of frames, and whether the end is missing.

Pillow counts a GIF's frames by parsing each; a file of a few megabytes can hold a hundred thousand.
These walks hop from block to block, stop after ``_MAX_BLOCKS``, and see what Pillow doesn't look at:
that an animation is cut off behind its first frame.
"""

from __future__ import annotations

import struct

# Bounds the walks to about a second of Python. An honest GIF of 256 MB has 1.1 million blocks.
# Past it the count is what was seen so far: "at least".
_MAX_BLOCKS = 2_000_000

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

    A missing trailer byte is forgiven: every block is whole, and many encoders forget it.
    """
    frames = blocks = 0
    try:
        at = 13 + _colour_table(data[10])
        while blocks < _MAX_BLOCKS and at < len(data):
            introducer = data[at]
            if introducer == 0x2C:  # an image: descriptor, colours, LZW code size, sub-blocks
                frames += 1
                at += 10 + _colour_table(data[at + 9]) + 1
            elif introducer == 0x21:  # an extension: label, sub-blocks
                at += 2
            else:  # the trailer, or junk behind the pictures, which decoders don't read either
                break
            while size := data[at]:
                at += 1 + size
                blocks += 1
                if blocks >= _MAX_BLOCKS:
                    return max(frames, 1)
            at += 1
            blocks += 1
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


def _u16(data: bytes, at: int) -> int:
    return int(_U16.unpack_from(data, at)[0])


def _colour_table(flags: int) -> int:
    """The bytes that a GIF's colour table takes, from the flags that announce it."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
