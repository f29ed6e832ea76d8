"""The query language: what someone typed → words, words that are not meant, and filters. Pure.

``angry cat -dog ext:gif is:animated in:reactions/ after:2025-01-31 before:2026 tag:work "exact words"``. A minus
before a filter turns it round. ``after:`` counts from the day's (month's, year's) beginning on, ``before:`` up to it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from memewatchd.errors import BadRequest
from memewatchd.search.filters import EXACT, FILTERS, Filter, exact, make
from memewatchd.words import HAN, words_of

# Input methods for Chinese type these; they mean their ASCII counterparts. One character for one, so that what the
# model is asked can be cut out of what was typed.
_AS_ASCII = str.maketrans("“”„‟＂「」『』：﹕－−﹣\u3000", '"""""""""::--- ')
# A whole query may hold 64 KiB, and every filter is asked of every file.
_MOST_FILTERS = 64
_MOST_SHOWN = 80

_TOKEN = re.compile(
    rf"""
    (?P<minus> - (?= " | (?:{"|".join(FILTERS)}):\S ) )?
    (?: "(?P<quoted> [^"]* )"
      | (?P<name> {"|".join(FILTERS)} ) : (?: "(?P<between> [^"]* )"? | (?P<value> \S+ ) )
      | (?P<word> (?: (?! (?<=[{HAN}]) "[^"]*" ) \S )+ )  # 猫"裂开" has no space, as Chinese hasn't
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
# What is not meant begins with a letter or a picture, so that `-_-`, `->`, `-ω-` and `--` stay what they are.
_MINUS_WORD = re.compile(r"-(?:[^\W_]|[\u2600-\u27bf\U0001f000-\U0001faff])\S*(?<!-)")


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked.

    ``text`` is what a model is asked, as typed but for white space, without filters; words in quotes are in it too.
    ``words`` are its folded words. ``minus``: texts that the hits should not be like.
    """

    text: str
    words: tuple[str, ...]
    minus: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()

    @property
    def phrases(self) -> tuple[str, ...]:
        """The exact words that every hit must hold, folded."""
        return tuple(one.value for one in self.filters if one.name == EXACT and not one.negated)

    @property
    def is_empty(self) -> bool:
        """Nothing was asked for."""
        return not (self.text or self.minus or self.filters)


def parse(text: str) -> Query:
    """Read what someone typed. Raises BadRequest on a filter with a wrong value, which names the right ones."""
    typed = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    plain = typed.translate(_AS_ASCII)
    asked: list[str] = []
    minus: list[str] = []
    filters: list[Filter] = []
    at = 0
    while True:
        while at < len(plain) and plain[at].isspace():
            at += 1
        match = _TOKEN.match(plain, at)
        if match is None:
            break
        at = match.end()
        token, negated = match.group(), bool(match["minus"])
        spelled = token if len(token) <= _MOST_SHOWN else token[: _MOST_SHOWN - 1] + "…"
        if match["quoted"] is not None:
            quoted = typed[slice(*match.span("quoted"))]
            if (phrase := exact(quoted, negated, spelled)) is not None:
                filters.append(phrase)
            if not negated:
                asked.append(quoted)
        elif match["name"]:
            value = match["value"] if match["between"] is None else match["between"]
            filters.append(make(match["name"].lower(), value, negated, spelled))
        elif _MINUS_WORD.fullmatch(token):
            minus.append(typed[match.start("word") + 1 : at])
        else:
            asked.append(typed[slice(*match.span("word"))])
        if len(filters) > _MOST_FILTERS:
            raise BadRequest(f"a query may have {_MOST_FILTERS} filters at most")
    joined = " ".join(" ".join(asked).split())
    return Query(joined, tuple(words_of(joined)), tuple(minus), tuple(filters))
