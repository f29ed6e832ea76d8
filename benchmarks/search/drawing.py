"""Draws the meme set: openmoji's drawings, captioned, in stickers, moving; and chats.

The drawings are of the set that the bundled encoder is only measured with, so that nothing it learned from is asked
for. They and the fonts come from the packages that training/downloads.py pins; openmoji's terms are CC BY-SA 4.0, and
what is drawn stays on this machine.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import resvg_py
from PIL import Image, ImageDraw, ImageFont

from benchmarks.search.memes import BUBBLE, GIF, PLAIN, SEED, STICKER, TRADITIONAL, Meme
from training import downloads
from training.downloads import FONTS, HAN, HAN_SIMPLIFIED, LATIN
from training.samples import MOTIONS, ground, rimmed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OPENMOJI = "@iconify-json/openmoji"
FRAMES = 8
HAN_TRADITIONAL = HAN_SIMPLIFIED + 1
TAGS_ATTRIBUTE = "user.xdg.tags"
GROUNDS = (
    "flat #ffffff", "flat #f4e3c1", "flat #cfe8fb", "flat #6c7a99", "flat #e0708a", "ramp #24344d #4a6a8f",
    "ramp #9fd8ff #e8f7ff", "ramp #ffd6e4 #fff0f5", "hill #bfe6ff #8fce73", "rays #ffe08a #ffd15c",
    "dots #1b2145 #3a4580", "flat #26262a",
)  # fmt: skip
INKS = ("#d8262f", "#2f6fd0", "#26262a", "#3f7f3f", "#8345b5")


def fetch() -> None:
    """Have the drawings and fonts here. Raises SystemExit where a client is missing or a hash is wrong."""
    downloads.PINNED[:] = [downloads.BY_NAME[OPENMOJI], *FONTS]
    try:
        downloads.fetch_all()
    except FileNotFoundError as error:
        raise SystemExit(f"{error.filename} is missing; the drawings come with npm, the fonts with apt-get") from None


def draw_set(memes: Sequence[Meme], folder: Path) -> bool:
    """Write every file below ``folder``, with its tags on it; those there already are kept. Whether tags could be."""
    folder.mkdir(parents=True, exist_ok=True)
    can_tag = True
    for number, meme in enumerate(memes):
        path = folder / meme.file
        if not path.exists():
            path.write_bytes(encode(meme))
        if meme.tags and can_tag:
            try:
                os.setxattr(path, TAGS_ATTRIBUTE, ",".join(meme.tags).encode())
            except OSError:
                can_tag = False
        if number % 100 == 99:
            print(f"  drawn: {number + 1} of {len(memes)}", file=sys.stderr, flush=True)
    return can_tag


@cache
def _icons() -> Any:
    return json.loads((downloads.folder(OPENMOJI) / "icons.json").read_text())


@cache
def drawing(icon: str, edge: int) -> Image.Image:
    """One drawing, RGBA, cut to its own shape and ``edge`` long on its longer side."""
    icons = _icons()
    entry = icons["icons"][icon]
    box = " ".join(str(entry.get(side, icons.get(side, 0))) for side in ("left", "top", "width", "height"))
    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = f'<svg {space} viewBox="{box}">{entry["body"]}</svg>'
    data = resvg_py.svg_to_bytes(svg_string=svg, width=2 * edge, dpi=96, skip_system_fonts=True)
    with Image.open(io.BytesIO(bytes(data))) as image:
        picture = image.convert("RGBA")
    picture = picture.crop(picture.getchannel("A").getbbox())
    width, height = (max(1, round(edge * side / max(picture.size))) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def encode(meme: Meme) -> bytes:
    """The file's bytes, in the format that its name says."""
    random = np.random.default_rng([SEED, zlib.crc32(meme.key.encode())])
    data = io.BytesIO()
    if meme.kind == GIF:
        state = random.bit_generator.state
        frames = []
        for number in range(FRAMES):
            random.bit_generator.state = state  # every frame the same but for what moves
            frames.append(_moving(meme, number, random).convert("RGB"))
        first = frames[-1].quantize(64)  # has the words' colour too
        small = [frame.quantize(palette=first, dither=Image.Dither.NONE) for frame in frames]
        small[0].save(data, "GIF", save_all=True, append_images=small[1:], duration=180, loop=0)
        return data.getvalue()
    picture = {BUBBLE: _chat, STICKER: _sticker, PLAIN: _plain}.get(meme.kind, _captioned)(meme, random)
    if meme.file.endswith(".jpg"):
        picture.convert("RGB").save(data, "JPEG", quality=int(random.integers(60, 92)))
    elif meme.file.endswith(".webp"):
        picture.save(data, "WEBP", quality=int(random.integers(60, 90)))
    else:
        picture.save(data, "PNG")
    return data.getvalue()


def _ground(size: tuple[int, int], random: np.random.Generator) -> Image.Image:
    return ground(GROUNDS[int(random.integers(len(GROUNDS)))], size, random).convert("RGBA")


def _put(canvas: Image.Image, picture: Image.Image, x: float, y: float) -> None:
    """With its middle there (of the canvas's sides)."""
    layer = Image.new("RGBA", canvas.size)
    layer.paste(picture, (round(canvas.width * x - picture.width / 2), round(canvas.height * y - picture.height / 2)))
    canvas.alpha_composite(layer)


def _captioned(meme: Meme, random: np.random.Generator) -> Image.Image:
    size = (int(random.integers(420, 620)), int(random.integers(400, 560)))
    canvas = _ground(size, random)
    _put(canvas, drawing(meme.icon, round(min(size) * random.uniform(0.5, 0.62))), random.uniform(0.44, 0.56), 0.5)
    for line, top in zip(meme.lines, (True, False), strict=True):
        caption(canvas, line, top, meme.language)
    return canvas


def _plain(meme: Meme, random: np.random.Generator) -> Image.Image:
    size = (int(random.integers(240, 480)), int(random.integers(240, 420)))
    canvas = _ground(size, random)
    picture = drawing(meme.icon, round(min(size) * random.uniform(0.62, 0.86)))
    if random.random() < 0.4:
        picture = picture.rotate(random.uniform(-15, 15), Image.Resampling.BICUBIC, expand=True)
    _put(canvas, picture, random.uniform(0.46, 0.54), random.uniform(0.47, 0.53))
    return canvas


def _sticker(meme: Meme, random: np.random.Generator) -> Image.Image:
    canvas = Image.new("RGBA", (300, 320))
    _put(canvas, drawing(meme.icon, 190), 0.5, 0.38)
    ink = INKS[int(random.integers(len(INKS)))]
    caption(canvas, meme.lines[0], False, meme.language, (ink, "white"), 0.2)
    canvas = rimmed(canvas, 7)
    if random.random() < 0.5:
        white = Image.new("RGBA", canvas.size, "#fffdf5")
        white.alpha_composite(canvas)
        return white
    return canvas


def _moving(meme: Meme, number: int, random: np.random.Generator) -> Image.Image:
    canvas = _ground((320, 300), random)
    down, turn, grow = MOTIONS[sorted(MOTIONS)[int(random.integers(len(MOTIONS)))]](number / FRAMES)
    picture = drawing(meme.icon, round(170 * grow))
    if turn:
        picture = picture.rotate(turn, Image.Resampling.BICUBIC, expand=True)
    _put(canvas, picture, 0.5, 0.4 + down)
    if line := meme.lines[number * len(meme.lines) // FRAMES]:
        caption(canvas, line, False, meme.language)
    return canvas


def _font(text: str, points: int, language: str, bold: bool = True) -> ImageFont.FreeTypeFont:
    plain = ImageFont.Layout.BASIC  # the same on machines with and without Raqm
    if re.search(r"[\u3000-\u9fff\uff00-\uffef]", text) is None and bold:
        return ImageFont.truetype(LATIN, points, layout_engine=plain)
    index = HAN_TRADITIONAL if language == TRADITIONAL else HAN_SIMPLIFIED
    file = HAN if bold else HAN.with_name("NotoSansCJK-Regular.ttc")
    return ImageFont.truetype(file, points, index=index, layout_engine=plain)


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """``text`` in lines that are at most so wide, broken at spaces or, in Chinese, anywhere."""
    pieces = re.findall(r"[a-zA-Z0-9']+[?!.,]*\s*|\s*.", text)
    lines = [""]
    for piece in pieces:
        if lines[-1] and font.getlength((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.strip() for line in lines]


def caption(
    canvas: Image.Image,
    text: str,
    top: bool,
    language: str,
    colours: tuple[str, str] = ("white", "black"),
    tall: float = 0.13,
) -> None:
    """Bold, with an outline, as large as fits in two lines: the way captions have been for twenty years."""
    text = text.upper()
    draw = ImageDraw.Draw(canvas)
    for points in range(round(canvas.height * tall), 10, -1):
        font = _font(text, points, language)
        lines = wrapped(text, font, canvas.width * 0.92)
        if len(lines) <= (1 if len(text) < 12 else 2) and max(map(font.getlength, lines)) <= canvas.width * 0.92:
            break
    stroke = max(2, round(points / 12))
    block = "\n".join(lines)
    how: dict[str, Any] = {"font": font, "stroke_width": stroke, "align": "center", "spacing": stroke}
    left, above, right, below = draw.multiline_textbbox((0, 0), block, **how)
    margin = round(canvas.height * 0.03)
    at = ((canvas.width - (right - left)) / 2 - left, margin - above if top else canvas.height - margin - below)
    draw.multiline_text(at, block, colours[0], stroke_fill=colours[1], **how)


def _chat(meme: Meme, random: np.random.Generator) -> Image.Image:
    """Bubbles on grey, theirs white on the left, ours green on the right."""
    width, points, pad = int(random.integers(420, 560)), int(random.integers(22, 30)), 14
    canvas = Image.new("RGBA", (width, 900), "#ededed")
    draw = ImageDraw.Draw(canvas)
    y = 24
    for number, line in enumerate(meme.lines):
        font = _font(line, points, meme.language, bold=False)
        block = "\n".join(wrapped(line, font, width - 190))
        _, _, right, below = draw.multiline_textbbox((0, 0), block, font, spacing=6)
        ours = number % 2 == 1
        x = width - 76 - right - 2 * pad if ours else 76
        draw.rounded_rectangle([x, y, x + right + 2 * pad, y + below + 2 * pad], 10, "#95ec69" if ours else "white")
        draw.multiline_text((x + pad, y + pad), block, "#111111", font, spacing=6)
        face = width - 60 if ours else 16
        draw.rounded_rectangle([face, y, face + 44, y + 44], 6, INKS[int(random.integers(len(INKS)))])
        y += round(below) + 2 * pad + 24
    return canvas.crop((0, 0, width, max(y, 200)))
