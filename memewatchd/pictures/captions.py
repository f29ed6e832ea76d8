"""Which frames of an animation are worth reading: those that show something else to read.

:mod:`.frames` compares pictures; by that measure the next line of a film's subtitles is the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Generic

import numpy as np
from PIL import Image

from memewatchd.pictures import preprocess
from memewatchd.pictures.frames import Prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from memewatchd.pictures.frames import Shown

_PAGE = (240, 180)  # width, height
# Levels of grey by which a pixel must differ. Compression's noise stays below, even that of a poor JPEG.
_CHANGED = 40
_SAME = 0.001
"""The share of pixels that may have changed. Another short line of small writing changes 0.0026, a large one 0.02."""


def choose(
    shown: Iterable[Shown[Prepared]], most: int, draw: Callable[[Prepared], Image.Image]
) -> list[tuple[int, Prepared]]:
    """At most ``most`` frames, in their order: (number, what was prepared); the first is among them.

    ``draw`` gives the picture of what was prepared. Where more are different, those go that differ least from the one
    before, what was shown only for a moment first.
    """
    kept: list[_Kept[Prepared]] = []
    for frame in shown:
        prepared = frame.prepare()
        page = _page(draw(prepared))
        # The last one first: mostly nothing has changed.
        if known := next((each for each in reversed(kept) if _difference(each.page, page) <= _SAME), None):
            known.ms += frame.ms
            continue
        kept.append(_Kept(frame.number, frame.ms, page, prepared))
        if len(kept) > most:
            losses = [_difference(one.page, two.page) * two.ms for one, two in pairwise(kept)]
            least = losses.index(min(losses))
            kept[least].ms += kept.pop(least + 1).ms
    return [(each.number, each.prepared) for each in kept]


@dataclass(slots=True)
class _Kept(Generic[Prepared]):
    number: int
    ms: float
    page: NDArray[np.int16]
    prepared: Prepared


def _difference(one: NDArray[np.int16], other: NDArray[np.int16]) -> float:
    return float((np.abs(one - other) > _CHANGED).mean())


def _page(im: Image.Image) -> NDArray[np.int16]:
    mode = "RGBA" if im.has_transparency_data else "RGB"
    small = (im if im.mode == mode else im.convert(mode)).resize(_PAGE, Image.Resampling.BOX)
    # On grey, white writing shows and so does black.
    return np.asarray(preprocess.to_rgb(small, (128, 128, 128)).convert("L")).astype(np.int16)
