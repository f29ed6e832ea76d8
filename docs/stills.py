"""Makes the pictures in docs/ from real answers: a daemon of its own on samples/, asked over its socket.

python docs/stills.py       # writes docs/search.png; needs the Debian package fonts-noto-cjk
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests" / "plugins"))

from real_daemon import Daemon  # noqa: E402 - it starts a daemon on a home of its own

FONT = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
QUERIES = ("angry", "生气", "white cat", "火箭", "not going to work", "不想上班")
SHOWN, EDGE, GAP, LEFT = 5, 132, 14, 340
INK, PAPER, PALE = "#1d1f24", "#ffffff", "#7a7f8a"


def draw(answers: dict[str, list[str]]) -> Image.Image:
    """A row for each query: the command, then its first hits with their names."""
    row = EDGE + 34 + GAP
    image = Image.new("RGB", (LEFT + SHOWN * (EDGE + GAP) + GAP, row * len(answers) + GAP), PAPER)
    pen = ImageDraw.Draw(image)
    large, small = ImageFont.truetype(FONT, 19), ImageFont.truetype(FONT, 12)
    for number, (query, paths) in enumerate(answers.items()):
        top = GAP + number * row
        pen.text((GAP, top + EDGE / 2 - 28), "$ memewatch search", PALE, large)
        pen.text((GAP + 20, top + EDGE / 2), query, INK, large)
        for place, path in enumerate(paths):
            left = LEFT + place * (EDGE + GAP)
            with Image.open(path) as opened:
                picture = opened.convert("RGBA")
            picture.thumbnail((EDGE, EDGE))
            pen.rectangle((left, top, left + EDGE, top + EDGE), fill="#f2f3f5")
            at = (left + (EDGE - picture.width) // 2, top + (EDGE - picture.height) // 2)
            image.paste(picture, at, picture)
            name = os.path.basename(path)
            while small.getlength(name) > EDGE:
                name = name[: len(name) // 2 - 1] + "…" + name[len(name) // 2 + 2 :].lstrip("…")
            pen.text((left, top + EDGE + 6), name, PALE, small)
    return image


def main() -> None:
    """Ask, draw, write."""
    home = Path(tempfile.mkdtemp(prefix="meme-"))
    try:
        shutil.copytree(REPO / "samples", home / "Memes")
        with Daemon(home, "--model", "bundled") as daemon:
            daemon.wait()
            answers = {query: [os.fsdecode(path) for path in daemon.search(query, limit=SHOWN)] for query in QUERIES}
        draw(answers).quantize(192).save(REPO / "docs" / "search.png", optimize=True)
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
