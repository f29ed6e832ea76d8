"""A glance must see whatever a health check would find: here each of those things happens, for real."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from memewatchd import glance as module
from memewatchd.glance import Glance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Engine:
    """One that rests, with a real child."""

    def __init__(self, folder: Path) -> None:
        self.is_resting = True
        self.where = str(folder / "index.db")
        self.child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    @property
    def pid(self) -> int | None:
        return self.child.pid

    def die(self) -> None:
        """And wait for nobody to look."""
        self.child.kill()
        os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path)
    yield engine
    engine.child.kill()
    engine.child.wait()
    assert engine.child.stdin is not None
    with suppress(BrokenPipeError):
        engine.child.stdin.close()


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    return [tmp_path / "one", tmp_path / "two"]


@pytest.fixture
def glance(folders: list[Path], engine: Engine) -> Iterator[Glance]:
    glance = Glance([os.fsencode(folder) for folder in folders], engine, lambda: True)
    yield glance
    glance.close()


def exchange(folder: Path) -> None:
    """For one with the same inode number, where the file system gives it again."""
    folder.rmdir()
    folder.mkdir()


def test_nothing_has_changed(glance: Glance, engine: Engine) -> None:
    glance.remember()
    assert glance.is_enough()
    assert glance.is_same()
    assert glance.is_same(), "looking changes nothing"
    assert engine.child.poll() is None


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(lambda folder, _: (folder / "new.png").touch(), id="a file has come"),
        pytest.param(lambda folder, _: folder.chmod(0), id="may not be read"),
        pytest.param(lambda folder, _: folder.rename(folder.with_name("away")), id="is away"),
        pytest.param(lambda folder, _: exchange(folder), id="is another folder"),
        pytest.param(lambda _, engine: setattr(engine, "is_resting", False), id="the engine was asked"),
        pytest.param(lambda _, engine: engine.die(), id="the engine has died"),
        pytest.param(lambda _, engine: (engine.child.kill(), engine.child.wait()), id="the engine is gone"),
    ],
)
def test_it_sees_that(
    happens: Callable[[Path, Engine], object], glance: Glance, folders: list[Path], engine: Engine
) -> None:
    glance.remember()
    happens(folders[1], engine)
    assert not glance.is_same()
    assert not glance.is_same()


def test_it_sees_that_the_disk_is_full(glance: Glance, monkeypatch: pytest.MonkeyPatch) -> None:
    glance.remember()
    monkeypatch.setattr(module, "FLOOR", 1 << 62)
    assert not glance.is_same()


MOUNT = """
import pathlib, subprocess, sys
sys.path[:0] = [sys.argv[2]]
import os
from test_glance import Engine
from memewatchd.glance import Glance
root = pathlib.Path(sys.argv[1])
(root / "memes" / "disk").mkdir(parents=True)
engine = Engine(root)
glance = Glance([os.fsencode(root / "memes")], engine, lambda: True)
glance.remember()
print(glance.is_same())
subprocess.run(["mount", "-t", "tmpfs", "none", root / "memes" / "disk"], check=True)
print(glance.is_same())
glance.remember()
print(glance.is_same())
subprocess.run(["umount", root / "memes" / "disk"], check=True)
print(glance.is_same())
engine.child.kill()
"""


def test_it_sees_a_mount_below_a_folder(tmp_path: Path, in_namespace: Callable[..., str]) -> None:
    told = in_namespace(MOUNT, str(tmp_path / "root"), os.path.dirname(__file__), mounts=True)
    assert told.split() == ["True", "False", "True", "False"]


def test_what_a_glance_cannot_judge(folders: list[Path], engine: Engine, glance: Glance) -> None:
    assert not glance.is_enough(), "nothing is remembered"
    untold = Glance([os.fsencode(folder) for folder in folders], engine, lambda: False)
    untold.remember()
    assert not untold.is_enough(), "a folder that must be polled"
    engine.is_resting = False
    glance.remember()
    assert not glance.is_enough(), "an engine at work, or a server"
    engine.is_resting = True
    folders[0].rmdir()
    glance.remember()
    assert not glance.is_enough(), "a folder is away"
    untold.close()
