"""Which frames of an animation are read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from memewatchd.pictures.captions import choose
from memewatchd.pictures.frames import Shown

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOK = np.zeros((32, 32, 3), np.uint8)


def page(text: str, letters: int = 30, noise: int = 0) -> Image.Image:
    im = Image.radial_gradient("L").resize((480, 360)).convert("RGB")
    ImageDraw.Draw(im).text(
        (240, 300), text, "white", ImageFont.load_default(letters), "ma", stroke_width=1, stroke_fill="black"
    )
    if noise:
        out = io.BytesIO()
        im.save(out, "JPEG", quality=noise)
        return Image.open(out)
    return im


def chosen(pages: Iterable[tuple[Image.Image, float]], most: int = 8) -> list[int]:
    shown = (Shown(number, ms, LOOK, False, lambda im=im: im) for number, (im, ms) in enumerate(pages))  # type: ignore[misc]
    return [number for number, _ in choose(shown, most, lambda im: im)]


def test_the_next_line_in_the_same_place() -> None:
    said = [page("I told you so", 22), page("you never did", 22), page("oh yes I did", 22)]
    assert chosen((im, 500.0) for im in said for _ in range(4)) == [0, 4, 8]


def test_a_poor_compression_is_no_other_text() -> None:
    assert chosen((page("the same", noise=quality), 100.0) for quality in (90, 40, 20, 30, 60)) == [0]


def test_what_comes_back_is_not_read_again() -> None:
    one, two = page("this"), page("that")
    assert chosen([(one, 100.0), (two, 100.0), (one, 100.0), (two, 100.0)]) == [0, 1]


def test_of_many_the_short_ones_go_and_the_first_stays() -> None:
    said = ["".join(chr(97 + (number * 7 + place * 11) % 26) for place in range(12)) for number in range(20)]
    pages = [(page(text), 1000.0 if number % 5 == 0 else 10.0) for number, text in enumerate(said)]
    assert chosen(pages, 4) == [0, 5, 10, 15]
    assert chosen([(page("only a moment"), 1.0), *pages[:10]], 2)[0] == 0


def test_nothing() -> None:
    assert chosen([]) == []
