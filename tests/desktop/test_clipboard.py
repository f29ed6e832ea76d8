"""What is handed to the clipboard, without one: the rest is in tests/e2e/test_pick.py."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.cache_names import file_uri
from memewatchd.desktop import clipboard, programs
from memewatchd.desktop.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Daemon:
    """Answers export; ``hides``: as one in a sandbox, whose cache nobody else sees."""

    def __init__(self, reply: dict[str, Any], data: bytes = b"") -> None:
        self.reply = reply
        self.data = data
        self.asked: list[Mapping[str, Any]] = []

    def ask(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append(request)
        more = {"data_b64": base64.b64encode(self.data).decode()} if request.get("inline") else {}
        yield {"ok": True, **self.reply, **more}


def test_a_still_is_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"png")
    daemon = Daemon({"file": str(file), "mime": "image/png", "animated": False, "as_file": False})
    assert clipboard.prepared(daemon.ask, b"/m/\xff.png", {}, "auto", 64) == ("image/png", b"png")
    assert daemon.asked == [
        {"op": "export", "path": "/m/\ufffd.png", "path_b64": "L20v/y5wbmc=", "as": "auto", "max_px": 64}
    ]


def test_what_moves_is_its_address(tmp_path: Path) -> None:
    file = tmp_path / "a b.gif"
    file.write_bytes(b"gif")
    daemon = Daemon({"file": str(file), "mime": "image/gif", "animated": True, "as_file": True})
    expected = ("text/uri-list", file_uri(os.fsencode(file)).encode() + b"\r\n")
    assert clipboard.prepared(daemon.ask, b"/m/a.webp", {}, "auto", None) == expected


def test_a_cache_that_only_the_daemon_sees(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    still = Daemon({"file": "/hidden/k/a.png", "mime": "image/png", "animated": False, "as_file": False}, b"png")
    assert clipboard.prepared(still.ask, b"/m/a.png", environ, "auto", None) == ("image/png", b"png")
    moving = Daemon({"file": "/hidden/k/a.gif", "mime": "image/gif", "animated": True, "as_file": True}, b"gif")
    kept = tmp_path / "cache" / "memewatchd" / "paste" / "k" / "a.gif"
    expected = ("text/uri-list", kept.as_uri().encode() + b"\r\n")
    assert clipboard.prepared(moving.ask, b"/m/a.webp", environ, "auto", None) == expected
    assert kept.read_bytes() == b"gif"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_which_tool(tmp_path: Path) -> None:
    def tool(*there: str, **environ: str) -> str:
        folder = tmp_path / "-".join(there)
        folder.mkdir(exist_ok=True)
        for name in there:
            (folder / name).write_text("")
            (folder / name).chmod(0o755)
        return programs.clipboard_tool({"PATH": str(folder), **environ}, "wl-copy", "xclip")

    assert tool("wl-copy", "xclip", WAYLAND_DISPLAY="w", DISPLAY=":0") == "wl-copy"
    assert tool("xclip", WAYLAND_DISPLAY="w", DISPLAY=":0") == "xclip"
    assert tool("wl-copy", "xclip", DISPLAY=":0") == "xclip"
    with pytest.raises(Trouble, match="wl-clipboard"):
        tool("xclip", WAYLAND_DISPLAY="w")
    with pytest.raises(Trouble, match="apt install xclip"):
        tool("wl-copy", DISPLAY=":0")
    with pytest.raises(Trouble, match="neither"):
        tool("wl-copy", "xclip")


def test_paths_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert clipboard.meme_path("a.png") == os.fsencode(tmp_path / "a.png")
    assert clipboard.meme_path("file:///m/a%20b.png") == b"/m/a b.png"
    with pytest.raises(Trouble, match="not the address"):
        clipboard.meme_path("file://elsewhere/a.png")
