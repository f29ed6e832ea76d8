"""What a whole picture looks like, for finding its copies. Runs in the decode child; see :mod:`memewatchd.looks`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from PIL import Image

from memewatchd.looks import COLOUR_SIDE, LEVELS, MOMENT_SIDE, MOMENTS, SIDE, Looks, pack
from memewatchd.pictures import preprocess

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.pictures.frames import Shown

Prepared = TypeVar("Prepared")

_LEAST_SIDE = 16
"""Pixels. A smaller picture says too little of what it is a copy of."""
_PLAIN = 3
"""A picture whose cells differ by no more (of 64) is plain: all plain ones would be copies of each other."""
_STEP = 256 // LEVELS


def of_still(im: Image.Image, size: tuple[int, int]) -> str:
    """What is kept of a picture of any mode; "" where it has nothing to be known by.

    ``im`` stands upright; ``size`` is the picture's own, where ``im`` was decoded smaller.
    """
    cells = _cells(im, size)
    return pack(Looks(cells)) if cells else ""


class Motion:
    """An animation, as its frames pass by."""

    def __init__(self) -> None:
        self._frames: list[tuple[int, float, NDArray[np.float32]]] = []

    def watch(self, shown: Iterator[Shown[Prepared]]) -> Iterator[Shown[Prepared]]:
        """The same frames."""
        for frame in shown:
            self._frames.append((frame.number, frame.ms, _brightness(frame.look)))
            yield frame

    def of_moving(self, first: Image.Image, size: tuple[int, int], n_frames: int) -> str:
        """What is kept of an animation of ``n_frames``; "" where not all of them were seen, for then the rest may be
        anything. ``first`` and ``size`` are as :func:`of_still` takes them.
        """
        import numpy as np

        cells = _cells(first, size)
        numbers = [number for number, _, _ in self._frames]
        if not cells or numbers != list(range(n_frames)):
            return ""
        ends = np.cumsum([ms for _, ms, _ in self._frames])
        starts = np.concatenate(([0], ends[:-1]))
        bounds = np.linspace(0, ends[-1], MOMENTS + 1)
        # (parts, frames): for how long of each part each frame is shown
        shared = np.minimum(ends, bounds[1:, None]) - np.maximum(starts, bounds[:-1, None])
        shares = np.maximum(shared, 0) * MOMENTS / ends[-1]
        looks = np.stack([look for _, _, look in self._frames])
        parts = np.rint(np.tensordot(shares, looks, 1) / _STEP - 0.5).clip(0, LEVELS - 1).astype(np.uint8)
        return pack(Looks(cells + parts.tobytes(), max(1, round(float(ends[-1])))))


def _cells(im: Image.Image, size: tuple[int, int]) -> bytes:
    if min(size) < _LEAST_SIDE:
        return b""
    # A triangle's filter: neighbouring cells overlap, so that a scaled picture's pixels, which lie elsewhere, weigh in
    # about the same.
    light, blue, red = preprocess.on_white(im, SIDE, Image.Resampling.BILINEAR).convert("YCbCr").split()
    colours = [channel.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BILINEAR) for channel in (blue, red)]
    parts = [channel.point(lambda value: value // _STEP).tobytes() for channel in (light, *colours)]
    return b"" if all(max(part) - min(part) <= _PLAIN for part in parts) else b"".join(parts)


def _brightness(look: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of a frame's look, uint8 (side, side, 3): float32 (MOMENT_SIDE, MOMENT_SIDE), 0 to 255."""
    import numpy as np

    tile = look.shape[0] // MOMENT_SIDE
    light = look.astype(np.float32) @ np.asarray((0.299, 0.587, 0.114), np.float32)
    means: NDArray[np.float32] = light.reshape(MOMENT_SIDE, tile, MOMENT_SIDE, tile).mean((1, 3))
    return means
