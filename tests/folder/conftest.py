from __future__ import annotations

import os
import shutil
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from memewatchd.folder.dirty import DirtySet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    """An empty folder to watch, as raw bytes."""
    path = tmp_path / "memes"
    path.mkdir()
    return os.fsencode(path)


@pytest.fixture
def strict_root() -> Iterator[bytes]:
    """An empty folder that an ordinary user owns and can get to: root is refused nothing, so as root it's nobody's."""
    path = tempfile.mkdtemp()
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    yield os.fsencode(path)
    Path(path).chmod(0o700)
    for folder, subfolders, _ in os.walk(path):
        for name in subfolders:
            Path(folder, name).chmod(0o700)
    shutil.rmtree(path)


@pytest.fixture
def ordinary_user() -> Callable[[], AbstractContextManager[None]]:
    """While in this context we are an ordinary user, whom permissions can stop."""

    @contextmanager
    def become() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    return become


class Marks(DirtySet):
    """A DirtySet that also keeps every mark, and can wait until one has come."""

    def __init__(self, roots: Sequence[bytes]) -> None:
        super().__init__(roots)
        self._told = threading.Condition()
        self.folders: set[bytes] = set()
        self.trees: set[bytes] = set()

    def _mark(self, folders: Iterable[bytes], trees: Iterable[bytes]) -> None:
        with self._told:
            self.folders |= set(folders)
            self.trees |= set(trees)
            super()._mark(self.folders, self.trees)
            self._told.notify_all()

    def until(self, met: Callable[[], bool]) -> None:
        """Waits until ``met``; a mark must be what makes it true."""
        with self._told:
            assert self._told.wait_for(met, timeout=30), (self.folders, self.trees)

    def forget(self) -> None:
        with self._told:
            self.folders, self.trees = set(), set()
            self.take()


class Bell:
    """A folder to ring in: the kernel tells in order, so once the bell is heard all that came before was."""

    def __init__(self, root: bytes) -> None:
        self.folder = os.path.join(root, b"bell")
        os.mkdir(self.folder)
        self._rings = 0

    def ring(self) -> None:
        self._rings += 1
        os.mkdir(os.path.join(self.folder, b"%d" % self._rings))

    def heard(self, marks: Marks) -> tuple[set[bytes], set[bytes]]:
        """The folders and the trees marked since the last time."""
        self.ring()
        ring = os.path.join(self.folder, b"%d" % self._rings)
        marks.until(lambda: ring in marks.trees)
        heard = marks.folders - {self.folder}, {tree for tree in marks.trees if not tree.startswith(self.folder)}
        marks.forget()
        return heard


@pytest.fixture
def bell(root: bytes) -> Bell:
    return Bell(root)


@pytest.fixture
def new_marks() -> Callable[[list[bytes]], Marks]:
    return Marks
