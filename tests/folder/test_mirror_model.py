"""Anything may happen to a real folder: what the marks, the looks and the plans make of it equals the disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from memewatchd.folder.dirty import Dirty, DirtySet
from memewatchd.folder.ignore import Ignore
from memewatchd.folder.plan import make_plan
from memewatchd.folder.scan import Disk
from memewatchd.folder.watcher import Watcher
from memewatchd.meme import FileRow, FileStat, new_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VISIBLE = [b"a.png", b"b", b"\xff\xfe", b"new\nline"]
NAMES = [*VISIBLE, b".hidden", b"c.part", b"excluded"]
"""Few, so that things get in each other's way; any of them may be a file, a folder or a link."""
IGNORE = Ignore(["excluded"])
SIZES = count(1)
"""Each content has a size of its own. Two contents of one size, written within a tick of the clock into a used-again
inode, can't be told apart by stat; the mirror doesn't trust a stat that young, and it isn't this room's matter."""

names = st.sampled_from(NAMES)
places = st.lists(names, max_size=3).map(lambda parts: b"/".join([b"", *parts]))
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: b"/".join([b"", *parts]))


def walk(folder: bytes, below: bytes = b"") -> Iterator[bytes]:
    """The files that should be known, found in the plainest way."""
    for name in sorted(os.listdir(folder + below)):
        path = below + b"/" + name
        is_dir = os.path.isdir(folder + path)
        is_link = os.path.islink(folder + path)
        if name.startswith(b".") or name == b"excluded" or (name.endswith(b".part") and not (is_dir and not is_link)):
            continue
        if is_dir and not is_link:
            yield from walk(folder, path)
        elif os.path.isfile(folder + path):
            yield folder + path


def stat_of(path: bytes) -> FileStat:
    there = os.stat(path)
    return FileStat(there.st_size, there.st_mtime_ns, there.st_ctime_ns, there.st_ino)


@dataclass
class Index:
    """A mirror without Milvus: rows by path, each with the digest of what was read."""

    disk: Disk
    rows: dict[bytes, FileRow] = field(default_factory=dict)

    def follow(self, dirty: Dirty) -> None:
        look = self.disk.look(dirty)
        plan = make_plan(look.files, [row for path, row in self.rows.items() if look.scope.covers(path)])
        for row in plan.forget:
            del self.rows[row.path]
        for move in plan.moves:
            self.rows.pop(move.row.path, None)
        for move in plan.moves:
            self.rows[move.path] = FileRow(move.path, move.stat, move.row.digest, 0)
        for path in plan.read:
            with suppress(OSError):  # vanished since: its folder is marked
                self.rows[path] = self.read(path)

    @staticmethod
    def read(path: bytes) -> FileRow:
        digest = new_digest()
        with open(path, "rb") as file:  # noqa: PTH123 - raw bytes
            digest.update(file.read())
        return FileRow(path, stat_of(path), digest.hexdigest(), 0)  # type: ignore[arg-type]


class Operations(RuleBasedStateMachine):
    """What people and programs do to folders; what the kernel refuses (a folder over a file) just doesn't happen."""

    def __init__(self) -> None:
        super().__init__()
        self.top = os.fsencode(tempfile.mkdtemp())
        self.root, self.out = self.top + b"/memes", self.top + b"/out"
        os.mkdir(self.root)
        os.mkdir(self.out)
        self.dirty = DirtySet([self.root])
        self.index = Index(Disk([self.root], IGNORE))

    def teardown(self) -> None:
        try:
            self.settle()
            expected = {path: Index.read(path) for path in walk(self.root)}
            assert self.index.rows == expected
        finally:
            self.close()
            shutil.rmtree(self.top)

    def settle(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def touched(self, *changed: bytes) -> None:
        """The paths below the root that an operation has changed."""

    def do(self, operation: Callable[..., object], *changed: bytes) -> None:
        with suppress(OSError):
            operation()
        self.touched(*changed)

    @rule(path=paths)
    def write(self, path: bytes) -> None:
        def write() -> None:
            with open(self.root + path, "wb") as file:  # noqa: PTH123
                file.write(b"x" * next(SIZES))

        self.do(write, path)

    @rule(path=paths)
    def make_folder(self, path: bytes) -> None:
        self.do(lambda: os.makedirs(self.root + path), path)

    @rule(path=paths, to=paths)
    def rename(self, path: bytes, to: bytes) -> None:
        self.do(lambda: os.rename(self.root + path, self.root + to), path, to)

    @rule(path=paths, to=paths)
    def swap(self, path: bytes, to: bytes) -> None:
        spare = self.root + b"/.spare"

        def swap() -> None:
            os.rename(self.root + path, spare)
            try:
                os.rename(self.root + to, self.root + path)
            finally:
                os.rename(spare, self.root + to)

        self.do(swap, path, to)
        self.do(lambda: shutil.rmtree(spare) if os.path.isdir(spare) else os.unlink(spare), b"/.spare")

    @rule(leads_to=st.sampled_from([b".", b"..", b"nowhere", *VISIBLE]), path=paths)
    def symlink(self, leads_to: bytes, path: bytes) -> None:
        self.do(lambda: os.symlink(leads_to, self.root + path), path)

    @rule(path=paths)
    def delete(self, path: bytes) -> None:
        self.do(lambda: os.unlink(self.root + path), path)

    @rule(path=paths)
    def remove_tree(self, path: bytes) -> None:
        self.do(lambda: shutil.rmtree(self.root + path), path)

    @rule(path=paths, mode=st.sampled_from([0o600, 0o644]))
    def chmod(self, path: bytes, mode: int) -> None:
        if not os.path.isdir(self.root + path):
            self.do(lambda: os.chmod(self.root + path, mode), path)

    @rule(path=paths)
    def move_out(self, path: bytes) -> None:
        self.do(lambda: os.rename(self.root + path, self.out + b"/" + os.path.basename(path)), path)

    @rule(name=names, to=paths)
    def move_in(self, name: bytes, to: bytes) -> None:
        self.do(lambda: os.rename(self.out + b"/" + name, self.root + to), to)

    @rule()
    def look(self) -> None:
        """In the middle of things: events may still be on their way."""
        self.index.follow(self.dirty.take())


class MarkedByHand(Operations):
    """Every change marks its folder, and nothing more: a look finds new and vanished subfolders by itself."""

    def touched(self, *changed: bytes) -> None:
        for path in changed:
            self.dirty.mark_folder(os.path.dirname(self.root + path))

    def settle(self) -> None:
        self.index.follow(self.dirty.take())


class WalkedInFull(MarkedByHand):
    """With what no mark tells of: a file changed by a name elsewhere. A full walk finds that."""

    @rule(path=paths, to=paths)
    def hard_link(self, path: bytes, to: bytes) -> None:
        self.do(lambda: os.link(self.root + path, self.root + to, follow_symlinks=False), path, to)

    @rule(leads_to=paths, path=paths)
    def symlink_anywhere(self, leads_to: bytes, path: bytes) -> None:
        self.do(lambda: os.symlink(self.root + leads_to, self.root + path), path)

    def settle(self) -> None:
        self.dirty.mark_all()
        super().settle()


class MarkedByWatcher(Operations):
    """The kernel's events mark."""

    def __init__(self) -> None:
        super().__init__()
        self.watcher = Watcher([self.root], IGNORE, self.dirty)
        self.watcher.start()

    def settle(self) -> None:
        bell = self.root + b"/bell"
        os.mkdir(bell)
        for _ in range(100):
            self.dirty.wait_woken(1)
            heard = self.dirty.take()
            self.index.follow(heard)
            if bell in heard.trees:
                return
            if self.root in heard.trees:  # all at once, the bell among it or not
                os.rmdir(bell)
                os.mkdir(bell)
        raise AssertionError("the bell was never heard")

    def close(self) -> None:
        self.watcher.stop()


@pytest.mark.parametrize("machine", [MarkedByHand, WalkedInFull, MarkedByWatcher])
def test_the_index_equals_the_disk(machine: type[Operations]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))
