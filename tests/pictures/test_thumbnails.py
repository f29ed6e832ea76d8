from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from memewatchd.cache_names import file_uri, thumbnail_name
from memewatchd.pictures import thumbnails
from memewatchd.pictures.thumbnails import Thumbnailer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Files:
    """What the catalog says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generation = 0
        self.idle = True

    def add(self, name: str, size: tuple[int, int] = (600, 300)) -> bytes:
        path = self.folder / name
        Image.new("RGB", size, (10, 200, 30)).save(path)
        self.generation += 1
        return os.fsencode(path)

    def now(self) -> list[tuple[bytes, int]]:
        return [(os.fsencode(path), path.stat().st_mtime_ns) for path in sorted(self.folder.iterdir())]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "memes").mkdir()
    return Files(tmp_path / "memes")


@pytest.fixture
def started(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Thumbnailer]]:
    monkeypatch.setattr(thumbnails, "_SOON_S", 0.05)
    made: list[Thumbnailer] = []

    def start() -> Thumbnailer:
        made.append(
            Thumbnailer(
                str(tmp_path / "thumbnails"),
                files=files.now,
                generation=lambda: files.generation,
                is_idle=lambda: files.idle,
            )
        )
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_missing_is_made_as_the_specification_says(
    files: Files, started: Callable[[], Thumbnailer], tmp_path: Path
) -> None:
    path = files.add("生气 cat.jpg")
    (files.folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    thumbnailer = started()
    target = tmp_path / "thumbnails" / "large" / thumbnail_name(path)
    until(target.exists)
    with Image.open(target) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (256, 128))
        texts = image.text  # type: ignore[attr-defined]
    status = os.stat(path)
    assert texts["Thumb::URI"] == file_uri(path)
    assert texts["Thumb::MTime"] == str(status.st_mtime_ns // 10**9)
    assert texts["Thumb::Size"] == str(status.st_size)
    assert (texts["Thumb::Image::Width"], texts["Thumb::Image::Height"]) == ("600", "300")
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.parent.stat().st_mode & 0o777 == 0o700
    assert thumbnailer.find(path) == target.read_bytes()
    assert os.listdir(target.parent) == [target.name]

    os.utime(path, (1000, 1000))
    assert thumbnailer.find(path) is None
    files.generation += 1
    thumbnailer.look_again()
    until(lambda: thumbnailer.find(path))


def test_one_that_a_file_manager_made_is_kept(files: Files, started: Callable[[], Thumbnailer], tmp_path: Path) -> None:
    first = files.add("a.png")
    thumbnailer = started()
    until(lambda: thumbnailer.find(first))
    target = tmp_path / "thumbnails" / "large" / thumbnail_name(first)
    inode = target.stat().st_ino
    again = started()
    second = files.add("b.png", size=(20, 10))
    until(lambda: again.find(second))
    assert target.stat().st_ino == inode


def test_nothing_is_made_while_there_is_work(files: Files, started: Callable[[], Thumbnailer]) -> None:
    files.idle = False
    path = files.add("a.png")
    thumbnailer = started()
    time.sleep(0.8)
    assert thumbnailer.find(path) is None
    files.idle = True
    until(lambda: thumbnailer.find(path))


def test_a_cache_that_can_t_be_written_is_told_once(
    files: Files, started: Callable[[], Thumbnailer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "thumbnails").write_text("no folder")
    files.add("a.png")
    files.add("b.png")
    thumbnailer = started()
    until(lambda: thumbnailer.problem)
    until(lambda: not thumbnailer._thread.is_alive())
    assert sum("no thumbnails can be kept" in record.message for record in caplog.records) == 1
