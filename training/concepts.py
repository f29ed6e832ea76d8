"""What the emoji mean: labels and tags in English and Chinese, and which sequences are one answer."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from training.downloads import folder

if TYPE_CHECKING:
    from collections.abc import Iterable

SKIN_TONES = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}
GENDER_SIGNS = {"2640", "2642"}


@dataclass
class Concept:
    """One answer: an emoji with its skin-tone and gender variants. ``key`` is its reduced hex sequence."""

    key: str
    en: str = ""
    zh: str = ""
    hant: str = ""
    en_tags: list[str] = field(default_factory=list)
    zh_tags: list[str] = field(default_factory=list)

    @property
    def emoji(self) -> str:
        """The characters themselves: people search by them too."""
        return "".join(chr(int(point, 16)) for point in self.key.split("-"))


def sequence(hexcode: str) -> tuple[str, ...]:
    """A hex sequence ("1f636-200d-1f32b-fe0f", any case) as code points, variation selectors dropped."""
    return tuple(point for point in hexcode.upper().split("-") if point not in ("FE0F", "FE0E"))


def is_toned(points: tuple[str, ...]) -> bool:
    return len(points) > 1 and bool(SKIN_TONES.intersection(points))


def concept_key(points: tuple[str, ...]) -> str:
    """The sequence without skin tones and gender: what counts as the same answer."""
    if len(points) > 1:
        points = tuple(point for point in points if point not in SKIN_TONES)
    kept = [point for point in points if point not in GENDER_SIGNS or len(points) == 1]
    while len(kept) > 1 and kept[-1] == "200D":
        kept.pop()
    if len(kept) == 3 and kept[0] in ("1F468", "1F469") and kept[1] == "200D":
        kept[0] = "1F9D1"  # man or woman with a profession's sign: the person
    return "-".join(kept)


def _items(language: str) -> dict[tuple[str, ...], dict[str, Any]]:
    path = folder("emojibase-data") / language / "data.json"
    return {sequence(item["hexcode"]): item for item in json.loads(path.read_text())}


def load_concepts() -> dict[str, Concept]:
    """All concepts by key; the neutral form gives the label, its variants add to the tags."""
    concepts: dict[str, Concept] = {}
    chinese, traditional = _items("zh"), _items("zh-hant")
    # Shortest first: the neutral sequence comes before the gendered ones.
    for points, item in sorted(_items("en").items(), key=lambda pair: (len(pair[0]), pair[0])):
        if "order" not in item and "tags" not in item:
            continue  # a regional indicator
        key = concept_key(points)
        zh, hant = chinese.get(points, {}), traditional.get(points, {})
        concept = concepts.setdefault(key, Concept(key))
        if not concept.en:
            concept.en, concept.zh, concept.hant = item["label"], zh.get("label", ""), hant.get("label", "")
        _extend(concept.en_tags, [item["label"], *item.get("tags", [])], concept.en)
        _extend(concept.zh_tags, [zh.get("label", ""), *zh.get("tags", [])], concept.zh)
        _extend(concept.zh_tags, [hant.get("label", ""), *hant.get("tags", [])], concept.zh)
    return concepts


def _extend(known: list[str], more: Iterable[str], label: str) -> None:
    known.extend(tag for tag in dict.fromkeys(more) if tag and tag != label and tag not in known)


def squash(text: str) -> str:
    """Letters and digits only, lower case: "Lady Beetle" and "lady-beetle" become the same."""
    return re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKD", text).lower())


def icon_sequences(icon_set: str) -> dict[str, tuple[str, ...]]:
    """Icon name → hex sequence for one icon set; by the set's own table, else by name."""
    root = folder(f"@iconify-json/{icon_set}")
    icons: dict[str, Any] = json.loads((root / "icons.json").read_text())["icons"]
    chars: dict[str, str] = json.loads((root / "chars.json").read_text())
    if chars:
        return {name: sequence(code) for code, name in chars.items() if name in icons}
    by_name: dict[str, tuple[str, ...]] = {}
    for points in _items("en"):
        if len(points) == 1:
            by_name[squash(unicodedata.name(chr(int(points[0], 16)), ""))] = points
    for known_set in ("twemoji", "noto", "fluent-emoji-flat"):
        known = json.loads((folder(f"@iconify-json/{known_set}") / "chars.json").read_text())
        by_name.update({squash(name): sequence(code) for code, name in known.items()})
    for points, item in _items("en").items():
        by_name[squash(item["label"])] = points
    return {name: by_name[squash(name)] for name in icons if squash(name) in by_name}
