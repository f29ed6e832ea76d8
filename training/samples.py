"""Makes ``samples/``, the small folder of pictures that a newcomer's first ``make run`` watches.

``python -m training.samples`` needs resvg-py, Pillow and numpy. It draws on three of the pinned packages and
on two fonts, and writes SOURCES.txt beside the pictures: what each of them is made of, and under which licences.
The same versions of those packages give the same bytes.
"""

from __future__ import annotations

import io
import json
import math
import re
import sys
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import resvg_py
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from training import downloads
from training.downloads import FONTS, HAN, HAN_SIMPLIFIED, LATIN
from training.paths import ROOT, SEED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAMPLES = ROOT.parent / "samples"
BROKEN = "broken-on-purpose.png"


PACKAGES = {"noto": "@iconify-json/noto", "fluent": "@iconify-json/fluent-emoji", "clipart": "openclipart-svg"}


@dataclass(frozen=True)
class Part:
    """One drawing in a picture: "set:name", where its middle is and how large it is (of the picture's sides)."""

    what: str
    x: float = 0.5
    y: float = 0.5
    scale: float = 0.8
    turn: float = 0
    colour: str = ""
    flip: bool = False


@dataclass(frozen=True)
class Sample:
    """One file. ``ground`` is a kind and its colours, "" for transparency; ``motion`` makes it move."""

    path: str
    kind: str
    parts: tuple[Part, ...]
    ground: str = ""
    size: tuple[int, int] = (240, 240)
    top: str = ""
    bottom: str = ""
    rim: bool = False
    motion: str = ""


def one(what: str, **how: Any) -> tuple[Part, ...]:
    return (Part(what, **how),)


CAT_HEAD, CAT = "noto:cat-face", "noto:cat"
MAMMALS = "clipart:animals/mammals"

TABLE = [
    # Faces.
    Sample("reactions/smile.png", "png", one("noto:smiling-face-with-smiling-eyes"), rim=True),
    Sample("9b2f41c07d3ea856.png", "png", one("fluent:grinning-face-with-big-eyes"), rim=True),
    Sample("IMG_20240102_183005.jpg", "jpeg", one("noto:slightly-smiling-face", scale=0.7), "ramp #9fd8ff #e8f7ff"),
    Sample("reactions/angry.webp", "webp", one("noto:angry-face", scale=0.75), "flat #ffe3d6"),
    Sample("e4da3b7fbbce2345.png", "png 72 dpi", one("fluent:pouting-face"), "flat #ffffff", (200, 200)),
    Sample("mmexport1699347201553.gif", "gif", one("noto:enraged-face", scale=0.72), "flat #fff3d6", (180, 180),
           motion="shake"),
    Sample("reactions/生气.jpg", "jpeg", one("noto:face-with-steam-from-nose", y=0.42, scale=0.66), "flat #ffd84d",
           bottom="气死我了"),
    Sample("reactions/crying.gif", "gif", one("noto:loudly-crying-face", scale=0.7), "flat #cfe8fb", (180, 180),
           motion="hop"),
    Sample("received_884213367201.jpeg", "jpeg", one("fluent:crying-face", y=0.42, scale=0.62), "ramp #6f8fb8 #b7c8de",
           bottom="my sandwich fell"),
    Sample("笑死我了.gif", "gif", one("noto:face-with-tears-of-joy", y=0.42, scale=0.62), "flat #fff7c2",
           (200, 200), bottom="笑死我了", motion="shake"),
    Sample("reactions/thinking.png", "png 72 dpi", one("noto:thinking-face"), rim=True),
    Sample("Screenshot_20240311-091502.png", "png palette", one("fluent:thinking-face", y=0.56, scale=0.62),
           "flat #dfe6ee", (260, 260), top="did I lock the door"),
    Sample("reactions/sleepy.gif", "gif", one("noto:sleeping-face", scale=0.75), "flat #e3e6fb", (180, 180),
           motion="pulse"),
    Sample("reactions/shocked.jpg", "gif still", one("noto:face-screaming-in-fear", scale=0.8), "flat #d5c8f2",
           (200, 200)),
    Sample("reactions/love.png", "png", one("noto:smiling-face-with-heart-eyes"), rim=True),
    Sample("c81e728d9d4c2f63.webp", "webp", one("fluent:smiling-face-with-hearts", scale=0.8), "ramp #ffd6e4 #fff0f5"),
    Sample("reactions/thumbs up.png", "png", one("noto:thumbs-up"), rim=True, size=(200, 200)),
    Sample("reactions/mind-blown.webp", "webp moving", one("noto:exploding-head", scale=0.75), "rays #ffe08a #ffd15c",
           (200, 200), motion="pulse"),
    Sample("reactions/cool.png", "png palette", one("noto:smiling-face-with-sunglasses"), "flat #7fd1c7", (160, 160)),
    Sample("reactions/party.png", "png", one("noto:partying-face"), rim=True),
    Sample("tenor (1).gif", "gif", one("noto:clown-face", scale=0.72), "flat #d9f2e3", (160, 160), motion="shake"),
    Sample("reactions/无语.png", "png palette", one("noto:face-with-rolling-eyes", y=0.42, scale=0.64),
           "flat #e9e9ef", bottom="无语"),
    # Cats and dogs.
    Sample("IMG_20240214_081530.jpg", "jpeg", one(CAT, colour="white", scale=0.82), "flat #e0708a", (260, 260)),
    Sample("7c9e6679f1d04ab2.png", "png", one(CAT, colour="white"), rim=True, size=(220, 220)),
    Sample("animals/d3d9446802a44259.png", "png palette", one(CAT_HEAD, colour="white"), "flat #5f9e6e", (220, 220)),
    Sample("animals/black cat.png", "png", one("noto:black-cat"), rim=True),
    Sample("animals/orange-cat.jpg", "jpeg", one(CAT_HEAD, scale=0.8), "flat #cdebc5"),
    Sample("animals/grey cat walking.png", "png", one(f"{MAMMALS}/cartoon_cat_gerald_g._01.svg", scale=0.92),
           rim=True, size=(240, 220)),
    Sample("animals/grumpy cat face.png", "png palette", one("noto:pouting-cat"), "flat #b8d8f0", (180, 180)),
    Sample("a5bfc9e07964f8dd.jpg", "jpeg", one("noto:guide-dog", colour="black", scale=0.85), "flat #cfe8fb"),
    Sample("mmexport1701230045127.jpg", "jpeg", one(f"{MAMMALS}/dogs/black_lab_ganson.svg", scale=0.95),
           "flat #f4e3c1", (220, 240)),
    Sample("animals/45c48cce2e2d7fbd.png", "png palette",
           one(f"{MAMMALS}/dog_06_drawn_with_strai_01.svg", colour="black", scale=0.85), "flat #ffffff", (220, 220)),
    Sample("animals/brown dog.png", "png", one(f"{MAMMALS}/dog_06_drawn_with_strai_01.svg"), rim=True,
           size=(260, 240)),
    Sample("animals/spotted puppy.jpg", "jpeg", one("noto:dog", scale=0.8), "hill #bfe6ff #8fce73"),
    Sample("animals/poodle.webp", "webp", one("noto:poodle", scale=0.85), "flat #f6d4e0", (200, 200)),
    # Other animals.
    Sample("animals/panda.png", "png 16 bit", one("noto:panda"), "flat #ffffff", (140, 140)),
    Sample("animals/frog.png", "png", one("noto:frog"), rim=True, size=(200, 200)),
    Sample("animals/rubber duck.jpg", "jpeg", one("clipart:recreation/toys/rubber_duck1_ganson.svg", scale=0.85),
           "flat #e4f4fb"),
    Sample("1f0e3dad99908345.gif", "gif", one("noto:duck", scale=0.7), "hill #c9ecff #5aa7d6", (180, 180),
           motion="hop"),
    Sample("animals/penguin.png", "png", one("noto:penguin"), rim=True, size=(200, 200)),
    Sample("animals/fox.jpg", "jpeg", one("noto:fox", scale=0.8), "flat #dfead0", (200, 200)),
    Sample("animals/owl.png", "png palette", one("noto:owl", scale=0.85), "flat #3a3f5c", (180, 180)),
    Sample("animals/octopus.webp", "webp", one("noto:octopus", scale=0.8), "ramp #1d6fa5 #7cc7e8", (220, 220)),
    Sample("animals/独角兽.png", "png", one("noto:unicorn"), rim=True),
    # Food.
    Sample("pizza.png", "png", one("noto:pizza"), rim=True, size=(200, 200)),
    Sample("IMG_20231105_121844.jpg", "jpeg", one("fluent:hamburger", scale=0.8), "flat #f7e7ce"),
    Sample("拉面.jpg", "jpeg", one("noto:steaming-bowl", scale=0.8), "flat #c8553d", (220, 220)),
    Sample("bubble tea.png", "png", one("noto:bubble-tea"), rim=True, size=(200, 240)),
    Sample("8f14e45fceea167a.png", "png palette", one("noto:birthday-cake", scale=0.85), "flat #d8f0ea", (200, 200)),
    # Things.
    Sample("bicycle.bmp", "bmp", one("noto:bicycle", scale=0.9), "flat #ffffff", (150, 130)),
    Sample("umbrella.tif", "tiff", one("noto:umbrella-with-rain-drops", scale=0.85), "flat #dde7ef", (150, 150)),
    Sample("guitar.png", "png", one("noto:guitar"), rim=True, size=(200, 200)),
    Sample("6512bd43d9caa6e0.webp", "webp moving", one("noto:rocket", scale=0.7), "dots #1b2145 #3a4580", (200, 200),
           motion="hop"),
    # Captions.
    Sample("monday-again.jpg", "jpeg", one("noto:weary-face", y=0.52, scale=0.56), "flat #6c7a99", (300, 300),
           top="Monday", bottom="again"),
    Sample("five more minutes.jpg", "jpeg", one("noto:alarm-clock", y=0.54, scale=0.56), "flat #f2b84b", (280, 280),
           top="five more", bottom="minutes"),
    Sample("不想上班.png", "png palette",
           (Part("noto:face-with-spiral-eyes", 0.36, 0.36, 0.56), Part("noto:laptop", 0.76, 0.54, 0.4)), "flat #cfd8e3",
           (300, 260), bottom="不想上班"),
    Sample("nobody stops at one dumpling.jpg", "jpeg", one("noto:dumpling", scale=0.6), "flat #8c2f39",
           (300, 280), top="nobody stops", bottom="at one dumpling"),
    Sample("works on my machine.webp", "webp",
           (Part("noto:robot", 0.3, 0.5, 0.46), Part("noto:laptop", 0.7, 0.54, 0.42)), "ramp #24344d #4a6a8f",
           (300, 260), top="it works", bottom="on my machine"),
    Sample("coffee first.jpg", "jpeg", one("noto:hot-beverage", scale=0.56), "flat #8a5a3b", (260, 280),
           top="coffee first", bottom="questions later"),
    Sample("微信图片_20240518193042.jpg", "jpeg",
           (Part("noto:fish", 0.5, 0.45, 0.62),), "ramp #2f7fb8 #9fdcf0", (260, 240), bottom="摸鱼中"),
    # Scenes.
    Sample("cat watching fish.jpg", "jpeg",
           (Part(CAT, 0.3, 0.58, 0.62, flip=True), Part("noto:tropical-fish", 0.74, 0.42, 0.34)),
           "hill #d6efff #8cc6e8", (300, 220)),
    Sample("晚安", "jpeg",
           (Part("noto:crescent-moon", 0.76, 0.24, 0.3), Part("noto:sleeping-face", 0.4, 0.52, 0.5)),
           "ramp #131a3c #3b4a86", (280, 240), bottom="晚安"),
    Sample("IMG_20240707_153322.jpg", "jpeg turned",
           (Part("noto:sun", 0.8, 0.2, 0.26), Part("noto:palm-tree", 0.28, 0.5, 0.66),
            Part("noto:crab", 0.68, 0.76, 0.3)),
           "hill #a9e0f7 #f3dca2", (300, 240)),
    Sample("f47ac10b-58cc-4372-a567-0e02b2c3d479.jpg", "jpeg",
           (Part("noto:penguin", 0.34, 0.56, 0.56), Part("noto:snowman", 0.7, 0.58, 0.52)),
           "hill #bcd9ee #ffffff", (300, 240)),
]  # fmt: skip


# Drawings.


@cache
def drawing(what: str, edge: int) -> Image.Image:
    """One drawing, RGBA, cut to its own shape and ``edge`` long on its longer side."""
    source, _, name = what.partition(":")
    root = downloads.folder(PACKAGES[source])
    how: dict[str, Any]
    if source == "clipart":
        how = {"svg_path": str(root / "usr/share/openclipart/svg" / name)}
    else:
        icons = _icons(root / "icons.json")
        icon = icons["icons"][name]
        box = " ".join(str(icon.get(side, icons.get(side, 0))) for side in ("left", "top", "width", "height"))
        space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        how = {"svg_string": f'<svg {space} viewBox="{box}">{icon["body"]}</svg>'}
    data = resvg_py.svg_to_bytes(**how, width=2 * edge, dpi=96, skip_system_fonts=True)
    with Image.open(io.BytesIO(bytes(data))) as image:
        picture = image.convert("RGBA")
    picture = picture.crop(picture.getchannel("A").getbbox())
    size = [max(1, round(edge * side / max(picture.size))) for side in picture.size]
    return picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)


@cache
def _icons(path: Path) -> Any:
    return json.loads(path.read_text())


def painted(picture: Image.Image, colour: str) -> Image.Image:
    """An animal with a white or a black coat: what is yellow to brown changes, eyes, nose and tongue don't."""
    pixels = np.asarray(picture).astype(np.float32) / 255
    rgb, alpha = pixels[..., :3], pixels[..., 3]
    hsv = np.asarray(picture.convert("RGB").convert("HSV")).astype(np.float32)
    coat = (hsv[..., 0] > 4) & (hsv[..., 0] < 48) & (hsv[..., 1] > 40) & (hsv[..., 2] > 70)
    light = rgb @ np.asarray([0.299, 0.587, 0.114], np.float32)
    middle = float(np.median(light[coat & (alpha > 0.5)]))
    if colour == "white":
        shade = np.clip(0.97 + 0.7 * (light - middle), 0.7, 1)
        tint = np.asarray([1, 0.995, 0.985], np.float32)
    elif colour == "black":
        shade = np.clip(0.17 + 0.45 * (light - middle), 0.06, 0.42)
        tint = np.asarray([0.96, 0.97, 1.06], np.float32)
    else:
        raise ValueError(colour)
    # Soft where the coat ends, so that no yellow seam stays.
    mask = Image.fromarray((coat * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.8))
    share = np.asarray(mask).astype(np.float32)[..., None] / 255
    mixed = rgb * (1 - share) + shade[..., None] * tint * share
    return Image.fromarray((np.dstack([mixed, alpha]).clip(0, 1) * 255).astype(np.uint8))


# Pictures.


def ground(kind: str, size: tuple[int, int], random: np.random.Generator) -> Image.Image:
    """What the drawings stand on. Flat areas throughout, as in the pictures that people make by hand."""
    if not kind:
        return Image.new("RGBA", size)
    name, *colours = kind.split()
    width, height = size
    if name == "ramp":
        column = Image.linear_gradient("L").resize(size)
        top, bottom = (Image.new("RGBA", size, colour) for colour in colours)
        return Image.composite(bottom, top, column)
    fine = 3
    canvas = Image.new("RGBA", (width * fine, height * fine), colours[0])
    draw = ImageDraw.Draw(canvas)
    if name == "rays":
        far = fine * (width + height)
        middle = (fine * width / 2, fine * height / 2)
        for number in range(12):
            angles = [math.radians(30 * number + offset) for offset in (0, 15)]
            ends = [(middle[0] + far * math.cos(angle), middle[1] + far * math.sin(angle)) for angle in angles]
            draw.polygon([middle, *ends], colours[1])
    elif name == "dots":
        for _ in range(28):
            x, y, r = (random.uniform(0, width), random.uniform(0, height), random.uniform(3, 9))
            draw.ellipse([fine * (x - r), fine * (y - r), fine * (x + r), fine * (y + r)], colours[1])
    elif name == "hill":
        draw.ellipse([-fine * width, fine * height * 0.66, 2 * fine * width, fine * height * 4], colours[1])
    elif name != "flat":
        raise ValueError(name)
    return canvas.resize(size, Image.Resampling.BOX)


def rimmed(picture: Image.Image, width: int) -> Image.Image:
    """With the white rim of a sticker. ``picture`` needs room for it."""
    reach = Image.new("L", picture.size)
    alpha = picture.getchannel("A").point([255 if level > 100 else 0 for level in range(256)])
    for step in range(24):
        angle = math.radians(15 * step)
        moved = Image.new("L", picture.size)
        moved.paste(alpha, (round(width * math.cos(angle)), round(width * math.sin(angle))))
        reach.paste(255, (0, 0), moved)
    whole = Image.new("RGBA", picture.size, "white")
    whole.putalpha(reach.filter(ImageFilter.GaussianBlur(0.7)))
    whole.alpha_composite(picture)
    return whole


MOTIONS: dict[str, Callable[[float], tuple[float, float, float]]] = {
    "hop": lambda t: (-0.07 * abs(math.sin(math.pi * t)), 0, 1),
    "shake": lambda t: (0, 8 * math.sin(2 * math.pi * t), 1),
    "pulse": lambda t: (0, 0, 1 + 0.08 * math.sin(2 * math.pi * t)),
}
"""At the time [0, 1) of the loop: how far down (of the height), turned by how many degrees, and how large."""
FRAMES = 6


def compose(sample: Sample, at: float) -> Image.Image:
    """One frame, RGBA."""
    random = np.random.default_rng([SEED, zlib.crc32(sample.path.encode())])
    canvas = ground(sample.ground, sample.size, random)
    width, height = sample.size
    down, turn, grow = MOTIONS[sample.motion](at) if sample.motion else (0.0, 0.0, 1.0)
    for part in sample.parts:
        picture = drawing(part.what, round(min(sample.size) * part.scale * grow))
        if part.colour:
            picture = painted(picture, part.colour)
        if part.flip:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if part.turn + turn:
            picture = picture.rotate(part.turn + turn, Image.Resampling.BICUBIC, expand=True)
        x, y = round(width * part.x - picture.width / 2), round(height * (part.y + down) - picture.height / 2)
        layer = Image.new("RGBA", sample.size)
        layer.paste(picture, (x, y))
        canvas.alpha_composite(layer)
    if sample.rim:
        canvas = rimmed(canvas, 7)
    for text, top in ((sample.top, True), (sample.bottom, False)):
        if text:
            caption(canvas, text, top)
    return canvas


def caption(canvas: Image.Image, text: str, top: bool) -> None:
    """Bold, white with a black outline, as large as fits: the way captions have been for twenty years."""
    han = re.search(r"[\u4e00-\u9fff]", text) is not None
    text = text.upper()
    draw = ImageDraw.Draw(canvas)
    for points in range(round(canvas.height * 0.2), 8, -1):
        font = ImageFont.truetype(
            HAN if han else LATIN, points, index=HAN_SIMPLIFIED if han else 0, layout_engine=ImageFont.Layout.BASIC
        )
        stroke = max(2, round(points / 14))
        left, above, right, below = draw.textbbox((0, 0), text, font, stroke_width=stroke)
        if right - left <= canvas.width * 0.94:
            break
    margin = round(canvas.height * 0.025)
    x = (canvas.width - (right - left)) / 2 - left
    y = margin - above if top else canvas.height - margin - below
    draw.text((x, y), text, "white", font, stroke_width=stroke, stroke_fill="black")


# Files.


def encode(sample: Sample) -> bytes:
    """The file's bytes, in the kind that the table asks for."""
    moving = sample.kind in ("gif", "webp moving")
    frames = [compose(sample, number / FRAMES) for number in range(FRAMES if moving else 1)]
    first, opaque = frames[0], frames[0].convert("RGB")
    data = io.BytesIO()
    match sample.kind:
        case "png":
            first.save(data, "PNG", optimize=True)
        case "png 72 dpi":
            first.save(data, "PNG", optimize=True, dpi=(72, 72))
        case "png palette":
            opaque.quantize(48, dither=Image.Dither.NONE).save(data, "PNG", optimize=True)
        case "png 16 bit":
            grey = np.asarray(opaque.convert("L")).astype(np.uint16) * 257
            Image.fromarray(grey).save(data, "PNG", optimize=True)
        case "jpeg":
            opaque.save(data, "JPEG", quality=85, optimize=True)
        case "jpeg turned":  # as a phone that is held upright saves: lying, and a note to turn it
            exif = Image.Exif()
            exif[0x0112] = 6
            opaque.transpose(Image.Transpose.ROTATE_90).save(data, "JPEG", quality=85, optimize=True, exif=exif)
        case "gif still":
            opaque.quantize(64, dither=Image.Dither.NONE).save(data, "GIF")
        case "gif":
            palette = opaque.quantize(48)
            small = [frame.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
            small[0].save(data, "GIF", save_all=True, append_images=small[1:], duration=110, loop=0)
        case "webp":
            opaque.save(data, "WEBP", quality=80, method=6)
        case "webp moving":
            frames = [frame.convert("RGB") for frame in frames]
            frames[0].save(
                data, "WEBP", save_all=True, append_images=frames[1:], duration=110, loop=0, quality=70, method=6
            )
        case "bmp":
            opaque.quantize(64, dither=Image.Dither.NONE).save(data, "BMP")
        case "tiff":
            opaque.save(data, "TIFF", compression="tiff_lzw")
        case _:
            raise ValueError(sample.kind)
    return data.getvalue()


SOURCES = """\
The pictures in this folder
===========================

They are here so that the first `make run` has something to find. `python -m training.samples` makes them again; it
writes this file too. {broken} is half a picture, so that you see what memewatchd says of one.

No picture shows a real person; the captions are ours or common sayings. What was done to the drawings: put on a ground
or given a white rim, some moved, turned, mirrored or painted in another colour, some captioned.

Noto Emoji ("noto" below), copyright Google Inc., Apache License 2.0 (the text is in LICENSE, one folder up)
  https://github.com/googlefonts/noto-emoji, from the npm package {noto}
Fluent UI Emoji ("fluent" below), copyright (c) Microsoft Corporation, MIT License (the text is at the end)
  https://github.com/microsoft/fluentui-emoji, from the npm package {fluent}
Open Clip Art Library ("clipart" below), dedicated to the public domain by its authors
  https://www.openclipart.org/, from the Debian package {clipart}
The captions are set in Bebas Neue and Noto Sans CJK (both SIL Open Font License 1.1, which asks nothing of pictures),
  from the Debian packages {latin} and {han}

The pictures themselves, where anything in them is ours: Apache License 2.0, as all of memewatchd.

File: kind: what it is made of
------------------------------
{table}

MIT License (Fluent UI Emoji)
-----------------------------
Copyright (c) Microsoft Corporation.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def sources() -> str:
    packages = {short: downloads.BY_NAME[name] for short, name in PACKAGES.items()}
    packages |= {"latin": FONTS[0], "han": FONTS[1]}
    lines = [
        f"{sample.path}: {sample.kind}: {', '.join(dict.fromkeys(part.what for part in sample.parts))}"
        for sample in sorted(TABLE, key=lambda sample: sample.path)
    ]
    return SOURCES.format(
        broken=BROKEN,
        table="\n".join([*lines, f"{BROKEN}: png: noto:crayon, cut off in the middle"]),
        **{short: f"{package.name} {package.version}" for short, package in packages.items()},
    )


def main() -> None:
    needed = set(PACKAGES.values())
    downloads.PINNED[:] = [*(package for package in downloads.PINNED if package.name in needed)]
    downloads.fetch_all()
    files = {sample.path: encode(sample) for sample in TABLE}
    whole = encode(Sample(BROKEN, "png", one("noto:crayon"), "flat #ffffff", (160, 160)))
    files[BROKEN] = whole[: len(whole) * 3 // 5]
    files["SOURCES.txt"] = sources().encode()
    for name, data in files.items():
        path = SAMPLES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for path in sorted(SAMPLES.rglob("*")):
        if path.is_file() and str(path.relative_to(SAMPLES)) not in files:
            print(f"  not from here: {path.relative_to(SAMPLES)}", file=sys.stderr)
    largest = max(files, key=lambda name: len(files[name]))
    print(f"{len(files) - 1} pictures, {sum(map(len, files.values()))} bytes; {largest}: {len(files[largest])}")


if __name__ == "__main__":
    main()
