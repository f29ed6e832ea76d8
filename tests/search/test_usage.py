"""What was picked: how it fades, what is kept, and what a crash leaves."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import memewatchd
from memewatchd.errors import StoreError
from memewatchd.meme import Digest
from memewatchd.search import usage
from memewatchd.search.usage import HALF_LIFE_S, USAGE_FILE, Usage

DAY = 86_400.0


def digest(number: int) -> Digest:
    return Digest(f"{number:064x}")


A, B, C = map(digest, range(3))


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def used(tmp_path: Path, clock: Clock) -> Usage:
    return Usage(tmp_path, clock=clock)


def test_nothing_was_picked_yet(used: Usage, tmp_path: Path) -> None:
    assert used.weight(A) == 0.0
    assert used.most_used() == []
    assert list(tmp_path.iterdir()) == [], "nothing is written before there is something to say"


def test_more_picks_weigh_more_and_never_a_whole(used: Usage) -> None:
    weights = []
    for _ in range(50):
        used.pick(A)
        weights.append(used.weight(A))
    assert weights == sorted(weights)
    assert weights[0] == pytest.approx(1 / 3)
    assert weights[1] == pytest.approx(1 / 2)
    assert weights[-1] < 1.0
    assert used.weight(B) == 0.0


def test_picks_fade(used: Usage, clock: Clock) -> None:
    used.pick(A)
    used.pick(A)
    clock.now += HALF_LIFE_S
    assert used.weight(A) == pytest.approx(1 / 3), "two picks of a half-life ago are one of today"
    used.pick(A)
    assert used.weight(A) == pytest.approx(1 / 2)


def test_the_most_used_come_first_then_the_latest(used: Usage, clock: Clock) -> None:
    for each in (A, A, B, C):
        clock.now += 1
        used.pick(each)
    assert used.most_used() == [A, C, B]
    clock.now += 90 * DAY
    used.pick(B)
    assert used.most_used() == [B, A, C]


def test_it_is_known_after_a_restart(used: Usage, tmp_path: Path, clock: Clock) -> None:
    for each in (A, B, A):
        used.pick(each)
        clock.now += 5 * DAY
    again = Usage(tmp_path, clock=clock)
    assert again.most_used() == used.most_used() == [A, B]
    assert again.weight(A) == pytest.approx(used.weight(A), abs=1e-5)


def test_only_the_user_can_read_it(used: Usage, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        used.pick(A)
    finally:
        os.umask(before)
    assert [file.name for file in tmp_path.iterdir()] == [USAGE_FILE]
    assert stat.S_IMODE((tmp_path / USAGE_FILE).stat().st_mode) == 0o600


def test_forgotten_is_forgotten(used: Usage, tmp_path: Path, clock: Clock) -> None:
    used.pick(A)
    (tmp_path / f".{USAGE_FILE}.left").write_text(f"{A} 1.0 1\n")
    (tmp_path / "state.json").write_text("{}")
    used.forget()
    assert used.weight(A) == 0.0
    assert used.most_used() == []
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]
    assert Usage(tmp_path, clock=clock).most_used() == []
    used.forget()
    used.pick(B)
    assert used.most_used() == [B]


def test_switched_off_it_reads_and_writes_nothing_but_still_forgets(used: Usage, tmp_path: Path, clock: Clock) -> None:
    used.pick(A)
    before = (tmp_path / USAGE_FILE).read_bytes()
    off = Usage(tmp_path, enabled=False, clock=clock)
    assert not off.enabled
    off.pick(B)
    assert (off.weight(A), off.weight(B), off.most_used()) == (0.0, 0.0, [])
    assert (tmp_path / USAGE_FILE).read_bytes() == before
    off.forget()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"", []),
        (b"\0" * 4096, []),
        (b"memewatchd usage 1\n", []),
        (f"memewatchd usage 1\n{A} 2.000000 1799999999\n{B} 1.5000".encode(), [A]),
        (f"{A} 2.000000 1799999999\n\xff\xfe{B} 3.0 1\nnonsense\n{C} 1.0 1799999999\n".encode("latin-1"), [A, C]),
        (f"{A} nan 1799999999\n{B} -1.0 5\n{C} 1e99 5\n".encode(), []),
    ],
    ids=["empty", "zeros", "header", "torn", "dirt", "no numbers"],
)
def test_a_broken_file_costs_its_broken_lines_only(
    tmp_path: Path, clock: Clock, content: bytes, kept: list[str]
) -> None:
    (tmp_path / USAGE_FILE).write_bytes(content)
    used = Usage(tmp_path, clock=clock)
    assert used.most_used() == kept
    used.pick(B)
    assert set(Usage(tmp_path, clock=clock).most_used()) == {*kept, B}


def test_a_clock_that_was_wrong_for_a_while_does_no_lasting_harm(used: Usage, tmp_path: Path, clock: Clock) -> None:
    clock.now += 3650 * DAY
    used.pick(A)
    clock.now -= 3650 * DAY
    assert used.weight(A) == pytest.approx(1 / 3)
    used.pick(B)
    again = Usage(tmp_path, clock=clock)
    clock.now += 60 * DAY
    assert again.weight(A) < 0.2


def test_what_has_faded_is_dropped(used: Usage, tmp_path: Path, clock: Clock) -> None:
    used.pick(A)
    clock.now += 300 * DAY
    used.pick(B)
    assert used.most_used() == [B]
    assert A not in (tmp_path / USAGE_FILE).read_text()


def test_it_stays_small(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_KEPT", 10)
    used = Usage(tmp_path, clock=clock)
    for number in range(30):
        clock.now += 1
        used.pick(digest(7))
        used.pick(digest(100 + number))
    kept = used.most_used()
    assert kept[0] == digest(7)
    assert kept[1:] == [digest(100 + number) for number in range(29, 20, -1)], "the latest stay"
    monkeypatch.setattr(usage, "MOST_KEPT", 3)
    assert Usage(tmp_path, clock=clock).most_used() == kept[:3]


def test_a_full_disk_is_told_and_the_old_file_stays(
    used: Usage, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    used.pick(A)
    before = (tmp_path / USAGE_FILE).read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"usage\.txt can't be written: No space left"):
        used.pick(B)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {USAGE_FILE: before}
    assert used.weight(B) > 0, "it counts for now"
    monkeypatch.undo()
    used.pick(A)
    assert set(Usage(tmp_path, clock=clock).most_used()) == {A, B}


def test_many_threads_lose_no_pick(used: Usage, tmp_path: Path, clock: Clock) -> None:
    def work(number: int) -> None:
        for _ in range(20):
            used.pick(digest(number))
            used.pick(C)
            used.weight(C)
            used.most_used()

    threads = [threading.Thread(target=work, args=(10 + number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for known in (used, Usage(tmp_path, clock=clock)):
        assert known.weight(C) == pytest.approx(80 / 82)
        assert known.weight(digest(10)) == pytest.approx(20 / 22)


def test_killed_in_the_middle_it_has_every_pick_that_was_answered(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from memewatchd.search.usage import Usage; used = Usage(pathlib.Path(sys.argv[1]))\n"
        "n = 0\nwhile True:\n    used.pick('%064x' % (n % 50)); n += 1; print(n, flush=True)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    root = Path(memewatchd.__file__).parents[1]
    done = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as child:
        assert child.stdout is not None
        for line in child.stdout:
            done = int(line)
            if done == 120:
                child.kill()
    known = Usage(tmp_path)
    assert set(known.most_used()) == {digest(number) for number in range(50)}
    total = sum(2 * weight / (1 - weight) for weight in map(known.weight, known.most_used()))
    assert done - 0.1 < total < done + 1.1, "at most the one that was not answered yet is there besides"
