"""The tutorial's three calls, as its text shows them, on the real server."""

from __future__ import annotations

import io
import subprocess
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from real_daemon import Daemon, picture
from wall_browser import Browser, free_port

if TYPE_CHECKING:
    from pathlib import Path


def curl(browser: Browser, path: str, *arguments: str) -> str:
    command = ["curl", "-sS", "-w", " %{http_code}", *arguments, f"{browser.origin}{path}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_as_the_tutorial_shows_them(browser: Browser, a_picture: bytes, tmp_path: Path) -> None:
    file = tmp_path / "tutorial.png"
    file.write_bytes(a_picture)
    said = curl(browser, "/image_upload", "-F", f"image=@{file}")
    assert said.startswith('{"message":')
    assert said.endswith(" 200")
    said = curl(browser, "/image_upload", "-F", f"image=@{file}")
    assert said == '{"error":"Image already exists","code":"exists"} 400'
    browser.daemon.wait()

    search = ("-H", "Content-Type: application/json", "-d", '{"text": "tutorial"}')
    assert curl(browser, "/image_search", *search).endswith(" 200")
    answer = browser.post("/image_search", {"text": "tutorial"}).json
    assert answer["results"][0] == str(browser.file("tutorial.png"))
    assert len(answer["ids"]) == len(answer["results"])
    assert all(isinstance(number, int) and 0 <= number < 2**53 for number in answer["ids"])

    deletion = ("-H", "Content-Type: application/json", "-d", f'{{"image_id": {answer["ids"][0]}}}')
    said = curl(browser, "/image_delete", *deletion)
    assert said.startswith('{"message":')
    assert said.endswith(" 200")
    assert not browser.file("tutorial.png").exists()
    assert (browser.daemon.home / ".local/share/Trash/files/tutorial.png").read_bytes() == a_picture


def test_a_list_goes_together_or_not_at_all(browser: Browser, tmp_path: Path) -> None:
    for seed in (71, 72):
        picture(browser.file(f"listed {seed}.png"), seed)
    browser.daemon.wait()
    ids = browser.names()
    pair = [ids["listed 71.png"], ids["listed 72.png"]]
    answer = browser.post("/image_delete", {"image_id": [*pair, 12345]})
    assert (answer.status, list(answer.json)) == (404, ["error", "code"])
    assert browser.file("listed 71.png").exists()
    assert browser.post("/image_delete", {"image_id": [*pair, pair[0]]}).status == 200
    assert not browser.file("listed 71.png").exists()
    assert not browser.file("listed 72.png").exists()


@pytest.mark.parametrize(
    "body", [{}, {"text": ""}, {"text": "  "}, {"text": 5}, {"text": None}, [], "x", {"words": "x"}]
)
def test_no_text(browser: Browser, body: object) -> None:
    answer = browser.post("/image_search", body)
    assert answer.status == 400
    assert isinstance(answer.json["error"], str)


@pytest.mark.parametrize("body", [{}, {"image_id": []}, {"image_id": "7"}, {"image_id": None}, {"image_id": True}, []])
def test_no_id(browser: Browser, body: object) -> None:
    assert browser.post("/image_delete", body).status == 400


def test_no_picture(browser: Browser) -> None:
    assert browser.upload("/image_upload").status == 400
    assert browser.upload("/image_upload", ("", b"")).status == 400
    assert browser.upload("/image_upload", ("a.png", b"")).status == 400
    assert browser.upload("/image_upload", ("a.png", b"text")).status == 400
    assert browser.upload("/image_upload", ("a.svg", b"<svg/>")).status == 400
    assert browser.upload("/image_upload", ("a.png", b"x"), field="picture").status == 400
    assert browser.post("/image_upload", {"image": "x"}).status == 400


@pytest.mark.parametrize("kind", ["GIF", "32-bit PNG", "72 dpi JPEG", "32-bit BMP"])
def test_welcome_ones(browser: Browser, kind: str) -> None:
    """What the tutorial's own check turned away."""
    out = io.BytesIO()
    image = Image.effect_noise((40, 30), 50 + len(kind))
    if kind == "GIF":
        image.save(out, "GIF")
    elif kind == "32-bit PNG":
        image.convert("RGBA").save(out, "PNG")
    elif kind == "32-bit BMP":
        image.convert("RGBA").save(out, "BMP")
    else:
        image.save(out, "JPEG", dpi=(72, 72))
    assert browser.upload("/image_upload", ("welcome", out.getvalue())).status == 200


def test_ids_are_the_same_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "Memes").mkdir()
    for seed in range(3):
        picture(tmp_path / "Memes" / f"{seed}.png", seed)
    port = free_port()
    daemon = Daemon(tmp_path, "--model", "bundled", "--http", f"127.0.0.1:{port}")
    browser = Browser(daemon, port)
    with daemon:
        daemon.wait()
        before = browser.names()
    with daemon:
        daemon.wait()
        # Known at once, though nothing was searched for since the start.
        assert browser.post("/image_delete", {"image_id": before["1.png"]}).status == 200
        daemon.wait()
        assert browser.names() == {name: number for name, number in before.items() if name != "1.png"}
