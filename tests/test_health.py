"""When a health check is made, and when a glance stands for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from memewatchd.health import CHECK_S, GLANCES_S, HealthCheck


class Dirty:
    """A clock that a wait moves on, unless somebody wakes at the time that is set."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wakes_at = float("inf")

    def wait_woken(self, timeout: float) -> bool:
        if self.now + timeout < self.wakes_at:
            self.now += timeout
            return False
        self.now, self.wakes_at = self.wakes_at, float("inf")
        return True


class Rounds:
    """A mirror that is at rest, in short."""

    def __init__(self) -> None:
        self.dirty = Dirty()
        self.glance = SimpleNamespace(enough=True, same=True, made=0, remembered=0)
        self.glance.is_enough = lambda: self.glance.enough
        self.glance.is_same = self._look
        self.glance.remember = lambda: setattr(self.glance, "remembered", self.dirty.now)
        self.checks: list[float] = []
        self.beats = 0
        self.done = True
        self.health = HealthCheck(
            dirty=self.dirty,  # type: ignore[arg-type]
            watcher=SimpleNamespace(check=lambda: self.checks.append(self.dirty.now)),
            roots=SimpleNamespace(look_at_roots=lambda: False),
            at_leisure=lambda: self.done,
            glance=self.glance,
            clock=lambda: self.dirty.now,
        )

    def _look(self) -> bool:
        self.glance.made += 1
        return bool(self.glance.same)

    def round(self) -> None:
        self.health.check_if_due()
        self.health.stand_still(self._beat)

    def _beat(self) -> None:
        self.beats += 1


@pytest.fixture
def rounds() -> Rounds:
    return Rounds()


def test_glances_stand_for_checks_but_not_for_ever(rounds: Rounds) -> None:
    for _ in range(3):
        rounds.round()
    assert rounds.checks == [1000.0, 1000.0 + CHECK_S + GLANCES_S, 1000.0 + 2 * (CHECK_S + GLANCES_S)]
    assert rounds.beats == 3 * (GLANCES_S / CHECK_S + 1)
    assert rounds.glance.made == rounds.beats - 3


def test_what_a_glance_sees_is_checked_at_once(rounds: Rounds) -> None:
    rounds.glance.same = False
    rounds.round()
    rounds.round()
    assert rounds.checks == [1000.0, 1000.0 + CHECK_S]
    assert rounds.glance.remembered == rounds.checks[-1]


@pytest.mark.parametrize("why", ["enough", "done"])
def test_where_a_glance_is_not_enough_a_check_is_made_each_time(rounds: Rounds, why: str) -> None:
    rounds.glance.enough, rounds.done = why != "enough", why != "done"
    for _ in range(3):
        rounds.round()
    assert rounds.checks == [1000.0, 1010.0, 1020.0]
    assert rounds.glance.made == 0


def test_after_a_wake_the_next_one_is_a_check(rounds: Rounds) -> None:
    """Whoever woke the mirror may have changed what no glance sees: a file in a subfolder."""
    rounds.dirty.wakes_at = 1003.0
    rounds.round()
    assert rounds.dirty.now == 1003.0
    rounds.round()
    assert rounds.checks == [1000.0]
    rounds.dirty.wakes_at = 1057.0  # after some glances
    rounds.round()
    assert rounds.dirty.now == 1057.0
    rounds.round()
    assert rounds.checks == [1000.0, 1010.0, 1057.0]


def test_without_glances(rounds: Rounds) -> None:
    rounds.health._glance = None
    for _ in range(3):
        rounds.round()
    assert rounds.checks == [1000.0, 1010.0, 1020.0]
