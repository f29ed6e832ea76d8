"""I/O classes, asked of the kernel itself."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from PIL import Image

from memewatchd import priority
from memewatchd.meme import FrameSpec
from memewatchd.pictures.pool import DecodePool

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def in_a_thread(work: object) -> None:
    """A thread of its own, since a class stays with it."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            assert callable(work)
            work()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def test_a_thread_yields_and_no_other_does() -> None:
    before = priority.io_class()

    def work() -> None:
        assert priority.yield_disk()
        assert priority.io_class() == 3

    in_a_thread(work)
    assert priority.io_class() == before


def test_for_a_while() -> None:
    def work() -> None:
        before = priority.io_class()
        with priority.yielding_disk():
            assert priority.io_class() == 3
        assert priority.io_class() in (before, 0)

    in_a_thread(work)


def test_decode_children_yield(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    with DecodePool(1) as pool, path.open("rb") as stream:
        pool.submit(stream.fileno(), FrameSpec("exact", 8, 8)).result(60)
        assert [priority.io_class(child) for child in pool.pids] == [3]


def test_a_machine_whose_numbers_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = os.uname_result(("Linux", "here", "9", "1", "vax"))
    monkeypatch.setattr(os, "uname", lambda: strange)
    assert not priority.yield_disk()
    assert priority.io_class() is None
    with priority.yielding_disk():
        pass
