"""What fits a query: the judge's own reading of words and pinyin, so that the search isn't judged by itself. Pure."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

import opencc
from pypinyin import lazy_pinyin

if TYPE_CHECKING:
    from benchmarks.search.memes import Meme

_HAN = r"\u3400-\u9fff"
_PIECES = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+")


@cache
def _simplifier() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


@cache
def pieces(text: str) -> tuple[str, ...]:
    """Words in lower case and runs of Han characters in simplified ones."""
    return tuple(_PIECES.findall(_simplifier().convert(unicodedata.normalize("NFKC", text).casefold())))


def is_han(piece: str) -> bool:
    return "\u3400" <= piece[0] <= "\u9fff"


@cache
def texts_of(meme: Meme) -> tuple[tuple[str, ...], ...]:
    """Each text that a picture can be found by, in pieces: all that it says, what a person called it, its tags."""
    # A caption in two lines is one sentence, and Chinese ones are typed without a space between.
    spoken = ("" if meme.language != "en" else " ").join(meme.said)
    return tuple(pieces(text) for text in (spoken, spaced(meme.name), *meme.tags) if text)


def spaced(name: str) -> str:
    """A name as one says it: `ReactionToSpoilers`, `send_to_mum`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")


def holds(meme: Meme, query: str, *, parts: bool = False) -> bool:
    """Whether all words of ``query`` stand in one of its texts: Han anywhere, others whole (``parts``: or in one)."""
    return any(_holds(text, pieces(query), parts) for text in texts_of(meme))


def _holds(text: tuple[str, ...], query: tuple[str, ...], parts: bool) -> bool:
    def one(piece: str) -> bool:
        if is_han(piece):
            return any(piece in run for run in text)
        return piece in text or (parts and len(piece) > 2 and any(piece in word for word in text))

    return bool(query) and all(map(one, query))


@cache
def syllables(run: str) -> tuple[str, ...]:
    """How a run of Han characters is read, without tones."""
    return tuple(lazy_pinyin(run))


def reads(meme: Meme, han: str, *, initials: bool = False) -> bool:
    """Whether one of its texts has a run that is read like ``han`` (``initials``: that begins alike)."""

    def of(run: str) -> tuple[str, ...]:
        return tuple(each[0] for each in syllables(run)) if initials else syllables(run)

    wanted = of("".join(piece for piece in pieces(han) if is_han(piece)))
    for text in texts_of(meme):
        for run in filter(is_han, text):
            read = of(run)
            if any(read[at : at + len(wanted)] == wanted for at in range(len(read) - len(wanted) + 1)):
                return True
    return False
