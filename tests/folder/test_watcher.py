"""What is marked when something happens on a real folder."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.folder.ignore import Ignore
from memewatchd.folder.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def marks(root: bytes, new_marks: Callable[[list[bytes]], Any]) -> Any:
    return new_marks([root])


@pytest.fixture
def watcher(root: bytes, bell: Any, marks: Any) -> Iterator[Watcher]:
    """Watches ``root``, which holds ``a.png`` and ``d/e/b.png``; what the start marked is forgotten."""
    write(root, b"a.png")
    write(root, b"d", b"e", b"b.png")
    watching = Watcher([root], Ignore(["private"]), marks)
    watching.start()
    marks.forget()
    yield watching
    watching.stop()


def write(*parts: bytes, data: bytes = b"x") -> bytes:
    path = os.path.join(*parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(os.fsdecode(path)).write_bytes(data)
    return path


def tag(path: bytes) -> None:
    try:
        os.setxattr(path, b"user.xdg.tags", b"cat")
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            pytest.skip("the file system of the temporary folder keeps no extended attributes: NOT TESTED")
        raise


def test_the_start_marks_everything(root: bytes, marks: Any) -> None:
    watcher = Watcher([root], Ignore(), marks)
    watcher.start()
    try:
        assert marks.trees == {root}
        assert watcher.mode == ("inotify", "")
    finally:
        watcher.stop()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: write(d, b"new.png"),
        lambda d: write(d, b"b.png", data=b"more"),
        lambda d: os.rename(d + b"/b.png", d + b"/c.png"),
        lambda d: os.unlink(d + b"/b.png"),
        lambda d: os.chmod(d + b"/b.png", 0o600),
        lambda d: tag(d + b"/b.png"),
        lambda d: os.utime(d + b"/b.png", (1, 1)),
        lambda d: os.truncate(d + b"/b.png", 0),
        lambda d: os.symlink(b"b.png", d + b"/l.png"),
        lambda d: os.link(d + b"/b.png", d + b"/h.png"),
        lambda d: write(d, b"\xff\n.png"),
    ],
    ids=[
        "create",
        "write",
        "rename",
        "delete",
        "chmod",
        "tag",
        "touch",
        "truncate",
        "symlink",
        "hard link",
        "odd name",
    ],
)
def test_a_change_marks_its_folder_and_no_other(
    change: Callable[[bytes], object], root: bytes, watcher: Watcher, bell: Any, marks: Any
) -> None:
    change(root + b"/d/e")
    assert bell.heard(marks) == ({root + b"/d/e"}, set())


def test_reading_marks_nothing(root: bytes, watcher: Watcher, bell: Any, marks: Any) -> None:
    """The plain observer hears each file that is opened, and each that is closed, so it would hear the mirror."""
    Path(os.fsdecode(root), "a.png").read_bytes()
    os.listdir(root + b"/d")
    assert bell.heard(marks) == (set(), set())


def test_hidden_temporary_and_excluded_names_mark_nothing(root: bytes, watcher: Watcher, bell: Any, marks: Any) -> None:
    for name in (b".a.png", b"a.part", b"d/a.crdownload", b"a.png~", b".git/x", b"private/x.png", b"d/private/x.png"):
        write(root, name)
    write(root, b".git", b"y")
    assert bell.heard(marks) == (set(), set())


def test_a_download_is_heard_when_it_gets_its_name(root: bytes, watcher: Watcher, bell: Any, marks: Any) -> None:
    part = write(root, b"d", b"cat.png.crdownload")
    os.rename(part, root + b"/d/cat.png")
    assert bell.heard(marks) == ({root + b"/d"}, set())


def test_a_new_folder_is_marked_whole_and_watched(root: bytes, watcher: Watcher, bell: Any, marks: Any) -> None:
    write(root, b"new", b"deep", b"a.png")
    folders, trees = bell.heard(marks)
    assert root in folders
    assert root + b"/new" in trees
    write(root, b"new", b"deep", b"b.png")
    assert bell.heard(marks) == ({root + b"/new/deep"}, set())


def test_a_folder_that_moves_marks_where_it_was_and_is(root: bytes, watcher: Watcher, bell: Any, marks: Any) -> None:
    os.mkdir(root + b"/to")
    bell.heard(marks)
    os.rename(root + b"/d", root + b"/to/d2")
    folders, trees = bell.heard(marks)
    assert folders == {root, root + b"/to"}
    assert trees == {root + b"/d", root + b"/to/d2"}
    write(root, b"to", b"d2", b"e", b"c.png")
    assert bell.heard(marks) == ({root + b"/to/d2/e"}, set())


def test_a_folder_that_moves_out_is_heard_no_more_until_it_is_back(
    root: bytes, watcher: Watcher, bell: Any, marks: Any
) -> None:
    out = root + b"-out"
    os.rename(root + b"/d", out)
    assert bell.heard(marks) == ({root}, {root + b"/d"})
    write(out, b"e", b"c.png")
    assert bell.heard(marks) == (set(), set())
    os.rename(out, root + b"/d")
    assert bell.heard(marks) == ({root}, {root + b"/d"})
    write(root, b"d", b"e", b"d.png")
    assert bell.heard(marks) == ({root + b"/d/e"}, set())


def test_a_folder_that_gets_a_hidden_name_and_back(root: bytes, watcher: Watcher, bell: Any, marks: Any) -> None:
    os.rename(root + b"/d", root + b"/.d")
    write(root, b".d", b"e", b"c.png")
    assert bell.heard(marks) == ({root}, {root + b"/d"})
    os.rename(root + b"/.d", root + b"/d")
    write(root, b"d", b"e", b"d.png")
    assert root + b"/d" in bell.heard(marks)[1]
    write(root, b"d", b"e", b"e.png")
    assert bell.heard(marks) == ({root + b"/d/e"}, set())


def test_moves_that_are_heard_late_still_lead_to_the_right_place(
    root: bytes, watcher: Watcher, bell: Any, marks: Any
) -> None:
    """While the reader is busy a folder moves on: its events name places where it no longer is."""
    with stalled(watcher):
        os.rename(root + b"/d", root + b"/x")
        os.mkdir(root + b"/d")
        os.rename(root + b"/x", root + b"/d/y")
        os.rename(root + b"/d", root + b"/z")
        os.mkdir(root + b"/d")
    bell.heard(marks)
    write(root, b"z", b"y", b"e", b"c.png")
    assert bell.heard(marks) == ({root + b"/z/y/e"}, set())
    write(root, b"d", b"c.png")
    assert bell.heard(marks) == ({root + b"/d"}, set())


def stalled(watcher: Watcher) -> Any:
    """While this is held, the reader's thread can hear nothing, and the kernel's queue grows."""
    watch = watcher._roots[0].watch
    assert watch
    return watch._lock


def test_a_folder_that_may_be_read_again_is_walked_and_watched(
    strict_root: bytes, ordinary_user: Callable[[], Any], new_marks: Callable[[list[bytes]], Any]
) -> None:
    with ordinary_user():
        path = write(strict_root, b"locked", b"deep", b"a.png")
        locked = strict_root + b"/locked"
        os.chmod(locked, 0)
        marks = new_marks([strict_root])
        watcher = Watcher([strict_root], Ignore(), marks)
        watcher.start()
        try:
            assert watcher.mode == ("inotify", "")
            marks.forget()
            os.chmod(locked, 0o700)
            marks.until(lambda: locked in marks.trees)
            marks.until(lambda: strict_root in marks.folders)
            marks.forget()
            os.unlink(path)
            marks.until(lambda: os.path.dirname(path) in marks.folders)
        finally:
            watcher.stop()


def test_two_roots_are_heard_apart(root: bytes, bell: Any, new_marks: Callable[[list[bytes]], Any]) -> None:
    other = root + b"2"
    os.mkdir(other)
    marks = new_marks([root, other])
    watcher = Watcher([root, other], Ignore(), marks)
    watcher.start()
    try:
        assert marks.trees == {root, other}
        marks.forget()
        write(other, b"a.png")
        assert bell.heard(marks) == ({other}, set())
    finally:
        watcher.stop()


def test_a_root_that_is_a_link_is_watched(root: bytes, new_marks: Callable[[list[bytes]], Any]) -> None:
    """The plain observer watches the link itself, where nothing ever happens."""
    link = root + b"-link"
    os.symlink(root, link)
    os.mkdir(root + b"/d")
    marks = new_marks([link])
    watcher = Watcher([link], Ignore(), marks)
    watcher.start()
    try:
        write(root, b"d", b"a.png")
        marks.until(lambda: link + b"/d" in marks.folders)
    finally:
        watcher.stop()


def test_after_the_stop_nothing_is_marked_and_no_thread_is_left(
    root: bytes, new_marks: Callable[[list[bytes]], Any]
) -> None:
    before = set(threading.enumerate())
    marks = new_marks([root])
    descriptors = set(os.listdir("/proc/self/fd"))
    watcher = Watcher([root], Ignore(), marks)
    watcher.start()
    watcher.stop()
    marks.forget()
    write(root, b"a.png")
    assert set(threading.enumerate()) == before
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert not marks.take()


def test_the_reader_sleeps_while_nothing_happens(root: bytes, watcher: Watcher, bell: Any, marks: Any) -> None:
    """No timer of its own: what wakes it is the kernel."""
    bell.heard(marks)
    reader = watcher._reader
    assert reader
    status = Path(f"/proc/self/task/{reader.native_id}/status")

    def wakes() -> list[str]:
        return [line for line in status.read_text().splitlines() if "ctxt_switches" in line]

    def asleep() -> bool:
        return "State:\tS" in status.read_text()

    while not asleep():
        threading.Event().wait(0.01)
    before = wakes()
    threading.Event().wait(1.2)
    assert wakes() == before
