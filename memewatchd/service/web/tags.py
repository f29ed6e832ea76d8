"""Words of one's own on a file: the extended attribute ``user.xdg.tags``, which file managers read too."""

from __future__ import annotations

import errno
import os
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ATTRIBUTE = b"user.xdg.tags"
FAVOURITE = "fav"
"""The tag that makes a favourite: `is:fav` finds it."""
# What is read of one tag, and of all of a file's.
_TAG_CHARACTERS = 128
_ALL_CHARACTERS = 4096


def read(path: bytes) -> list[str]:
    """A file's tags in their order; [] where there are none or they can't be read."""
    try:
        raw = os.getxattr(path, ATTRIBUTE)
    except OSError:
        return []
    return tidy(raw.decode("utf-8", "replace").split(","))


def write(path: bytes, tags: Iterable[str]) -> None:
    """Put these in the place of a file's tags. Raises OSError."""
    wanted = tidy(tags)
    if wanted:
        os.setxattr(path, ATTRIBUTE, ",".join(wanted).encode())
        return
    try:
        os.removexattr(path, ATTRIBUTE)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise


def tidy(tags: Iterable[str]) -> list[str]:
    """One each, without commas (which part them), control characters and blanks around."""
    found = []
    for tag in tags:
        text = unicodedata.normalize("NFC", tag).replace(",", " ").replace("，", " ")
        text = "".join(char if unicodedata.category(char)[0] != "C" else " " for char in text)
        found.append(" ".join(text.split())[:_TAG_CHARACTERS].strip())
    kept, room = [], _ALL_CHARACTERS
    for tag in dict.fromkeys(found):
        room -= len(tag) + 1
        if tag and room >= 0:
            kept.append(tag)
    return kept
