"""Makes docs/pick.png and docs/status.png: the real rofi and a real terminal, on an X server of its own, over samples/.

python docs/desk_stills.py    # needs the Debian packages xvfb, rofi, xclip, xdotool, xterm and fonts-noto-cjk
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import ImageGrab

if TYPE_CHECKING:
    from PIL import Image

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO / "tests" / "plugins"), str(REPO / "benchmarks")]

import material  # noqa: E402 - pictures by the thousand
from real_daemon import Daemon  # noqa: E402 - it starts a daemon on a home of its own
from x_server import x_server  # noqa: E402

SIZE = (1280, 720)
TYPED = "cat"
NEW = 400
CLIENT = [sys.executable, "-m", "memewatchd.client"]


def seen(name: str, environ: dict[str, str]) -> None:
    """Wait for a window of that class."""
    search = ["xdotool", "search", "--sync", "--onlyvisible", "--class", name]
    subprocess.run(search, env=environ, check=True, stdout=subprocess.DEVNULL, timeout=60)
    time.sleep(2)


def pick(environ: dict[str, str]) -> Image.Image:
    """rofi in the middle of typing."""
    picking = subprocess.Popen([*CLIENT, "pick", "--with", "rofi"], cwd=REPO, env=environ, stdin=subprocess.DEVNULL)
    seen("rofi", environ)
    subprocess.run(["xdotool", "type", "--delay", "60", TYPED], env=environ, check=True)
    time.sleep(3)  # icons are loaded one after another
    picture = ImageGrab.grab(xdisplay=environ["DISPLAY"])
    subprocess.run(["xdotool", "key", "Escape"], env=environ, check=True)
    picking.wait(60)
    return picture


def status(environ: dict[str, str]) -> Image.Image:
    """A terminal in which `memewatch status` has been said."""
    words = [
        "xterm",
        "-fa",
        "DejaVu Sans Mono",
        "-fs",
        "11",
        "-geometry",
        "118x20+0+0",
        "-bg",
        "#16181d",
        "-fg",
        "#e6e6e6",
    ]
    said = 'printf "$ memewatch status\\n"; "$0" -m memewatchd.client status; printf "$ "; exec sleep 60'
    terminal = subprocess.Popen([*words, "-e", "sh", "-c", said, sys.executable], cwd=REPO, env=environ)
    try:
        seen("xterm", environ)
        return ImageGrab.grab(xdisplay=environ["DISPLAY"])
    finally:
        terminal.terminate()
        terminal.wait()


def keep(picture: Image.Image, name: str) -> None:
    """Without the empty desk around it."""
    picture = picture.convert("RGB")
    picture.crop(picture.getbbox()).quantize(192).save(REPO / "docs" / name, optimize=True)


def main() -> None:
    """Start all of it, type, take the pictures."""
    home = Path(tempfile.mkdtemp(prefix="meme-"))
    try:
        shutil.copytree(REPO / "samples", home / "Memes")
        material.pictures(home / "new", NEW)
        with x_server(SIZE) as display, Daemon(home, "--model", "bundled", MEMEWATCHD_WORDS="true") as daemon:
            daemon.wait()
            environ = daemon.environ | {"DISPLAY": display}
            thumbnails = home / ".cache" / "thumbnails" / "large"
            indexed = daemon.status()["indexed"]
            daemon.until(lambda: len(list(thumbnails.glob("*.png"))) == indexed, "the thumbnails")
            keep(pick(environ), "pick.png")
            (home / "new").rename(home / "Memes" / "new")
            daemon.until(lambda: daemon.status()["pending"] in range(1, NEW * 2 // 3), "it indexes")
            keep(status(environ), "status.png")
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
