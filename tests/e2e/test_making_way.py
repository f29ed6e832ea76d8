"""What the daemon does at leisure isn't done while somebody searches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from real_daemon import Daemon, picture

if TYPE_CHECKING:
    from pathlib import Path

STILL_SEARCHED_S = 5.0


def test_thumbnails_wait_until_nobody_searches(tmp_path: Path) -> None:
    folder = tmp_path / "Memes"
    folder.mkdir()
    for seed in range(8):
        picture(folder / f"{seed}.png", seed)
    thumbnails = tmp_path / ".cache" / "thumbnails" / "large"
    with Daemon(tmp_path, "--model", "bundled") as daemon:
        settled_at = None
        while settled_at is None or time.monotonic() - settled_at < STILL_SEARCHED_S:
            daemon.ask(op="search", text="")
            if settled_at is None and daemon.status()["indexed"] == 8:
                settled_at = time.monotonic()
            time.sleep(0.2)
        assert not list(thumbnails.glob("*.png"))
        daemon.until(lambda: len(list(thumbnails.glob("*.png"))) == 8, "they are made once it is quiet")
