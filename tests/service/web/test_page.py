"""What the page asks, against the real server: search, pictures, adding, deleting, taking back, tags."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from memewatchd.service.web.ids import id_of
from memewatchd.service.web.wall import preferred_language

if TYPE_CHECKING:
    from wall_browser import Browser


def seen(browser: Browser, name: str) -> int:
    """The id of a file, once it is indexed."""
    browser.daemon.until(lambda: name in browser.names(), f"{name} is found")
    return browser.names()[name]


def gone(browser: Browser, name: str) -> None:
    browser.daemon.until(lambda: name not in browser.names(), f"{name} is gone")


def test_the_page(browser: Browser) -> None:
    page = browser.get("/", Accept_Language="fr, zh-CN;q=0.8, en;q=0.5")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b'<html lang="zh">' in page.body
    assert b'<html lang="en">' in browser.get("/").body
    assert b"default-src 'self'" in page.headers["Content-Security-Policy"].encode()
    # Nothing inline, or the policy would stop it; nothing from elsewhere.
    for forbidden in (b"<style", b" style=", b" onclick", b"http://", b"https://"):
        assert forbidden not in page.body
    for name in ("wall.css", "wall.js", "texts.js"):
        assert browser.get(f"/static/{name}").status == 200


@pytest.mark.parametrize("name", ["../wall.py", "..%2fwall.py", "index.html", "%2e%2e/wall.py", "/etc/passwd"])
def test_only_the_pages_own_files(browser: Browser, name: str) -> None:
    assert browser.get(f"/static/{name}").status == 404


@pytest.mark.parametrize(
    ("header", "language"),
    [
        *(("", "en"), ("zh", "zh"), ("en,zh", "en"), ("zh;q=0.9,en;q=0.8", "zh"), ("de", "en"), ("zh;q=x,en", "en")),
        *(("zh-Hant-TW", "zh"), ("*", "en"), (";;,=", "en"), ("zh;q=0", "en")),
    ],
)
def test_languages(header: str, language: str) -> None:
    assert preferred_language(header) == language


def test_search(browser: Browser) -> None:
    assert len(browser.post("/api/search", {"text": "cat", "limit": 3}).json["hits"]) == 3
    answer = browser.post("/api/search", {"text": "cat 3"}).json
    first = answer["hits"][0]
    assert first["name"] == "cat 3.png"
    assert first["id"] == id_of(os.fsencode(first["path"]))
    assert (first["kind"], first["frames"], first["tags"]) == ("png", 1, [])
    assert first["width"] > 0


@pytest.mark.parametrize(
    "body", [{"text": 5}, {"text": "x", "limit": 0}, {"text": "x", "limit": "9"}, {"like": "x"}, [], "x", {"like": 1.5}]
)
def test_what_search_refuses(browser: Browser, body: object) -> None:
    answer = browser.post("/api/search", body)
    assert answer.status == 400
    assert answer.json["error"]


def test_bodies_that_are_no_json(browser: Browser) -> None:
    for body in (b"", b"{", b"\xff", b"[" * 60_000):
        assert browser.send("POST", "/api/search", body).status == 400


def test_a_browser_that_left_ends_the_search(browser: Browser) -> None:
    """And the server goes on."""
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", browser.port)) as sock:
            body = b'{"text": "cat"}'
            sock.sendall(
                b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
    assert browser.post("/api/search", {"text": "cat"}).status == 200


def test_pictures(browser: Browser) -> None:
    number = browser.names()["cat 1.png"]
    answer = browser.get(f"/picture/{number}")
    assert answer.body == browser.file("cat 1.png").read_bytes()
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Disposition"] == "inline; filename*=utf-8''cat%201.png"
    assert browser.get(f"/picture/{number}?download=1").headers["Content-Disposition"].startswith("attachment")
    again = browser.get(f"/picture/{number}", If_None_Match=answer.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    head = browser.send("HEAD", f"/picture/{number}")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(answer.body)))
    assert browser.get(f"/thumb/{number}").headers["Content-Type"] == "image/png"


@pytest.mark.parametrize("number", ["0", "99", str(2**60), "-1", "x", "../../etc/passwd", "%2e%2e%2fetc%2fpasswd"])
@pytest.mark.parametrize("what", ["picture", "thumb"])
def test_pictures_that_there_are_not(browser: Browser, what: str, number: str) -> None:
    assert browser.get(f"/{what}/{number}").status == 404


def test_a_file_that_is_no_picture_any_more(browser: Browser, a_picture: bytes) -> None:
    """Between a change on the disk and the mirror's coming round: nothing but pictures is served."""
    browser.file("turns.png").write_bytes(a_picture)
    number = seen(browser, "turns.png")
    browser.daemon.ask(op="pause")
    try:
        secret = browser.daemon.home / "secret"
        secret.write_text("secret")
        browser.file("turns.png").unlink()
        browser.file("turns.png").symlink_to(secret)
        assert browser.get(f"/picture/{number}").status == 404
        browser.file("turns.png").unlink()
        os.mkfifo(browser.file("turns.png"))
        assert browser.get(f"/picture/{number}").status == 404
        browser.file("turns.png").unlink()
        assert browser.get(f"/picture/{number}").status == 404
    finally:
        browser.daemon.ask(op="resume")
    gone(browser, "turns.png")


def test_add_delete_and_back(browser: Browser, a_picture: bytes) -> None:
    answer = browser.upload("/api/add", ("../../new one.png", a_picture), ("note.txt", b"hello"), Origin=browser.origin)
    assert answer.status == 200
    (added,) = answer.json["added"]
    assert added["name"] == "new one.png"
    assert [(error["name"], error["code"]) for error in answer.json["errors"]] == [("note.txt", "not_a_picture")]
    assert browser.file("new one.png").read_bytes() == a_picture
    number = seen(browser, "new one.png")
    assert number == added["id"]

    answer = browser.upload("/api/add", ("other.png", a_picture))
    assert (answer.status, answer.json["errors"][0]["code"]) == (400, "exists")

    answer = browser.post("/api/delete", {"ids": [number]})
    assert answer.status == 200, answer.body
    assert not browser.file("new one.png").exists()
    trashed = browser.daemon.home / ".local/share/Trash"
    assert (trashed / "files/new one.png").read_bytes() == a_picture
    assert f"Path={browser.daemon.folder}/new%20one.png" in (trashed / "info/new one.png.trashinfo").read_text()
    gone(browser, "new one.png")
    assert browser.post("/api/delete", {"ids": [number]}).status == 404

    encoded = browser.daemon.status()["encoded"]
    undone = browser.post("/api/undo", answer.json)
    assert undone.json == {"ids": [number]}
    assert browser.file("new one.png").read_bytes() == a_picture
    assert not list((trashed / "info").iterdir())
    assert seen(browser, "new one.png") == number
    assert browser.daemon.status()["encoded"] == encoded, "its vector was kept"
    assert browser.post("/api/undo", answer.json).status == 404


def test_undo_never_replaces_a_file(browser: Browser, a_picture: bytes) -> None:
    browser.file("taken.png").write_bytes(a_picture)
    number = seen(browser, "taken.png")
    answer = browser.post("/api/delete", {"ids": [number]})
    browser.file("taken.png").write_bytes(b"another")
    undone = browser.post("/api/undo", answer.json)
    assert (undone.status, undone.json["code"]) == (409, "exists")
    assert browser.file("taken.png").read_bytes() == b"another"
    browser.file("taken.png").unlink()
    assert browser.post("/api/undo", answer.json).status == 200
    browser.file("taken.png").unlink()


def test_uploads_that_are_none(browser: Browser) -> None:
    before = sorted(os.listdir(browser.daemon.folder))
    assert browser.upload("/api/add").status == 400
    assert browser.upload("/api/add", ("a.png", b"x"), field="file").status == 400
    assert browser.post("/api/add", {"image": "x"}).status == 400
    assert browser.upload("/api/add", *[(f"{n}.png", b"x") for n in range(21)]).status == 400
    kind = "multipart/form-data; boundary=x"
    for body in (b"", b"--x\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\n", b"garbage" * 100):
        assert browser.send("POST", "/api/add", body, Content_Type=kind).status == 400, body
    assert browser.send("POST", "/api/add", b"--x--\r\n", Content_Type="multipart/form-data").status == 400
    assert sorted(os.listdir(browser.daemon.folder)) == before


def test_tags_are_kept_on_the_file(browser: Browser) -> None:
    number = browser.names()["cat 2.png"]
    answer = browser.post("/api/tags", {"id": number, "tags": [" 生气 ", "a,b", "fav", "fav", "", "x\ny"]})
    if answer.status == 409:
        pytest.skip("this file system keeps no extended attributes")
    assert answer.json == {"tags": ["生气", "a b", "fav", "x y"]}
    assert os.getxattr(browser.file("cat 2.png"), "user.xdg.tags").decode() == "生气,a b,fav,x y"
    hits = browser.post("/api/search", {"text": "cat 2"}).json["hits"]
    assert [hit["tags"] for hit in hits if hit["id"] == number] == [["生气", "a b", "fav", "x y"]], hits
    assert browser.post("/api/tags", {"id": number, "tags": []}).json == {"tags": []}
    assert "user.xdg.tags" not in os.listxattr(browser.file("cat 2.png"))
    for wrong in ({"id": number}, {"id": number, "tags": "x"}, {"id": number, "tags": [1]}, {"id": "x", "tags": []}):
        assert browser.post("/api/tags", wrong).status == 400


def test_what_lies_elsewhere_gets_no_tags(browser: Browser, a_picture: bytes) -> None:
    elsewhere = browser.daemon.home / "elsewhere.png"
    elsewhere.write_bytes(a_picture)
    browser.file("link.png").symlink_to(elsewhere)
    number = seen(browser, "link.png")
    answer = browser.post("/api/tags", {"id": number, "tags": ["x"]})
    assert (answer.status, answer.json["code"]) == (403, "outside")
    # But the link itself may go.
    assert browser.post("/api/delete", {"ids": [number]}).status == 200
    assert elsewhere.read_bytes() == a_picture
    gone(browser, "link.png")


def test_what_failed_and_how_it_is(browser: Browser) -> None:
    browser.file("broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    browser.daemon.until(lambda: browser.get("/api/status").json["failed"], "broken.png has failed")
    answer = browser.get("/api/failed").json
    assert answer["count"] == 1
    assert answer["files"][0]["path"] == str(browser.file("broken.png"))
    assert answer["files"][0]["reason"]
    status = browser.get("/api/status").json
    assert status["wall"]["writable"] is True
    assert Path(status["wall"]["folder"]) == browser.daemon.folder
    browser.file("broken.png").unlink()


def test_nothing_searched_for_is_logged(browser: Browser) -> None:
    browser.post("/api/search", {"text": "unmistakable words"})
    browser.get("/?q=unmistakable")
    browser.send("POST", "/api/search", b'{"text": "unmistakable')
    assert "unmistakable" not in browser.daemon.log()


def test_a_copy_counts_as_a_use(browser: Browser) -> None:
    assert browser.post("/api/used", {"id": browser.names()["cat 4.png"]}).status == 200
    assert browser.post("/api/used", {"id": 5}).status == 404
