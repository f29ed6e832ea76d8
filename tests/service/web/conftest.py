"""The real daemon with its wall on a free port of loopback, on a few real pictures."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from real_daemon import Daemon, picture
from wall_browser import Browser, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS = range(6)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A wall without a token."""
    home = Path(tempfile.mkdtemp(prefix="meme-"))
    (home / "Memes").mkdir()
    for seed in SEEDS:
        picture(home / "Memes" / f"cat {seed}.png", seed)
    port = free_port()
    try:
        with Daemon(home, "--model", "bundled", "--http", f"127.0.0.1:{port}") as daemon:
            daemon.wait()
            yield Browser(daemon, port)
    finally:
        shutil.rmtree(home)


@pytest.fixture
def a_picture(tmp_path: Path) -> bytes:
    """The bytes of a PNG that nothing else has."""
    path = tmp_path / "new.png"
    picture(path, int.from_bytes(os.urandom(4), "big") ^ time.time_ns() & 0xFFFF)
    return path.read_bytes()
