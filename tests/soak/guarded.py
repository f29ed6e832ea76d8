"""A real daemon under watch: its memory, its files, and whether it answers."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from real_daemon import REPO, Daemon

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
# Without any capability, root is refused what anybody is refused.
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


class Guarded(Daemon):
    """A :class:`Daemon` with a ``TMPDIR`` of its own in its home."""

    def __init__(self, home: Path, *flags: str, **environment: str) -> None:
        (home / "tmp").mkdir(mode=0o700, exist_ok=True)
        super().__init__(home, *flags, TMPDIR=str(home / "tmp"), **environment)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def ended(self, *more: str, **environment: str) -> tuple[int, str]:
        """Start one that is expected to end by itself: its exit code and what it said."""
        command = [*self.through, sys.executable, "-m", "memewatchd.daemon", *self.flags, *more]
        environ = self.environ | environment
        done = subprocess.run(command, cwd=REPO, env=environ, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stderr.strip()


# ---- what the kernel says of our processes


def family(pid: int) -> list[int]:
    """The process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError):
                parent = int(Path(entry.path, "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def rss(pid: int) -> int:
    """Resident memory, in bytes; 0 of one that has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def open_files(pid: int) -> list[str]:
    """What a process's descriptors point to."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(fd))
    return found


def internet_sockets(pids: list[int]) -> list[str]:
    """TCP and UDP sockets of these processes, IPv4 and IPv6, listening or not."""
    inodes = {link[8:-1] for pid in pids for link in open_files(pid) if link.startswith("socket:[")}
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/{pids[0]}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[9] in inodes:
                    found.append(f"{table} {fields[1]}")
    return found


# ---- threads that look on


class Onlooker:
    """Asks for ``status`` again and again, and samples memory; ``problems`` says what broke."""

    def __init__(self, daemon: Guarded, patience_s: float = 15.0, every_s: float = 0.1) -> None:
        self._daemon = daemon
        self._patience_s = patience_s
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self.problems: list[str] = []
        self.asked = 0
        self.slowest_s = 0.0
        self.first_rss = rss(daemon.pid)
        self.peak_rss = 0
        self.peak_child_rss = 0

    def _look_on(self) -> None:
        client: Client | None = None
        pid = self._daemon.pid
        while not self._stop.wait(self._every_s) and len(self.problems) < 3:
            began = time.monotonic()
            try:
                if client is None:
                    client = Client(self._daemon.socket, self._patience_s)
                client.ask(b'{"op": "status"}')
            except (OSError, ValueError) as error:
                self.problems.append(f"status after {time.monotonic() - began:.1f} s: {error!r}")
                client = None
                continue
            self.asked += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.peak_rss = max(self.peak_rss, rss(pid))
            others = [rss(each) for each in family(pid)[1:]] if self.asked % 3 == 0 else []
            self.peak_child_rss = max([self.peak_child_rss, *others])
        if client is not None:
            client.close()

    def __enter__(self) -> Onlooker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Client:
    """A connection that sends a line and reads a line."""

    def __init__(self, path: str, patience_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(patience_s)
        self._socket.connect(path)
        self._stream = self._socket.makefile("rb")

    def ask(self, line: bytes) -> bytes:
        """The first line of the answer. Raises OSError, also where the connection has ended."""
        self._socket.sendall(line + b"\n")
        answer = self._stream.readline()
        if not answer.endswith(b"\n"):
            raise ConnectionError("the connection ended without an answer")
        return answer

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


IN_OPEN, IN_CREATE, IN_MOVED_TO, IN_ISDIR = 0x20, 0x100, 0x80, 0x40000000
_EVENT = struct.Struct("iIII")


class Inotify:
    """What happens to the names in some folders, by the kernel's own word."""

    def __init__(self, folders: list[Path], mask: int, seen: Callable[[Path, int], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._folders: dict[int, Path] = {}
        for folder in folders:
            watch = libc.inotify_add_watch(self._fd, os.fsencode(folder), mask)
            if watch < 0:
                raise OSError(ctypes.get_errno(), f"can't watch {folder}")
            self._folders[watch] = folder
        self._seen = seen
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        while True:
            ending = self._stop.wait(0.002)
            with contextlib.suppress(BlockingIOError):
                data = os.read(self._fd, 1 << 20)
                while data:
                    watch, mask, _, length = _EVENT.unpack_from(data)
                    name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
                    data = data[_EVENT.size + length :]
                    if watch in self._folders:
                        self._seen(self._folders[watch] / os.fsdecode(name), mask)
            if ending:
                return

    def __enter__(self) -> Inotify:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.05)
        self._stop.set()
        self._thread.join()
        os.close(self._fd)


# ---- what a person understands

_JARGON = re.compile(
    r"Traceback|\b[A-Z]\w*(?:Error|Exception|Warning)\b|0x[0-9a-f]{6,}|<class|NoneType|has no attribute"
    r"|not subscriptable|unexpected keyword|positional argument|site-packages|\.py\b|nonsense"
    r"|: -?\d+\)$|unpack requires|to unpack|index out of range|invalid literal for"
    r"|codec can't|object is not|must be an integer"
)


def is_for_people(reason: str) -> bool:
    """Whether a sentence is one, and speaks of no class, traceback or line of code."""
    return 4 < len(reason) < 300 and reason.isprintable() and not _JARGON.search(reason)
