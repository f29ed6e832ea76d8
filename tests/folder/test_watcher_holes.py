"""The holes in watchdog 7.1 that ``folder/`` closes. Each is shown on the plain observer too, where that is cheap."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyEmitter, InotifyObserver

from memewatchd.folder.ignore import Ignore
from memewatchd.folder.mounts import Mount, parse_mountinfo
from memewatchd.folder.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


WAIT_FOR = """
def wait_for(path):
    '''Until it is marked; what else was marked is dropped.'''
    import os, time
    for _ in range(3000):
        dirty = marks.take()
        if os.fsencode(path) in dirty.folders | dirty.trees:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} was never marked")
"""


class Ear(FileSystemEventHandler):
    """Keeps all that a plain observer tells."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self._news = threading.Condition()

    def on_any_event(self, event: FileSystemEvent) -> None:
        with self._news:
            self.heard.append((event.event_type, os.fsdecode(event.src_path)))
            self._news.notify_all()

    def until(self, kind: str, path: Path, times: int = 1) -> None:
        with self._news:
            met = self._news.wait_for(lambda: self.heard.count((kind, str(path))) >= times, timeout=30)
            assert met, self.heard[-20:]

    def paths(self) -> set[str]:
        return {path for _, path in self.heard}


@pytest.fixture
def folder(root: bytes) -> Path:
    return Path(os.fsdecode(root))


@pytest.fixture
def plain(folder: Path) -> Iterator[tuple[InotifyObserver, Ear]]:
    ear = Ear()
    observer = InotifyObserver()
    observer.schedule(ear, str(folder), recursive=True)
    observer.start()
    yield observer, ear
    observer.stop()
    observer.join()


@pytest.fixture
def marks(root: bytes, new_marks: Callable[[list[bytes]], Any]) -> Any:
    return new_marks([root])


@pytest.fixture
def watcher(root: bytes, bell: Any, marks: Any) -> Iterator[Watcher]:
    watching = Watcher([root], Ignore(), marks)
    watching.start()
    marks.forget()
    yield watching
    watching.stop()


# 1. The kernel's queue overflows.


def overflow(folder: Path) -> None:
    """More events than the queue holds: two for each renaming."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    a, b = folder / "a", folder / "b"
    a.touch()
    for _ in range(limit // 4 + 1000):
        a.rename(b)
        b.rename(a)


def lose_events(folder: Path) -> None:
    """What happens while the queue is full is told to nobody."""
    (folder / "sub").rename(folder / "renamed")
    (folder / "new" / "deep").mkdir(parents=True)
    (folder / "new" / "deep" / "lost.png").touch()


def test_overflow_the_plain_observer_never_tells_of_what_was_lost(
    folder: Path, plain: tuple[InotifyObserver, Ear]
) -> None:
    observer, ear = plain
    (folder / "sub").mkdir()
    ear.until("created", folder / "sub")
    (emitter,) = observer.emitters
    assert isinstance(emitter, InotifyEmitter)
    assert emitter._inotify
    with emitter._inotify._lock:  # its reader stands still here, as under load
        overflow(folder)
        lose_events(folder)
    while not (folder / "after.png").exists() or str(folder / "after.png") not in ear.paths():
        (folder / "after.png").unlink(missing_ok=True)
        (folder / "after.png").touch()
        threading.Event().wait(0.1)
    assert str(folder / "new" / "deep" / "lost.png") not in ear.paths()
    assert str(folder / "renamed") not in ear.paths()


def test_overflow_marks_the_root_and_watches_anew(folder: Path, watcher: Watcher, bell: Any, marks: Any) -> None:
    root = os.fsencode(folder)
    (folder / "sub").mkdir()
    bell.heard(marks)
    watch = watcher._roots[0].watch
    assert watch
    with watch._lock:
        overflow(folder)
        lose_events(folder)
    marks.until(lambda: root in marks.trees)
    marks.forget()
    (folder / "renamed" / "a.png").touch()
    (folder / "new" / "deep" / "b.png").touch()
    folders, trees = bell.heard(marks)
    assert folders == {root + b"/renamed", root + b"/new/deep"}
    assert not trees


# 2. Folders of one name that come and go.


def come_and_go(folder: Path, wait_for_created: Callable[[Path, int], None]) -> None:
    out = folder.with_name("out")
    out.mkdir()
    d = folder / "d"
    d.mkdir()
    wait_for_created(d, 1)
    d.rename(out / "d")
    d.mkdir()
    wait_for_created(d, 2)
    d.rmdir()
    (out / "d").rmdir()


def test_come_and_go_ends_the_plain_observers_thread(
    folder: Path, plain: tuple[InotifyObserver, Ear], monkeypatch: pytest.MonkeyPatch
) -> None:
    observer, ear = plain
    fell: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda hook: fell.append(hook.exc_type))
    come_and_go(folder, lambda path, times: ear.until("created", path, times))
    observer._inotify_fd.join(timeout=30)
    assert fell == [KeyError]
    assert observer.is_alive()  # it looks well, and will never hear anything again


def test_come_and_go_is_survived(folder: Path, watcher: Watcher, bell: Any, marks: Any) -> None:
    d = os.fsencode(folder / "d")

    def created(path: Path, times: int) -> None:
        marks.until(lambda: d in marks.trees)
        bell.heard(marks)

    come_and_go(folder, created)
    bell.heard(marks)
    assert watcher._reader
    assert watcher._reader.is_alive()
    (folder / "d").mkdir()
    (folder / "d" / "e").mkdir()
    bell.heard(marks)
    (folder / "d" / "e" / "a.png").touch()
    assert bell.heard(marks) == ({d + b"/e"}, set())


def test_a_reader_that_dies_is_replaced(
    folder: Path, watcher: Watcher, bell: Any, marks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else may kill the thread: the next check sees it. (The plain observer's ``is_alive`` doesn't.)"""
    first, watch = watcher._reader, watcher._roots[0].watch
    assert first
    descriptors = set(os.listdir("/proc/self/fd"))

    def fall(event: object) -> None:
        raise RuntimeError("as by a bug")

    monkeypatch.setattr(watch, "on_event", fall)
    (folder / "a.png").touch()
    first.join(timeout=30)
    assert not first.is_alive()
    assert marks.wait_woken(0), "whoever checks is woken, and asks"
    assert not watcher.hears_all
    marks.forget()
    watcher.check()
    assert marks.trees >= {os.fsencode(folder)}
    assert set(os.listdir("/proc/self/fd")) == descriptors
    marks.forget()
    (folder / "b.png").touch()
    assert bell.heard(marks) == ({os.fsencode(folder)}, set())


# 3. The kernel's limits.

FEW_WATCHES = """
import os, pathlib, sys
limits = pathlib.Path("/proc/sys/user")
(limits / "max_inotify_watches").write_text("4")
root = sys.argv[1]
for number in range(10):
    os.mkdir(f"{root}/{number}")

from watchdog.events import FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver
plain = InotifyObserver()
plain.schedule(FileSystemEventHandler(), root, recursive=True)
plain.start()
assert plain.is_alive()
plain.stop()
plain.join()
print("the plain observer said nothing")

from memewatchd.folder.dirty import Dirty, DirtySet
from memewatchd.folder.ignore import Ignore
from memewatchd.folder.watcher import Watcher
roots = [os.fsencode(root)]
now = 0.0
marks = DirtySet(roots)
watcher = Watcher(roots, Ignore(), marks, poll_s=30, clock=lambda: now)
watcher.start()
print(*watcher.mode)
marks.take()
now = 29
watcher.check()
assert not marks.take()
now = 30
watcher.check()
assert marks.take() == Dirty(trees=frozenset(roots))
(limits / "max_inotify_watches").write_text("100")
now = 60
watcher.check()
assert marks.take() == Dirty(trees=frozenset(roots))
print(*watcher.mode)
os.mkdir(f"{root}/9/deep")
wait_for(f"{root}/9/deep")
(limits / "max_inotify_watches").write_text("5")
for number in range(10):
    os.mkdir(f"{root}/8/{number}")
os.mkdir(f"{root}/last")
wait_for(f"{root}/last")
watcher.check()
print(*watcher.mode)
watcher.stop()
"""


def test_too_few_watches_are_counted_and_polled_for(folder: Path, in_namespace: Callable[..., str]) -> None:
    plain, few, enough, few_again = in_namespace(WAIT_FOR + FEW_WATCHES, str(folder)).splitlines()
    assert plain == "the plain observer said nothing"
    assert few.startswith(f"polling only 4 of 11 folders below {folder} can be watched")
    assert "sysctl fs.inotify.max_user_watches" in few
    assert enough == "inotify "
    assert few_again.startswith("polling only ")


NO_INSTANCE = """
import os, pathlib, sys
instances = pathlib.Path("/proc/sys/user/max_inotify_instances")
instances.write_text("0")
from memewatchd.folder.dirty import Dirty, DirtySet
from memewatchd.folder.ignore import Ignore
from memewatchd.folder.watcher import Watcher
roots = [os.fsencode(sys.argv[1])]
now = 0.0
marks = DirtySet(roots)
watcher = Watcher(roots, Ignore(), marks, poll_s=30, clock=lambda: now)
watcher.start()
print(*watcher.mode)
assert marks.take() == Dirty(trees=frozenset(roots))
watcher.check()
assert not marks.take()
now = 30
watcher.check()
assert marks.take() == Dirty(trees=frozenset(roots))
instances.write_text("10")
watcher.check()
print(*watcher.mode)
assert marks.take() == Dirty(trees=frozenset(roots))
pathlib.Path(sys.argv[1], "a.png").touch()
wait_for(sys.argv[1])
watcher.stop()
"""


def test_no_inotify_instance_left_is_polled_for(folder: Path, in_namespace: Callable[..., str]) -> None:
    """The plain observer raises OSError from its constructor."""
    none, some = in_namespace(WAIT_FOR + NO_INSTANCE, str(folder)).splitlines()
    assert none.startswith("polling the kernel gives no more inotify instances")
    assert some == "inotify "


# 4. A root that is renamed, exchanged, mounted or unmounted.


def test_an_exchanged_root_the_plain_observer_goes_on_watching_the_old_one(
    folder: Path, plain: tuple[InotifyObserver, Ear]
) -> None:
    _, ear = plain
    old = folder.with_name("old")
    folder.rename(old)
    folder.mkdir()
    (folder / "new.png").touch()
    (old / "bell.png").touch()
    ear.until("closed", folder / "bell.png")  # under a name that it no longer has
    assert str(folder / "new.png") not in ear.paths()


def test_an_exchanged_root_is_seen_by_the_next_check(folder: Path, watcher: Watcher, marks: Any) -> None:
    root = os.fsencode(folder)
    old = folder.with_name("old")
    folder.rename(old)
    marks.until(lambda: root in marks.trees)  # the renaming itself is heard
    folder.mkdir()
    (folder / "new.png").touch()
    marks.forget()
    watcher.check()
    assert marks.trees == {root}
    marks.forget()
    (old / "a.png").touch()
    (folder / "sub").mkdir()
    marks.until(lambda: root in marks.folders)
    assert marks.trees == {root + b"/sub"}


def test_a_folder_above_the_root_that_is_renamed_and_comes_back(
    tmp_path: Path, new_marks: Callable[[list[bytes]], Any]
) -> None:
    folder = tmp_path / "above" / "memes"
    folder.mkdir(parents=True)
    root = os.fsencode(folder)
    marks = new_marks([root])
    watcher = Watcher([root], Ignore(), marks)
    watcher.start()
    try:
        marks.forget()
        (tmp_path / "above").rename(tmp_path / "away")
        watcher.check()
        assert marks.trees == {root}
        marks.forget()
        watcher.check()
        assert not marks.trees
        (tmp_path / "away").rename(tmp_path / "above")
        watcher.check()
        assert marks.trees == {root}
        marks.forget()
        (folder / "a.png").touch()
        marks.until(lambda: root in marks.folders)
    finally:
        watcher.stop()


def test_a_root_that_comes_later(tmp_path: Path, new_marks: Callable[[list[bytes]], Any]) -> None:
    """The plain observer raises FileNotFoundError when it starts."""
    folder = tmp_path / "memes"
    root = os.fsencode(folder)
    marks = new_marks([root])
    watcher = Watcher([root], Ignore(), marks)
    watcher.start()
    try:
        assert watcher.mode == ("inotify", "")
        marks.forget()
        watcher.check()
        assert not marks.trees
        folder.mkdir()
        watcher.check()
        assert marks.trees == {root}
        (folder / "a.png").touch()
        marks.until(lambda: root in marks.folders)
    finally:
        watcher.stop()


def test_a_deleted_root_is_heard(folder: Path, watcher: Watcher, bell: Any, marks: Any) -> None:
    os.rmdir(bell.folder)
    folder.rmdir()
    marks.until(lambda: os.fsencode(folder) in marks.trees)
    folder.mkdir()
    marks.forget()
    watcher.check()
    assert marks.trees == {os.fsencode(folder)}


MOUNTS = """
import os, pathlib, subprocess, sys
from watchdog.events import FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver
from memewatchd.folder.dirty import Dirty, DirtySet
from memewatchd.folder.ignore import Ignore
from memewatchd.folder.watcher import Watcher

def run(*command):
    subprocess.run(command, check=True)

root = pathlib.Path(sys.argv[1])
roots = [os.fsencode(root)]
run("mount", "-t", "tmpfs", "memes", root)
(root / "sub").mkdir()
(root / "disk").mkdir()

heard = []
ear = FileSystemEventHandler()
ear.on_any_event = heard.append
plain = InotifyObserver()
plain.schedule(ear, str(root), recursive=True)
plain.start()
marks = DirtySet(roots)
watcher = Watcher(roots, Ignore(), marks)
watcher.start()
everything = Dirty(trees=frozenset(roots))
assert marks.take() == everything

run("mount", "-t", "tmpfs", "disk", root / "disk")
watcher.check()
assert marks.take() == everything, "a disk mounted below the root"
(root / "disk" / "a.png").touch()
wait_for(root / "disk")
run("umount", root / "disk")
wait_for(root / "disk")
watcher.check()
marks.take()
watcher.check()
assert not marks.take()

run("mount", "--bind", root / "sub", root / "disk")
watcher.check()
marks.take()
(root / "sub" / "a.png").touch()
wait_for(root / "disk")
(root / "sub" / "b.png").touch()
wait_for(root / "sub")
run("umount", root / "disk")
watcher.check()
marks.take()

heard.clear()
run("umount", "--lazy", root)
watcher.check()
assert marks.take() == everything, "the root unmounted"
(root / "under").touch()
wait_for(root)
assert not heard, heard
run("mount", "-t", "tmpfs", "memes", root)
watcher.check()
assert marks.take() == everything, "the root mounted"
(root / "back.png").touch()
wait_for(root)
watcher.stop()
assert not heard, heard
plain.stop()
print("done")
"""


def test_disks_that_are_mounted_and_unmounted(folder: Path, in_namespace: Callable[..., str]) -> None:
    """Nothing of it is an event, but that a plain ``umount`` takes watches away; the plain observer hears nothing."""
    assert in_namespace(WAIT_FOR + MOUNTS, str(folder), mounts=True) == "done\n"


# 5. Our own reading.


def test_reading_is_heard_by_the_plain_observer(folder: Path, plain: tuple[InotifyObserver, Ear]) -> None:
    """So the mirror would hear itself; that ours doesn't is in test_watcher."""
    _, ear = plain
    (folder / "a.png").touch()
    (folder / "a.png").read_bytes()
    ear.until("closed_no_write", folder / "a.png")


# 6. File systems that others change.


class Table:
    """A table of mounts that a test writes."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def look(self) -> list[Mount]:
        return parse_mountinfo(self._file.read_bytes())

    def close(self) -> None:
        pass


def test_a_network_mount_is_polled_and_still_watched(folder: Path, tmp_path: Path, bell: Any, marks: Any) -> None:
    root, now = os.fsencode(folder), 0.0
    table = tmp_path / "mountinfo"
    own = f"27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 0:50 / {folder} rw - nfs4 server:/x rw\n"
    table.write_text(own)
    watcher = Watcher([root], Ignore(), marks, poll_s=30, clock=lambda: now, mounts=Table(table))
    watcher.start()
    try:
        assert watcher.mode == (
            "polling",
            f"{folder} is on nfs4, where the kernel reports no changes made elsewhere",
        )
        marks.forget()
        watcher.check()
        assert not marks.trees
        now = 30.0
        watcher.check()
        assert marks.trees == {root}
        marks.forget()
        (folder / "a.png").touch()  # what this machine changes is heard at once
        assert bell.heard(marks) == ({root}, set())

        table.write_text("27 1 254:0 / / rw - ext4 /dev/vda rw\n")
        watcher.check()
        assert marks.trees == {root}
        assert watcher.mode == ("inotify", "")
    finally:
        watcher.stop()


def test_of_a_network_mount_below_the_root_only_that_is_polled(folder: Path, tmp_path: Path, marks: Any) -> None:
    root, now = os.fsencode(folder), 0.0
    link = tmp_path / "link"
    link.symlink_to(folder)
    table = tmp_path / "mountinfo"
    table.write_text(
        f"27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 0:50 / {folder}/phone rw - fuse.sshfs me@phone: rw\n"
    )
    watcher = Watcher([os.fsencode(link)], Ignore(), marks, poll_s=30, clock=lambda: now, mounts=Table(table))
    watcher.start()
    try:
        assert watcher.mode[0] == "polling"
        assert watcher.mode[1].startswith(f"{folder}/phone is on fuse.sshfs")
        marks.forget()
        now = 30.0
        watcher.check()
        assert marks.trees == {os.fsencode(link) + b"/phone"}
        assert root not in marks.trees
    finally:
        watcher.stop()
