"""Who writes? Asked of the kernel on real files."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from memewatchd.folder.stable import writer_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(b"x" * 100)
    return path


@pytest.fixture
def fd(picture: Path) -> Iterator[int]:
    opened = os.open(picture, os.O_RDONLY)
    yield opened
    os.close(opened)


def test_nobody_writes(fd: int) -> None:
    assert writer_state(fd) == "closed"


def test_other_readers_are_no_writers(picture: Path, fd: int) -> None:
    with picture.open("rb"):
        assert writer_state(fd) == "closed"


def test_this_process_writes(picture: Path, fd: int) -> None:
    with picture.open("ab"):
        assert writer_state(fd) == "open"
    assert writer_state(fd) == "closed"


def test_another_process_writes(picture: Path, fd: int) -> None:
    writer = subprocess.Popen(
        ["sh", "-c", 'exec >>"$1"; echo ready >&2; read -r line', "sh", picture],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert writer.stdin
    assert writer.stderr
    with writer:
        writer.stderr.readline()
        assert writer_state(fd) == "open"
        writer.stdin.close()
    assert writer_state(fd) == "closed"


def test_a_memory_map_that_can_write_is_a_writer_even_when_its_file_is_closed(picture: Path, fd: int) -> None:
    with picture.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    with mapped:
        assert writer_state(fd) == "open"
    assert writer_state(fd) == "closed"


def test_a_writer_that_opened_it_by_another_name(picture: Path, fd: int) -> None:
    other = picture.with_name("link.png")
    other.hardlink_to(picture)
    with other.open("ab"):
        assert writer_state(fd) == "open"


def test_a_file_that_has_lost_its_name(picture: Path, fd: int) -> None:
    picture.unlink()
    assert writer_state(fd) == "closed"


def test_no_lease_stays_behind(picture: Path, fd: int) -> None:
    writer_state(fd)
    assert fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_UNLCK
    os.close(os.open(picture, os.O_WRONLY | os.O_NONBLOCK))  # would be refused


def test_what_takes_no_lease_is_unknown(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert writer_state(folder) == "unknown"
    finally:
        os.close(folder)


def test_another_users_file_is_unknown(
    tmp_path: Path, ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    """Leases are for a file's owner, and for CAP_LEASE."""
    path = tmp_path / "theirs.png" if os.geteuid() == 0 else "/etc/passwd"
    if os.geteuid() == 0:
        (tmp_path / "theirs.png").write_bytes(b"x")
    fd = os.open(path, os.O_RDONLY)
    try:
        with ordinary_user():
            assert writer_state(fd) == "unknown"
    finally:
        os.close(fd)


BROKEN_LEASE = """
import fcntl, os, subprocess, sys, time
from memewatchd.folder import stable
fd = os.open(sys.argv[1], os.O_RDONLY)
if sys.argv[2] == "ours":
    stable._lease(fd)
else:
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
writer = subprocess.Popen(["sh", "-c", 'echo >>"$1"', "sh", sys.argv[1]])
while fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK:
    time.sleep(0.005)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
writer.wait()
print("alive")
"""


@pytest.mark.parametrize(("how", "ends"), [("plain", -signal.SIGIO), ("ours", 0)])
def test_a_writer_that_comes_while_we_hold_the_lease_does_not_end_us(picture: Path, how: str, ends: int) -> None:
    """With fcntl's defaults it does: the kernel sends SIGIO, which ends a process."""
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_LEASE, picture, how], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == ends, done.stderr
