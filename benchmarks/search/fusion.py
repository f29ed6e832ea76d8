"""Other constants for the ranking and for "nothing matches", tried on the half of the queries that is for that. Pure.

A hit's score here is image + words' weight · words ^ power + name's weight · name ^ power: with great weights each leg
ranks before the next, with small ones they are mixed. The floors say from where on a hit is shown at all.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from benchmarks.search.figures import LEGS, Asked, Emptiness, Figures, by_leg, count, rank_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WEIGHTS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
POWERS = (1.0, 2.0, 4.0)
MOST_LOST = 0.05
"""Of the answerable queries, at most this share may lose by what is left out."""
BEHIND = 0.01
"""So far behind the best leg counts as no worse."""


@dataclass(frozen=True)
class Constants:
    """How the legs are mixed; the picture's similarity counts once."""

    words: float
    words_power: float
    name: float
    name_power: float


@dataclass(frozen=True)
class Floors:
    """A hit is shown if one leg reaches its floor. ``stands_out``: the picture's is in standard deviations above the
    mean of the query's similarities to all pictures, else it is the similarity itself."""

    stands_out: bool
    image: float
    words: float
    name: float


def fused(asked: Asked, constants: Constants) -> list[int]:
    """The files, best first."""
    scores = dict(asked.image)
    for leg, weight, power in (
        (asked.words, constants.words, constants.words_power),
        (asked.name, constants.name, constants.name_power),
    ):
        for number, score in leg.items():
            scores[number] = scores.get(number, 0.0) + weight * max(score, 0.0) ** power
    return sorted(scores, key=lambda number: (-scores[number], number))


def by_kind(asked: Sequence[Asked]) -> dict[str, list[Asked]]:
    """The answerable queries."""
    kinds = defaultdict(list)
    for each in asked:
        if each.right:
            kinds[each.kind].append(each)
    return dict(sorted(kinds.items()))


def sweep(asked: Sequence[Asked], keep: int = 5) -> list[tuple[Constants, float, float]]:
    """The best constants: with how far they are behind the best leg on their worst kind (R@1; less than BEHIND is
    none), and their mean MRR over the kinds. Fewest behind first, then the greatest mean."""
    kinds = by_kind(asked)
    best = {kind: max(each.at_1 for each in by_leg(some).values()) for kind, some in kinds.items()}
    tried = []
    has_words, has_names = (any(each.legs[leg] for each in asked) for leg in LEGS[1:])
    nothing = [(0.0, 1.0)]
    of_words = list(product(WEIGHTS, POWERS)) if has_words else nothing
    of_names = list(product(WEIGHTS, POWERS)) if has_names else nothing
    for (words, words_power), (name, name_power) in product(of_words, of_names):
        constants = Constants(words, words_power, name, name_power)
        figures = {kind: count([_place(each, constants) for each in some]) for kind, some in kinds.items()}
        behind = max(0.0, *(best[kind] - each.at_1 for kind, each in figures.items()))
        mean = statistics.fmean(each.mrr for each in figures.values())
        tried.append((constants, behind if behind > BEHIND else 0.0, mean))
    return sorted(tried, key=lambda each: (each[1], -each[2]))[:keep]


def _place(asked: Asked, constants: Constants) -> float:
    """The rank of the first right one, without sorting all: this is asked some hundred thousand times."""
    scores = {}
    for number in {*asked.words, *asked.name, *asked.right}:
        score = asked.image.get(number, 0.0)
        if number in asked.words:
            score += constants.words * max(asked.words[number], 0.0) ** constants.words_power
        if number in asked.name:
            score += constants.name * max(asked.name[number], 0.0) ** constants.name_power
        scores[number] = score
    found = [(-scores[number], number) for number in asked.right if any(number in leg for leg in asked.legs.values())]
    if not found:
        return float("inf")
    first = min(found)
    before = sum((-score, number) < first for number, score in scores.items())
    return 1.0 + before + sum((-score, number) < first for number, score in asked.image.items() if number not in scores)


def figures_of(asked: Sequence[Asked], constants: Constants) -> dict[str, Figures]:
    """Per kind."""
    return {
        kind: count([rank_of(fused(each, constants), frozenset(each.right)) for each in some])
        for kind, some in by_kind(asked).items()
    }


# ---- when nothing matches


@dataclass(frozen=True)
class _Heights:
    """What the floors are held against: each leg's best of all hits, and each right hit among the first five."""

    answerable: bool
    best: tuple[float, float, float]
    right: tuple[tuple[float, float, float], ...]


def _heights(asked: Asked, stands_out: bool) -> _Heights:
    low = float("-inf")
    image = asked.image
    if stands_out and len(image) > 1:
        mean, spread = statistics.fmean(image.values()), statistics.pstdev(image.values()) or 1.0
        image = {number: (score - mean) / spread for number, score in image.items()}
    legs = (image, asked.words, asked.name)
    first = [number for number in asked.raw_order[:5] if number in asked.right]
    return _Heights(
        bool(asked.right),
        (max(legs[0].values(), default=low), max(legs[1].values(), default=low), max(legs[2].values(), default=low)),
        tuple((legs[0].get(one, low), legs[1].get(one, low), legs[2].get(one, low)) for one in first),
    )


def emptied(asked: Sequence[Asked], floors: Floors) -> Emptiness:
    """What these floors would do."""
    return _emptied([_heights(each, floors.stands_out) for each in asked], floors)


def _emptied(heights: Sequence[_Heights], floors: Floors) -> Emptiness:
    limits = (floors.image, floors.words, floors.name)

    def passes(height: tuple[float, float, float]) -> bool:
        return height[0] >= limits[0] or height[1] >= limits[1] or height[2] >= limits[2]

    none = [each for each in heights if not each.answerable]
    some = [each for each in heights if each.answerable]
    nothing = sum(not passes(each.best) for each in none)
    # What is left out only lets others rise: a right hit that stays is still among the first five.
    lost = sum(not any(map(passes, each.right or (each.best,))) for each in some)
    return Emptiness(len(none), nothing / max(1, len(none)), len(some), lost / max(1, len(some)))


def sweep_floors(asked: Sequence[Asked], stands_out: bool) -> tuple[Floors, Emptiness]:
    """The floors under which most unanswerable queries find nothing, while at most MOST_LOST of the others lose."""
    heights = [_heights(each, stands_out) for each in asked]
    found = [(floors, _emptied(heights, floors)) for floors in _all_floors(heights, stands_out)]
    fine = [each for each in found if each[1].lost <= MOST_LOST] or found
    return max(fine, key=lambda each: (each[1].nothing, -each[1].lost))


def _all_floors(heights: Sequence[_Heights], stands_out: bool) -> Iterator[Floors]:
    """Around what the unanswerable queries reach at most: some twenty steps for the picture, some for the others."""
    steps = []
    for leg, parts in enumerate((24, 12, 6)):
        reached = sorted(each.best[leg] for each in heights if not each.answerable and each.best[leg] > float("-inf"))
        at = (
            {reached[min(len(reached) - 1, len(reached) * part // parts)] for part in range(parts + 1)}
            if reached
            else {0}
        )
        steps.append(sorted({round(floor + 1e-4, 4) for floor in at}))
    for image, words, name in product(*steps):
        yield Floors(stands_out, image, words, name)
