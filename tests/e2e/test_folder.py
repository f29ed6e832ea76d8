"""The main job, whole: what happens to the folder is in the index, on the embedded Milvus and on a server."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

from real_daemon import Daemon, on_disk, picture, pictures

if TYPE_CHECKING:
    from pathlib import Path

MANY = 2_000


def assert_equal(daemon: Daemon) -> None:
    """After a wait, the index is the disk: the same paths, the same digests."""
    daemon.wait()
    assert daemon.listed() == on_disk(daemon.folder)
    assert daemon.failed() == {}


def encoded(daemon: Daemon) -> int:
    count: int = daemon.status()["encoded"]
    return count


def write_in_pieces(path: Path, data: bytes) -> None:
    """As a slow download: the file stays open while it grows."""
    with path.open("wb") as stream:
        for start in range(0, len(data), 700):
            stream.write(data[start : start + 700])
            stream.flush()


def test_everything_that_happens_to_a_folder(daemon: Daemon, home: Path) -> None:
    folder = daemon.folder
    pictures(folder / "old", range(MANY - 500))
    pictures(home / "elsewhere", range(MANY - 500, MANY))
    picture(home / "download.png", MANY)
    with daemon:
        assert_equal(daemon)
        assert encoded(daemon) == MANY - 500
        assert daemon.status()["state"] == "settled"

        # Copies and moves of all kinds are free.
        shutil.copy(folder / "old" / "00000.png", folder / "a copy.png")
        (folder / "old" / "00001.jpg").rename(folder / "renamed.jpg")
        (folder / "old" / "00005.png").rename(home / "out.png")
        (folder / "old" / "00006.jpg").unlink()
        (folder / "old").rename(folder / "new")
        (folder / "deeper" / "still").mkdir(parents=True)
        (folder / "new").rename(folder / "deeper" / "still" / "new")
        (folder / "renamed.jpg").rename(folder / "deeper" / "renamed again.jpg")
        (home / "out.png").rename(folder / "back.png")
        assert_equal(daemon)
        assert encoded(daemon) == MANY - 500

        # A burst of 500, and a download in pieces, which is renamed at its end.
        shutil.copytree(home / "elsewhere", folder / "burst")
        write_in_pieces(folder / "cat.png.part", (home / "download.png").read_bytes())
        (folder / "cat.png.part").rename(folder / "cat.png")
        assert_equal(daemon)
        assert encoded(daemon) == MANY + 1

        # Rewritten in place, and as an editor does it; each is one new picture.
        picture(folder / "burst" / "01500.png", MANY + 1)
        picture(folder / "cat.tmp", MANY + 2)
        (folder / "cat.tmp").replace(folder / "cat.png")
        shutil.rmtree(folder / "deeper" / "still")
        assert_equal(daemon)
        assert encoded(daemon) == MANY + 3
    assert daemon.process is None


def test_stopped_and_the_folder_changed_in_every_way(daemon: Daemon) -> None:
    folder = daemon.folder
    pictures(folder / "a", range(150))
    with daemon:
        assert_equal(daemon)
    (folder / "a").rename(folder / "b")
    for number in range(0, 50, 5):
        (folder / "b" / f"{number:05}.png").unlink()
    picture(folder / "b" / "00055.png", 900)
    shutil.copy(folder / "b" / "00060.png", folder / "copy.png")
    os.utime(folder / "b" / "00065.png")
    (folder / "b" / "00070.png").rename(folder / "x.png")
    (folder / "b" / "00075.png").rename(folder / "b" / "00070.png")
    pictures(folder / "c", range(200, 220))
    with daemon:
        assert_equal(daemon)
        assert encoded(daemon) == 21, "the rewritten one and the 20 new ones"
    with daemon:
        assert_equal(daemon)
        assert encoded(daemon) == 0


def test_killed_in_the_middle_it_goes_on(daemon: Daemon) -> None:
    """What was acknowledged isn't encoded again, and nothing is left that isn't on the disk."""
    folder = daemon.folder
    pictures(folder, range(400))
    done = 0
    for _ in range(3):
        daemon.start()
        daemon.until(lambda: encoded(daemon) > 40, "it encodes")
        done += encoded(daemon)
        picture(folder / f"late {done}.png", 1000 + done)
        daemon.stop(signal.SIGKILL)
    with daemon:
        assert_equal(daemon)
        assert encoded(daemon) <= 403 - done


def test_names_of_every_kind(daemon: Daemon) -> None:
    folder = os.fsencode(daemon.folder)
    names = [
        *(b"\xff\xfe\x80.png", b"new\nline.png", b"\"quoted\" and 'quoted'.png", b"tab\tand \\ backslash.png"),
        *("生气的猫 😾.png".encode(), b"digest in [1] or 1 == 1 --.png", b"%s {0} $HOME `id`.png", b" .png"),
        b"x" * 251 + b".png",
    ]
    for seed, name in enumerate(names):
        picture(b"%s/%s" % (folder, name), seed)
    # A path of nearly 4,096 bytes, which is the kernel's limit; it can only be made step by step.
    here = os.open(folder, os.O_DIRECTORY)
    deep = folder
    while len(deep) + 201 < 4085:
        os.mkdir(b"d" * 200, dir_fd=here)
        inner = os.open(b"d" * 200, os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here, deep = inner, deep + b"/" + b"d" * 200
    os.close(here)
    name = b"n" * (4095 - len(deep) - 1 - 4) + b".png"
    picture(deep + b"/" + name, len(names))
    assert len(deep + b"/" + name) == 4095
    with daemon:
        assert_equal(daemon)
        assert daemon.search("quoted")[0] == b"%s/%s" % (folder, names[2])
        assert daemon.search("生气")[0] == b"%s/%s" % (folder, names[4])
        shown = daemon.memewatch("search", "--format", "print0", "-n", "50", "x")
        assert set(shown.stdout.split(b"\0")[:-1]) == set(on_disk(daemon.folder))


def test_what_is_no_meme_or_a_broken_one(embedded: Daemon) -> None:
    folder = embedded.folder
    picture(folder / "really a gif.gif", 1)
    (folder / "really a gif.gif").rename(folder / "really a gif.jpg")
    picture(folder / "no extension.png", 2)
    (folder / "no extension.png").rename(folder / "no extension")
    picture(folder / "half.png", 3)
    data = (folder / "half.png").read_bytes()
    (folder / "half.png").write_bytes(data[: len(data) // 2])
    (folder / "empty.png").touch()
    (folder / "garbage.webp").write_bytes(b"garbage" * 100)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(data)
    (folder / "coming.png.crdownload").write_bytes(data)
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "link.png").symlink_to("no extension")
    with embedded as daemon:
        daemon.wait()
        found = {os.path.basename(path).decode() for path in daemon.listed()}
        assert found == {"really a gif.jpg", "no extension", "link.png"}
        failed = {os.path.basename(path).decode(): reason for path, reason in daemon.failed().items()}
        assert set(failed) == {"half.png", "empty.png", "garbage.webp"}
        assert all(failed.values())
        (folder / "half.png").write_bytes(data)
        daemon.wait()
        assert "half.png" in {os.path.basename(path).decode() for path in daemon.listed()}


def test_a_root_that_goes_away_and_comes_back(embedded: Daemon, home: Path) -> None:
    folder = embedded.folder
    pictures(folder, range(30))
    with embedded as daemon:
        assert_equal(daemon)
        before = daemon.listed()
        folder.rename(home / "unplugged")
        daemon.until(lambda: daemon.status()["state"] == "degraded", "it is seen that the folder is away")
        assert daemon.status()["roots"][0]["away"]
        assert daemon.listed() == {}
        (home / "unplugged").rename(folder)
        daemon.wait()
        daemon.until(lambda: daemon.status()["state"] == "settled", "it is seen that the folder is back")
        assert daemon.listed() == before
        assert encoded(daemon) == 30
        folder.rename(home / "unplugged")
        daemon.ask(op="rescan", forget_missing=True)
        daemon.until(lambda: daemon.status()["indexed"] == 0, "it is forgotten")


def test_events_are_told(embedded: Daemon) -> None:
    with embedded as daemon:
        daemon.wait()
        events = daemon.lines(op="events")
        assert next(events) == {"ok": True}
        path = str(daemon.folder / "new cat.png")
        picture(daemon.folder / "new cat.png", 5)
        assert next(events) == {"event": "added", "path": path}
        assert daemon.search("new cat") == [path.encode()]
        (daemon.folder / "new cat.png").rename(daemon.folder / "old cat.png")
        moved = str(daemon.folder / "old cat.png")
        assert next(events) == {"event": "moved", "path": moved, "from": path}
        (daemon.folder / "old cat.png").unlink()
        assert next(events) == {"event": "removed", "path": moved}


def test_pause_and_resume(embedded: Daemon) -> None:
    with embedded as daemon:
        daemon.wait()
        daemon.ask(op="pause")
        pictures(daemon.folder, range(5))
        assert daemon.status()["state"] == "paused"
        assert next(daemon.lines(op="wait"))["error"]["code"] == "paused"
        assert daemon.memewatch("wait").returncode == 2
        assert daemon.listed() == {}
        daemon.ask(op="resume")
        assert_equal(daemon)
