"""Hits from the picture and hits from the name, in one order. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LITERAL_SCORE = 1.0
"""The score of a literal match. No cosine similarity is above it, so it sorts before what is merely similar."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One found file. ``score`` orders the hits; ``image`` (cosine, [-1, 1]), ``words`` and ``name`` say why."""

    path: bytes
    score: float
    image: float | None = None
    words: float | None = None
    name: float | None = None


def rank(
    named: Iterable[bytes], similar: Mapping[bytes, float], limit: int, min_score: float | None = None
) -> list[Hit]:
    """At most ``limit`` hits, best first: literal matches by their look, then all else by its look.

    ``named``: paths whose name holds every word; ``similar``: path → cosine similarity.
    """
    literal = set(named)
    hits = [Hit(path, LITERAL_SCORE, image=similar.get(path), name=LITERAL_SCORE) for path in literal]
    hits += [Hit(path, score, image=score) for path, score in similar.items() if path not in literal]
    if min_score is not None:
        hits = [hit for hit in hits if hit.score >= min_score]
    # The path decides ties, so that the same question gets the same answer.
    hits.sort(key=lambda hit: (-hit.score, -(hit.image if hit.image is not None else -1.0), hit.path))
    return hits[:limit]
