"""`memewatch add`: names, files, addresses. The daemon's answers are given by the tests."""

from __future__ import annotations

import hashlib
import http.server
import os
import socketserver
import threading
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.desktop import adding
from memewatchd.desktop.trouble import Refused, Trouble
from memewatchd.protocol import path_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n and so on"
GIF = b"GIF89a and so on"


class Out:
    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


class Adding:
    """One folder, and what the daemon knows of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[bytes, str] = {}
        self.away = False
        self.said: list[str] = []
        self.shows: dict[str, str] | None = None
        self.refuses = False

    def ask(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if request["op"] == "status":
            yield {"ok": True, "status": {"roots": [{"path": str(self.folder), "away": self.away, "why": "unplugged"}]}}
            return
        if request["op"] == "describe":
            if self.refuses:
                raise Refused("degraded", "the model is not ready")
            yield {"ok": True, "name": self.shows}
            return
        for path, digest in self.known.items():
            yield {"ok": True, "file": {**path_fields(path), "digest": digest}}
        yield {"ok": True, "end": True}

    def __call__(self, source: str | None, name: str | None = None, **environ: str) -> str:
        out = Out()
        code = adding.add(self.ask, source, name, environ, out, self.said.append)  # type: ignore[arg-type]
        assert code == 0
        assert not [left for left in os.listdir(self.folder) if left.startswith(".")]
        return os.path.relpath(out.written.rstrip(b"\n").decode(), self.folder)


@pytest.fixture
def add(tmp_path: Path) -> Adding:
    (tmp_path / "Memes").mkdir()
    return Adding(tmp_path / "Memes")


def test_a_file_is_added_as_it_is(add: Adding, tmp_path: Path) -> None:
    source = tmp_path / "angry cat.jpeg"
    source.write_bytes(PNG)
    assert add(str(source)) == "angry cat.png", "the extension says what is inside"
    assert (add.folder / "angry cat.png").read_bytes() == PNG
    assert source.exists()
    source.write_bytes(PNG + b"!")
    assert add(source.as_uri()) == "angry cat (2).png", "nothing is overwritten"
    assert add(str(source), "生气 / 猫") == "生气 猫.png"
    assert add(str(source), "..") != ".."


def test_machine_made_names_are_not_kept(add: Adding, tmp_path: Path) -> None:
    source = tmp_path / "IMG_20240102_183005.jpg"
    source.write_bytes(GIF)
    name = add(str(source))
    assert name.startswith("meme-20")
    assert name.endswith(".gif")


def test_a_picture_without_a_name_is_called_what_it_shows(add: Adding, tmp_path: Path) -> None:
    source = tmp_path / "IMG_20240102_183005.jpg"
    source.write_bytes(GIF)
    add.shows = {"en": "angry cat", "zh": "生气的猫"}
    assert add(str(source)) == "angry cat.gif"
    assert add(str(source), LANG="zh_CN.UTF-8") == "生气的猫.gif"
    assert add(str(source), LANG="zh_CN.UTF-8", LC_ALL="C.UTF-8") == "angry cat (2).gif"
    add.refuses = True
    assert add(str(source)).startswith("meme-20"), "a model that loads is no reason not to add it"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("angry cat.jpg", "angry cat"),
        ("works-on-my-machine.webp", "works-on-my-machine"),
        ("生气.jpg", "生气"),
        ("IMG_20240102_183005.jpg", ""),
        ("mmexport1699347201553.gif", ""),
        ("7c9e6679f1d04ab2.png", ""),
        ("image.png", ""),
        ("giphy", "giphy"),
        ("a", ""),
        ("", ""),
    ],
)
def test_names_of_people(name: str, kept: str) -> None:
    assert adding.human(name) == kept


def test_a_copy_is_said_to_be_there(add: Adding, tmp_path: Path) -> None:
    source = tmp_path / "new.png"
    source.write_bytes(PNG)
    there = os.fsencode(add.folder / "old.png")
    add.known = {b"/other": "0" * 64, there: hashlib.blake2b(PNG, digest_size=32).hexdigest()}
    assert add(str(source)) == "old.png"
    assert add.said == ["it is already there, to the byte"]
    assert os.listdir(add.folder) == []


def test_what_is_no_meme_is_refused(add: Adding, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_text("")
    for source, word in (
        (str(tmp_path / "text"), "no picture"),
        (str(tmp_path / "empty"), "is empty"),
        (str(tmp_path / "nothing"), "No such file"),
        (str(tmp_path), "Is a directory"),
        ("file://elsewhere/a.png", "not the address of a file"),
    ):
        with pytest.raises(Trouble, match=word):
            add(source)
    add.away = True
    with pytest.raises(Trouble, match="unplugged"):
        add(str(tmp_path / "text"))
    assert os.listdir(add.folder) == []


@pytest.mark.parametrize(
    ("head", "extension"),
    [
        (PNG, ".png"),
        (GIF, ".gif"),
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", ".webp"),
        (b"\0\0\0\x1cftypavif", ".avif"),
        (b"\0\0\0\x1cftypheic", ".heic"),
        (b"\0\0\0\x1cftypisom", ".mp4"),
        (b"<svg", None),
        (b"", None),
    ],
)
def test_extensions(head: bytes, extension: str | None) -> None:
    assert adding.extension_of(head) == extension


class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/pictures/%E7%94%9F%E6%B0%94%20cat.gif?size=1")
            self.end_headers()
        elif self.path.startswith("/pictures/"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(GIF)
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(GIF * 100)
        elif self.path == "/file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Web) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_an_address(add: Adding, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    assert add(f"{web}/moved") == "生气 cat.gif"
    assert (add.folder / "生气 cat.gif").read_bytes() == GIF
    with pytest.raises(Trouble, match="Not Found"):
        add(f"{web}/nothing")
    with pytest.raises(Trouble, match="could not be fetched"):
        add(f"{web}/file")
    monkeypatch.setattr(adding, "MAX_BYTES", 100)
    with pytest.raises(Trouble, match="larger than"):
        add(f"{web}/endless")
    with pytest.raises(Trouble, match="could not be fetched"):
        add("http://127.0.0.1:1/a.png")


def test_a_disk_without_hard_links(add: Adding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    source = tmp_path / "cat.png"
    for number in range(2):
        source.write_bytes(PNG + bytes([number]))
        add(str(source))
    assert sorted(os.listdir(add.folder)) == ["cat (2).png", "cat.png"]
