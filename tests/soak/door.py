"""Requests of every bad sort at a real daemon's door, and everything that another user might try."""

from __future__ import annotations

import contextlib
import json
import math
import random
import socket
import threading
import time

import fuzz
import guarded
from door_lines import PATIENCE_S, floods
from door_names import names
from door_strangers import nothing_open, strangers, watched_disk
from grounds import new_home, tiny_model, within
from guarded import MIB, Client, Guarded
from real_daemon import pictures
from report import Row

from memewatchd.protocol import LIKE_LINE_BYTES
from memewatchd.query_socket import DoorLimits

DEADLINE_S = DoorLimits().line_s
IN_TIME_S = 1.0  # what 99 of 100 answers to somebody well-behaved must take at most, under all that
GROWTH = 400 * MIB  # four lines of 32 MiB at once, read and parsed, and 500 connections


def campaign(
    seconds: float, seed: int, least: int = 100_000, crowd: int = 500, fuzzed: float = 0.15, patient: bool = True
) -> Row:
    """Bad lines until ``least`` were sent and the time is up, in a crowd of ``crowd`` connections.

    ``patient``: clients that run into deadlines of 30 s too, and answers are timed.
    """
    row = Row("door", "bad requests")
    deadline = time.monotonic() + seconds * (1 - fuzzed)
    with new_home() as home:
        # What is done at leisure has descriptors of its own, which come and go.
        daemon = Guarded(home, "--model", str(tiny_model()), MEMEWATCHD_THUMBNAILS="false")
        pictures(daemon.folder, range(200))
        with watched_disk(daemon, row), daemon:
            daemon.wait()
            daemon.search("warm")
            before = len(guarded.open_files(daemon.pid))
            with Behaved(daemon) as behaved, contextlib.ExitStack() as held:
                crowded = Crowd(daemon, crowd, row, random.Random(seed))
                held.callback(crowded.close)
                floods(row, daemon, seed, least, deadline)
                _huge(row, daemon)
                _leavers(row, daemon, 200 if patient else 40)
                if patient:
                    crowded.see_deadlines()
            behaved.into(row, IN_TIME_S if patient else math.inf)
            row.check(
                within(40 if patient else 10, lambda: len(guarded.open_files(daemon.pid)) <= before),
                f"{before} descriptors before, {len(guarded.open_files(daemon.pid))} after all have gone",
            )
            strangers(row, daemon)
            nothing_open(row, daemon)
            log = daemon.log()
            row.check("Traceback" not in log and " ERROR " not in log, f"errors in the log: {log[-2000:]}")
        names(row, daemon, patient)
    if fuzzed:
        fuzz.into(row, ["line", "query"], seconds * fuzzed, seed)
    return row


def _huge(row: Row, daemon: Guarded) -> None:
    """Six at once that send a line of more than 32 MiB: each is told so, and that is the end of it."""
    said: list[bytes] = []

    def send(first: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(daemon.socket)
            with contextlib.suppress(OSError):
                sock.sendall(first)
                for _ in range(LIKE_LINE_BYTES // MIB + 1):
                    sock.sendall(b"A" * MIB)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            with sock.makefile("rb") as stream:
                said.append(stream.read())

    heads = [b'{"op": "search", "like": [{"data_b64": "'] * 5 + [b"plain"]
    threads = [threading.Thread(target=send, args=(head,)) for head in heads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row.tried += len(heads)
    for answer in said:
        row.check(b"too_large" in answer and answer.count(b"\n") <= 2, f"to 33 MiB: {answer[:200]!r}")
    row.check(len(said) == len(heads), "a client with 33 MiB got no answer")


def _leavers(row: Row, daemon: Guarded, count: int) -> None:
    """Clients that leave in the middle of a line, before their answer, and in the middle of it."""
    asked = [b'{"op": "list"}\n' * 20, b'{"op": "search", "text": "x", "limit": 1000}\n' * 9, b"cat\n", b'{"op": "sta']
    asked += [b'{"op": "events"}\n', b'{"op": "wait"}\n' * 5, b'{"op": "search", "text": "' + b"x" * 60_000]
    for number in range(count):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(daemon.socket)
            sock.sendall(asked[number % len(asked)])
            if number % len(asked) in (0, 1, 2, 4) and number % 2:
                sock.recv(10)
    row.tried += count


class Crowd:
    """Many connections that are there at once: idle, in the middle of a line, not reading; held to the end."""

    def __init__(self, daemon: Guarded, count: int, row: Row, chance: random.Random) -> None:
        self._row = row
        self._begun = time.monotonic()
        self._idle: list[socket.socket] = []
        self._half: list[socket.socket] = []
        self._deaf: list[socket.socket] = []
        for number in range(count):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE_S)
            sock.connect(daemon.socket)
            if number % 10 == 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.sendall(b'{"op": "list"}\n' * 100)
                self._deaf.append(sock)
            elif number % 2:
                sock.sendall(chance.choice([b'{"op": "sta', b"angry", b'{"op": "search", "text": "' + b"x" * 30_000]))
                self._half.append(sock)
            else:
                sock.sendall(b'{"op": "status"}\n')
                self._idle.append(sock)
        for sock in self._idle:
            row.check(b'"ok": true' in sock.recv(1 << 16), "one of many got no answer")
        row.tried += len(self._half) + len(self._deaf)
        row.notes.append(f"{count} connections held open")

    def see_deadlines(self) -> None:
        """Those in the middle of a line are told so and sent away; those who don't read are sent away."""
        time.sleep(max(0.0, self._begun + DEADLINE_S + 5 - time.monotonic()))
        for sock in self._half:
            with sock.makefile("rb") as stream:
                try:
                    said = stream.read()
                except OSError as error:
                    said = repr(error).encode()
            self._row.check(
                said.count(b"timeout") == 1 and said.count(b"complete") == 1, f"half a line: {said[:200]!r}"
            )
        for sock in self._deaf:
            sock.settimeout(5)
            kept = False
            try:
                while sock.recv(1 << 20):
                    pass
            except TimeoutError:
                kept = True
            except OSError:
                pass
            self._row.check(not kept, "a client that doesn't read is kept")
        for sock in self._idle[:20]:
            sock.sendall(b'{"op": "status"}\n')
            self._row.check(b'"ok": true' in sock.recv(1 << 16), "an idle client was sent away")

    def close(self) -> None:
        for sock in (*self._idle, *self._half, *self._deaf):
            sock.close()


class Behaved:
    """Somebody who asks politely, all the while; and how much memory the daemon takes meanwhile."""

    def __init__(self, daemon: Guarded) -> None:
        self._daemon = daemon
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._took: dict[str, list[float]] = {"status": [], "search": []}
        self._problems: list[str] = []
        self._first = guarded.rss(daemon.pid)
        self._peak = 0

    def _ask(self) -> None:
        asked = [("status", b'{"op": "status"}'), ("search", b'{"op": "search", "text": "angry cat"}')]
        client: Client | None = None
        while not self._stop.wait(0.02) and len(self._problems) < 5:
            for name, line in asked:
                began = time.monotonic()
                try:
                    client = client or Client(self._daemon.socket, 15)
                    if not json.loads(client.ask(line))["ok"]:
                        self._problems.append(f"{name} was refused")
                except (OSError, ValueError) as error:
                    self._problems.append(f"{name} after {time.monotonic() - began:.1f} s: {error!r}")
                    client = None
                self._took[name].append(time.monotonic() - began)
            self._peak = max(self._peak, guarded.rss(self._daemon.pid))
        if client is not None:
            client.close()

    def __enter__(self) -> Behaved:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def into(self, row: Row, in_time_s: float) -> None:
        """What it was like; 99 of 100 must have taken less than ``in_time_s``."""
        for problem in self._problems:
            row.check(False, f"somebody well-behaved: {problem}")
        for name, took in self._took.items():
            took.sort()
            slow = took[len(took) * 99 // 100]
            row.check(slow < in_time_s, f"1 of 100 {name} requests took {slow:.2f} s or more")
            row.notes.append(
                f"{len(took):,} × {name}: p50 {took[len(took) // 2] * 1000:.0f} ms, p99 {slow * 1000:.0f} ms"
            )
        growth = self._peak - self._first
        row.check(growth < GROWTH, f"the daemon grew by {growth / MIB:.0f} MiB")
        row.notes.append(f"grew by {growth / MIB:.0f} MiB at most")
