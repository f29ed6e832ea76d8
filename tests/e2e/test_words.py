"""The words in pictures, read by the real daemon with the real RapidOCR, after all can be found by look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont
from real_daemon import path_of

from memewatchd.pictures.ocr import reader_id

if TYPE_CHECKING:
    from real_daemon import Daemon
    from warm import WarmDaemon


def caption(path: Path, text: str, colour: str = "white") -> None:
    im = Image.new("RGB", (480, 200), colour)
    ImageDraw.Draw(im).text((30, 70), text, "black", ImageFont.load_default(44))
    im.save(path)


def children(daemon: Daemon) -> list[str]:
    """The command lines of the daemon's children that read."""
    assert daemon.process is not None
    found = []
    for task in Path(f"/proc/{daemon.process.pid}/task").iterdir():
        for pid in (task / "children").read_text().split():
            command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            found += [command] if "ocr_child" in command else []
    return found


def test_words_are_read_after_all_else_and_once(daemon: Daemon) -> None:
    daemon.environ["MEMEWATCHD_WORDS"] = "true"
    caption(daemon.folder / "a.png", "one does not simply")
    caption(daemon.folder / "b.png", "walk into mordor", "yellow")
    caption(daemon.folder / "copy.png", "walk into mordor", "yellow")
    Image.radial_gradient("L").save(daemon.folder / "wordless.png")
    with daemon:
        done = daemon.memewatch("wait", "--words")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        status = daemon.status()
        assert (status["words_pending"], status["words_state"], status["state"]) == (0, "done", "settled")
        assert len(children(daemon)) == 1
        best = daemon.ask(op="search", text="mordor")["hits"][0]
        both = {bytes(daemon.folder / "b.png"), bytes(daemon.folder / "copy.png")}
        assert {path_of(best), *map(path_of, best["copies"])} == both

        caption(daemon.folder / "later.png", "and now for something")
        assert daemon.memewatch("wait", "--words").returncode == 0
        assert daemon.search("something for now")[0] == bytes(daemon.folder / "later.png")
    with daemon:
        assert daemon.memewatch("wait", "--words").returncode == 0
        assert daemon.search("mordor")
        # Nothing is read twice, so nobody is there to read.
        assert children(daemon) == []
    assert reader_id() not in daemon.log(), "nothing of it failed"


def test_a_wait_for_words_that_are_not_read_is_refused(embedded: Daemon) -> None:
    caption(embedded.folder / "a.png", "one does not simply")
    embedded.environ["MEMEWATCHD_WORDS"] = "false"
    with embedded:
        done = embedded.memewatch("wait", "--words")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"words = false in the settings" in done.stderr
        assert embedded.memewatch("wait").returncode == 0
        assert (embedded.status()["words_state"], embedded.status()["words_pending"]) == ("off", 0)
        assert b"words     not read: off" in embedded.memewatch("status").stdout


def test_without_rapidocr_the_remedy_is_named(embedded: WarmDaemon) -> None:
    caption(embedded.folder / "a.png", "one does not simply")
    embedded.environ["MEMEWATCHD_WORDS"] = "true"
    # As if it weren't installed: a finder that knows nothing of it goes before all others.
    hiding = embedded.home / "hiding"
    hiding.mkdir()
    (hiding / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name == 'rapidocr' else find(name, package)\n"
    )
    embedded.environ["PYTHONPATH"] = str(hiding)
    embedded.nest = None  # what is imported there can't be hidden any more
    with embedded:
        done = embedded.memewatch("wait", "--words")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"pip install 'memewatchd[ocr]'" in done.stderr
        assert embedded.memewatch("wait").returncode == 0
        assert embedded.status()["words_state"] == "not installed: pip install 'memewatchd[ocr]'"


def test_pause_holds_the_reader_too(embedded: Daemon) -> None:
    embedded.environ["MEMEWATCHD_WORDS"] = "true"
    for number in range(12):
        caption(embedded.folder / f"{number}.png", f"picture number {number}")
    with embedded:
        embedded.ask(op="wait", timeout=240)
        embedded.ask(op="pause")
        assert next(embedded.lines(op="wait", words=True))["error"]["code"] == "paused"
        embedded.until(lambda: embedded.status()["words_state"] == "paused", "it is paused")
        left = embedded.status()["words_pending"]
        assert left > 0
        embedded.ask(op="resume")
        embedded.ask(op="wait", words=True, timeout=240)
        assert embedded.status()["words_pending"] == 0
