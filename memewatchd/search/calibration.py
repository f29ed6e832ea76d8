"""When a look is no answer: how like its best picture a query must be, measured on the index itself. Pure.

Raw cosines alone can't tell: each model has its own, and so has each query (a vague one is like everything). So a
query's best picture is measured by its margin over the mean of what the same query has with a sample of the index, and
what it must reach is measured with queries that nothing fits. (In standard deviations instead, twice as many fitting
queries are refused: what many pictures fit has a wide spread.) Where all is of one kind (a folder of cats, asked for a
cat) nothing stands out; there a cosine far above theirs is enough.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SAMPLE = 512
"""Pictures that every query is compared with."""
LEAST_PICTURES = 100
"""Of fewer, no deviation can be told, and so few can be looked through."""
REFUSED = 0.92
"""The share of queries that nothing fits which shall find nothing, by their margin."""
CERTAIN = 0.98
"""And the share of them whose best cosine a fitting query may exceed instead."""

_UNFITTING = Path(__file__).with_name("unfitting.txt")


@functools.cache
def unfitting() -> tuple[str, ...]:
    """Queries that hardly a meme fits, in English and Chinese."""
    lines = _UNFITTING.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


@dataclass(frozen=True, slots=True)
class Calibration:
    """``sample``: float32 (n, dim), unit-length vectors of pictures. A fitting query's best picture reaches the
    margin ``least``, or the cosine ``certain``."""

    sample: NDArray[np.float32]
    least: float
    certain: float = 1.0

    @classmethod
    def measure(
        cls, sample: NDArray[np.float32], queries: NDArray[np.float32], best: Sequence[float]
    ) -> Calibration | None:
        """``queries``: (m, dim) of texts that nothing fits, ``best``: the cosine of each one's best picture in the
        whole index. None where there are too few pictures to tell."""
        if len(sample) < LEAST_PICTURES or not len(queries):
            return None
        own = cls(sample, 0.0)
        reached = [own.margin(query, score) for query, score in zip(queries, best, strict=True)]
        return cls(sample, float(np.quantile(reached, REFUSED)), float(np.quantile(best, CERTAIN)))

    def margin(self, query: NDArray[np.float32], score: float) -> float:
        """How far a picture's cosine with ``query`` is above the mean of the sample's."""
        return score - float((self.sample @ query).mean())

    def fits(self, query: NDArray[np.float32], best: float) -> bool:
        """Whether a query whose best picture has this cosine has found anything at all."""
        return best > self.certain or self.margin(query, best) >= self.least
