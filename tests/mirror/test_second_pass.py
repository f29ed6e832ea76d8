"""The second pass over a catalog of real rows and real files, with a reader that reads what it is told."""

from __future__ import annotations

import os
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.errors import Degraded, MemewatchError, Paused, PictureError, StoreError
from memewatchd.index.catalog import Catalog
from memewatchd.meme import Digest, FileRow, FileStat, PictureWords
from memewatchd.pictures.child import LateError
from memewatchd.progress import Progress
from memewatchd.second_pass import GROUP, GROUP_S, OFF, POWER_S, TRY_AGAIN_S, UNDER_WAY, SecondPass
from memewatchd.service.power import on_battery

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class FakeReader:
    """Reads a file's own bytes as its words, when it is told to."""

    def __init__(self) -> None:
        self.readings: list[tuple[str, Future[str]]] = []

    def submit(self, fd: int) -> Future[str]:
        reading: Future[str] = Future()
        self.readings.append((os.pread(fd, 1000, 0).decode(), reading))
        return reading

    @property
    def under_way(self) -> list[str]:
        return [text for text, reading in self.readings if not reading.done()]

    def finish(self, error: Exception | None = None) -> None:
        """All that was submitted."""
        for text, reading in self.readings:
            if not reading.done():
                reading.set_exception(error) if error else reading.set_result(text)


class FakeLedger:
    """Keeps what is committed, and tells the catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.groups: list[int] = []
        self.error: Exception | None = None

    def commit_words(self, words: Iterable[PictureWords]) -> None:
        if self.error is not None:
            raise self.error
        batch = list(words)
        self.groups.append(len(batch))
        for each in batch:
            self.catalog.put_words(each)


class Bench:
    """A second pass whose clock, disk and reader are ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "memes"
        self.supplies = folder / "power"
        self.folder.mkdir()
        self.supplies.mkdir()
        self.now = 1000.0
        self.reader = FakeReader()
        self.catalog = Catalog()
        self.ledger = FakeLedger(self.catalog)
        self.progress = Progress(lambda: self.now)
        self.woken = 0
        self.second_pass = self.start()

    def start(self, **more: Any) -> SecondPass:
        parts: dict[str, Any] = {"reader_id": "r1", "supplies": self.supplies} | more
        self.second_pass = SecondPass(
            reader=self.reader,
            catalog=self.catalog,
            ledger=self.ledger,
            progress=self.progress,
            wake=self.wake,
            clock=lambda: self.now,
            **parts,
        )
        return self.second_pass

    def wake(self) -> None:
        self.woken += 1

    def add(self, *names: str, first_seen: int = 0, digest: str = "") -> None:
        """A file for each name, with the name as its bytes and its digest."""
        for number, name in enumerate(names):
            path = self.folder / name
            path.write_text(name)
            stat = FileStat.of(path.stat())
            self.catalog.put(FileRow(os.fsencode(path), stat, Digest(digest or name), first_seen + number))

    def row(self, name: str) -> FileRow:
        row = self.catalog.get(os.fsencode(self.folder / name))
        assert row is not None
        return row

    def step(self, **how: Any) -> float:
        return self.second_pass.step(**{"idle": True, **how})

    def read_all(self) -> None:
        for _ in range(1000):
            self.step()
            if not self.reader.under_way:
                return
            self.reader.finish()
        raise AssertionError("it never ends")

    @property
    def words(self) -> dict[Digest, str]:
        return self.catalog.words()

    @property
    def state(self) -> tuple[int, str]:
        return self.progress.words_pending, self.progress.words_state


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# -- what is read, and when -------------------------------------------------------------------------


def test_everything_is_read_once_the_newest_first(bench: Bench) -> None:
    bench.add(*(f"m{number}" for number in range(20)))
    assert bench.step() > 0
    assert bench.reader.under_way == ["m19", "m18"]
    assert bench.state == (20, "reading")
    bench.read_all()
    assert bench.words == {Digest(f"m{number}"): f"m{number}" for number in range(20)}
    assert [text for text, _ in bench.reader.readings] == [f"m{number}" for number in reversed(range(20))]
    assert bench.state == (0, "done")
    bench.read_all()
    assert len(bench.reader.readings) == 20


def test_copies_are_read_once(bench: Bench) -> None:
    bench.add("one", "two", digest="same")
    bench.read_all()
    assert len(bench.reader.readings) == 1


def test_another_reader_reads_all_anew(bench: Bench) -> None:
    bench.add("one", "two")
    bench.read_all()
    bench.start(reader_id="r2")
    assert bench.second_pass is not None
    bench.read_all()
    assert len(bench.reader.readings) == 4


def test_a_new_file_goes_before_those_that_wait(bench: Bench) -> None:
    bench.add(*(f"m{number}" for number in range(10)))
    bench.step()
    bench.add("news", first_seen=100)
    bench.reader.finish()
    bench.step()
    assert bench.reader.under_way == ["news", "m7"]


def test_nothing_is_begun_while_the_first_pass_works(bench: Bench) -> None:
    bench.add("one", "two", "three")
    bench.step(idle=False)
    assert (bench.reader.under_way, bench.state) == ([], (3, "waiting until all can be found by look"))
    bench.step()
    assert len(bench.reader.under_way) == UNDER_WAY
    bench.reader.finish()
    assert bench.woken == UNDER_WAY
    # What was under way is written all the same.
    bench.step(idle=False)
    assert bench.reader.under_way == []
    assert bench.ledger.groups == [2]
    assert bench.state == (1, "waiting until all can be found by look")


def test_it_is_written_in_small_groups(bench: Bench) -> None:
    bench.add(*(f"m{number}" for number in range(3 * GROUP)))
    bench.read_all()
    assert bench.ledger.groups == [GROUP] * 3


def test_what_was_read_does_not_wait_long(bench: Bench) -> None:
    bench.add(*(f"m{number}" for number in range(20)))
    bench.step()
    bench.reader.finish()
    assert bench.step() == GROUP_S
    assert bench.ledger.groups == []
    bench.now += GROUP_S
    bench.step()
    assert bench.ledger.groups == [2]


# -- files that change or can't be read -------------------------------------------------------------


def test_a_file_that_is_another_by_now_is_left_to_the_first_pass(bench: Bench) -> None:
    bench.add("one", "two")
    (bench.folder / "two").write_text("something longer")
    bench.read_all()
    assert bench.words == {Digest("one"): "one"}
    # The first pass has read it anew.
    bench.add("two")
    bench.read_all()
    assert bench.words == {Digest("one"): "one", Digest("two"): "two"}


def test_a_file_that_changes_while_it_is_read(bench: Bench) -> None:
    bench.add("one")
    bench.step()
    (bench.folder / "one").write_text("something longer")
    bench.reader.finish()
    bench.step()
    assert bench.words == {}


def test_another_copy_will_do(bench: Bench) -> None:
    bench.add("a", "b", digest="same")
    (bench.folder / "a").unlink()
    bench.read_all()
    assert bench.words == {Digest("same"): "b"}


def test_something_else_in_the_place_of_a_file_is_not_opened_for_long(bench: Bench) -> None:
    bench.add("a")
    (bench.folder / "a").unlink()
    os.mkfifo(bench.folder / "a")
    bench.read_all()
    assert bench.reader.readings == []
    assert bench.state == (0, "done")


def test_no_descriptor_is_left_open(bench: Bench) -> None:
    before = set(os.listdir("/proc/self/fd"))
    bench.add(*(f"m{number}" for number in range(6)))
    bench.step()
    bench.second_pass.reset()
    assert set(os.listdir("/proc/self/fd")) == before
    bench.read_all()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_picture_that_cannot_be_read_has_no_words_and_is_not_tried_again(bench: Bench) -> None:
    bench.add("one")
    bench.step()
    bench.reader.finish(PictureError("took more than 120 s of processor time to read"))
    bench.read_all()
    assert bench.words == {Digest("one"): ""}
    assert len(bench.reader.readings) == 1


def test_one_that_ran_out_of_time_on_the_wall_is_tried_again_after_a_restart(bench: Bench) -> None:
    bench.add("one", "two")
    bench.step()
    bench.reader.finish(LateError("took longer than 600 s to read"))
    bench.read_all()
    assert (bench.words, bench.state) == ({}, (0, "done"))
    bench.start()
    bench.read_all()
    assert len(bench.words) == 2


def test_a_reader_that_cannot_run_is_tried_again_later(bench: Bench) -> None:
    bench.add("one")
    bench.step()
    bench.reader.finish(MemewatchError("the reader of words can't be started: no module"))
    assert bench.step() == TRY_AGAIN_S
    assert bench.state == (1, "the reader of words can't be started: no module")
    assert bench.words == {}
    bench.now += TRY_AGAIN_S
    bench.read_all()
    assert (bench.words, bench.state) == ({Digest("one"): "one"}, (0, "done"))


def test_a_failing_index_is_the_mirrors_trouble_and_what_was_read_is_read_again(bench: Bench) -> None:
    bench.add("one")
    bench.step()
    bench.reader.finish()
    bench.ledger.error = StoreError("Milvus is away")
    with pytest.raises(StoreError):
        bench.step()
    bench.second_pass.reset()
    bench.ledger.error = None
    bench.read_all()
    assert bench.words == {Digest("one"): "one"}


# -- when not ---------------------------------------------------------------------------------------


def supply(bench: Bench, name: str, **files: str) -> None:
    folder = bench.supplies / name
    folder.mkdir(exist_ok=True)
    for file, text in files.items():
        (folder / file).write_text(text + "\n")


def test_paused_and_short_of_space(bench: Bench) -> None:
    bench.add("one", "two", "three")
    bench.step()
    bench.reader.finish()
    bench.step(idle=False, why_not="too little space", may_write=False)
    assert bench.state == (3, "too little space")
    assert bench.ledger.groups == []
    bench.step(why_not="paused")
    assert bench.state == (1, "paused")
    assert bench.ledger.groups == [2]
    assert bench.reader.under_way == []
    bench.read_all()
    assert bench.state == (0, "done")


def test_on_battery(bench: Bench) -> None:
    supply(bench, "AC", type="Mains", online="0")
    supply(bench, "BAT0", type="Battery", status="Discharging")
    bench.add("one")
    assert bench.step() == POWER_S
    assert (bench.state, bench.reader.under_way) == ((1, "on battery"), [])
    supply(bench, "AC", online="1")
    bench.now += POWER_S
    bench.read_all()
    assert bench.state == (0, "done")


def test_on_battery_if_the_settings_allow_it(bench: Bench) -> None:
    supply(bench, "BAT0", type="Battery", status="Discharging")
    bench.start(read_on_battery=True)
    bench.add("one")
    bench.read_all()
    assert bench.state == (0, "done")


@pytest.mark.parametrize(
    ("supplies", "discharging"),
    [
        ({}, False),
        ({"AC": ("Mains", "1", ""), "BAT0": ("Battery", "", "Charging")}, False),
        ({"AC": ("Mains", "0", ""), "BAT0": ("Battery", "", "Discharging")}, True),
        ({"AC": ("Mains", "0", ""), "BAT0": ("Battery", "", "Full")}, False),
        ({"BAT0": ("Battery", "", "Discharging")}, True),
        # A dock charges more slowly than the machine works.
        ({"usb": ("USB", "1", ""), "BAT0": ("Battery", "", "Discharging")}, False),
    ],
)
def test_what_the_kernel_says(bench: Bench, supplies: dict[str, tuple[str, str, str]], discharging: bool) -> None:
    for name, (kind, online, status) in supplies.items():
        supply(
            bench, name, type=kind, **({"online": online} if online else {}), **({"status": status} if status else {})
        )
    supply(bench, "hidpp_battery_0", type="Battery", scope="Device", status="Discharging", online="1")
    assert on_battery(bench.supplies) is discharging


def test_no_power_supplies_at_all(tmp_path: Path) -> None:
    assert not on_battery(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("off", "says"),
    [(OFF, "words = false in the settings"), ("not installed: pip install x", "not installed: pip install x")],
)
def test_off(bench: Bench, off: str, says: str) -> None:
    bench.start(off=off)
    bench.add("one")
    assert bench.step() == float("inf")
    assert bench.state == (0, off)
    assert says in bench.progress.words_off


# -- who waits --------------------------------------------------------------------------------------


def test_whoever_waits_waits_for_what_is_unread_now(bench: Bench) -> None:
    bench.add("one", "two", "three")
    wait = bench.progress.new_words_wait()
    bench.step()
    bench.add("later", first_seen=50)
    bench.reader.finish()
    bench.step()
    assert not wait.done.done()
    assert bench.reader.under_way == ["later", "one"]
    bench.reader.readings[-1][1].set_result("one")
    bench.now += GROUP_S
    bench.step()
    assert wait.done.done()
    assert bench.state == (1, "reading")


def test_with_nothing_unread_nobody_waits_whatever_holds_it_up(bench: Bench) -> None:
    supply(bench, "BAT0", type="Battery", status="Discharging")
    wait = bench.progress.new_words_wait()
    bench.step()
    assert wait.done.result(0) is None


@pytest.mark.parametrize(("hold", "error"), [("battery", Paused), ("paused", Paused), ("broken", Degraded)])
def test_a_wait_that_would_never_end_fails_with_the_reason(bench: Bench, hold: str, error: type[Exception]) -> None:
    bench.add("one")
    wait = bench.progress.new_words_wait()
    if hold == "battery":
        supply(bench, "BAT0", type="Battery", status="Discharging")
    if hold == "broken":
        bench.step()
        bench.reader.finish(MemewatchError("the reader can't be started"))
    bench.step(why_not="paused" if hold == "paused" else "")
    with pytest.raises(error, match="the words in pictures aren't read now"):
        wait.done.result(0)


def test_who_has_gone_is_forgotten(bench: Bench) -> None:
    wait = bench.progress.new_words_wait()
    bench.progress.drop_words_wait(wait)
    bench.progress.drop_words_wait(wait)
    assert not bench.progress.someone_waits_for_words
    wait = bench.progress.new_words_wait()
    wait.done.cancel()
    bench.step()
    assert not bench.progress.someone_waits_for_words


def test_rate_and_eta(bench: Bench) -> None:
    bench.add(*(f"m{number}" for number in range(13)))
    assert (bench.progress.words_rate, bench.progress.words_eta_s) == (0.0, None)
    for _ in range(5):
        bench.step()
        bench.reader.finish()
        bench.now += 2
    bench.step()
    assert bench.progress.words_rate == pytest.approx(9 / 10, abs=0.3)
    assert bench.progress.words_eta_s == pytest.approx(bench.progress.words_pending / bench.progress.words_rate)
    bench.read_all()
    assert (bench.progress.words_rate, bench.progress.words_eta_s) == (0.0, None)


def test_a_row_that_only_notes_another_ctime_changes_nothing(bench: Bench) -> None:
    bench.add("one")
    row = bench.row("one")
    bench.catalog.put(replace(row, stat=replace(row.stat, ctime_ns=5)))
    bench.read_all()
    assert bench.words == {Digest("one"): "one"}
