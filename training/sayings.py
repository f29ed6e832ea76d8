"""What people say with a picture, written by hand: ``sayings/`` to learn from, ``paraphrases/`` to measure with."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from training.concepts import concept_key, sequence
from training.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LANGUAGES = ("en", "zh")
MOST = 0.6
"""Of a paraphrase's letters: a saying that is so much of it would give it away."""


@dataclass(frozen=True)
class Saying:
    """A text and the keys of the concepts that it fits, the best first."""

    text: str
    keys: tuple[str, ...]


def squeeze(text: str) -> str:
    """Letters and digits of any script, lower case: what makes two sayings the same."""
    return re.sub(r"\W|_", "", unicodedata.normalize("NFKC", text).lower())


def _read(kind: str, language: str) -> list[Saying]:
    return [saying for path in sorted((ROOT / kind).glob(f"{language}*.tsv")) for saying in _in_file(path)]


def _in_file(path: Path) -> Iterator[Saying]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        text, tab, emoji = line.partition("\t")
        if not (text.strip() and tab and emoji.split()):
            raise ValueError(f"{path}:{number}: not a saying, a tab and emoji: {line!r}")
        keys = (concept_key(sequence("-".join(f"{ord(c):X}" for c in one))) for one in emoji.split())
        yield Saying(text.strip(), tuple(dict.fromkeys(keys)))


def read_paraphrases(language: str) -> list[Saying]:
    """Never learned from."""
    return _read("paraphrases", language)


@cache
def read_sayings(language: str) -> tuple[Saying, ...]:
    """To learn from: without any that is nearly a paraphrase (see :func:`_gives_away`)."""
    held = [squeeze(saying.text) for saying in read_paraphrases(language)]
    return tuple(
        saying
        for saying in _read("sayings", language)
        if not any(_gives_away(squeeze(saying.text), paraphrase) for paraphrase in held)
    )


def _gives_away(saying: str, paraphrase: str) -> bool:
    """Whether (both squeezed) one is the other, or holds it, or most of it."""
    if min(len(saying), len(paraphrase)) <= 3:
        return saying == paraphrase
    return paraphrase in saying or (saying in paraphrase and len(saying) >= MOST * len(paraphrase))
