"""A mirror that has nothing to do asks the kernel, instead of everybody, whether all is as it was."""

from __future__ import annotations

import os
import subprocess
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd import health
from memewatchd.glance import Glance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHECK_S = 0.05


class CountingGlance(Glance):
    made = 0

    def is_same(self) -> bool:
        self.made += 1
        return super().is_same()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "600"])
    yield child
    child.kill()
    child.wait()


@pytest.fixture
def resting(
    new_rig: Callable[..., Any],
    png: Callable[[int], bytes],
    until: Callable[..., None],
    child: subprocess.Popen[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """A mirror that lives by glances, with a file in a subfolder."""
    monkeypatch.setattr(health, "CHECK_S", CHECK_S)
    root = os.fsencode(tmp_path / "watched")
    os.mkdir(root)
    engine = SimpleNamespace(is_resting=True, pid=child.pid, where=str(tmp_path / "index.db"))
    rig = new_rig(roots=[root], glance=CountingGlance([root], engine, lambda: True))
    rig.write("sub/a.png", png(1))
    rig.start()
    rig.wait()
    until(lambda: rig.glance.made >= 3)
    return rig


def test_it_makes_no_checks_while_nothing_happens(resting: Any, until: Callable[..., None]) -> None:
    checks, made = len(resting.store.checks), resting.glance.made
    until(lambda: resting.glance.made >= made + 10)
    assert len(resting.store.checks) <= checks + 1  # the one under way when they were counted
    assert resting.mirror.beaten_at > time.monotonic() - 30


def test_a_file_that_comes_into_a_subfolder_is_heard_and_checks_are_made_again(
    resting: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    checks = len(resting.store.checks)
    resting.write("sub/b.png", png(2))
    until(lambda: set(resting.indexed) == {"sub/a.png", "sub/b.png"})
    until(lambda: len(resting.store.checks) > checks)


def test_a_root_that_goes_and_comes_back_unheard_is_seen(
    resting: Any, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resting.dirty, "_mark", lambda *_: None)  # the kernel says nothing of a disk taken out
    os.rename(resting.root, resting.root + b".away")
    until(lambda: resting.progress.state == "degraded")
    monkeypatch.undo()
    os.rename(resting.root + b".away", resting.root)
    until(lambda: resting.progress.state == "settled")
    resting.assert_equal_to_disk()


def test_an_engine_that_dies_is_seen(resting: Any, child: subprocess.Popen[bytes], until: Callable[..., None]) -> None:
    resting.store.is_dead = True
    child.kill()
    until(lambda: "away" in resting.progress.problems.get("index", ""))
    resting.store.revive()


def test_what_somebody_asks_for_is_done_at_once(resting: Any) -> None:
    began = time.monotonic()
    resting.wait()
    assert time.monotonic() - began < 5
