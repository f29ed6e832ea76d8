"""Words of people's own, as desktops keep them on a file: ``user.xdg.tags`` and ``user.xdg.comment``.

Dolphin and Baloo write the tags with commas between. Only read here: the client writes them
(``desktop/tagging.py``), since the daemon's view of the folder may be read-only.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass

TAGS = "user.xdg.tags"
COMMENT = "user.xdg.comment"

# What is beyond these is left out. A block of ext4, which holds all attributes of a file, has 4,096 bytes.
MAX_TAG_CHARS = 128
MAX_TAGS_CHARS = 4096
MAX_COMMENT_CHARS = 2048


@dataclass(frozen=True, slots=True)
class OwnWords:
    """Tags in their order, each once, as they were written, and a comment; without control characters, NFC."""

    tags: tuple[str, ...] = ()
    comment: str = ""


NO_WORDS = OwnWords()


def read_tags(file: int | bytes) -> OwnWords:
    """The words on a file: an open descriptor, or a path, whose links are followed. Never opens or changes it.

    A file without any, one that can't have any (a FAT stick) and one that is gone all have none.
    """
    try:
        # One call for most files, which have none; each that isn't there would be an exception, too.
        names = os.listxattr(file)
    except OSError:  # ENOTSUP; or the file is gone, which the next look sees
        return NO_WORDS
    if TAGS not in names and COMMENT not in names:
        return NO_WORDS
    return OwnWords(_split(_read(file, TAGS)), clean(_read(file, COMMENT), MAX_COMMENT_CHARS))


def clean(text: str, limit: int) -> str:
    """``text`` in one line, NFC, without control characters, at most ``limit`` characters."""
    # What follows is linear in the length, and normalising never makes anything shorter than a third.
    kept = (" " if _is_control(character) else character for character in text[: 4 * limit])
    return unicodedata.normalize("NFC", " ".join("".join(kept).split()))[:limit].rstrip()


def _is_control(character: str) -> bool:
    # A lone surrogate, a private character or what could not be decoded says nothing either.
    return character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cs", "Co", "Zl", "Zp")


def _split(text: str) -> tuple[str, ...]:
    tags = dict.fromkeys(clean(tag, MAX_TAG_CHARS) for tag in text.split(","))
    kept: list[str] = []
    left = MAX_TAGS_CHARS
    for tag in filter(None, tags):
        left -= len(tag) + 1
        if left < 0:
            break
        kept.append(tag)
    return tuple(kept)


def _read(file: int | bytes, name: str) -> str:
    try:
        return os.getxattr(file, name).decode("utf-8", "replace")
    except OSError:  # the other is there, this isn't; or it has gone meanwhile
        return ""
