"""The API for other programs, against the real daemon."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from real_daemon import picture

from memewatchd.client import Client, Event

if TYPE_CHECKING:
    from real_daemon import Daemon


def test_all_of_it_on_a_real_daemon(embedded: Daemon) -> None:
    made = [str(embedded.folder / f"{number}.png") for number in range(3)]
    for number, path in enumerate(made):
        picture(Path(path), number)
    copy = shutil.copy(made[1], embedded.folder / "z.png")
    (embedded.folder / "broken.png").write_bytes(b"no picture")
    with embedded, Client(embedded.socket) as client:
        assert client.wait(timeout=240)
        assert client.status()["indexed"] == 4
        assert {file.path for file in client.list()} == {*made, str(copy)}
        assert [os.path.basename(failure.path) for failure in client.failed()] == ["broken.png"]
        (first, *_) = client.search(like=[made[1]], limit=2)
        assert first.path == made[1]
        assert first.why["image"] is not None
        assert first.copies == (str(copy),)
        client.used(made[2])
        assert client.search()[0].path == made[2]
        events = client.events()
        os.rename(made[0], embedded.folder / "moved.png")
        assert next(events) == Event("moved", str(embedded.folder / "moved.png"), made[0])
        events.close()
