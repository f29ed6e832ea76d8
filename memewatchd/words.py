"""Words as they are compared: of file names, and of what people type. A leaf; standard library only."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# A literal match may lie within a word from this many letters on; a Han character is a word's worth by itself.
PART_LETTERS = 3

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af々〇"
# Runs of Han characters and runs of other letters and digits are words of their own: `生气cat` is two.
_WORD = re.compile(rf"[{_HAN}]+|(?:(?![{_HAN}_])\w)+")
_HAN_WORD = re.compile(rf"[{_HAN}]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

# Names that cameras, phones and chat programs give. They say nothing of the picture.
_MACHINE_PREFIX = re.compile(
    r"(?:img|image|imag|pic|dsc[nf]?|dcim|pxl|mvimg|vid|burst|photo|screenshot|screen ?shot|capture|snapshot"
    r"|mmexport|wx_camera|weixin|wechat|微信图片|微信截图|qq图片|qq截图|截图|屏幕截图|屏幕快照|截屏|图片|照片"
    r"|signal|telegram|whatsapp image|received|download|unnamed|untitled|fb_img|file|sticker|animation|tenor|giphy)"
    r"(?:[ _.\-]*(?:at|e|wa|from)?[ _.\-]*\d.*|[ _.\-]*\(\d+\)|[ _.\-]*)",
    re.IGNORECASE | re.DOTALL,
)
_HEX = re.compile(r"(?=.*[0-9])[0-9a-f]{8,}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


def fold(text: str) -> str:
    """NFKC and case folding, so that full-width, ligatured and upper-case spellings compare equal."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def words_of(text: str) -> list[str]:
    """The folded words of what someone typed, in order."""
    return _WORD.findall(fold(text))


def name_words(path: bytes) -> str:
    """The folded words of a file's own name, joined by spaces; "" for a name that a machine made."""
    stem, extension = os.path.splitext(os.path.basename(path).decode("utf-8", "replace").replace("\ufffd", " "))
    if len(extension) > 6 or " " in extension:  # "Dr. Who", "v1.final version": no extension at all
        stem += extension
    stem = unicodedata.normalize("NFKC", stem).strip()
    if _MACHINE_PREFIX.fullmatch(stem):
        return ""
    words = words_of(_CAMEL.sub(" ", _UUID.sub(" ", stem)))
    words = [word for word in words if not _HEX.fullmatch(word)]
    return "" if all(word.isdecimal() for word in words) else " ".join(words)


def is_literal(words: Sequence[str], text: str) -> bool:
    """Whether every one of ``words`` stands in ``text`` (both folded).

    Part of a word counts from 3 letters, or 1 Han character, on; shorter words must stand whole.
    """
    padded = f" {text} "
    for word in words:
        if len(word) >= PART_LETTERS or _HAN_WORD.fullmatch(word):
            if word not in text:
                return False
        elif f" {word} " not in padded:
            return False
    return bool(words)
