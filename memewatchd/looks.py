"""What a picture looks like, small enough to keep for each and exact enough to tell a copy from another caption.

The numbers, and their way into the string that is kept. Made in :mod:`memewatchd.pictures.fingerprint`, compared in
:mod:`memewatchd.search.alike`. A leaf, with nothing but the standard library: the decode children import it too.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from dataclasses import dataclass
from typing import Final

SIDE: Final = 48
"""The whole picture's brightness is kept in so many rows and columns: a letter of a caption covers several cells."""
COLOUR_SIDE: Final = 8
"""Its colours in so many."""
MOMENTS: Final = 8
"""An animation is cut into so many parts of one length; of each, the mean brightness is kept."""
MOMENT_SIDE: Final = 8
LEVELS: Final = 64
"""Of each number: steps of 4 of the usual 256."""
MOST_CHARACTERS: Final = 4096
"""Of the string. 400 to 2,000 are usual."""

STILL_BYTES: Final = SIDE * SIDE + 2 * COLOUR_SIDE * COLOUR_SIDE
MOVING_BYTES: Final = STILL_BYTES + MOMENTS * MOMENT_SIDE * MOMENT_SIDE
_MS_BYTES = 4
_STRING = re.compile(rf"[A-Za-z0-9_-]{{4,{MOST_CHARACTERS}}}")


@dataclass(frozen=True, slots=True)
class Looks:
    """One picture's. Numbers are 0 to 63, row by row.

    ``cells``: the brightness of the first frame (:data:`SIDE` squared), its blueness and its redness
    (:data:`COLOUR_SIDE` squared each; YCbCr); of an animation then the brightness of its parts (:data:`MOMENTS` times
    :data:`MOMENT_SIDE` squared). ``ms``: how long it plays; 0 for a still.
    """

    cells: bytes
    ms: int = 0


def pack(looks: Looks) -> str:
    """As it is kept: letters, digits, ``-`` and ``_``; at most :data:`MOST_CHARACTERS`."""
    data = zlib.compress(min(looks.ms, 2**31).to_bytes(_MS_BYTES, "big") + looks.cells, 9)
    text = base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
    return text if len(text) <= MOST_CHARACTERS else ""


def is_packed(text: str) -> bool:
    """Whether this may be what :func:`pack` gave, judged by its characters."""
    return _STRING.fullmatch(text) is not None


def unpack(text: str) -> Looks | None:
    """What :func:`pack` was given; None for anything else."""
    if not is_packed(text):
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        whole = zlib.decompressobj().decompress(data, _MS_BYTES + MOVING_BYTES + 1)
    except (binascii.Error, zlib.error):
        return None
    cells, ms = whole[_MS_BYTES:], int.from_bytes(whole[:_MS_BYTES], "big")
    moving = len(cells) == MOVING_BYTES
    if not (moving or (len(cells) == STILL_BYTES and ms == 0)) or max(cells) >= LEVELS:
        return None
    return Looks(cells, ms)
