"""What can wait does, while somebody searches, but not for ever."""

from __future__ import annotations

from memewatchd.leisure import LONGEST_S, STILL_S, THEN_S, Leisure


def test_it_waits_after_a_search() -> None:
    now = 100.0
    leisure = Leisure(lambda: now)
    assert leisure.is_now()
    leisure.searched()
    assert not leisure.is_now()
    now += STILL_S - 0.1
    leisure.searched()
    now += STILL_S - 0.1
    assert not leisure.is_now()
    now += 0.2
    assert leisure.is_now()


def test_it_does_not_wait_for_ever() -> None:
    now = 100.0
    leisure = Leisure(lambda: now)
    had = []
    for _ in range(int(2 * (LONGEST_S + THEN_S))):
        leisure.searched()
        had.append(leisure.is_now())
        now += 1.0
    assert sum(had) == 2 * THEN_S
    assert not any(had[: int(LONGEST_S)])
