"""Where the service may only read the folder, as its sandbox has it: plain words, and nothing is half done."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from real_daemon import Daemon, picture
from wall_browser import Browser, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

# A mount of its own over the folder, read-only, seen by the daemon alone: what ProtectSystem=strict does.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def own_mounts() -> list[str]:
    """How a program is started with mounts of its own: as root, or with a user namespace; [] where neither works."""
    for flags in (["--mount"], ["--user", "--map-root-user", "--mount"]):
        command = ["unshare", *flags, "sh", "-c", READ_ONLY]
        with tempfile.TemporaryDirectory() as folder:
            try:
                if subprocess.run([*command, folder, "true"], check=False, capture_output=True).returncode == 0:
                    return command
            except FileNotFoundError:
                break
    return []


@pytest.fixture
def browser() -> Iterator[Browser]:
    through = own_mounts()
    if not through:
        pytest.skip("this system lets nobody have mounts of their own")
    home = Path(tempfile.mkdtemp(prefix="meme-"))
    (home / "Memes").mkdir()
    picture(home / "Memes" / "a.png", 1)
    port = free_port()
    try:
        daemon = Daemon(home, "--model", "bundled", "--http", f"127.0.0.1:{port}")
        daemon.through = [*through, str(daemon.folder)]
        with daemon:
            daemon.wait()
            yield Browser(daemon, port)
    finally:
        shutil.rmtree(home)


def test_it_says_so(browser: Browser, a_picture: bytes) -> None:
    before = browser.file("a.png").read_bytes()
    number = browser.names()["a.png"]
    answers = [
        browser.upload("/image_upload", ("b.png", a_picture)),
        browser.post("/image_delete", {"image_id": number}),
        browser.post("/api/delete", {"ids": [number]}),
        browser.post("/api/tags", {"id": number, "tags": ["x"]}),
    ]
    for answer in answers:
        assert (answer.status, answer.json["code"]) == (403, "read_only"), answer.body
        assert "wall.conf" in answer.json["error"]
    answer = browser.upload("/api/add", ("b.png", a_picture))
    assert answer.status == 403
    assert [error["code"] for error in answer.json["errors"]] == ["read_only"]
    assert browser.get("/api/status").json["wall"]["writable"] is False
    # Searching and looking go on; in the trash is nothing.
    assert browser.get(f"/picture/{number}").body == before
    assert [file for file in (browser.daemon.home / ".local/share/Trash").rglob("*") if file.is_file()] == []
