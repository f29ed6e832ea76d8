"""What the openclipart drawings show, from their titles and file names."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.downloads import folder

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Clipart:
    """One drawing: its SVG, what it is called, and whether it is held out of training."""

    path: Path
    name: str
    category: str
    held_out: bool


_TITLE = re.compile(r"<dc:title[^>]*>([^<]{2,120})</dc:title>")
_JUNK = re.compile(
    r"\b(?:svg|clip ?art|open ?clip ?art|drawing|vector|untitled|unnamed|new document|layer)\b|\d+", re.IGNORECASE
)


def _words(text: str) -> str:
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return " ".join(_JUNK.sub(" ", re.sub(r"[^\w]+|_", " ", text)).split()).lower()


def read_clipart() -> list[Clipart]:
    """Every drawing of openclipart-svg, in the order of its paths; every tenth, by hash, is held out."""
    root = folder("openclipart-svg") / "usr" / "share" / "openclipart" / "svg"
    paths = sorted(root.rglob("*.svg"))
    titles, creators = [], []
    for path in paths:
        found = _TITLE.findall(path.read_text(errors="replace"))
        titles.append(_words(found[0]) if found else "")
        creators.append({word for title in found[1:] for word in _words(title).split()})
    counts = Counter(titles)
    drawings = []
    for path, title, creator in zip(paths, titles, creators, strict=True):
        # A title that many drawings bear is a collection's; the stem ends with its (clipped) creator's name.
        words = _words(path.stem).split()
        while words and any(name.startswith(words[-1]) for name in creator):
            words.pop()
        stem = " ".join(words)
        name = title if title and counts[title] <= 3 else stem or title
        held_out = hashlib.sha256(path.name.encode()).digest()[0] % 10 == 0
        if len(name) > 2:
            drawings.append(Clipart(path, name, path.parent.name.replace("_", " "), held_out))
    return drawings
