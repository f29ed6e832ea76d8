"""Which launcher, and what is said to it: the parts that need no desktop."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.cache_names import thumbnail_name
from memewatchd.desktop import launchers
from memewatchd.desktop.menus import Menu
from memewatchd.desktop.trouble import Trouble
from memewatchd.protocol import path_fields

if TYPE_CHECKING:
    from pathlib import Path


def program(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("there", "environ", "in_terminal", "chosen"),
    [
        (["rofi", "fuzzel", "wofi", "fzf"], {"DISPLAY": ":0"}, True, "rofi"),
        (["fuzzel", "wofi", "fzf"], {"DISPLAY": ":0"}, True, "fzf"),
        (["rofi", "fuzzel", "fzf"], {"WAYLAND_DISPLAY": "w"}, True, "fuzzel"),
        (["rofi", "fuzzel"], {"WAYLAND_DISPLAY": "w", "DISPLAY": ":0"}, False, "rofi"),
        (["wofi", "fzf"], {"WAYLAND_DISPLAY": "w"}, False, "wofi"),
        (["fzf"], {}, True, "fzf"),
    ],
)
def test_the_first_that_fits(
    tmp_path: Path, there: list[str], environ: dict[str, str], in_terminal: bool, chosen: str
) -> None:
    program(tmp_path / "bin", *there)
    assert launchers.choose(None, environ | {"PATH": str(tmp_path / "bin")}, in_terminal) == chosen


def test_none_that_fits_is_told_with_the_remedy(tmp_path: Path) -> None:
    empty = {"PATH": str(tmp_path)}
    with pytest.raises(Trouble, match="apt install rofi"):
        launchers.choose(None, {"DISPLAY": ":0", **empty}, in_terminal=False)
    with pytest.raises(Trouble, match="apt install wofi"):
        launchers.choose("wofi", {"DISPLAY": ":0", **empty}, in_terminal=True)
    with pytest.raises(Trouble, match="no desktop here"):
        launchers.choose(None, empty, in_terminal=False)


def entry(path: bytes, **more: Any) -> dict[str, Any]:
    return {**path_fields(path), **more}


def test_a_row_for_rofi(tmp_path: Path) -> None:
    menu = Menu({"XDG_CACHE_HOME": str(tmp_path)})
    line = menu.line(entry(b"/m/\xff a\nb\x1f.png", words="angry cat", tags=["fav"], pinyin="mao m"), "rofi")
    assert line == (
        "\ufffd a b .png\0".encode()
        + b"icon\x1f/m/\xff a b .png\x1finfo\x1ffile:///m/%FF%20a%0Ab%1F.png\x1fmeta\x1fangry cat fav mao m\n"
    )


def test_a_row_for_wofi(tmp_path: Path) -> None:
    menu = Menu({"XDG_CACHE_HOME": str(tmp_path)})
    assert menu.line(entry(b"/m/a.png"), "wofi") == b"img:/m/a.png:text:/m/a.png\n"
    assert menu.line(entry(b"/m/a:b.png"), "wofi") == b"/m/a:b.png\n"


def test_the_icon_is_the_thumbnail_unless_it_is_older(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"x")
    raw = os.fsencode(picture)
    menu = Menu({"XDG_CACHE_HOME": str(tmp_path)})
    assert menu.icon(raw) == raw
    thumbnail = tmp_path / "thumbnails" / "normal" / thumbnail_name(raw)
    thumbnail.parent.mkdir(parents=True)
    thumbnail.write_bytes(b"y")
    assert menu.icon(raw) == os.fsencode(thumbnail)
    os.utime(thumbnail, (1, 1))
    assert menu.icon(raw) == raw


def test_labels_are_told_apart() -> None:
    found = [entry(b"/m/a/c.png", words="c"), entry(b"/m/b/c.png", words="c sad:", pinyin="mao")]
    found.append(entry(b"/m/d/c.png", words="c"))
    rows = dict(launchers.labelled(found))
    assert list(rows.values()) == [b"/m/a/c.png", b"/m/b/c.png", b"/m/d/c.png"]
    assert list(rows)[:2] == ["c.png", "c.png  sad∶ mao"]


def test_every_script_is_a_shell_script_that_parses() -> None:
    import subprocess

    scripts = sorted(os.listdir(launchers.SCRIPTS))
    assert scripts == ["memewatch-fzf", "memewatch-preview", "memewatch-rofi"]
    for script in scripts:
        subprocess.run(["sh", "-n", os.path.join(launchers.SCRIPTS, script)], check=True)


def test_how_the_scripts_call_the_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path / "it's", "memewatch")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "it's" / "memewatch")])
    inner = launchers.inner_environment("a b", "s", {"HOME": "/h"})
    assert inner["MEMEWATCH"] == "'" + str(tmp_path) + "/it'\\''s/memewatch'"
    assert (inner["MEMEWATCH_WORDS"], inner["MEMEWATCHD_SOCKET"]) == ("a b", os.path.abspath("s"))
    monkeypatch.setattr("sys.argv", ["/x/client.py"])
    assert launchers.inner_environment("", None, {})["MEMEWATCH"].endswith(" '-m' 'memewatchd.client'")
