"""Words as they are compared: of file names, and of what people type. A leaf; the first Han character loads OpenCC."""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A literal match may lie within a word from this many letters on; a Han character is a word's worth by itself.
PART_LETTERS = 3

BETWEEN = "/"
"""Stands between the parts of a file's text."""

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af々〇"
"""The Han characters, for between the brackets of a regular expression."""
# OpenCC is asked about these, block by block.
_HAN_BLOCKS = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0x20000, 0x2A6E0), (0x2A700, 0x323B0))
# Runs of Han characters and runs of other letters and digits are words of their own: `生气cat` is two.
_WORD = re.compile(rf"[{HAN}]+|(?:(?![{HAN}_])\w)+")
_HAN_WORD = re.compile(rf"[{HAN}]+")
_ANY_HAN = re.compile(rf"[{HAN}]")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

# Names that cameras, phones and chat programs give. They say nothing of the picture.
_MACHINE_PREFIX = re.compile(
    r"(?:img|image|imag|pic|dsc[nf]?|dcim|pxl|mvimg|vid|burst|photo|screenshot|screen ?shot|capture|snapshot"
    r"|mmexport|wx_camera|weixin|wechat|微信图片|微信截图|qq图片|qq截图|截图|屏幕截图|屏幕快照"
    r"|萤幕截图|萤幕快照|萤幕撷取画面|截屏|图片|照片"
    r"|signal|telegram|whatsapp image|received|download|unnamed|untitled|fb_img|file|sticker|animation|tenor|giphy)"
    r"(?:[ _.\-]*(?:at|e|wa|from)?[ _.\-]*\d.*|[ _.\-]*\(\d+\)|[ _.\-]*)",
    re.IGNORECASE | re.DOTALL,
)
_HEX = re.compile(r"(?=.*[0-9])[0-9a-f]{8,}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


def fold(text: str) -> str:
    """NFKC, case and script folding: full-width, ligatured, upper-case and traditional spellings compare equal."""
    return simplified(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()))


def simplified(text: str) -> str:
    """``text`` with each traditional character as its simplified one.

    Character by character and not by phrases, though OpenCC knows those: what a character becomes must not hang on
    its neighbours, or a part of a word would no longer be found in the word (乾 of 乾隆).
    """
    return text.translate(_script()) if _ANY_HAN.search(text) else text


@functools.cache
def _script() -> dict[int, int]:
    """Code point → simplified code point, for some 5,100 traditional characters."""
    import opencc

    convert = opencc.OpenCC("t2s").convert
    table: dict[int, int] = {}
    for first, end in _HAN_BLOCKS:
        characters = "".join(map(chr, range(first, end)))
        # One a line, so that no two make a phrase.
        for character, to in zip(characters, convert("\n".join(characters)).split("\n"), strict=True):
            if character != to and len(to) == 1:
                table[ord(character)] = ord(to)
    # A few are simplified to what itself is simplified further: folded once is folded for good.
    return {character: table.get(to, to) for character, to in table.items() if table.get(to) != character}


def words_of(text: str) -> list[str]:
    """The folded words of what someone typed, in order."""
    return _WORD.findall(fold(text))


def tag_key(tag: str) -> str:
    """A tag as it is compared: its folded words, or its folded self where it is a picture (★)."""
    return " ".join(words_of(tag)) or " ".join(fold(tag).split())


def name_words(path: bytes) -> str:
    """The folded words of a file's own name, joined by spaces; "" for a name that a machine made."""
    stem, extension = os.path.splitext(os.path.basename(path).decode("utf-8", "replace").replace("\ufffd", " "))
    if len(extension) > 6 or " " in extension:  # "Dr. Who", "v1.final version": no extension at all
        stem += extension
    stem = simplified(unicodedata.normalize("NFKC", stem).strip())
    if _MACHINE_PREFIX.fullmatch(stem):
        return ""
    words = words_of(_CAMEL.sub(" ", _UUID.sub(" ", stem)))
    words = [word for word in words if not _HEX.fullmatch(word)]
    return "" if all(word.isdecimal() for word in words) else " ".join(words)


def tag_keys(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as they are compared, each once, in their order."""
    return tuple(dict.fromkeys(key for key in map(tag_key, tags) if key))


def searchable_text(path: bytes, tags: Iterable[str] = (), comment: str = "", inner: str = "") -> str:
    """All that a file can be found by besides its look, folded: its name, then what people said of it.

    ``inner`` is the description inside the file. Between the parts stands :data:`BETWEEN`, a word that no query
    has, so that no quoted phrase reaches from one part into the next; what is said already is left out.
    """
    text = name_words(path)
    for part in (*tags, comment, inner):
        words = " ".join(words_of(part))
        if words and f" {words} " not in f" {text} ":
            text = f"{text} {BETWEEN} {words}" if text else words
    return text


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
