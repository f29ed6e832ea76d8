"""Which frames of an animation are worth a vector each: those where the picture changes.

Frames come as an iterator, whatever decoded them. One pass, and of all frames only ``most`` + 1 are held.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

LOOK: Final = 32
"""The side, in pixels, of the small picture by which frames are compared."""

SAME: Final = 6.0
"""Frames that differ by less than this (see :func:`difference`) count as one picture. Compression's noise stays
below 2, another line of caption is about 8, a cut 20 and more."""

_TILE: Final = 8
_HALF_MS: Final = 100.0  # a picture shown for so long counts half of one that stands still

Prepared = TypeVar("Prepared")


@dataclass(frozen=True, slots=True)
class Shown(Generic[Prepared]):
    """A frame as it passes by.

    ``number``: its place in the file, from 0; ``ms``: how long it is shown; ``look``: uint8 (LOOK, LOOK, 3);
    ``blank``: wholly transparent. ``prepare`` gives what is to be kept of it, and is called, if at all, before the
    next frame is asked for.
    """

    number: int
    ms: float
    look: NDArray[np.uint8]
    blank: bool
    prepare: Callable[[], Prepared]


def stop_late(shown: Iterable[Shown[Prepared]], until: float) -> Iterator[Shown[Prepared]]:
    """The first frame, and more while the process has used less than ``until`` seconds of processor time."""
    for frame in shown:
        yield frame
        if time.process_time() >= until:
            return


def choose(shown: Iterable[Shown[Prepared]], most: int) -> list[tuple[int, Prepared]]:
    """At most ``most`` frames, in their order: (number, what was prepared).

    The first one, and of the others those that differ most from each other; what is shown only for a moment counts
    less. Blank ones only where there is nothing else. None for no frames at all.
    """
    kept: _Kept[Prepared] = _Kept(most)
    nothing: tuple[int, Prepared] | None = None
    shot: _Shot[Prepared] | None = None
    for frame in shown:
        if frame.blank:
            if nothing is None:
                nothing = (frame.number, frame.prepare())
            continue
        look = frame.look.astype(np.int16)
        if shot is not None and difference(shot.look, look) < SAME:
            shot.ms += frame.ms
            continue
        if shot is not None:
            kept.add(shot)
        shot = _Shot(frame.number, frame.ms, look, frame.prepare())
    if shot is not None:
        kept.add(shot)
    elif nothing is not None:
        return [nothing]
    return sorted((each.number, each.prepared) for each in kept.shots)


def difference(one: NDArray[np.int16], other: NDArray[np.int16]) -> float:
    """How unlike two looks are, 0 to 255: half of it all over, half of it where they differ most.

    Both, because a new caption changes little of the picture, but that much.
    """
    return float(_differences(one[None], other)[0])


def _differences(many: NDArray[np.int16], one: NDArray[np.int16]) -> NDArray[np.float32]:
    tiles = LOOK // _TILE
    apart = np.abs(many - one).reshape(len(many), tiles, _TILE, tiles, _TILE * 3).mean((2, 4), dtype=np.float32)
    by_tile = apart.reshape(len(many), -1)
    differences: NDArray[np.float32] = (by_tile.mean(1) + by_tile.max(1)) / 2
    return differences


@dataclass(slots=True)
class _Shot(Generic[Prepared]):
    """Consecutive frames that look alike; its first one stands for it."""

    number: int
    ms: float
    look: NDArray[np.int16]
    prepared: Prepared


class _Kept(Generic[Prepared]):
    """The most different shots so far. Between these, all distances are kept, so that a new one costs one row."""

    def __init__(self, most: int) -> None:
        self.shots: list[_Shot[Prepared]] = []
        self._most = most
        self._apart = np.full((most + 1, most + 1), np.inf, np.float32)

    def add(self, shot: _Shot[Prepared]) -> None:
        shots, apart, count = self.shots, self._apart, len(self.shots)
        if count:
            row = _differences(np.stack([each.look for each in shots]), shot.look)
            nearest = int(row.argmin())
            if row[nearest] < SAME:  # seen before: an animation that goes to and fro
                shots[nearest].ms += shot.ms
                return
            apart[count, :count] = apart[:count, count] = row
        shots.append(shot)
        if len(shots) > self._most:
            self._drop(self._least())

    def _least(self) -> int:
        """The shot that is missed least. Never the first: it is what a file manager shows."""
        ms = np.array([shot.ms for shot in self.shots])
        loss = self._apart.min(1) * (ms / (ms + _HALF_MS))
        return 1 + int(loss[1:].argmin())

    def _drop(self, index: int) -> None:
        dropped = self.shots.pop(index)
        self.shots[int(np.delete(self._apart[index], index).argmin())].ms += dropped.ms
        rest = np.delete(np.delete(self._apart, index, 0), index, 1)
        self._apart.fill(np.inf)
        self._apart[: self._most, : self._most] = rest
