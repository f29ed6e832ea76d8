"""`memewatch pick` and `copy` on Wayland: the real fuzzel, wofi and wl-clipboard in a sway without a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from desktops import SwayDesktop, ended, needs, on_samples, sway_desktop

from memewatchd.cache_names import file_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.xdist_group("wayland"), needs("sway", "wl-copy")]


@pytest.fixture(scope="module")
def desktop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwayDesktop]:
    with on_samples(tmp_path_factory.mktemp("w")) as daemon, sway_desktop(daemon) as found:
        yield found


def test_copy(desktop: SwayDesktop) -> None:
    for name in ("large one.png", "reactions/crying.gif", "pizza.png"):
        desktop.forget()
        done = desktop.daemon.memewatch("copy", desktop.meme(name))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        desktop.holds(desktop.meme(name))


@pytest.mark.parametrize("launcher", [pytest.param(name, marks=needs(name)) for name in ("fuzzel", "wofi")])
def test_filtered_by_pinyin_as_one_types(desktop: SwayDesktop, launcher: str) -> None:
    desktop.forget()
    picking = desktop.pick("--with", launcher)
    desktop.type("shengqi")
    desktop.key("Return")
    assert ended(picking)[:2] == (0, b"")
    desktop.holds(desktop.meme("reactions/生气.jpg"))


@pytest.mark.parametrize("launcher", [pytest.param(name, marks=needs(name)) for name in ("fuzzel", "wofi")])
def test_what_no_row_has_is_asked_of_the_encoder(desktop: SwayDesktop, launcher: str) -> None:
    desktop.forget()
    text = "vehicle in outer space"
    best = desktop.daemon.search(text)[0]
    picking = desktop.pick("--with", launcher)
    desktop.type(text)
    desktop.step(picking, "Return")
    desktop.key("Return")
    assert ended(picking)[:2] == (0, b"")
    desktop.holds(best)


@pytest.mark.parametrize("launcher", [pytest.param(name, marks=needs(name)) for name in ("fuzzel", "wofi")])
def test_words_given_are_searched_and_escape_copies_nothing(desktop: SwayDesktop, launcher: str) -> None:
    desktop.forget()
    picking = desktop.pick("--with", launcher)
    desktop.key("Escape")
    assert ended(picking)[:2] == (1, b"")
    assert desktop.clipboard("text/plain") == b"before"
    best = desktop.daemon.search("笑死")[0]
    picking = desktop.pick("--with", launcher, "笑死")
    desktop.key("Return")
    assert ended(picking)[:2] == (0, b"")
    desktop.offers("text/uri-list", lambda data: data == file_uri(best).encode() + b"\r\n")
