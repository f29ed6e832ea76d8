"""What the reader makes of one file: nothing is believed of one that somebody may still be writing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from memewatchd import reader as reader_module
from memewatchd.meme import FileStat
from memewatchd.reader import YOUNG_NS, Broken, Gone, NoMeme, Picture, Reader, Unstable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from memewatchd.meme import Digest
    from memewatchd.reader import Outcome


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Subject:
    """A file, and a reader for which it is ``age_ns`` old."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.age_ns = 10**9
        self.clock = Clock()
        self.reader = Reader(1.0, 1000, clock=self.clock, wall_ns=lambda: path.stat().st_ctime_ns + self.age_ns)

    def read(self, seen: FileStat | None = None) -> Outcome:
        outcome = self.reader.read(os.fsencode(self.path), seen or FileStat(0, 0, 0, 0), 100.0)
        if isinstance(outcome, Picture):
            os.close(outcome.fd)
        return outcome


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject(tmp_path / "a.png")


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_picture(subject: Subject, png: Callable[[int], bytes], digest_of: Callable[[bytes], str]) -> None:
    subject.path.write_bytes(png(1))
    outcome = subject.read()
    assert isinstance(outcome, Picture)
    assert (outcome.stat, outcome.digest) == (FileStat.of(subject.path.stat()), digest_of(png(1)))


@pytest.mark.parametrize("name", ["a.png", "a"])
@pytest.mark.parametrize("data", [b"", b"words", None])
def test_a_file_too_young_is_read_later(subject: Subject, png: Callable[[int], bytes], name: str, data: bytes) -> None:
    """A second write within one tick of the kernel's clock would leave the same stat, also of what is no picture."""
    subject.path = subject.path.with_name(name)
    subject = Subject(subject.path)
    subject.path.write_bytes(png(1) if data is None else data)
    subject.age_ns = YOUNG_NS - 1
    assert subject.read() == Unstable(FileStat.of(subject.path.stat()))
    subject.age_ns = YOUNG_NS
    assert not isinstance(subject.read(), Unstable)
    subject.age_ns = -5  # from the future: a clock was set
    assert not isinstance(subject.read(), Unstable)


def test_an_open_file_is_not_read(subject: Subject, png: Callable[[int], bytes]) -> None:
    with subject.path.open("wb") as file:
        file.write(png(1))
        file.flush()
        assert isinstance(subject.read(), Unstable)
    assert isinstance(subject.read(), Picture)


def test_a_file_that_changes_while_it_is_read_is_read_again(
    subject: Subject, png: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = subject.reader._digest

    def digest_and_write(fd: int) -> Digest:
        found = digest(fd)
        subject.path.write_bytes(png(2) + b"longer")
        return found

    subject.path.write_bytes(png(1))
    monkeypatch.setattr(subject.reader, "_digest", digest_and_write)
    assert isinstance(subject.read(), Unstable)


def test_where_the_kernel_can_not_tell_time_must(
    subject: Subject, png: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "writer_state", lambda _: "unknown")
    subject.path.write_bytes(png(1))
    seen = FileStat.of(subject.path.stat())
    assert isinstance(subject.read(seen), Unstable)
    subject.clock.now += 1
    assert isinstance(subject.read(seen), Picture)
    assert isinstance(subject.read(FileStat(1, 1, 1, 1)), Unstable)  # it has changed since it was seen


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b"words", "not a picture"), (b"\0" * 1001, "too large")])
def test_what_is_named_like_a_picture_and_is_none_is_broken(subject: Subject, data: bytes, reason: str) -> None:
    subject.path.write_bytes(data)
    outcome = subject.read()
    assert isinstance(outcome, Broken)
    assert reason in outcome.reason


def test_what_says_nothing_of_pictures_is_no_meme(tmp_path: Path) -> None:
    subject = Subject(tmp_path / "notes.txt")
    subject.path.write_bytes(b"words")
    assert subject.read() == NoMeme(FileStat.of(subject.path.stat()))


def test_what_is_not_there_or_no_file_any_more_is_gone(subject: Subject) -> None:
    assert subject.read() == Gone()
    os.mkfifo(subject.path)
    assert subject.read() == Gone()
    subject.path.unlink()
    subject.path.symlink_to(subject.path.name)
    assert subject.read() == Gone()
    subject.path.unlink()
    subject.path.mkdir()
    assert subject.read() == Gone()


@pytest.mark.parametrize("name", ["a.png", "no extension"])
def test_what_lies_below_a_folder_that_is_closed_is_gone_and_not_judged(tmp_path: Path, name: str) -> None:
    """For a while perhaps, as when all of a root is; a picture taken for none would not be looked at again."""
    subject = Subject(tmp_path / "closed" / name)
    subject.path.parent.mkdir()
    subject.path.write_bytes(b"picture")
    subject.path.parent.chmod(0)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        assert subject.read() == Gone()
    finally:
        if was_root:
            os.seteuid(0)
        subject.path.parent.chmod(0o700)


HOLDER = """
import fcntl, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR)
signal.signal(signal.SIGIO, lambda *_: None)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_file_that_another_program_has_a_lease_on_is_read_later(
    subject: Subject, png: Callable[[int], bytes]
) -> None:
    """As Samba has, for a client that writes: opening it without waiting is refused."""
    subject.path.write_bytes(png(1))
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(subject.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        if not holder.stdout.readline():
            pytest.skip("this file system gives no leases: NOT TESTED")
        assert isinstance(subject.read(), Unstable)
        holder.communicate()
    assert isinstance(subject.read(), Picture)
    with subject.path.open("rb") as file:
        assert fcntl.fcntl(file, fcntl.F_GETLEASE) == fcntl.F_UNLCK  # ours is given back
