"""Roots that go away, an index that fails, files that can't be read: what is kept, what is said, what heals."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd import health
from memewatchd.errors import Degraded, MemewatchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def full(rig: Any, png: Callable[[int], bytes]) -> Any:
    """A rig that has indexed five files."""
    for number in range(5):
        rig.write(f"{number}.png", png(number))
    rig.wait()
    assert len(rig.indexed) == 5
    rig.reader.opened.clear()
    return rig


def kept(rig: Any) -> tuple[int, int]:
    return len(rig.catalog.rows()), sum(rig.stored().values())


def test_the_files_of_a_root_that_is_away_are_kept_and_not_returned(full: Any) -> None:
    os.rename(full.root, full.root + b".away")
    full.wait()
    assert full.progress.state == "degraded"
    assert "missing" in full.progress.away[full.root]
    assert full.indexed == {}
    assert kept(full) == (5, 5)
    os.rename(full.root + b".away", full.root)
    full.wait()
    full.assert_equal_to_disk()
    assert sum(full.model.batches) == 5
    assert full.reader.opened == []
    assert {kind for kind, _ in full.events} == {"added"}


def test_a_root_that_goes_away_is_noticed_without_being_asked(full: Any, until: Callable[..., None]) -> None:
    os.rename(full.root, full.root + b".away")
    until(lambda: full.progress.state == "degraded")
    os.rename(full.root + b".away", full.root)
    until(lambda: full.progress.state == "settled")
    full.assert_equal_to_disk()


def test_a_root_that_was_away_at_the_start(full: Any, png: Callable[[int], bytes], until: Callable[..., None]) -> None:
    full.stop()
    os.rename(full.root, full.root + b".away")
    full.start()
    full.wait()
    assert full.progress.state == "degraded"
    assert (full.indexed, kept(full)) == ({}, (5, 5))
    os.rename(full.root + b".away", full.root)
    full.write("new.png", png(9))
    full.wait()
    full.assert_equal_to_disk()
    assert sum(full.model.batches) == 6


def test_an_empty_folder_in_its_place_is_an_unmounted_disk(full: Any, until: Callable[..., None]) -> None:
    os.rename(full.root, full.root + b".away")
    os.mkdir(full.root)
    full.wait()
    assert "forget-missing" in full.progress.away[full.root]
    assert kept(full) == (5, 5)
    full.mirror.rescan(forget_missing=True)
    until(lambda: not full.progress.away)
    full.wait()
    assert kept(full) == (0, 0)
    full.assert_equal_to_disk()
    assert [kind for kind, _ in full.events].count("removed") == 5


def test_a_missing_root_is_forgotten_only_when_asked(full: Any, until: Callable[..., None]) -> None:
    shutil.rmtree(full.root)
    full.wait()
    full.mirror.rescan()
    full.wait()
    assert kept(full) == (5, 5)
    full.mirror.rescan(forget_missing=True)
    until(lambda: kept(full) == (0, 0))
    full.wait()
    assert full.progress.state == "degraded"  # it is still missing


def test_forgetting_the_missing_spares_what_is_there(full: Any) -> None:
    full.mirror.rescan(forget_missing=True)
    full.wait()
    full.assert_equal_to_disk()
    assert len(full.indexed) == 5


def test_other_roots_go_on_while_one_is_away(
    new_rig: Callable[..., Any], tmp_path: Path, png: Callable[[int], bytes]
) -> None:
    roots = [os.fsencode(tmp_path / name) for name in ("here", "disk")]
    for root in roots:
        os.mkdir(root)
    rig = new_rig(roots=roots)
    rig.start()
    rig.write("a.png", png(1))
    rig.write("../disk/b.png", png(2))
    rig.wait()
    os.rename(roots[1], roots[1] + b".away")
    os.unlink(rig.path("a.png"))
    rig.write("c.png", png(3))
    rig.wait()
    assert set(rig.indexed) == {"c.png"}
    assert len(rig.catalog.rows()) == 2
    os.rename(roots[1] + b".away", roots[1])
    os.rename(roots[1] + b"/b.png", roots[0] + b"/b.png")  # from root to root
    rig.wait()
    rig.assert_equal_to_disk()
    assert sum(rig.model.batches) == 3


def test_a_root_that_is_no_longer_watched_is_forgotten_and_costs_nothing_when_it_is_back(
    new_rig: Callable[..., Any], tmp_path: Path, png: Callable[[int], bytes]
) -> None:
    roots = [os.fsencode(tmp_path / name) for name in ("here", "disk")]
    for root in roots:
        os.mkdir(root)
    rig = new_rig(roots=list(roots))
    rig.start()
    rig.write("a.png", png(1))
    rig.write("../disk/b.png", png(2))
    rig.write("../disk/c.png", png(3))
    rig.wait()
    rig.stop()
    os.rename(roots[1] + b"/c.png", roots[0] + b"/c.png")
    rig.roots = roots[:1]  # taken out of the settings
    rig.start()
    rig.wait()
    assert {row.path for row in rig.catalog.rows()} == {roots[0] + b"/a.png", roots[0] + b"/c.png"}
    assert rig.path("c.png") not in rig.reader.opened  # seen to have moved
    rig.stop()
    rig.roots = roots
    rig.start()
    rig.wait()
    rig.assert_equal_to_disk()
    assert sum(rig.model.batches) == 3


def test_a_root_that_is_away_just_while_a_file_is_opened_loses_none(
    full: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    """It is back before anybody looks at the root, and nothing tells of it: a folder above was renamed, to and fro."""
    read = full.reader.read
    unlucky = {full.path("1.png"), full.path("new.png")}

    def read_while_away(path: bytes, *rest: Any) -> Any:
        if path not in unlucky:
            return read(path, *rest)
        unlucky.discard(path)
        os.rename(full.root, full.root + b".away")
        try:
            return read(path, *rest)
        finally:
            os.rename(full.root + b".away", full.root)

    full.reader.read = read_while_away
    full.progress.told.clear()
    os.utime(full.path("1.png"))
    full.write("new.png", png(7))
    until(lambda: not unlucky)
    until(lambda: "new.png" in full.indexed and not full.progress.pending)
    full.wait()
    full.assert_equal_to_disk()
    assert full.events == [("added", "new.png")]


def test_a_root_that_goes_away_while_its_files_are_read_loses_none(
    full: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    """Each file looks deleted then. Here another model has to read them all anew, and the disk goes after the first."""
    full.stop()
    full.model.fingerprint = "f2"
    full.model.ready = False
    full.start()
    until(lambda: full.progress.scanned)

    def unplug(_: bytes) -> None:
        if len(full.reader.opened) == 1 and os.path.isdir(full.root):
            os.rename(full.root, full.root + b".away")

    full.reader.before = unplug
    full.model.ready = True
    full.mirror.wake()
    until(lambda: full.progress.state == "degraded" and not full.progress.pending)
    full.wait()
    assert kept(full) == (5, 5)
    assert not full.events
    os.rename(full.root + b".away", full.root)
    full.wait()
    full.assert_equal_to_disk()
    assert sum(full.model.batches) == 10


@pytest.mark.parametrize("when", ["before", "half", "after"])
@pytest.mark.parametrize("name", ["insert_pictures", "insert_files", "delete_files", "read_files"])
def test_an_index_that_fails_in_mid_work_is_opened_again(
    full: Any, png: Callable[[int], bytes], name: str, when: str
) -> None:
    """At every call that may fail: said while it lasts, and then all is as it should be, nothing encoded twice."""
    failed = []

    def fail_once(_: int, call: str) -> str | None:
        if call == name and len(failed) < 2:
            failed.append(call)
            return when
        return None

    if name == "read_files":
        full.stop()
        full.store.fail = fail_once
        full.start()
    full.store.fail = fail_once
    full.write("0.png", png(10))
    full.write("new.png", png(11))
    full.write("copy.png", png(1))
    os.unlink(full.path("2.png"))
    full.move("3.png", "moved.png")
    full.wait()
    assert failed
    full.store.revive()
    full.assert_equal_to_disk()
    full.assert_vectors_are_true()
    if name != "insert_pictures":
        assert sum(full.model.batches) == 7


def test_a_wait_outlasts_an_index_that_is_down(
    full: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    full.store.dies = True
    full.store.fail = lambda _, name: "before" if name == "insert_files" else None
    full.write("new.png", png(9))
    walk = full.ask()
    until(lambda: "index" in full.progress.problems)
    assert full.progress.state == "degraded"
    with pytest.raises(FutureTimeoutError):
        walk.result(0.05)
    full.store.revive()
    walk.result(30)
    full.assert_equal_to_disk()
    assert full.progress.problems == {}


def test_a_file_that_vanishes_while_the_index_is_down_is_not_waited_for(
    full: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    full.store.dies = True
    full.store.fail = lambda _, name: "before" if name == "insert_files" else None
    full.write("kept.png", png(8))
    full.write("vanishes.png", png(9))
    walk = full.ask()
    until(lambda: "index" in full.progress.problems)
    os.unlink(full.path("vanishes.png"))
    full.store.revive()
    walk.result(30)
    full.assert_equal_to_disk()


def test_an_index_that_is_down_at_the_start(
    new_rig: Callable[..., Any], png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    rig = new_rig()
    rig.store.is_dead = True
    rig.write("a.png", png(1))
    rig.start()
    until(lambda: "away" in rig.progress.problems.get("index", ""))
    assert not rig.mirror.is_open
    rig.store.revive()
    rig.wait()
    rig.assert_equal_to_disk()


def test_an_index_that_fails_while_nothing_happens_is_noticed(full: Any, until: Callable[..., None]) -> None:
    """A search finds it failing and says so; no file need change for it to be opened again."""
    full.store.is_dead = True
    full.mirror.check_soon()
    until(lambda: "away" in full.progress.problems.get("index", ""))
    full.store.revive()
    until(lambda: full.progress.state == "settled")
    full.assert_equal_to_disk()


def test_an_idle_index_is_asked_thoroughly_once_a_minute_and_where_somebody_found_it_failing(
    full: Any, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CHECK_S", 0.05)
    full.store.checks.clear()
    full.mirror.check_soon()
    until(lambda: len(full.store.checks) >= 4)
    assert full.store.checks[:4] == ["thorough", "quick", "quick", "quick"]
    full.mirror.check_soon()
    until(lambda: full.store.checks.count("thorough") == 2)
    monkeypatch.setattr(health, "THOROUGH_CHECK_S", 0.1)
    full.mirror.check_soon()
    until(lambda: full.store.checks.count("thorough") >= 5)


def test_it_is_noticed_while_paused_too(full: Any, until: Callable[..., None]) -> None:
    full.mirror.set_paused(True)
    full.store.is_dead = True
    full.mirror.check_soon()
    until(lambda: "away" in full.progress.problems.get("index", ""))
    full.store.revive()
    until(lambda: full.progress.state == "paused")


def test_patience_grows_while_an_index_stays_down(full: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr(full.mirror, "_nap", lambda seconds: (naps.append(seconds), full.mirror._stop.wait(0.005)))
    full.store.is_dead = True
    full.mirror.check_soon()
    deadline = time.monotonic() + 30
    while len(naps) < 6 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert naps[:6] == [0.01, 0.02, 0.04, 0.08, 0.1, 0.1]


def test_what_never_works_is_tried_ever_less_often_and_said_once(
    full: Any, png: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Opening the index works each time; so that is no reason to begin with the patience anew."""
    naps: list[float] = []
    monkeypatch.setattr(full.mirror, "_nap", lambda seconds: (naps.append(seconds), full.mirror._stop.wait(0.005)))

    def never(_: bytes) -> None:
        raise MemewatchError("the picture decoder can't be started")

    full.reader.before = never
    full.write("new.png", png(9))
    deadline = time.monotonic() + 30
    while len(naps) < 6 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert naps[:6] == [0.01, 0.02, 0.04, 0.08, 0.1, 0.1]
    assert caplog.text.count("the picture decoder can't be started") == 1
    assert "Traceback" not in caplog.text
    full.reader.before = lambda _: None
    full.wait()
    full.assert_equal_to_disk()


def test_a_model_whose_pictures_cannot_be_opened_is_degraded_all_along(
    new_rig: Callable[..., Any], png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    """And not now and then "indexing", whenever it is tried again."""
    rig = new_rig()
    rig.write("a.png", png(1))
    seen: set[str] = set()
    tries: list[str] = []

    def fail(_: int, name: str) -> str | None:
        if tries:
            seen.add(rig.progress.state)
        if name == "open_pictures":
            tries.append(name)
            return "before"
        return None

    rig.store.fail = fail
    rig.start()
    until(lambda: len(tries) >= 3)
    assert seen == {"degraded"}
    rig.store.revive()
    rig.wait()
    rig.assert_equal_to_disk()


def test_on_a_nearly_full_disk_nothing_is_written_until_there_is_space(
    full: Any, png: Callable[[int], bytes], until: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    full.shortage = "3 MiB are free; free some space"
    full.mirror.wake()
    until(lambda: full.progress.problems.get("space") == full.shortage)
    calls = len(full.store.calls)
    full.write("new.png", png(9))
    with pytest.raises(Degraded, match="3 MiB"):
        full.ask().result(30)
    assert full.progress.state == "degraded"
    full.mirror.wake()
    assert len(full.store.calls) == calls
    assert "new.png" not in full.indexed
    full.shortage = ""
    full.wait()
    full.assert_equal_to_disk()
    assert sum(full.model.batches) == 6
    assert caplog.text.count("free some space") == 1
    assert "there is space again" in caplog.text


def test_a_bug_in_the_mirror_is_said_and_survived(full: Any, png: Callable[[int], bytes]) -> None:
    def stumble(_: bytes) -> None:
        full.reader.before = lambda _: None
        raise KeyError("a bug")

    full.reader.before = stumble
    full.write("new.png", png(9))
    full.wait()
    full.assert_equal_to_disk()


def test_unchanged_files_are_not_read_after_a_restart(full: Any) -> None:
    writes = [call for call in full.store.calls if call.startswith(("insert", "delete"))]
    full.restart()
    full.wait()
    full.assert_equal_to_disk()
    assert full.reader.opened == []
    assert full.decoder.decoded.total() == 5
    assert [call for call in full.store.calls if call.startswith(("insert", "delete"))] == writes


def test_what_changed_while_nobody_looked(full: Any, png: Callable[[int], bytes]) -> None:
    full.stop()
    full.move("0.png", "moved.png")
    full.write("1.png", png(10))
    os.unlink(full.path("2.png"))
    full.write("new/3.png", png(3))
    full.start()
    full.wait()
    full.assert_equal_to_disk()
    assert sum(full.model.batches) == 6
    assert full.path("moved.png") not in full.reader.opened


def test_stopping_is_quick_in_the_middle_of_work(rig: Any, png: Callable[[int], bytes]) -> None:
    rig.model.gate.clear()
    for number in range(50):
        rig.write(f"{number}.png", png(number))
    rig.ask()
    assert rig.model.began.acquire(timeout=30)
    rig.stop()  # it doesn't wait for the model
    rig.model.gate.set()
    rig.start()
    rig.wait()
    rig.assert_equal_to_disk()
