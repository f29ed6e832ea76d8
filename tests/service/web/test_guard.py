"""Other web pages, other names, other machines: who is let in, against the real server."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from real_daemon import Daemon, picture
from wall_browser import Browser, free_port

from memewatchd.service.web.guard import UPLOAD_BYTES, Guard

if TYPE_CHECKING:
    from pathlib import Path

POSTS = ["/api/search", "/api/add", "/api/delete", "/api/undo", "/api/tags", "/api/used"]
POSTS += ["/image_search", "/image_upload", "/image_delete"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:1", "LOCALHOST:80", "[::1]", "[::1]:8088"])
def test_names_of_loopback_are_ours(browser: Browser, host: str) -> None:
    assert browser.get("/", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8088", "127.0.0.1.evil.example", "localhost.evil.example"),
        *("localhost@evil.example", "evil.example@localhost", "192.168.1.2", "0.0.0.0", "127.0.0.2"),
        *("localhost:x", "", "localhost/evil", "[::1"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/status", "/image_search"])
def test_a_foreign_host_is_refused(browser: Browser, host: str, path: str) -> None:
    method = "POST" if path == "/image_search" else "GET"
    answer = browser.send(method, path, Host=host)
    assert answer.status == 403
    assert "error" in answer.json


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}", ""]
)
def test_a_foreign_origin_is_refused(browser: Browser, path: str, origin: str) -> None:
    answer = browser.post(path, {"text": "cat", "ids": [1]}, Origin=origin.format(port=browser.port))
    assert answer.status == 403, answer.body


def test_a_foreign_origin_changes_nothing(browser: Browser, a_picture: bytes) -> None:
    before = sorted(os.listdir(browser.daemon.folder))
    (number, *_) = browser.names().values()
    for origin in ("http://evil.example", "null"):
        assert browser.upload("/image_upload", ("x.png", a_picture), Origin=origin).status == 403
        assert browser.post("/image_delete", {"image_id": number}, Origin=origin).status == 403
    assert sorted(os.listdir(browser.daemon.folder)) == before


def test_our_own_page_and_a_script_are_let_in(browser: Browser) -> None:
    assert browser.post("/api/search", {"text": "cat"}, Origin=browser.origin).status == 200
    assert browser.post("/api/search", {"text": "cat"}).status == 200
    named = f"localhost:{browser.port}"
    assert browser.post("/api/search", {"text": "cat"}, Host=named, Origin=f"http://{named}").status == 200


def test_pictures_are_not_for_other_pages(browser: Browser) -> None:
    (number, *_) = browser.names().values()
    assert browser.get(f"/picture/{number}", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403
    answer = browser.get(f"/picture/{number}", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="no-cors")
    assert answer.status == 200
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    # A link in a note is fine.
    assert browser.get("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200


def test_nothing_allows_other_origins(browser: Browser) -> None:
    for method, path in (("GET", "/"), ("GET", "/api/status"), ("OPTIONS", "/api/search"), ("GET", "/nothing")):
        answer = browser.send(method, path, Origin="http://evil.example")
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_two_hosts_are_none(browser: Browser) -> None:
    with socket.create_connection(("127.0.0.1", browser.port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert sock.recv(100).split()[1] in (b"400", b"403")


def test_too_much_is_refused_before_it_is_read(browser: Browser) -> None:
    with socket.create_connection(("127.0.0.1", browser.port)) as sock:
        head = "POST /image_upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        sock.sendall(f"{head}Content-Length: {UPLOAD_BYTES + 1}\r\n\r\n".encode())
        assert b" 413 " in sock.recv(100)
    answer = browser.post("/api/search", {"text": "x" * 70_000})
    assert answer.status == 413


def test_too_much_is_refused_where_no_length_is_announced(browser: Browser) -> None:
    with socket.create_connection(("127.0.0.1", browser.port)) as sock:
        sock.sendall(b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(9):
            sock.sendall(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
        assert b" 413 " in sock.recv(100)


TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("token")
    file = folder / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    return file


def test_a_token_is_asked_for(tmp_path: Path, guarded: Path) -> None:
    (tmp_path / "Memes").mkdir()
    picture(tmp_path / "Memes" / "a.png", 1)
    port = free_port()
    flags = ("--model", "bundled", "--http", f"0.0.0.0:{port}", "--http-token-file", str(guarded))
    with Daemon(tmp_path, *flags) as daemon:
        browser = Browser(daemon, port)
        for path in ("/", "/static/wall.js", "/api/status", "/?token=wrong", "/api/status?token=" + TOKEN):
            assert browser.get(path).status == 401, path
        assert browser.post("/image_search", {"text": "cat"}).status == 401
        assert browser.get("/api/status", Authorization=f"Bearer {TOKEN}").status == 200
        assert browser.get("/api/status", Authorization="Bearer ").status == 401
        assert browser.get("/api/status", Authorization=f"Basic {TOKEN}").status == 401
        answer = browser.get(f"/?token={TOKEN}")
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert TOKEN not in cookie
        held = cookie.partition(";")[0]
        assert browser.get("/", Cookie=held).status == 200
        assert browser.get("/", Cookie=held[:-1]).status == 401
        # Beyond loopback it may be reached by any address, but by no foreign name.
        assert browser.get("/", Cookie=held, Host="192.168.1.2:8088").status == 200
        assert browser.get("/", Cookie=held, Host="evil.example").status == 403
        assert browser.post("/api/search", {"text": "a"}, Cookie=held, Origin="http://evil.example").status == 403
    assert TOKEN not in daemon.log()


def test_the_machines_own_name_is_ours_beyond_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Box")

    async def app(*_: object) -> None: ...

    beyond = Guard(app, host="0.0.0.0", token=TOKEN, uploads=frozenset())
    assert beyond._is_ours("box:8088")
    assert beyond._is_ours("box.local")
    assert not beyond._is_ours("0x7f000001.example")
    assert not Guard(app, host="127.0.0.1", token="", uploads=frozenset())._is_ours("box")
