"""Makes docs/pick.png: the real rofi over samples/, on an X server of its own, in the middle of typing.

python docs/pick_still.py    # needs the Debian packages xvfb, rofi, xclip, xdotool and fonts-noto-cjk
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import ImageGrab

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests" / "plugins"))

from real_daemon import Daemon  # noqa: E402 - it starts a daemon on a home of its own

SIZE = (1280, 720)
TYPED = "cat"


def main() -> None:
    """Start all of it, type, take the picture."""
    home = Path(tempfile.mkdtemp(prefix="meme-"))
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{SIZE[0]}x{SIZE[1]}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as stream:
            display = f":{stream.readline().strip()}"
        shutil.copytree(REPO / "samples", home / "Memes")
        with Daemon(home, "--model", "bundled") as daemon:
            daemon.wait()
            thumbnails = home / ".cache" / "thumbnails" / "large"
            indexed = daemon.status()["indexed"]
            daemon.until(lambda: len(list(thumbnails.glob("*.png"))) == indexed, "the thumbnails")
            environ = daemon.environ | {"DISPLAY": display}
            pick = [sys.executable, "-m", "memewatchd.client", "pick", "--with", "rofi"]
            picking = subprocess.Popen(pick, cwd=REPO, env=environ, stdin=subprocess.DEVNULL)
            search = ["xdotool", "search", "--sync", "--class", "rofi"]
            subprocess.run(search, env=environ, check=True, stdout=subprocess.DEVNULL, timeout=60)
            time.sleep(2)
            subprocess.run(["xdotool", "type", "--delay", "60", TYPED], env=environ, check=True)
            time.sleep(3)  # icons are loaded one after another
            picture = ImageGrab.grab(xdisplay=display)
            subprocess.run(["xdotool", "key", "Escape"], env=environ, check=True)
            picking.wait(60)
        picture = picture.convert("RGB")
        picture.crop(picture.getbbox()).quantize(192).save(REPO / "docs" / "pick.png", optimize=True)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
