"""Hits from the picture and hits from the words, in one order. Pure.

Words that are there as they were typed come first, whole ones before parts of others; then what is read like them,
then what is nearly them, then what only looks like what was asked for. Within each the look decides, and a little what
is used most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memewatchd.search.pinyin import INITIALS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LITERAL_SCORE = 1.0
"""The score of a literal match. No cosine similarity is above it, so it sorts before what is merely similar."""
READ_SCORE = 0.9
"""Of a match by pinyin: below what is literal, above what is merely similar."""
INITIALS_SCORE = 0.86
"""Of one by the first letters of the syllables, which much else has too."""
NEAR_SCORES = (0.8, 0.85)
"""Of the least and of the best match that isn't quite literal."""
NEAR_FROM = 0.75
"""So near a text must be to be taken for what was asked for (``texts.nearness``)."""
USE_SHARE = 0.02
"""What the most used meme gains over one that was never used, in cosine similarity."""


@dataclass(frozen=True, slots=True)
class Match:
    """How strongly words fit, 0…1: those of the file (``name``), those in the picture (``words``).

    ``whole``: whether all that was typed stands there as words, and not as parts of others (`oops`, `whoops`).
    """

    name: float | None = None
    words: float | None = None
    whole: bool = False

    @property
    def strength(self) -> float:
        """The better of the two."""
        return max(self.name or 0.0, self.words or 0.0)


@dataclass(frozen=True, slots=True)
class Look:
    """The cosine similarity of a file's best frame, [-1, 1], and the place of that frame in the file."""

    score: float
    frame: int = 0


@dataclass(frozen=True, slots=True)
class Hit:
    """One found file. ``score`` orders the hits but for what is used most; ``image`` (cosine, [-1, 1]), ``words`` and
    ``name`` say why. ``frame``: the frame of an animation that fits best. ``copies``: the same picture elsewhere.
    ``host``: whose file it is, "" if ours; another's ``path`` is one over there."""

    path: bytes
    score: float
    image: float | None = None
    words: float | None = None
    name: float | None = None
    frame: int | None = None
    copies: tuple[bytes, ...] = ()
    host: str = ""


def read(score: float) -> float:
    """The strength of a match by pinyin."""
    return INITIALS_SCORE if score <= INITIALS else READ_SCORE


def nearly(nearness: float) -> float:
    """The strength of a match that isn't quite literal."""
    least, best = NEAR_SCORES
    return least + (best - least) * (nearness - NEAR_FROM) / (1 - NEAR_FROM)


def rank(
    matches: Mapping[bytes, Match],
    similar: Mapping[bytes, Look],
    limit: int,
    min_score: float | None = None,
    use: Callable[[bytes], float] = lambda _: 0.0,
) -> list[Hit]:
    """At most ``limit`` hits, best first.

    ``matches``: path → how its words fit; ``similar``: path → its look; ``use``: how much a path is used, 0…1.
    """
    hits = []
    for path, match in matches.items():
        look = similar.get(path)
        image, frame = (look.score, look.frame) if look else (None, None)
        hits.append(Hit(path, match.strength, image, match.words, match.name, frame))
    hits += [
        Hit(path, look.score, look.score, frame=look.frame) for path, look in similar.items() if path not in matches
    ]
    if min_score is not None:
        hits = [hit for hit in hits if hit.score >= min_score]

    def order(hit: Hit) -> tuple[float, bool, float, bytes]:
        gain = USE_SHARE * use(hit.path)
        image = -1.0 if hit.image is None else hit.image
        match = matches.get(hit.path)
        score = hit.score if match is not None else hit.score + gain
        in_part = match is not None and not match.whole
        # The path decides ties, so that the same question gets the same answer.
        return (-score, in_part, -(image + gain), hit.path)

    hits.sort(key=order)
    return hits[:limit]
