"""Ranks and what is counted of them. Pure.

A run is what the daemon said, once and for all: every later question (other constants, other figures) is asked of it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

LEGS = ("image", "words", "name")
SHOWN = 20
"""The hits that a person sees."""


@dataclass
class Asked:
    """One query and what came back.

    ``right`` and ``order`` (what a person sees, best first, the least fitting left out) are numbers of files.
    ``image``, ``words`` and ``name``: number of a file → why it is a hit, for each leg that it is a hit of; nothing
    is left out here.
    """

    kind: str
    language: str
    text: str
    half: str
    right: list[int]
    order: list[int]
    image: dict[int, float] = field(default_factory=dict)
    words: dict[int, float] = field(default_factory=dict)
    name: dict[int, float] = field(default_factory=dict)
    raw_order: list[int] = field(default_factory=list)
    """Best first, with nothing left out."""

    @property
    def legs(self) -> dict[str, dict[int, float]]:
        return {"image": self.image, "words": self.words, "name": self.name}


@dataclass
class Run:
    """``about``: which commit, model and machine; ``files``: what the numbers are names of."""

    about: dict[str, Any]
    files: list[str]
    asked: list[Asked]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Run:
        """Raises OSError, and KeyError, TypeError or ValueError where it isn't a run."""
        data = json.loads(path.read_text(encoding="utf-8"))
        for entry in data["asked"]:
            for leg in LEGS:
                entry[leg] = {int(number): score for number, score in entry[leg].items()}
        return cls(data["about"], data["files"], [Asked(**entry) for entry in data["asked"]])


@dataclass(frozen=True)
class Figures:
    """Of some queries: the share whose first hit is right, with a right one among five, the mean of 1 / rank.

    What isn't among those shown counts 0.
    """

    count: int
    at_1: float
    at_5: float
    mrr: float


def ordered(scores: Mapping[int, float]) -> list[int]:
    """Best first; the file's number decides ties, which has nothing to do with what is asked."""
    return sorted(scores, key=lambda number: (-scores[number], number))


def rank_of(order: Iterable[int], right: Collection[int]) -> float:
    """At which place, from 1, the first right one is; infinite where none is."""
    return next((float(place) for place, number in enumerate(order, 1) if number in right), math.inf)


def count(ranks: Sequence[float]) -> Figures:
    """Raises ZeroDivisionError of nothing."""
    of = len(ranks)
    at_1, at_5 = (sum(rank <= most for rank in ranks) / of for most in (1, 5))
    return Figures(of, at_1, at_5, sum(1 / rank for rank in ranks if rank <= SHOWN) / of)


def measure(asked: Sequence[Asked], order: Callable[[Asked], Iterable[int]]) -> Figures:
    """The figures of an order of one's own."""
    return count([rank_of(order(each), frozenset(each.right)) for each in asked])


def by_leg(asked: Sequence[Asked]) -> dict[str, Figures]:
    """Each leg alone."""
    return {leg: measure(asked, lambda each, leg=leg: ordered(each.legs[leg])) for leg in LEGS}  # type: ignore[misc]


@dataclass(frozen=True)
class Emptiness:
    """Of the unanswerable queries, the share that finds nothing; of the answerable ones, the share that loses by it.

    A query loses where nothing is found, or where a right hit among the first five is left out.
    """

    unanswerable: int
    nothing: float
    answerable: int
    lost: float


def emptiness(asked: Sequence[Asked], shown: Callable[[Asked], Sequence[int]]) -> Emptiness:
    """``shown``: the hits of a query after the least fitting are left out."""
    none = [each for each in asked if not each.right]
    some = [each for each in asked if each.right]

    def loses(each: Asked) -> bool:
        left = shown(each)
        right = frozenset(each.right)
        return not left or (rank_of(each.raw_order[:5], right) <= 5 and rank_of(left, right) > 5)

    return Emptiness(
        len(none),
        sum(not shown(each) for each in none) / max(1, len(none)),
        len(some),
        sum(map(loses, some)) / max(1, len(some)),
    )
