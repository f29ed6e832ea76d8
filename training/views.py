"""Ways to show a drawing: on any ground, small, turned, squashed, recoloured, captioned, as JPEG."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont

from training.concepts import load_concepts
from training.downloads import HAN, HAN_SIMPLIFIED, LATIN
from training.draw import read_drawings
from training.paths import SEED
from training.textures import EDGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

VIEWS = 4
"""Of each drawing: clean, two scenes, one in another colour."""

PAINT = {
    "white": "#f4f4f2", "black": "#26262a", "grey": "#8d8f92", "red": "#d8262f", "orange": "#f28a1f",
    "yellow": "#fbd02d", "green": "#3f9b3f", "blue": "#2f6fd0", "purple": "#8345b5", "pink": "#f58fb8",
    "brown": "#7d4f2f",
}  # fmt: skip
"""What the colours of ``phrases.COLOURS`` look like."""

_PALETTE = np.asarray([ImageColor.getrgb(value) for value in PAINT.values()], np.float32)
COLOUR_NAMES = list(PAINT)
_COLOURED = {*PAINT, "gray", "flag", "skin", "button", "rainbow"}
"""Words of labels that another colour would make untrue."""
_WORDS = (  # noqa: SIM905 - a list would be a page
    "when you me that nobody the face every time no yes ok wait what monday my boss be like how it feels they said "
    "just one more never again not today why is this so hard please stop i can't even go home big mood same here"
).split()
_HAN = (
    "我你他她它不是的了在有人这个上们来到时大地为子中说生国年着就那和要出也得里后自以会家可下而过天去能对小多然于心学么之"
    "都好看起发当没成只如事把还用第样道想作种开"
)
_SIDED = {"left", "right", "arrow", "flag", "clock", "letter", "number", "keycap", "button", "note", "text", "word"}
"""Words of labels that the mirror would make untrue."""


@dataclass(frozen=True, slots=True)
class Flags:
    """Whether a drawing is ``held_out``; whether in another colour, or in the mirror, it is still what it is called."""

    held_out: bool
    paintable: bool
    sided: bool


@cache
def open_drawings() -> tuple[list[Flags], NDArray[np.uint8]]:
    """What may be done to each drawing; the pixels."""
    drawings, pixels = read_drawings()
    concepts = load_concepts()
    flags = []
    for drawing in drawings:
        label = concepts[drawing.concept].en if drawing.concept else drawing.name
        words = set(re.sub(r"[^a-z0-9]+", " ", label.lower()).split())
        sided = bool(_SIDED & words) or any(word.isdigit() for word in words)
        flags.append(Flags(drawing.held_out, paintable=not _COLOURED & words, sided=sided))
    return flags, pixels


def show(view: int, row: int) -> tuple[NDArray[np.uint8] | None, str]:
    """One view of one drawing, (EDGE, EDGE, 3), and the colour that it clearly has ("" for none).

    View 0 is clean, the last is in another colour where that is fitting, the others are scenes. None
    for other than clean views of held-out drawings. The same view always looks the same.
    """
    flags, pixels = open_drawings()
    held_out, paintable = flags[row].held_out, flags[row].paintable
    rgba, random = np.asarray(pixels[row]), np.random.default_rng((SEED, view, row))
    if view == 0:
        return np.asarray(clean(rgba)), main_colour(rgba) if paintable else ""
    if held_out:
        return None, ""
    if view == VIEWS - 1 and paintable:
        colour = str(random.choice(COLOUR_NAMES))
        return np.asarray(painted(rgba, colour, random)), colour
    return np.asarray(scene(rgba, random)), ""


def tuning_view(
    row: int, clean_share: float, painted_share: float, random: np.random.Generator
) -> tuple[Image.Image, str]:
    """A fresh view of a drawing that isn't held out, and the colour that it was painted in ("": as it is)."""
    flags, pixels = open_drawings()
    rgba, chance = np.asarray(pixels[row]), random.random()
    if chance < clean_share:
        return clean(rgba), ""
    if chance < clean_share + painted_share and flags[row].paintable:
        colour = str(random.choice(COLOUR_NAMES))
        return painted(rgba, colour, random), colour
    return scene(rgba, random, mirror=not flags[row].sided), ""


def sticker(rgba: NDArray[np.uint8], random: np.random.Generator) -> Image.Image:
    """As it comes in chats: a rim, a ground, often words, then JPEG or the 64 colours of a GIF."""
    drawing = _rimmed(Image.fromarray(rgba)) if random.random() < 0.5 else Image.fromarray(rgba)
    picture = _placed(drawing, _ground(random), random)
    if random.random() < 0.5:
        picture = _captioned(picture, random)
    if random.random() < 0.5:
        return picture.quantize(64).convert("RGB")
    return _compressed(picture, int(random.integers(30, 80)))


def clean(rgba: NDArray[np.uint8]) -> Image.Image:
    """On white, as it is."""
    return _on(Image.fromarray(rgba), Image.new("RGB", (EDGE, EDGE), "white"))


def main_colour(rgba: NDArray[np.uint8]) -> str:
    """The name of the colour that covers most of the drawing, "" where none has 55 % of it."""
    pixels = rgba[rgba[..., 3] > 128][:, :3].astype(np.float32)
    if len(pixels) < 100:
        return ""
    nearest = np.square(pixels[::7, None] - _PALETTE[None]).sum(-1).argmin(1)
    counts = np.bincount(nearest, minlength=len(COLOUR_NAMES))
    best = int(counts.argmax())
    return COLOUR_NAMES[best] if counts[best] >= 0.55 * counts.sum() else ""


def scene(rgba: NDArray[np.uint8], random: np.random.Generator, *, mirror: bool = False) -> Image.Image:
    """One random way to meet this drawing in a chat."""
    drawing = Image.fromarray(rgba)
    if random.random() < 0.3:
        drawing = _shift_hue(drawing, random)
    if random.random() < 0.12:
        drawing = Image.merge("RGBA", [drawing.convert("L")] * 3 + [drawing.getchannel("A")])
    elif random.random() < 0.2:
        drawing = _outlined(drawing, random)
    if random.random() < 0.25:
        drawing = _rimmed(drawing)
    if mirror and random.random() < 0.3:
        drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    ground = _ground(random)
    if random.random() < 0.15:
        _add_companion(ground, random)
    return _finish(_placed(drawing, ground, random), random)


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


def _add_companion(ground: Image.Image, random: np.random.Generator) -> None:
    """Another drawing, small, in a corner of the ground: what is called isn't always alone."""
    flags, pixels = open_drawings()
    row = int(random.integers(len(flags)))
    if flags[row].held_out:
        return
    edge = int(random.integers(EDGE // 5, EDGE // 3))
    other = Image.fromarray(np.asarray(pixels[row])).resize((edge, edge), Image.Resampling.BILINEAR)
    x, y = (int(random.integers(2)) * (EDGE - edge) for _ in range(2))
    _on(other, ground, (x, y))


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
    return _compressed(picture, int(random.integers(35, 90))) if random.random() < 0.3 else picture


def _compressed(picture: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    with Image.open(data) as compressed:
        return compressed.convert("RGB")


@cache
def _font(han: bool, points: int) -> ImageFont.FreeTypeFont:
    if han:
        return ImageFont.truetype(HAN, points, index=HAN_SIMPLIFIED, layout_engine=ImageFont.Layout.BASIC)
    return ImageFont.truetype(LATIN, points, layout_engine=ImageFont.Layout.BASIC)


def _captioned(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """With words that say nothing of what it shows: in a bar of their own, or with an outline over the picture."""
    han = bool(random.random() < 0.5)
    points = int(random.integers(14, 26))
    if han:
        text = "".join(random.choice(list(_HAN), int(random.integers(3, 9))))
    else:
        text = " ".join(random.choice(_WORDS, int(random.integers(2, 7))))
        text = text.upper() if random.random() < 0.7 else text
    font, top = _font(han, points), random.random() < 0.5
    if random.random() < 0.5:
        y = 2 + points // 2 if top else EDGE - 2 - points // 2
        whole = picture.copy()
        light = random.random() < 0.8
        fill, outline = ("white", "black") if light else ("black", "white")
        ImageDraw.Draw(whole).text(
            (EDGE // 2, y), text, fill, font, anchor="mm", stroke_width=max(1, points // 12), stroke_fill=outline
        )
        return whole
    bar = points + int(random.integers(4, 14))
    dark = random.random() < 0.4
    whole = Image.new("RGB", (EDGE, EDGE), "black" if dark else "white")
    whole.paste(picture.resize((EDGE, EDGE - bar), Image.Resampling.BILINEAR), (0, bar if top else 0))
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
