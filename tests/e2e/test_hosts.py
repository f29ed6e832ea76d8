"""Two real daemons that share a real Milvus server: each has its own memes, and sees the other's where it is asked."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from milvus_server import ON_SERVER, MilvusServer
from real_daemon import Daemon, on_disk, path_of, picture
from warm import Nest, WarmDaemon

if TYPE_CHECKING:
    from collections.abc import Iterator

DESK, LAPTOP = "desk", "lap-top"


@pytest.fixture
def hosts(nest: Nest, tiny_model: Path, milvus_server: MilvusServer) -> Iterator[dict[str, Daemon]]:
    """Both, each with a home of its own; not started."""
    prefix = f"h{secrets.token_hex(6)}_"
    made = {}
    for name in (DESK, LAPTOP):
        home = Path(tempfile.mkdtemp(prefix="meme-"))
        (home / "Memes").mkdir()
        (home / "token").write_text(milvus_server.token)
        flags = ("--model", str(tiny_model), "--milvus", milvus_server.uri, "--milvus-token-file", str(home / "token"))
        environ = {"MEMEWATCHD_COLLECTION_PREFIX": prefix, "MEMEWATCHD_HOST": name}
        made[name] = WarmDaemon(nest, home, *flags, **environ)
    yield made
    for daemon in made.values():
        if daemon.process is not None:
            daemon.process.kill()
            daemon.process.communicate()
        shutil.rmtree(daemon.home)


def like(daemon: Daemon, file: Path, **more: Any) -> list[tuple[str, bytes]]:
    """(host, path) of what looks the same as a file, wherever that lies."""
    reply = daemon.ask(op="search", like=[{"data_b64": base64.b64encode(file.read_bytes()).decode()}], limit=50, **more)
    return [(hit.get("host", ""), path_of(hit)) for hit in reply["hits"] if hit["score"] > 0.999]


@ON_SERVER
def test_two_daemons_share_a_server(hosts: dict[str, Daemon], tmp_path: Path) -> None:
    desk, laptop = hosts[DESK], hosts[LAPTOP]
    for daemon, seeds in ((desk, range(4)), (laptop, range(2, 6))):
        for seed in seeds:
            picture(daemon.folder / f"{seed}.png", seed)
    samples = [tmp_path / f"{seed}.png" for seed in range(6)]
    for seed, sample in enumerate(samples):
        picture(sample, seed)
    desk.start()
    laptop.start()
    for daemon in (desk, laptop):
        daemon.wait()
        assert daemon.listed() == on_disk(daemon.folder)
        assert daemon.status()["encoded"] == 4
    assert (desk.status()["host"], laptop.status()["host"]) == (DESK, LAPTOP)

    theirs = os.fsencode(laptop.folder / "5.png")
    assert like(desk, samples[5]) == []
    # What a host has just written, others see a moment later.
    desk.until(lambda: like(desk, samples[5], all_hosts=True) == [(LAPTOP, theirs)], "the laptop's, on the desk")
    laptop.until(
        lambda: like(laptop, samples[0], all_hosts=True) == [(DESK, os.fsencode(desk.folder / "0.png"))],
        "the desk's, on the laptop",
    )
    # What both have is one's own.
    assert like(desk, samples[2], all_hosts=True) == [("", os.fsencode(desk.folder / "2.png"))]
    shown = desk.memewatch("search", "--all-hosts", "--like", str(samples[5]), "-n", "1")
    assert (shown.returncode, shown.stdout) == (0, b"lap-top:" + theirs + b"\n")
    assert desk.memewatch("search", "--all-hosts", "--format", "rofi", "cat").returncode == 2

    # Gone from one, it is the other's still; a start and a look at everything take nothing from anybody.
    (desk.folder / "2.png").unlink()
    desk.wait()
    assert like(desk, samples[2]) == []
    assert like(desk, samples[2], all_hosts=True) == [(LAPTOP, os.fsencode(laptop.folder / "2.png"))]
    assert desk.stop() == 0
    desk.start()
    for daemon in (desk, laptop):
        daemon.ask(op="rescan")
        daemon.wait()
        assert daemon.listed() == on_disk(daemon.folder)
    assert desk.status()["encoded"] == 0
    assert laptop.status()["encoded"] == 4
    assert like(laptop, samples[2]) == [("", os.fsencode(laptop.folder / "2.png"))]


def test_who_is_alone_has_no_other_hosts(embedded: Daemon) -> None:
    with embedded:
        reply = next(embedded.lines(op="search", text="cat", all_hosts=True))
        assert reply["error"]["code"] == "bad_request"
        assert "host" in reply["error"]["message"]
        assert embedded.status()["host"] == ""
