"""The query language: what someone typed → words and filters.

Today there are only words. The filters that are planned are recognised, so that they are refused by name
rather than searched for as words, and so that a script's query doesn't change its meaning later.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from memewatchd.errors import BadRequest
from memewatchd.words import words_of

FILTERS = ("ext", "is", "in", "after", "before", "tag")

# Input methods for Chinese type these; they mean their ASCII counterparts.
_AS_ASCII = str.maketrans({"“": '"', "”": '"', "＂": '"', "「": '"', "」": '"', "：": ":", "－": "-", "\u3000": " "})
# A dash that begins a word, so that `-_-` and `--` stay what they are.
_MINUS = re.compile(r"-(?=\w)(?!_)")
_FILTER = re.compile(rf"({'|'.join(FILTERS)}):\S", re.IGNORECASE)
_QUOTED = re.compile(r'(?<!\S)-?"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Query:
    """``text`` is what a model is asked, as typed but for white space; ``words`` are its folded words."""

    text: str
    words: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Nothing was asked for."""
        return not self.text


def parse(text: str) -> Query:
    """Read what someone typed. Raises BadRequest on a filter that isn't built yet, by name."""
    plain = text.translate(_AS_ASCII)
    if match := _QUOTED.search(plain):
        raise BadRequest(f'the filter "exact words" is not built yet: "{match.group(1)}"; leave the quotes out')
    for token in plain.split():
        if _MINUS.match(token):
            raise BadRequest(f"the filter -word is not built yet: {token}; leave it out")
        if match := _FILTER.match(token):
            raise BadRequest(f"the filter {match.group(1).lower()}: is not built yet: {token}; leave it out")
    cleaned = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    joined = " ".join(cleaned.split())
    return Query(joined, tuple(words_of(joined)))
