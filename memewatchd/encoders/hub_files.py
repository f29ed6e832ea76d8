"""Which files of a repository on the hub make a model, by their names. Pure; standard library only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from memewatchd.encoders.checkpoint import CONFIG, IMAGE_SETTINGS, TOKENIZERS, WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterable

SETTINGS = frozenset(
    {CONFIG, *IMAGE_SETTINGS, *(name for names in TOKENIZERS for name in names)}
    | {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}
)
"""The files beside the weights that a model may need. No code is ever fetched."""


def needed(names: Iterable[str]) -> list[str]:
    """Of a repository's file names those to fetch, small ones first, with one set of weights. [] weights: none."""
    found = set(names)
    return [*sorted(found & SETTINGS), *_weights(found)]


def lacking(names: Iterable[str]) -> list[str]:
    """What a repository with these files lacks to be a model for us, in words."""
    found = set(names)
    lacks = []
    if CONFIG not in found:
        lacks.append(CONFIG)
    if not found.intersection(IMAGE_SETTINGS):
        lacks.append(IMAGE_SETTINGS[0])
    if not any(found.issuperset(tokenizer) for tokenizer in TOKENIZERS):
        lacks.append("a tokenizer's files")
    if not _weights(found):
        lacks.append(" or ".join(WEIGHTS))
    return lacks


def _weights(found: set[str]) -> list[str]:
    """The files of the preferred set of weights; an index before its parts."""
    for name in WEIGHTS:
        if name in found:
            return [name]
        stem, suffix = name.rsplit(".", 1)
        part = re.compile(rf"{re.escape(stem)}-\d+-of-\d+\.{suffix}")
        parts = sorted(one for one in found if part.fullmatch(one))
        if f"{name}.index.json" in found and parts:
            return [f"{name}.index.json", *parts]
    return []
