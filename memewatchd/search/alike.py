"""Whether two pictures look the same but for their file's format, their size in pixels and a little loss. Pure.

The thresholds are held by a test that makes copies, other captions, crops and the like, and tries all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from memewatchd import looks
from memewatchd.looks import COLOUR_SIDE, MOMENT_SIDE, MOMENTS, SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


_STEP: Final = 256 / looks.LEVELS

COARSE: Final = 8
"""Rows and columns of :attr:`Seen.coarse`, by which most pairs are told apart."""
COARSE_APART: Final = 12.0
"""Of copies, no coarse cell is further apart (of 256)."""

_LEVELS: Final = (SIDE, 24, 16, 12, 8)
_SCALED_PIXELS: Final = 2.0
"""So many pixels of the smaller of two pictures of unlike sizes a cell must have: what is finer was lost in scaling."""
_SAME_PIXELS: Final = 1.0
"""And of pictures of one size."""

_MOST_APART: Final = 24.0
"""Of copies, no cell is further apart."""
_CONTRAST_APART: Final = 0.2
"""Nor by more than a step and this share of what lies between the picture's darkest and lightest cell: in faint ones,
little is much."""
_PATCH: Final = 3
_PATCH_APART: Final = 0.55
"""Nor are so many cells by as many, on the mean, further apart than this share of it: another word differs in cells
that lie together, loss does so all over."""
_COLOURS_APART: Final = 22.0
_MOTION_APART: Final = 16.0
_LENGTHS_APART: Final = (0.05, 100.0)
"""Of animations' lengths: a share of the longer, and ms; formats round what each frame takes."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Looks, unpacked: brightness float32 (SIDE, SIDE), colours (2, COLOUR_SIDE, COLOUR_SIDE), both 0 to 255; of an
    animation its parts (MOMENTS, MOMENT_SIDE, MOMENT_SIDE), else None; ``ms`` as there."""

    light: NDArray[np.float32]
    colours: NDArray[np.float32]
    parts: NDArray[np.float32] | None
    ms: int

    @property
    def coarse(self) -> NDArray[np.float32]:
        """float32 (COARSE, COARSE)."""
        return at_level(self.light, COARSE)


def unpacked(look: str) -> Seen | None:
    """What was packed; None where nothing was."""
    known = looks.unpack(look)
    if known is None:
        return None
    cells = np.frombuffer(known.cells, np.uint8).astype(np.float32) * np.float32(_STEP)
    light, colours, parts = np.split(cells, (SIDE**2, looks.STILL_BYTES))
    return Seen(
        light.reshape(SIDE, SIDE),
        colours.reshape(2, COLOUR_SIDE, COLOUR_SIDE),
        parts.reshape(MOMENTS, MOMENT_SIDE, MOMENT_SIDE) if parts.size else None,
        known.ms,
    )


@lru_cache(maxsize=1024)
def see(look: str) -> Seen | None:
    """The same, and remembered for a while."""
    return unpacked(look)


def at_level(light: NDArray[np.float32], level: int) -> NDArray[np.float32]:
    """The same brightness (…, SIDE, SIDE) in ``level`` rows and columns."""
    if level == SIDE:
        return light
    triangles = _triangles(level)
    return np.asarray(triangles @ light @ triangles.T, np.float32)


@lru_cache
def _triangles(level: int) -> NDArray[np.float32]:
    """(level, SIDE): the filter that made the cells, once more."""
    wide = SIDE / level
    cells = np.arange(SIDE, dtype=np.float32) + 0.5
    middles = (np.arange(level, dtype=np.float32) + 0.5) * wide
    weights = np.maximum(0, 1 - np.abs(cells - middles[:, None]) / wide)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def same_shape(size: tuple[int, int], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether pictures of ``sizes`` (n, 2) may be scaled ones of ``size``: each side may be rounded by a pixel."""
    width, height = size
    near: NDArray[np.bool_] = np.abs(width * sizes[:, 1] - height * sizes[:, 0]) <= width + height + sizes.sum(1)
    return near


def are_alike(one: Seen, size: tuple[int, int], others: Sequence[Seen], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each of ``others`` is a copy of ``one``; of their width and height that is asked too. Bool (n,)."""
    alike = same_shape(size, sizes)
    least = np.minimum(sizes.min(1), min(size))
    per_cell = np.where((sizes == size).all(1), _SAME_PIXELS, _SCALED_PIXELS)
    levels = _levels(least / per_cell)
    for level in _LEVELS:
        which = np.flatnonzero(alike & (levels == level))
        if which.size:
            light = np.stack([others[index].light for index in which.tolist()])
            ours = at_level(one.light, level)
            apart = np.abs(at_level(light, level) - ours)
            most = min(_MOST_APART, _STEP + _CONTRAST_APART * float(np.ptp(ours)))
            near = apart.max((1, 2)) <= most
            near[near] = _patches(apart[near]).max((1, 2)) <= _PATCH_APART * most
            alike[which[~near]] = False
    for index in np.flatnonzero(alike).tolist():
        alike[index] = _same_colours(one, others[index]) and _same_motion(one, others[index])
    return alike


def _levels(cells: NDArray[np.float64]) -> NDArray[np.int64]:
    """The finest level that has so many cells at most; the coarsest where none has."""
    fine = np.asarray(sorted(_LEVELS))
    found: NDArray[np.int64] = fine[np.maximum(np.searchsorted(fine, cells, "right") - 1, 0)]
    return found


def _patches(apart: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of each :data:`_PATCH` by :data:`_PATCH` cells of (n, level, level)."""
    sums = np.cumsum(np.cumsum(np.pad(apart, ((0, 0), (1, 0), (1, 0))), 1), 2)
    wide = _PATCH
    patches = sums[:, wide:, wide:] - sums[:, :-wide, wide:] - sums[:, wide:, :-wide] + sums[:, :-wide, :-wide]
    return np.asarray(patches / wide**2, np.float32)


def _same_colours(one: Seen, other: Seen) -> bool:
    return float(np.abs(one.colours - other.colours).max()) <= _COLOURS_APART


def _same_motion(one: Seen, other: Seen) -> bool:
    if one.parts is None or other.parts is None:
        return one.parts is other.parts
    share, ms = _LENGTHS_APART
    if abs(one.ms - other.ms) > share * max(one.ms, other.ms) + ms:
        return False
    return float(np.abs(one.parts - other.parts).max()) <= _MOTION_APART
