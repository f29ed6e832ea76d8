"""One file's bytes → an open Pillow image: which plugin, what its quirks are, what its errors mean.

Runs in the decode child. The plugin is chosen by :func:`memewatchd.pictures.kinds.sniff` and called
directly: nothing else on the machine that Pillow could open is ever tried, and what a plugin says of
a damaged file is kept (``Image.open`` would only say that it can't be identified).
"""

from __future__ import annotations

import io
import logging
import math
import re
import struct
import warnings
from typing import TYPE_CHECKING

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from memewatchd.errors import PictureError
from memewatchd.pictures import structure

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = {
    "png": "PNG", "jpeg": "JPEG", "gif": "GIF", "webp": "WebP",
    "avif": "AVIF", "heic": "HEIC", "bmp": "BMP", "tiff": "TIFF",
    "mp4": "MP4", "mov": "MOV", "webm": "WebM",
}  # fmt: skip
"""The kinds as people write them."""

_MAX_TEXT = 16 * 1024 * 1024  # per compressed text or colour profile in a PNG; Pillow's own is 1 MiB


# How Pillow's plugins say that a file ends too early.
_CUT_OFF = re.compile(
    "truncated|not enough (image )?data|no more images|cannot load this image|unpack(_from)? requires"
    "|missing dimensions|unknown data organization"
)


def prepare_pillow(max_pixels: int) -> None:
    """Sets Pillow up for the whole process: quiet, strict, one thread."""
    logging.disable()
    warnings.simplefilter("ignore")
    # Sizes are checked by us first; this is for frames that turn out larger than the header said.
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    PngImagePlugin.MAX_TEXT_CHUNK = _MAX_TEXT
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    BmpImagePlugin.USE_RAW_ALPHA = True


def open_picture(kind: str, data: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, int]:
    """Opens a picture, without decoding its pixels. Returns it and the number of its frames.

    Raises PictureError where the size or what is installed forbids it, and whatever the plugin raises
    (see :func:`explain`).
    """
    if declared := structure.declared_size(kind, data):
        check_size(declared, max_pixels)
    frames = _count_frames(kind, data)
    check_whole(kind, data)
    im = _OPENERS[kind](io.BytesIO(data))
    check_size(im.size, max_pixels)
    if kind == "png":
        structure.check_png_rows(data)
        _scale_transparency(im, depth=data[24])
    if kind == "tiff":
        _check_strips(im)
    return im, max(1, frames or getattr(im, "n_frames", 1))


def check_whole(kind: str, data: bytes) -> None:
    """Raises CutOffError where a file of a kind that libraries would draw in part ends too early."""
    if check := _CHECKS.get(kind):
        check(data)


def load(im: ImageFile.ImageFile) -> Image.Image:
    """Decodes the current frame, in full or not at all. Raises whatever the plugin raises."""
    im.load()
    # The fourth byte of a plain 32-bit BMP is alpha to some programs and nothing to others.
    if im.format == "BMP" and im.mode == "RGBA" and im.getchannel("A").getextrema() == (0, 0):
        return im.convert("RGB")
    return im


def explain(kind: str, error: Exception) -> str:
    """What a plugin's exception means to a person."""
    name = NAMES[kind]
    if isinstance(error, SyntaxError) and error.args and isinstance(error.args[0], Exception):
        error = error.args[0]  # what a plugin stumbled over, as Pillow wraps it
    text = " ".join("".join(filter(str.isprintable, str(error).replace("\n", " "))).split())[:200]
    low = text.lower()
    if isinstance(error, structure.CutOffError | EOFError) or _CUT_OFF.search(low):
        return f"the file is cut off (truncated {name})"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "too large: one of its frames is larger than the limit"
    if re.search(r"decompressed data too large|too much memory used in text", low):
        return f"its text or colour profile unpacks to far too much (a decompression bomb in {name})"
    if low.startswith(("unsupported", "unknown")) or "not supported" in low:
        return f"a damaged {name}, or one of a kind that can't be read ({text})"
    if not text or isinstance(error, LookupError | TypeError | AttributeError | struct.error) or "codec can't" in low:
        return f"damaged or cut off ({name})"  # the text is Python's: a key that it misses, say
    return f"damaged or cut off ({name}: {text})"


def spoken_bytes(count: int) -> str:
    """A number of bytes as people say it: "1 GiB", "256 MiB"."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{count} bytes"


def _spoken_pixels(count: int) -> str:
    for unit, size in (("gigapixels", 10**9), ("megapixels", 10**6)):
        if count >= size:
            value = math.floor(count / size * 10) / 10 if count < 10 * size else count // size
            return f"{value} {unit}".replace(".0 ", " ")
    return f"{count} pixels"


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Raises PictureError for a picture of more than ``max_pixels``, or of none."""
    width, height = size
    if width < 1 or height < 1:
        raise PictureError(f"it says that it is {width}×{height} pixels large")
    if width * height > max_pixels:
        raise PictureError(
            f"too large: {width}×{height} = {_spoken_pixels(width * height)} (limit {_spoken_pixels(max_pixels)})"
        )


def _count_frames(kind: str, data: bytes) -> int:
    """The frames that a walk over the file's blocks finds; 0 where the plugin is to say."""
    if kind == "gif":
        return structure.count_gif_frames(data)
    if kind == "png":
        return structure.count_png_frames(data)
    # A TIFF's pages, a HEIC's other pictures and a JPEG's previews are no animation.
    return 1 if kind in ("tiff", "heic", "jpeg", "bmp") else 0


def _check_strips(im: ImageFile.ImageFile) -> None:
    """Raises CutOffError where a TIFF's strips or tiles end before the picture: Pillow leaves the rest black."""
    ends = [tile.extents[2:] for tile in im.tile if tile.extents is not None]
    # Of one that its plugin turns, only the area is the same.
    if ends and max(x for x, _ in ends) * max(y for _, y in ends) < im.width * im.height:
        raise structure.CutOffError


def _scale_transparency(im: Image.Image, depth: int) -> None:
    """A PNG names its transparent colour at its own depth; Pillow scales the pixels to 8 bits, not the name."""
    transparency = im.info.get("transparency")
    if isinstance(transparency, int) and im.mode == "L" and depth < 8:
        im.info["transparency"] = transparency * 255 // ((1 << depth) - 1)
    elif isinstance(transparency, tuple) and depth == 16:
        im.info["transparency"] = tuple(value >> 8 for value in transparency)


def _open_avif(source: io.BytesIO) -> ImageFile.ImageFile:
    if AvifImagePlugin.SUPPORTED:
        return AvifImagePlugin.AvifImageFile(source)
    try:
        import pillow_avif
    except ImportError:
        raise PictureError("AVIF needs the pillow-avif-plugin package (pip install pillow-avif-plugin)") from None
    pillow_avif.AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return pillow_avif.AvifImagePlugin.AvifImageFile(source)  # type: ignore[no-any-return]


def _open_heic(source: io.BytesIO) -> ImageFile.ImageFile:
    try:
        import pillow_heif
    except ImportError:
        raise PictureError("HEIC needs the pillow-heif package (pip install pillow-heif)") from None
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = False
    pillow_heif.options.DEPTH_IMAGES = False
    pillow_heif.options.AUX_IMAGES = False
    im: ImageFile.ImageFile = pillow_heif.HeifImageFile(source)  # type: ignore[no-untyped-call]
    return im


_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "avif": _open_avif,
    "heic": _open_heic,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}

# What libraries would draw in part.
_CHECKS: dict[str, Callable[[bytes], None]] = {
    "avif": structure.check_boxes,
    "heic": structure.check_boxes,
    "webp": structure.check_riff,
    "mp4": structure.check_boxes,
    "mov": structure.check_boxes,
    "webm": structure.check_ebml,
}
