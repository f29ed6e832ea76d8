"""Plans as before/after lists, and by Hypothesis: a plan applied to the rows gives exactly the disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memewatchd.folder.plan import Move, make_plan
from memewatchd.meme import Digest, FileRow, FileStat


def a_stat(ino: int, size: int = 10, mtime_ns: int = 1_000_000_001, ctime_ns: int = 1) -> FileStat:
    return FileStat(size=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns, ino=ino)


def a_row(path: bytes, stat: FileStat, error: str = "", first_seen: int = 0) -> FileRow:
    return FileRow(path, stat, Digest(f"d{stat.ino}"), first_seen, error=error, text=str(first_seen))


def test_nothing_changed_is_nothing_to_do() -> None:
    row = a_row(b"/m/a", a_stat(1))
    plan = make_plan({b"/m/a": a_stat(1)}, [row])
    assert plan.keep == [row]
    assert not plan


def test_a_new_file_is_read() -> None:
    assert make_plan({b"/m/a": a_stat(1)}, []).read == {b"/m/a": a_stat(1)}


def test_a_deleted_file_is_forgotten() -> None:
    row = a_row(b"/m/a", a_stat(1))
    assert make_plan({}, [row]).forget == [row]


@pytest.mark.parametrize(
    "now",
    [a_stat(1, size=11), a_stat(1, mtime_ns=2_000_000_001), a_stat(2), a_stat(1, ctime_ns=2)],
    ids=["size", "mtime", "replaced by another file", "ctime alone: chmod, a tag, or mtime put back"],
)
def test_a_changed_file_is_read_and_its_old_row_forgotten(now: FileStat) -> None:
    row = a_row(b"/m/a", a_stat(1))
    plan = make_plan({b"/m/a": now}, [row])
    assert (plan.read, plan.forget, plan.moves) == ({b"/m/a": now}, [row], [])


def test_a_rename_is_a_move() -> None:
    row, now = a_row(b"/m/a", a_stat(1)), a_stat(1, ctime_ns=2)
    plan = make_plan({b"/m/b": now}, [row])
    assert plan.moves == [Move(row, b"/m/b", now)]
    assert not plan.read
    assert not plan.forget


def test_a_rename_over_another_file_is_a_move_and_forgets_the_other() -> None:
    mover, target, now = a_row(b"/m/a", a_stat(1)), a_row(b"/m/b", a_stat(2)), a_stat(1, ctime_ns=2)
    plan = make_plan({b"/m/b": now}, [mover, target])
    assert plan.moves == [Move(mover, b"/m/b", now)]
    assert plan.forget == [target]


def test_two_files_that_swap_names_are_two_moves() -> None:
    a, b = a_row(b"/m/a", a_stat(1)), a_row(b"/m/b", a_stat(2))
    plan = make_plan({b"/m/a": a_stat(2, ctime_ns=3), b"/m/b": a_stat(1, ctime_ns=3)}, [a, b])
    assert {(move.row.path, move.path) for move in plan.moves} == {(b"/m/a", b"/m/b"), (b"/m/b", b"/m/a")}
    assert not plan.read
    assert not plan.forget


def test_a_copy_keeps_the_original_and_is_read() -> None:
    row = a_row(b"/m/a", a_stat(1))
    plan = make_plan({b"/m/a": a_stat(1), b"/m/b": a_stat(2)}, [row])
    assert plan.keep == [row]
    assert plan.read == {b"/m/b": a_stat(2)}


def test_a_hard_link_to_a_file_that_stays_is_no_move() -> None:
    row, now = a_row(b"/m/a", a_stat(1)), a_stat(1, ctime_ns=2)
    plan = make_plan({b"/m/a": now, b"/m/b": now}, [row])
    assert set(plan.read) == {b"/m/a", b"/m/b"}
    assert not plan.moves


def test_hard_links_that_move_together_keep_their_names_apart() -> None:
    rows = [a_row(b"/m/x/a", a_stat(1), first_seen=1), a_row(b"/m/x/b", a_stat(1), first_seen=2)]
    plan = make_plan({b"/m/y/a": a_stat(1, ctime_ns=2), b"/m/y/b": a_stat(1, ctime_ns=2)}, rows)
    assert {(move.path, move.row.first_seen) for move in plan.moves} == {(b"/m/y/a", 1), (b"/m/y/b", 2)}


def test_one_row_is_the_origin_of_one_path() -> None:
    row, now = a_row(b"/m/a", a_stat(1)), a_stat(1, ctime_ns=2)
    plan = make_plan({b"/m/b": now, b"/m/c": now}, [row])
    assert len(plan.moves) == 1
    assert len(plan.read) == 1


def test_of_two_rows_of_one_path_the_one_that_fits_is_kept() -> None:
    old, new = a_row(b"/m/a", a_stat(1)), a_row(b"/m/a", a_stat(1, ctime_ns=2))
    for rows in ([old, new], [new, old]):
        plan = make_plan({b"/m/a": a_stat(1, ctime_ns=2)}, rows)
        assert (plan.keep, plan.forget) == ([new], [old])
        assert not plan.read
        assert not plan.moves


def test_of_two_rows_that_both_fit_a_good_one_is_kept() -> None:
    good, bad = a_row(b"/m/a", a_stat(1)), a_row(b"/m/a", a_stat(1), error="broken")
    for rows in ([good, bad], [bad, good]):
        plan = make_plan({b"/m/a": a_stat(1)}, rows)
        assert (plan.keep, plan.forget) == ([good], [bad])


def test_a_failed_file_that_is_renamed_is_read_again() -> None:
    """garbage.png is listed as failed, garbage.txt is nothing at all: the name matters."""
    row, now = a_row(b"/m/a.png", a_stat(1), error="no picture"), a_stat(1, ctime_ns=2)
    plan = make_plan({b"/m/a.txt": now}, [row])
    assert (plan.read, plan.forget, plan.moves) == ({b"/m/a.txt": now}, [row], [])


def test_a_time_in_whole_seconds_was_set_so_it_proves_no_move() -> None:
    """Unpacked files often share one time; same size and a used-again inode would make them "the same"."""
    row, now = a_row(b"/m/a", a_stat(1, mtime_ns=5_000_000_000)), a_stat(1, mtime_ns=5_000_000_000, ctime_ns=2)
    plan = make_plan({b"/m/b": now}, [row])
    assert (plan.read, plan.forget, plan.moves) == ({b"/m/b": now}, [row], [])


def test_a_row_from_outside_the_scope_may_be_the_origin_once() -> None:
    outside, now = a_row(b"/other/a", a_stat(1)), a_stat(1, ctime_ns=2)
    plan = make_plan({b"/m/b": now, b"/m/c": now}, [], lambda stat: outside)
    assert [move.row for move in plan.moves] == [outside]
    assert len(plan.read) == 1


def test_an_offered_row_of_another_file_is_refused() -> None:
    plan = make_plan({b"/m/b": a_stat(1)}, [], lambda stat: a_row(b"/other/a", a_stat(2)))
    assert not plan.moves


paths = st.sampled_from([b"/m/a", b"/m/b", b"/m/d/a", b"/m/d/b", b"/m/\xff"])
stats = st.builds(
    FileStat,
    size=st.sampled_from([0, 7]),
    mtime_ns=st.sampled_from([1_000_000_000, 1_000_000_001]),
    ctime_ns=st.sampled_from([1, 2]),
    ino=st.sampled_from([1, 2, 3]),
)
rows_of_an_index = st.lists(
    st.builds(a_row, paths, stats, st.sampled_from(["", "broken"]), st.integers(0, 2)),
    max_size=8,
    unique_by=lambda row: row.id,
)


@given(disk=st.dictionaries(paths, stats), rows=rows_of_an_index, outside=rows_of_an_index)
def test_a_plan_applied_to_the_rows_gives_the_disk(
    disk: dict[bytes, FileStat], rows: list[FileRow], outside: list[FileRow]
) -> None:
    known = {row.id for row in rows}
    gone = [row for row in outside if row.path not in disk and row.id not in known]
    plan = make_plan(
        disk, rows, lambda stat: next((row for row in gone if row.stat.content_key == stat.content_key), None)
    )

    after = {row.id: (row.path, row.stat) for row in rows}
    for row in plan.forget:
        del after[row.id]  # given, and forgotten once
    for move in plan.moves:
        assert move.row.stat.content_key == move.stat.content_key
        after.pop(move.row.id, None)
    result = list(after.values())
    result += [(move.path, move.stat) for move in plan.moves]
    result += plan.read.items()
    assert sorted(result, key=repr) == sorted(disk.items(), key=repr)

    origins = [move.row.id for move in plan.moves]
    assert len(origins) == len(set(origins))
    assert {row.id for row in plan.keep} == after.keys()
    assert not {row.id for row in plan.forget} & set(origins)
