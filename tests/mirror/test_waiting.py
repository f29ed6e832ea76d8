"""``memewatch wait``: a full walk begun after the request, and all that it found is settled."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.errors import Degraded, Paused

if TYPE_CHECKING:
    from collections.abc import Callable


def test_what_was_written_before_the_request_is_there_after_it(rig: Any, png: Callable[[int], bytes]) -> None:
    for number in range(20):
        rig.write(f"{number}.png", png(number))
        rig.wait()
        assert f"{number}.png" in rig.indexed


def test_it_waits_for_what_the_walk_found(rig: Any, png: Callable[[int], bytes]) -> None:
    rig.model.gate.clear()
    rig.write("a.png", png(1))
    walk = rig.ask()
    assert rig.model.began.acquire(timeout=30)
    assert not walk.done()
    rig.model.gate.set()
    walk.result(30)
    assert set(rig.indexed) == {"a.png"}


def test_later_changes_do_not_delay_it(rig: Any, png: Callable[[int], bytes]) -> None:
    rig.write("first.png", png(0))
    rig.model.gate.clear()
    walk = rig.ask()
    assert rig.model.began.acquire(timeout=30)
    with open(rig.path("later.png"), "wb") as open_file:  # noqa: PTH123 - stays pending as long as it is open
        open_file.write(png(1))
        open_file.flush()
        rig.model.gate.set()
        walk.result(30)
        assert set(rig.indexed) == {"first.png"}
    rig.wait()
    assert set(rig.indexed) == {"first.png", "later.png"}


def test_a_walk_that_had_begun_does_not_serve_a_later_request(rig: Any, png: Callable[[int], bytes]) -> None:
    rig.wait()
    looked, go_on = threading.Event(), threading.Event()
    look = rig.mirror._looker._disk.look

    def look_and_dawdle(dirty: Any) -> Any:
        found = look(dirty)
        looked.set()
        assert go_on.wait(30)
        return found

    rig.mirror._looker._disk.look = look_and_dawdle
    first = rig.ask()
    assert looked.wait(30)
    rig.write("a.png", png(1))
    second = rig.ask()
    go_on.set()
    first.result(30)
    second.result(30)
    assert set(rig.indexed) == {"a.png"}


def test_it_waits_for_the_new_content_not_for_the_old(
    rig: Any, png: Callable[[int], bytes], digest_of: Callable[[bytes], str], until: Callable[..., None]
) -> None:
    """The old one is under way when the walk finds the new one, and is written first."""
    rig.decoder.gate.clear()
    rig.write("a.png", png(1))
    rig.ask()
    assert rig.decoder.began.acquire(timeout=30)
    rig.write("a.tmp", png(2))
    rig.move("a.tmp", "a.png")
    walk = rig.ask()
    until(lambda: not rig.progress.waiting_walks())
    read, go_on = threading.Event(), threading.Event()

    def hold_up(_: bytes) -> None:
        if rig.indexed:
            read.set()
            assert go_on.wait(30)

    rig.reader.before = hold_up
    rig.decoder.gate.set()
    assert read.wait(30)
    assert rig.indexed == {"a.png": digest_of(png(1))}
    assert not walk.done()
    go_on.set()
    walk.result(30)
    assert rig.indexed == {"a.png": digest_of(png(2))}


def test_a_file_that_vanishes_meanwhile_is_not_waited_for(rig: Any, png: Callable[[int], bytes]) -> None:
    with open(rig.path("a.png"), "wb") as file:  # noqa: PTH123
        file.write(png(1)[:20])
        file.flush()
        walk = rig.ask()
        rig.wait_until_read("a.png")
        os.unlink(rig.path("a.png"))
    walk.result(30)
    assert rig.progress.pending == 0


def test_while_paused_nothing_is_read_and_waits_end(rig: Any, png: Callable[[int], bytes]) -> None:
    rig.wait()
    rig.model.gate.clear()
    rig.write("a.png", png(1))
    walk = rig.ask()
    assert rig.model.began.acquire(timeout=30)
    rig.mirror.set_paused(True)
    with pytest.raises(Paused, match="resume"):
        walk.result(30)
    rig.model.gate.set()
    rig.write("b.png", png(2))
    assert rig.progress.state == "paused"
    rig.mirror.set_paused(False)
    rig.wait()
    rig.assert_equal_to_disk()


def test_what_is_under_way_is_finished_while_paused(
    rig: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    rig.model.gate.clear()
    rig.write("a.png", png(1))
    rig.ask()
    assert rig.model.began.acquire(timeout=30)
    rig.mirror.set_paused(True)
    rig.model.gate.set()
    until(lambda: "a.png" in rig.indexed)
    assert rig.progress.state == "paused"


def test_before_the_model_is_loaded_files_are_pending(
    new_rig: Callable[..., Any], png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    rig = new_rig()
    rig.model.ready = False
    rig.write("a.png", png(1))
    rig.start()
    walk = rig.ask()
    until(lambda: rig.progress.pending == 1)
    assert not walk.done()
    assert rig.progress.state == "indexing"
    rig.model.ready = True
    rig.mirror.wake()
    walk.result(30)
    rig.assert_equal_to_disk()


def test_after_a_restart_names_are_known_at_once_and_looks_are_waited_for(
    rig: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    """Nothing is to be encoded, but before the model's pictures are open no search by look finds anything."""
    rig.write("cat.png", png(1))
    rig.write("cut.png", png(2)[:45])
    rig.wait()
    rig.stop()
    rig.model.ready = False
    rig.start()
    walk = rig.ask()
    until(lambda: rig.progress.scanned)
    until(lambda: rig.progress.pending == 1)
    assert [row.path for row in rig.catalog.named(lambda text: "cat" in text)] == [rig.path("cat.png")]
    assert (rig.progress.state, rig.indexed) == ("indexing", {})
    assert not walk.done()
    rig.model.ready = True
    rig.mirror.wake()
    walk.result(30)
    rig.assert_equal_to_disk()
    assert rig.model.batches == [1]
    assert rig.reader.opened == []


def test_another_model_encodes_everything_anew_and_is_waited_for(
    rig: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    for number in range(3):
        rig.write(f"{number}.png", png(number))
    rig.wait()
    rig.stop()
    rig.model.fingerprint, rig.model.ready = "f2", False
    rig.start()
    walk = rig.ask()
    until(lambda: rig.progress.pending == 3)
    assert not walk.done()
    rig.model.ready = True
    rig.mirror.wake()
    walk.result(30)
    rig.assert_equal_to_disk()
    assert rig.events == []  # no news: the files are what they were
    assert sum(rig.model.batches) == 6
    rig.stop()
    rig.model.fingerprint = "f1"
    rig.start()
    rig.wait()
    rig.assert_equal_to_disk()
    assert sum(rig.model.batches) == 6  # the first model's vectors are still there


def test_a_model_that_is_loaded_while_paused_can_be_searched(
    rig: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    """Pausing stops indexing, not searching."""
    rig.write("a.png", png(1))
    rig.wait()
    rig.stop()
    rig.model.ready = False
    rig.start()
    until(lambda: rig.progress.scanned)
    rig.mirror.set_paused(True)
    rig.model.ready = True
    rig.mirror.wake()
    until(lambda: rig.mirror.is_active)
    assert set(rig.indexed) == {"a.png"}


@pytest.mark.parametrize("known", [False, True])
def test_a_model_that_cannot_be_loaded_ends_the_wait(
    new_rig: Callable[..., Any], png: Callable[[int], bytes], known: bool
) -> None:
    rig = new_rig()
    rig.write("a.png", png(1))
    if known:
        rig.start()
        rig.wait()
        rig.stop()
    rig.model.ready, rig.model.failed = False, "no such model; try another"
    rig.start()
    for _ in range(2):
        with pytest.raises(Degraded, match="try another"):
            rig.ask().result(8)  # less than the mirror's ten-second round
    assert rig.progress.state == "degraded"


def test_a_model_that_breaks_is_said_and_tried_again(
    rig: Any, png: Callable[[int], bytes], until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from memewatchd import sync

    monkeypatch.setattr(sync, "RECONNECT_S", (1.0, 1.0))
    rig.model.breaks = "out of memory"
    rig.write("a.png", png(1))
    walk = rig.ask()
    until(lambda: "out of memory" in rig.progress.problems.get("index", ""))
    assert rig.progress.state == "degraded"
    walk.result(30)
    rig.assert_equal_to_disk()
    assert rig.progress.problems == {}
