from __future__ import annotations

import threading

from memewatchd.folder.dirty import Dirty, DirtySet, ancestors


def test_a_tree_covers_what_is_below_it() -> None:
    dirty = Dirty.of(folders=[b"/m/a", b"/m/b", b"/m/a/c", b"/m/ab"], trees=[b"/m/a", b"/m/a/d/e"])
    assert dirty == Dirty(frozenset({b"/m/b", b"/m/ab"}), frozenset({b"/m/a"}))


def test_taking_empties() -> None:
    marks = DirtySet([b"/m"])
    marks.mark_folder(b"/m/a")
    marks.mark_tree(b"/m/b")
    assert marks.take() == Dirty(frozenset({b"/m/a"}), frozenset({b"/m/b"}))
    assert not marks.take()


def test_too_many_marks_become_the_roots() -> None:
    marks = DirtySet([b"/m", b"/n"], limit=3)
    for number in range(4):
        marks.mark_folder(b"/m/%d" % number)
    assert marks.take() == Dirty(trees=frozenset({b"/m", b"/n"}))


def test_what_was_taken_can_be_put_back() -> None:
    marks = DirtySet([b"/m"])
    marks.mark(Dirty(frozenset({b"/m/a"}), frozenset({b"/m/b"})))
    assert marks.take() == Dirty(frozenset({b"/m/a"}), frozenset({b"/m/b"}))


def test_it_knows_when_a_burst_began_and_when_it_last_grew() -> None:
    now = 5.0
    marks = DirtySet([b"/m"], clock=lambda: now)
    marks.mark_all()
    now = 6.0
    marks.mark_folder(b"/m")
    assert (marks.first_mark, marks.last_mark) == (5.0, 6.0)
    marks.take()
    assert marks.first_mark is None
    assert marks.last_mark is None


def test_waiting_ends_with_a_wake_or_a_mark() -> None:
    marks = DirtySet([b"/m"])
    for wake in (marks.wake, marks.mark_all):
        waiting = threading.Thread(target=marks.wait_woken)
        waiting.start()
        wake()
        waiting.join(60)
        assert not waiting.is_alive()


def test_the_marks_that_follow_the_first_wake_nobody() -> None:
    marks = DirtySet([b"/m"])
    marks.mark_folder(b"/m/a")
    assert marks.wait_woken(60)
    marks.mark_folder(b"/m/b")
    assert not marks.wait_woken(0)
    marks.take()
    marks.mark_folder(b"/m/c")
    assert marks.wait_woken(0)


def test_the_folders_above_a_path() -> None:
    assert list(ancestors(b"/m/a/b")) == [b"/m/a", b"/m", b"/"]
    assert list(ancestors(b"/")) == []
