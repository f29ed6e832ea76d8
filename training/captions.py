"""What each drawing may be called: English and Chinese, with the share of the time that each is said."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from training.concepts import load_concepts, squash
from training.phrases import COLOURS
from training.sayings import LANGUAGES, read_sayings
from training.wordlists import read_cedict

if TYPE_CHECKING:
    from training.draw import Drawing


SAYINGS = 3.0
"""What all sayings of a meaning in one language weigh at most; its label weighs 5."""


@dataclass
class Captions:
    """The names of one meaning. ``identity`` is shared by drawings that mean the same; ``texts`` are its
    captions with their weights; ``en`` and ``zh`` are the plain names, to put a colour before."""

    identity: str
    en: str
    zh: str
    texts: list[tuple[str, float]] = field(default_factory=list)

    def coloured(self, colour: str) -> list[str]:
        """The same with a colour that it clearly has."""
        long, short = COLOURS[colour]
        chinese = [f"{long}的{self.zh}", f"{short}{self.zh}"] if self.zh else []
        return [f"{colour} {self.en}", *chinese]


def chinese_names() -> dict[str, list[str]]:
    """English word → Chinese words whose first sense it is, the shortest three."""
    names: dict[str, list[str]] = defaultdict(list)
    for entry in read_cedict():
        if not entry.senses or len(entry.simplified) > 5:
            continue
        english = re.sub(r"\s*\([^)]*\)", "", entry.senses[0]).strip().lower()
        if entry.simplified not in names[english]:
            names[english].append(entry.simplified)
    return {english: sorted(words, key=len)[:3] for english, words in names.items() if words}


def captions_for(drawings: list[Drawing]) -> list[Captions]:
    """The captions of each drawing, in the same order; equal meanings share one object."""
    concepts = load_concepts()
    chinese = chinese_names()
    said: dict[str, list[tuple[str, str, float]]] = defaultdict(list)
    for language in LANGUAGES:
        for saying in read_sayings(language):
            for place, key in enumerate(saying.keys):
                said[key].append((language, saying.text, 1.0 if place == 0 else 0.5))
    known: dict[str, Captions] = {}
    result = []
    for drawing in drawings:
        if drawing.concept:
            concept = concepts[drawing.concept]
            identity = squash(concept.en) or concept.key
            if identity not in known:
                texts = [(concept.en, 5.0), (concept.zh, 4.0), (concept.emoji, 0.3)]
                texts += [(tag, 3.0 / len(concept.en_tags)) for tag in concept.en_tags]
                texts += [(tag, 3.0 / len(concept.zh_tags)) for tag in concept.zh_tags]
                texts += [(word, 0.5) for word in chinese.get(concept.en.lower(), [])]
                if len(concept.en_tags) > 1:
                    texts.append((" ".join(concept.en_tags[:2]), 0.5))
                for language in LANGUAGES:
                    mine = [(text, weight) for said_in, text, weight in said[concept.key] if said_in == language]
                    whole = sum(weight for _, weight in mine)
                    # Few sayings weigh what they are, many together as much as the tags.
                    texts += [(text, weight * min(1.0, SAYINGS / whole)) for text, weight in mine]
                known[identity] = Captions(identity, concept.en, concept.zh, [pair for pair in texts if pair[0]])
        else:
            identity = squash(drawing.name) or drawing.name
            if identity not in known:
                names = chinese.get(drawing.name, [])
                texts = [(drawing.name, 5.0), (drawing.category, 0.5), (f"{drawing.name} {drawing.category}", 0.5)]
                texts += [(word, 4.0 / len(names)) for word in names]
                known[identity] = Captions(identity, drawing.name, names[0] if names else "", texts)
        result.append(known[identity])
    return result
