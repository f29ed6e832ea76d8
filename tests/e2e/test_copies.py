"""Copies, with the real programs: one hit that names the others, and `memewatch duplicates`."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

from PIL import Image
from real_daemon import Daemon, path_of, picture, pictures

if TYPE_CHECKING:
    from pathlib import Path


def copied(folder: Path) -> dict[str, Path]:
    """One picture four times among others: as it is, again, smaller, and as another format."""
    pictures(folder / "others", range(10, 20))
    original, again = folder / "fish.png", folder / "again" / "fish.png"
    picture(original, 1)
    with Image.open(original) as im:
        im.resize((320, 240), Image.Resampling.BICUBIC).save(original)
    again.parent.mkdir()
    shutil.copy(original, again)
    os.utime(original, (1, 1))
    smaller, converted = folder / "smaller.webp", folder / "photo \udcff.jpg"
    with Image.open(original) as im:
        im.save(converted, "JPEG", quality=60)
        im.resize((im.width // 2, im.height // 2)).save(smaller, "WEBP", quality=80)
    return {"original": original, "again": again, "smaller": smaller, "converted": converted}


def test_copies_are_shown_once_and_listed(daemon: Daemon) -> None:
    files = {name: os.fsencode(path) for name, path in copied(daemon.folder).items()}
    with daemon:
        daemon.wait()
        assert len(daemon.listed()) == 14, "a list has every file"
        hits = daemon.ask(op="search", text="fish", limit=20)["hits"]
        assert len(hits) == 11
        (hit,) = [hit for hit in hits if "copies" in hit]
        assert os.fsencode(hit["path"]) in (files["original"], files["again"])
        assert {path_of(hit), *map(path_of, hit["copies"])} == {*files.values()}
        found = daemon.memewatch("search", "-n", "20", "fish", "ext:webp").stdout.splitlines()
        assert files["smaller"] in found
        assert not {*found} & {files["original"], files["converted"]}

        group, end = daemon.lines(op="duplicates")
        assert end == {"ok": True, "end": True, "count": 1}
        assert group["group"]["exact"] is False
        assert path_of(group["group"]["files"][0]) == files["original"], "the oldest of the largest"
        printed = daemon.memewatch("duplicates")
        assert (printed.returncode, printed.stderr) == (0, b"")
        assert {*printed.stdout.splitlines()} == {*files.values()}
        assert json.loads(daemon.memewatch("duplicates", "--json").stdout) == group["group"]
        assert {*daemon.memewatch("duplicates", "-0").stdout.split(b"\0")} == {*files.values(), b""}
        daemon.stop()

        daemon.start()
        daemon.wait()
        assert next(daemon.lines(op="duplicates")) == group, "what was kept is enough"
        for name in ("again", "smaller", "converted"):
            os.unlink(files[name])
        daemon.wait()
        assert [*daemon.lines(op="duplicates")] == [{"ok": True, "end": True, "count": 0}]
        assert daemon.memewatch("duplicates").stdout == b""
