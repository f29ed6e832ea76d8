"""Chinese texts found by how they are read: `shengqi`, `sheng qi`, `shēngqì`, `sq` find 生气.

What is searched is one long string of every text's readings, each syllable with a capital: "ShengQiDeMao". So
syllables can't be mistaken (`angry` isn't in it), and a query is a few plain searches for a substring.
"""

from __future__ import annotations

import re
import threading
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from memewatchd.search.lines import Lines
from memewatchd.search.readings import readings
from memewatchd.search.syllables import plain_letters, split_beginning
from memewatchd.words import HAN, is_literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from memewatchd.search.readings import Readings

FULL = 1.0
"""How well a text matches whose syllables were typed."""
INITIALS = 0.5
"""How well one matches of which only the first letters were, which much else has too."""

# The beginning of a syllable counts from this many letters on, or after a whole one: `she` finds 生, `sh` doesn't.
_LEAST_ALONE = 3
# Initials of one character say nothing.
_LEAST_INITIALS = 2
# More words than this are a text that somebody pasted, and each costs a search.
_MOST_WORDS = 16
# A run with few ways to be read is kept in all of them. In others each character's other reading is kept with its
# neighbours' usual ones, this far to both sides.
_MOST_WAYS = 8
_NEIGHBOURS = 4

_RUN = re.compile(rf"[{HAN}]+")
_SMALL = re.compile(r"[a-z]+")


def keys(text: str, known: Readings) -> str:
    """The readings of a folded text's runs of Han characters: "ShengQiDeMao ShengQiDiMao"; "" if there are none."""
    return " ".join(way for run in _RUN.findall(text) for way in _ways(known.of(run)))


def _ways(syllables: list[tuple[str, ...]]) -> Iterator[str]:
    # A character that nobody can read is a hole that no query crosses.
    capital = [tuple(syllable.capitalize() for syllable in several) or ("-",) for several in syllables]
    if prod(map(len, capital)) <= _MOST_WAYS:
        yield from map("".join, product(*capital))
        return
    usual = [several[0] for several in capital]
    yield "".join(usual)
    for at, (_, *others) in enumerate(capital):
        before = "".join(usual[max(0, at - _NEIGHBOURS) : at])
        after = "".join(usual[at + 1 : at + 1 + _NEIGHBOURS])
        for other in others:
            yield before + other + after


class PinyinTexts:
    """The texts that can be found by pinyin. Any thread may call; keys are made once a text."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, str] = {}
        self._full = self._initials = self._literal = Lines.of((), ())

    def use(self, texts: Collection[str]) -> None:
        """These (folded) texts are searched from now on. The first time takes some 30 µs a text."""
        wanted = {text for text in texts if _RUN.search(text)}
        with self._lock:
            if wanted == self._keys.keys():
                return
            known = readings()
            self._keys = {text: self._keys.get(text) or keys(text, known) for text in wanted}
            texts, full = list(self._keys), list(self._keys.values())
            self._full = Lines.of(texts, full)
            self._initials = Lines.of(texts, (_SMALL.sub("", line) for line in full))
            self._literal = Lines.of(texts, texts)

    def find(self, words: Sequence[str]) -> dict[str, float]:
        """The texts that are read like ``words`` (folded), each with :data:`FULL` or :data:`INITIALS`.

        Either all words together are a run of a text's syllables (`sheng qi`), or its initials, or every word is
        in the text by itself, read or literally (`shengqi cat`). Nothing is read like a very long query.
        """
        with self._lock:
            full, initials, literal = self._full, self._initials, self._literal
        letters = [plain_letters(word) for word in words]
        if not full.texts or not any(letters) or len(words) > _MOST_WORDS:
            return {}
        found: dict[str, float] = {}
        if all(letters):
            found = self._read_like(letters, full, initials)
        if len(words) > 1:
            apart: dict[str, float] = {}
            for number, (word, plain) in enumerate(zip(words, letters, strict=True)):
                scores = self._read_like([plain], full, initials) if plain else {}
                for text in literal.holding(word.encode("utf-8", "replace")):
                    if is_literal((word,), text):
                        scores[text] = FULL
                common = scores.keys() & apart.keys() if number else scores.keys()
                apart = {text: min(scores[text], apart.get(text, FULL)) for text in common}
            for text, score in apart.items():
                found[text] = max(score, found.get(text, 0.0))
        return found

    @staticmethod
    def _read_like(parts: list[str], full: Lines, initials: Lines) -> dict[str, float]:
        found: dict[str, float] = {}
        joined = "".join(parts)
        if len(joined) >= _LEAST_INITIALS:
            found = dict.fromkeys(initials.holding(joined.upper().encode()), INITIALS)
        for syllables, beginning in split_beginning(parts):
            if not syllables and len(beginning) < _LEAST_ALONE:
                continue
            needle = "".join(syllable.capitalize() for syllable in (*syllables, beginning))
            if len(needle) < _LEAST_INITIALS:
                continue  # `a` and `o` are in too much
            whole = len(syllables) == 1 and not beginning and len(needle) < _LEAST_ALONE
            found.update(dict.fromkeys(full.holding(needle.encode(), whole=whole), FULL))
        return found
