"""How a model's image processor resizes and crops a picture: the half that the decode children do.

The other half is :mod:`memewatchd.encoders.pixels`.
"""

from __future__ import annotations

from typing import Any

from transformers.image_processing_backends import PilBackend

from memewatchd.errors import EncoderError
from memewatchd.meme import FrameSpec

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
