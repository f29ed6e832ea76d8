"""What was read in a picture → the lines that are worth keeping. Pure, but for a sample to read."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL import Image

# A line of less is mostly texture that looked like writing; a line of a character or two is so more often.
_LEAST_SCORE = 0.6
_LEAST_SCORE_SHORT = 0.8
_SHORT = 2
_MOST_CHARACTERS = 8_000
"""Of one picture: a page of a book has 3,000. As JSON it fits into one message."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it was read, how sure that is (0 to 1), and the upright box around it in pixels of what was read."""

    text: str
    score: float
    left: float
    top: float
    right: float
    bottom: float


class Kept:
    """Lines of one picture, frame after frame; what an earlier frame said isn't said again."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[str, float]] = {}
        self._left = _MOST_CHARACTERS

    def add(self, found: Iterable[Line]) -> bool:
        """Keeps what is good and new. Says whether anything good was there."""
        good = [(text, line.score) for line in found if (text := _cleaned(line.text)) and _is_good(text, line.score)]
        for text, score in good:
            # Frames of one caption are read with a space more or less.
            key = "".join(text.casefold().split())
            known = self._lines.get(key)
            if known is not None:
                self._lines[key] = max(known, (text, score), key=lambda line: line[1])
            elif len(text) <= self._left:
                self._lines[key] = (text, score)
                self._left -= len(text)
        return bool(good)

    def result(self) -> list[tuple[str, float]]:
        """(line, score), in the order in which they were read."""
        return [(text, round(score, 3)) for text, score in self._lines.values()]


def _cleaned(text: str) -> str:
    kept = (" " if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") else character for character in text)
    return unicodedata.normalize("NFC", " ".join("".join(kept).split()))


def _is_good(text: str, score: float) -> bool:
    letters = sum(character.isalnum() for character in text)
    return letters > 0 and score >= (_LEAST_SCORE_SHORT if letters <= _SHORT else _LEAST_SCORE)


def sample() -> Image.Image:
    """A picture with one line of writing."""
    from PIL import Image, ImageDraw, ImageFont

    im = Image.new("RGB", (480, 480), "white")
    ImageDraw.Draw(im).text((40, 200), "memewatchd", "black", ImageFont.load_default(64))
    return im
