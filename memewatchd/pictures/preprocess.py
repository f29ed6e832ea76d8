"""A picture as Pillow opened it → the uint8 RGB pixels that a model sees. Runs in the decode child.

The scaling gives, bit for bit, what transformers' Pillow-backed image processors give before they
rescale and normalise (``image_transforms.py``: ``get_resize_output_image_size``, ``resize``,
``center_crop``), so that vectors equal those of the model's documented use.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.meme import FrameSpec

# Above this many pixels a scaled picture is not made in full, only the part that the crop keeps: a
# strip of 1 x 10,000 pixels would become one of 224 x 2,240,000. Where such a strip is scaled down
# (it is then wider than the crop and 600 times longer), Pillow may take its two passes in the other
# order, and some pixels differ by a level or two.
_MAX_SCALED_PIXELS = 32_000_000

# Bands of this many rows keep the memory for laying a large picture on white to one copy.
_BAND_ROWS = 256

_WHITE = (255, 255, 255)


def to_rgb(im: Image.Image, ground: tuple[int, int, int] = _WHITE) -> Image.Image:
    """Any mode that Pillow opens, as 8-bit RGB: alpha over ``ground``, deep greys scaled and not clipped."""
    if im.mode.startswith(("I", "F")):
        im = _to_8_bit(im)
    if im.mode == "RGB" and "transparency" not in im.info:
        return im
    if not im.has_transparency_data:
        return im.convert("RGB")
    out = Image.new("RGB", im.size, ground)
    for top in range(0, im.height, _BAND_ROWS):
        band = im.crop((0, top, im.width, min(top + _BAND_ROWS, im.height)))
        if band.mode not in ("RGBA", "LA"):
            # "La" is premultiplied, as is "RGBa"; palettes and single transparent colours become alpha.
            band = band.convert("LA" if band.mode == "La" else "RGBA")
        out.paste(band.convert("RGB"), (0, top), band.getchannel("A"))
    return out


def fit(im: Image.Image, spec: FrameSpec, size: tuple[int, int] | None = None) -> Image.Image:
    """Scales and crops an RGB picture as ``spec`` says.

    ``size`` is the picture's own size where ``im`` was decoded smaller. Raises ValueError for a mode that
    isn't known.
    """
    width, height = scaled_size(spec, size or im.size)
    crop = spec.crop
    if spec.mode == "pad":
        # The rounding is that of Pillow's ImageOps.pad.
        out = Image.new("RGB", (crop, crop), _WHITE)
        out.paste(_resize(im, (width, height), spec), (round((crop - width) / 2), round((crop - height) / 2)))
        return out
    # A side that is shorter than the crop goes to the middle of it, on black, half a pixel to the right.
    left, right, x = _centre(width, crop)
    top, bottom, y = _centre(height, crop)
    if width * height <= _MAX_SCALED_PIXELS:
        part = _resize(im, (width, height), spec).crop((left, top, right, bottom))
    else:
        part = _resize_part(im, (width, height), (left, top, right, bottom), spec)
    if part.size == (crop, crop):
        return part
    out = Image.new("RGB", (crop, crop))
    out.paste(part, (x, y))
    return out


def thumbnail(im: Image.Image, side: int) -> tuple[NDArray[np.uint8], bool]:
    """A picture of any mode as uint8 RGB (side, side, 3) over white, whatever its shape; and whether it is blank,
    that is wholly transparent."""
    import numpy as np

    small = _squeezed(im, side, Image.Resampling.BOX)
    blank = small.mode == "RGBA" and small.getchannel("A").getextrema() == (0, 0)
    return np.asarray(to_rgb(small)), blank


def on_white(im: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """A picture of any mode as RGB of ``side`` by ``side`` pixels over white, whatever its shape."""
    return to_rgb(_squeezed(im, side, resample, reducing_gap=4.0))


def scaled_size(spec: FrameSpec, size: tuple[int, int]) -> tuple[int, int]:
    """The width and height that a picture of ``size`` (width, height) is scaled to, before any crop."""
    width, height = size
    side = spec.resize
    if spec.mode == "exact":
        return side, side
    if spec.mode == "shortest":
        long = int(side * max(size) / min(size))
        return (side, long) if width <= height else (long, side)
    if spec.mode == "pad":
        if width == height:
            return side, side
        short = max(1, round(min(size) / max(size) * side))
        return (side, short) if width > height else (short, side)
    raise ValueError(f"no such way to scale a picture: {spec.mode}")


def upright(im: Image.Image) -> tuple[Image.Image, bool]:
    """Turns a picture as its EXIF orientation says, and says whether that swapped width and height.

    Unreadable EXIF says nothing.
    """
    try:
        orientation = im.getexif().get(0x0112, 1)
        if orientation in range(2, 9):
            return ImageOps.exif_transpose(im), orientation >= 5
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - EXIF is parsed in Python and breaks in every way there is
        pass
    return im, False


def _squeezed(im: Image.Image, side: int, resample: Image.Resampling, reducing_gap: float | None = None) -> Image.Image:
    """RGBA where anything is transparent, else RGB. Pillow multiplies colours by their alpha before it averages."""
    if im.mode.startswith(("I", "F")):
        im = _to_8_bit(im)
    mode = "RGBA" if im.has_transparency_data else "RGB"
    return (im if im.mode == mode else im.convert(mode)).resize((side, side), resample, reducing_gap=reducing_gap)


def _resize(im: Image.Image, size: tuple[int, int], spec: FrameSpec) -> Image.Image:
    return im.resize(size, Image.Resampling(spec.resample))


def _resize_part(
    im: Image.Image, size: tuple[int, int], part: tuple[int, int, int, int], spec: FrameSpec
) -> Image.Image:
    """What ``resize(size).crop(part)`` gives, from only those pixels of ``im`` that it depends on."""
    (x0, x1, left, right), (y0, y1, top, bottom) = (
        _source(im.size[axis], size[axis], part[axis], part[axis + 2]) for axis in (0, 1)
    )
    target = (part[2] - part[0], part[3] - part[1])
    box = (left, top, right, bottom)
    return im.crop((x0, y0, x1, y1)).resize(target, Image.Resampling(spec.resample), box=box)


def _source(length: int, scaled: int, start: int, stop: int) -> tuple[int, int, float, float]:
    """On one side: the pixels that scaled pixels ``start`` to ``stop`` come from with all that their filter
    reaches (Lanczos: 3 pixels of the coarser scale), and where in there they begin and end."""
    factor = length / scaled
    reach = math.ceil(3 * max(factor, 1)) + 1
    low = max(0, math.floor(start * factor) - reach)
    high = min(length, math.ceil(stop * factor) + reach)
    return low, high, start * factor - low, min(stop * factor - low, high - low)


def _centre(length: int, crop: int) -> tuple[int, int, int]:
    """Where a centre crop begins and ends on a side, and where in the crop it is put."""
    if length >= crop:
        start = (length - crop) // 2
        return start, start + crop, 0
    return 0, length, (crop - length + 1) // 2


def _to_8_bit(im: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float greys as "L", or "LA" where one grey level is transparent."""
    import numpy as np

    values: NDArray[np.generic] = np.asarray(im)
    info = im.info
    if im.mode.startswith("I;16"):
        # Exactly v / 257, rounded. In bands would be leaner, but 16-bit greys are rarely large.
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    else:
        grey = _stretch(values.astype(np.float32))
    if getattr(im, "tag_v2", {}).get(262) == 0:  # TIFF's PhotometricInterpretation: white is zero
        grey = 255 - grey
    out = Image.fromarray(grey)
    if isinstance(info.get("transparency"), int):
        out.putalpha(Image.fromarray(np.where(values == info["transparency"], 0, 255).astype(np.uint8)))
    return out


def _stretch(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Greys without a declared range: 0 to 1, 8 or 16 bits if they fit, else from darkest to lightest."""
    import numpy as np

    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    values = np.where(finite, values, 0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 65535:
        low = 0.0
        high = next(top for top in (1.0, 255.0, 65535.0) if high <= top)
    scale = 255 / (high - low) if high > low else 0.0
    levels: NDArray[np.uint8] = np.clip((values - low) * scale + 0.5, 0, 255).astype(np.uint8)
    return levels
