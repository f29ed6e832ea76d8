"""What a model's image processor does to a picture, split in two.

Resizing and cropping happen in the decode children, as a :class:`FrameSpec` says; rescaling and
normalising happen here, with the processor's numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.image_processing_backends import PilBackend

from memewatchd.errors import EncoderError
from memewatchd.meme import FrameSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BILINEAR = 2
"""Pillow's number of the filter that the Pillow-backed processors use where none is named."""


def frame_spec(processor: Any) -> FrameSpec:
    """The resizing and cropping half of ``processor``, an image processor of transformers.

    Raises EncoderError where its steps are others than resize, centre crop, rescale, normalise, or
    where its output isn't one square of a fixed size.
    """
    name = type(processor).__name__
    problem = ""
    if not isinstance(processor, PilBackend) or _steps(type(processor)) is not _steps(PilBackend):
        problem = "it prepares pictures in a way of its own"
    elif not _setting(processor, "do_resize"):
        problem = "it doesn't resize pictures"
    elif _setting(processor, "do_pad"):
        problem = "it pads pictures"
    if problem:
        raise _refusal(name, problem)

    size, crop = _edges(processor, "size"), _edges(processor, "crop_size")
    crops = bool(_setting(processor, "do_center_crop"))
    square = crop.get("height", 0)
    if crops and (not square or crop.get("width") != square):
        raise _refusal(name, f"it crops to {crop}, which is not a square")
    resample = _setting(processor, "resample")
    resample = BILINEAR if resample is None else int(resample)
    if size.keys() == {"shortest_edge"}:
        edge = size["shortest_edge"]
        if not crops:
            raise _refusal(name, "its pictures keep their shape, without a crop to a square")
        if square > edge:
            raise _refusal(name, f"it crops to {square} pixels what it scaled to {edge}")
        return FrameSpec("shortest", edge, square, resample)
    if size.keys() == {"height", "width"} and size["height"] == size["width"]:
        edge = size["height"]
        if crops and square != edge:
            raise _refusal(name, f"it crops to {square} pixels what it scaled to a square of {edge}")
        return FrameSpec("exact", edge, edge, resample)
    raise _refusal(name, f"it scales pictures to {size}, which is not one square")


def pixel_values(processor: Any, frames: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """``frames``, prepared as :func:`frame_spec` says (height, width, 3), → float32 (n, 3, height, width)."""
    # As the processor does it, but all at once and without its copies: those cost a small model 4 % of its pace.
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    values = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    if _setting(processor, "do_rescale"):
        values.mul_(_setting(processor, "rescale_factor"))
    if _setting(processor, "do_normalize"):
        mean, deviation = (
            torch.tensor(_setting(processor, name)).view(-1, 1, 1) for name in ("image_mean", "image_std")
        )
        values.sub_(mean).div_(deviation)
    return values


def settings(processor: Any) -> dict[str, Any]:
    """The numbers of the half that :func:`pixel_values` does: what makes vectors comparable."""
    names = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    return {name: getattr(processor, name, None) for name in names}


def _setting(processor: Any, name: str) -> Any:
    return getattr(processor, name, None)


def _edges(processor: Any, name: str) -> dict[str, int]:
    """A processor's ``size`` or ``crop_size``, without the keys that are not set."""
    return {key: int(value) for key, value in dict(_setting(processor, name) or {}).items() if value is not None}


def _steps(kind: type[PilBackend]) -> Any:
    """The function that puts a processor's steps in order; the common one is what we know how to split."""
    return kind._preprocess  # noqa: SLF001


def _refusal(name: str, problem: str) -> EncoderError:
    return EncoderError(
        f"the model's image processor ({name}) can't be used: {problem}. "
        "Models of one fixed, square picture size work, such as google/siglip2-base-patch16-224."
    )
