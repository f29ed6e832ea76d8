"""`memewatch copy`, then Ctrl-V in a real browser's page: what arrives there, on X11 and on Wayland."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsers import Browser, browser
from desktops import Desktop, needs, on_samples, sway_desktop, x_desktop
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDED = {"x11": ("Xvfb", "xclip", "xdotool"), "wayland": ("sway", "wl-copy")}
DESKTOPS = {"x11": x_desktop, "wayland": sway_desktop}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.xdist_group(f"paste-{name}"), needs(*programs)])
        for name, programs in NEEDED.items()
    ],
)
def desktop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desktop]:
    with on_samples(tmp_path_factory.mktemp("b")) as daemon, DESKTOPS[request.param](daemon) as found:
        yield found


@pytest.fixture(scope="module", params=[pytest.param(name, marks=needs(name)) for name in ("chromium", "firefox-esr")])
def window(request: pytest.FixtureRequest, desktop: Desktop) -> Iterator[Browser]:
    with browser(request.param, desktop) as found:
        yield found


def test_a_still_arrives_as_a_picture(desktop: Desktop, window: Browser) -> None:
    path = desktop.meme("large one.png")
    assert desktop.daemon.memewatch("copy", path).returncode == 0
    desktop.holds(path)
    ((_, kind, data),) = window.paste()
    assert kind == "image/png"
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, max(image.size)) == ("PNG", 512)


def test_what_moves_arrives_as_a_file_that_moves(desktop: Desktop, window: Browser) -> None:
    path = desktop.meme("reactions/crying.gif")
    assert desktop.daemon.memewatch("copy", path).returncode == 0
    desktop.holds(path)
    ((name, kind, data),) = window.paste()
    assert (name, kind, data) == ("crying.gif", "image/gif", Path(os.fsdecode(path)).read_bytes())


def test_what_is_no_gif_arrives_as_one(desktop: Desktop, window: Browser) -> None:
    path = desktop.meme("reactions/mind-blown.webp")
    assert desktop.daemon.memewatch("copy", path).returncode == 0
    desktop.holds(path)
    ((name, kind, data),) = window.paste()
    with Image.open(io.BytesIO(data)) as image:
        assert (name, kind, image.format, image.n_frames > 1) == ("mind-blown.gif", "image/gif", "GIF", True)  # type: ignore[attr-defined]
