"""Texts found by words: literally, by how they are read, and nearly. Blocks; any thread may call.

What is remembered wrongly, or was read wrongly from a picture, has most of its letters right: texts that hold a piece
of the query as it stands are compared with it letter by letter.
"""

from __future__ import annotations

import math
import re
import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from memewatchd.search.input_method import is_english
from memewatchd.search.lines import Lines
from memewatchd.search.pinyin import INITIALS, PinyinTexts
from memewatchd.words import HAN, is_literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

# Below this a query is too short to be remembered nearly: much else is as near.
_LEAST_LETTERS = 6
_LEAST_HAN = 3
# So many texts are compared letter by letter, those that share the rarest pieces with the query.
_MOST_COMPARED = 50
# A piece that so many texts hold tells them apart from nothing.
_COMMON = 2_000
# And of a query that somebody pasted, only so much is looked for.
_MOST_PIECES = 40
# A text much shorter than the query is no quote of it, however well it lies within it.
_SHORTEST = 0.6
# Words out of their order are the same words still, but not quite the same quote.
_ANY_ORDER = 0.95

# A word of fewer letters is much like parts of many others.
_SHORT = 8

_HAN_RUN = re.compile(rf"[{HAN}]+")


class Texts:
    """Folded texts that can be searched."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: frozenset[str] = frozenset()
        self._lines = Lines.of((), ())
        self._pinyin = PinyinTexts()

    def use(self, texts: Collection[str]) -> None:
        """These are searched from now on. Those with Chinese take some 30 µs each, the first time."""
        wanted = frozenset(text for text in texts if text)
        with self._lock:
            if wanted == self._known:
                return
            ordered = tuple(wanted)
            self._known, self._lines = wanted, Lines.of(ordered, ordered)
            self._pinyin.use(wanted)

    def literal(self, words: Sequence[str]) -> list[str]:
        """Texts in which every word is (see :func:`~memewatchd.words.is_literal`)."""
        if not words:
            return []
        longest = max(words, key=lambda word: len(word.encode("utf-8", "replace")))
        return [text for text in self._holding(longest) if is_literal(words, text)]

    def read_like(self, words: Sequence[str]) -> dict[str, float]:
        """Text → how well it is read like the words, 0…1; none for what is English as well."""
        if not words or is_english(words):
            return {}
        found = self._pinyin.find(words)
        if INITIALS in found.values() and is_english(words, or_not_pinyin=True):
            return {text: score for text, score in found.items() if score > INITIALS}
        return found

    def alike(self, words: Sequence[str]) -> dict[str, float]:
        """Text → how much of the query is in it nearly as it was typed, 0…1. Nothing for a short query."""
        query = "".join(words)
        han = sum(map(len, _HAN_RUN.findall(query)))
        if han < _LEAST_HAN and len(query) < _LEAST_LETTERS:
            return {}
        weights: dict[str, float] = defaultdict(float)
        total = len(self._lines.texts)
        for piece in dict.fromkeys(_pieces(words)):
            holding = []
            for text in self._holding(piece):
                holding.append(text)
                if len(holding) > _COMMON:
                    break
            else:
                for text in holding:
                    weights[text] += math.log(1 + total / len(holding))
        best = sorted(weights, key=lambda text: (-weights[text], text))[:_MOST_COMPARED]
        return {text: nearness(words, text) for text in best}

    def _holding(self, needle: str) -> Iterator[str]:
        return self._lines.holding(needle.encode("utf-8", "replace"))


def _pieces(words: Sequence[str]) -> list[str]:
    """Parts of a query of which one, at least, survives a slip in any word: a Latin word's halves, pairs of Han."""
    pieces: list[str] = []
    for word in words:
        if _HAN_RUN.fullmatch(word):
            pieces += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
        elif len(word) >= 6:
            pieces += [word[: len(word) // 2], word[len(word) // 2 :]]
        elif len(word) >= 3:
            pieces.append(word)
    return pieces[:_MOST_PIECES]


def is_whole(words: Sequence[str], text: str) -> bool:
    """Whether each of these words is a word of the text, and not part of one; Chinese has no gaps to tell by."""
    padded = f" {text} "
    return all(not word.isascii() or f" {word} " in padded for word in words)


def nearness(words: Sequence[str], text: str) -> float:
    """How much of a query stands in a text, 0…1: by letters in their order, or by words in any.

    A short word is compared with whole words only: five sixths of a `spider` are in what one may `consider`.
    """
    from rapidfuzz import fuzz

    if len(words) == 1 and words[0].isascii() and len(words[0]) < _SHORT:
        return max((fuzz.ratio(words[0], word) / 100 for word in text.split(" ")), default=0.0)
    # Without spaces, for who reads words in pictures loses them.
    query, letters = "".join(words), text.replace(" ", "")
    if len(letters) < _SHORTEST * len(query):
        return 0.0
    compare = fuzz.partial_ratio if len(query) <= len(letters) else fuzz.ratio
    in_order = compare(query, letters) / 100
    there = sum(len(word) for word in words if is_literal((word,), text))
    return max(in_order, _ANY_ORDER * there / len(query))
