"""Ways to show a drawing: on any ground, small, turned, squashed, recoloured, captioned, as JPEG."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont

from training.concepts import load_concepts
from training.draw import read_drawings
from training.paths import SEED

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGE = 160
VIEWS = 4
"""Of each drawing: clean, two scenes, one in another colour."""

PAINT = {
    "white": "#f4f4f2", "black": "#26262a", "grey": "#8d8f92", "red": "#d8262f", "orange": "#f28a1f",
    "yellow": "#fbd02d", "green": "#3f9b3f", "blue": "#2f6fd0", "purple": "#8345b5", "pink": "#f58fb8",
    "brown": "#7d4f2f",
}  # fmt: skip
"""What the colours of ``phrases.COLOURS`` look like."""

_PALETTE = np.asarray([ImageColor.getrgb(value) for value in PAINT.values()], np.float32)
_NAMES = list(PAINT)
_COLOURED = {*PAINT, "gray", "flag", "skin", "button", "rainbow"}
"""Words of labels that another colour would make untrue."""
_WORDS = ["when", "you", "me", "that", "nobody", "the face", "every time", "no", "yes", "ok", "wait", "what", "monday"]


@cache
def open_drawings() -> tuple[list[tuple[bool, bool]], NDArray[np.uint8]]:
    """For each drawing whether it is held out and whether another colour leaves it what it is called; the pixels."""
    drawings, pixels = read_drawings()
    concepts = load_concepts()
    flags = []
    for drawing in drawings:
        label = concepts[drawing.concept].en if drawing.concept else drawing.name
        flags.append((drawing.held_out, not _COLOURED & set(label.replace(":", " ").split())))
    return flags, pixels


def show(view: int, row: int) -> tuple[NDArray[np.uint8] | None, str]:
    """One view of one drawing, (EDGE, EDGE, 3), and the colour that it clearly has ("" for none).

    View 0 is clean, the last is in another colour where that is fitting, the others are scenes. None
    for other than clean views of held-out drawings. The same view always looks the same.
    """
    flags, pixels = open_drawings()
    held_out, paintable = flags[row]
    rgba, random = np.asarray(pixels[row]), np.random.default_rng((SEED, view, row))
    if view == 0:
        return np.asarray(clean(rgba)), main_colour(rgba) if paintable else ""
    if held_out:
        return None, ""
    if view == VIEWS - 1 and paintable:
        colour = str(random.choice(_NAMES))
        return np.asarray(painted(rgba, colour, random)), colour
    return np.asarray(scene(rgba, random)), ""


def clean(rgba: NDArray[np.uint8]) -> Image.Image:
    """On white, as it is."""
    return _on(Image.fromarray(rgba), Image.new("RGB", (EDGE, EDGE), "white"))


def main_colour(rgba: NDArray[np.uint8]) -> str:
    """The name of the colour that covers most of the drawing, "" where none has 55 % of it."""
    pixels = rgba[rgba[..., 3] > 128][:, :3].astype(np.float32)
    if len(pixels) < 100:
        return ""
    nearest = np.square(pixels[::7, None] - _PALETTE[None]).sum(-1).argmin(1)
    counts = np.bincount(nearest, minlength=len(_NAMES))
    best = int(counts.argmax())
    return _NAMES[best] if counts[best] >= 0.55 * counts.sum() else ""


def scene(rgba: NDArray[np.uint8], random: np.random.Generator) -> Image.Image:
    """One random way to meet this drawing in a chat."""
    drawing = Image.fromarray(rgba)
    if random.random() < 0.3:
        drawing = _shift_hue(drawing, random)
    if random.random() < 0.12:
        drawing = Image.merge("RGBA", [drawing.convert("L")] * 3 + [drawing.getchannel("A")])
    elif random.random() < 0.1:
        drawing = _outlined(drawing, random)
    if random.random() < 0.25:
        drawing = _rimmed(drawing)
    return _finish(_placed(drawing, _ground(random), random), random)


def painted(rgba: NDArray[np.uint8], colour: str, random: np.random.Generator) -> Image.Image:
    """The drawing in shades of one colour, on a ground that it stands out from."""
    drawing = Image.fromarray(rgba)
    light = np.asarray(drawing.convert("L"), np.float32)[..., None] / 255
    opaque = rgba[..., 3] > 128
    middle = float(np.median(light[opaque])) if opaque.any() else 0.5
    shade = np.clip(0.85 + (light - middle) * random.uniform(0.5, 1.0), 0.12, 1.15)
    paint = np.asarray(ImageColor.getrgb(PAINT[colour]), np.float32)
    shaded = np.clip(paint * shade + (40 * (shade - 0.85) if colour == "black" else 0), 0, 255)
    pixels = np.dstack([shaded, rgba[..., 3]]).astype(np.uint8)
    ground = _ground(random) if colour == "white" or random.random() < 0.5 else Image.new("RGB", (EDGE, EDGE), "white")
    if colour == "white":
        ground = ground.point([int(value * 0.75) for value in range(256)] * 3)
    return _finish(_placed(Image.fromarray(pixels), ground, random), random)


def _on(drawing: Image.Image, ground: Image.Image, at: tuple[int, int] = (0, 0)) -> Image.Image:
    ground.paste(drawing, at, drawing.getchannel("A"))
    return ground


def _ground(random: np.random.Generator) -> Image.Image:
    kind = random.random()
    one, two = (random.integers(0, 256, 3) for _ in range(2))
    if kind < 0.3:
        return Image.new("RGB", (EDGE, EDGE), "white")
    if kind < 0.65:
        return Image.new("RGB", (EDGE, EDGE), tuple(one.tolist()))
    if kind < 0.85:
        ramp = np.linspace(0, 1, EDGE)[:, None, None] * np.ones((1, EDGE, 1))
        pixels = one * ramp + two * (1 - ramp)
        return Image.fromarray(pixels.astype(np.uint8)).rotate(90 * int(random.integers(4)))
    coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return coarse.resize((EDGE, EDGE), Image.Resampling.BICUBIC)


def _placed(drawing: Image.Image, ground: Image.Image, random: np.random.Generator) -> Image.Image:
    drawing = drawing.rotate(random.uniform(-14, 14), Image.Resampling.BILINEAR)
    scale = random.uniform(0.5, 1.0)
    squash = np.exp(random.uniform(-0.4, 0.4)) if random.random() < 0.5 else 1.0
    width = int(np.clip(EDGE * scale * squash**0.5, 48, EDGE))
    height = int(np.clip(EDGE * scale / squash**0.5, 48, EDGE))
    drawing = drawing.resize((width, height), Image.Resampling.BILINEAR)
    at = (int(random.integers(EDGE - width + 1)), int(random.integers(EDGE - height + 1)))
    return _on(drawing, ground, at)


def _finish(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    if random.random() < 0.25:
        picture = _captioned(picture, random)
    if random.random() < 0.3:
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=int(random.integers(35, 90)))
        with Image.open(data) as compressed:
            picture = compressed.convert("RGB")
    return picture


def _captioned(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    text = " ".join(random.choice(_WORDS, int(random.integers(2, 6)))).upper()
    bar = int(random.integers(22, 40))
    dark = random.random() < 0.4
    whole = Image.new("RGB", (EDGE, EDGE), "black" if dark else "white")
    top = random.random() < 0.6
    whole.paste(picture.resize((EDGE, EDGE - bar), Image.Resampling.BILINEAR), (0, bar if top else 0))
    font = ImageFont.load_default(int(random.integers(11, 20)))
    at = (EDGE // 2, bar // 2 if top else EDGE - bar // 2)
    ImageDraw.Draw(whole).text(at, text, "white" if dark else "black", font, anchor="mm")
    return whole


def _shift_hue(drawing: Image.Image, random: np.random.Generator) -> Image.Image:
    hue, saturation, value = drawing.convert("RGB").convert("HSV").split()
    shift = int(random.integers(-18, 19))
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    strength = random.uniform(0.6, 1.3)
    saturation = saturation.point([min(255, int(level * strength)) for level in range(256)])
    colours = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    colours.putalpha(drawing.getchannel("A"))
    return colours


def _outlined(drawing: Image.Image, random: np.random.Generator) -> Image.Image:
    """Few flat colours with a dark outline, as many cartoons have."""
    flat = drawing.convert("RGB").quantize(int(random.integers(4, 9))).convert("RGB")
    alpha = drawing.getchannel("A")
    edges = flat.convert("L").filter(ImageFilter.FIND_EDGES).point([255 if level > 24 else 0 for level in range(256)])
    flat.paste((20, 20, 20), (0, 0), edges)
    rim = alpha.filter(ImageFilter.MaxFilter(5))
    whole = Image.new("RGBA", drawing.size, (20, 20, 20, 0))
    whole.putalpha(rim)
    whole.paste(flat, (0, 0), alpha)
    whole.putalpha(rim)
    return whole


def _rimmed(drawing: Image.Image) -> Image.Image:
    """With the white rim of a sticker."""
    rim = drawing.getchannel("A").filter(ImageFilter.MaxFilter(9))
    whole = Image.new("RGBA", drawing.size, (255, 255, 255, 0))
    whole.paste(drawing, (0, 0), drawing.getchannel("A"))
    whole.putalpha(rim)
    return whole
