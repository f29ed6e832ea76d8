"""Makes the pictures of the picture wall in docs/: a daemon of its own on samples/, looked at in a real Chromium.

python docs/wall_stills.py   # writes docs/wall-light.png and docs/wall-dark.png; needs the Debian packages
                             # chromium, chromium-driver and fonts-noto-cjk
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests" / "plugins"))

from chromium import Page, chromium  # noqa: E402 - helpers of the tests
from real_daemon import Daemon  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from wall_browser import free_port  # noqa: E402

SIZE = (1060, 820)
SHOWN = (("wall-light.png", "cat", "en", False), ("wall-dark.png", "", "zh-CN", True))


def take(page: Page, url: str, query: str, *, dark: bool) -> Image.Image:
    """The wall with the answer to ``query``, its second picture chosen."""
    page.look(dark=dark)
    page.open(url)
    page.until(lambda: len(page.all("#wall li")) > 5, "pictures are shown")
    page.press(query)
    page.until(lambda: page.one("#wall").get_attribute("data-query") == query, "the answer is shown")
    page.press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    loaded = "return [...document.querySelectorAll('#wall img')].slice(0, 20).every(each => each.complete)"
    page.until(lambda: page.run(loaded), "all are loaded")
    page.run("scrollTo(0, 0); await new Promise(rest => setTimeout(rest, 500))")
    with Image.open(io.BytesIO(page.driver.get_screenshot_as_png())) as taken:
        return taken.convert("RGB")


def main() -> None:
    """Start, look, write."""
    home = Path(tempfile.mkdtemp(prefix="meme-"))
    port = free_port()
    try:
        shutil.copytree(REPO / "samples", home / "Memes")
        with Daemon(home, "--model", "bundled", "--http", f"127.0.0.1:{port}") as daemon:
            daemon.wait()
            for name, query, language, dark in SHOWN:
                with chromium(home, language=language, size=SIZE) as page:
                    image = take(page, f"http://127.0.0.1:{port}/", query, dark=dark)
                image.quantize(192).save(REPO / "docs" / name, optimize=True)
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
