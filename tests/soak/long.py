"""A long life: events at speed and queries at speed, while memory, descriptors, threads and the index level off.

And then nothing at all: an idle daemon must cost nothing.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from grounds import new_home, settle, tiny_model
from real_daemon import Daemon
from report import Row
from torrents import made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FULL_S = 240.0
EVENTS = 200_000
CONNECTIONS = 3
IN_FLIGHT = 25
WORDS = (
    "angry",
    "cat",
    "dog",
    "smiles",
    "women",
    "burning",
    "room",
    "white",
    "black",
    "meme",
    "fine",
    "猫",
    "狗",
    "生气",
)
MIB = 1 << 20
IDLE = 0.002  # of a core
NAP_S = 0.05
LEISURE_S = 90.0
IDLE_LOOKS = 3
"""What little is left to do at leisure may fall into one of them, and not into all."""
PAGE = os.sysconf("SC_PAGE_SIZE")
# May the last quarter use more than the second? A tenth, and this much.
SLACK = {"MiB": 8.0, "": 4.0}
# Milvus Lite 2.5.1 keeps some 1.5 KB of memory of every row that is replaced, until so many were that it is made to
# give them back (tables.RELOAD_DELETED): what is measured goes up and down by so much.
LITE_KEEPS = 1_500 * 20_000 / MIB


def campaign(seconds: float, seed: int, events: int = 0, queries: int = 0) -> Row:
    """Events and queries for ``seconds``, less what the idle look at the end takes, and until there were so many."""
    row = Row("long", "events and queries")
    scale = min(1.0, seconds / FULL_S)
    idle_s = 20.0 if scale > 0.25 else 5.0
    with new_home() as home:
        # In seconds nothing levels off that begins at leisure: the child that makes thumbnails.
        thumbnails = str(scale > 0.25).lower()
        daemon = Daemon(home, "--model", str(tiny_model()), MEMEWATCHD_THUMBNAILS=thumbnails)
        pool = made(home / "pool", 300, seed * 100_000)
        try:
            daemon.start()
            (daemon.folder / "first.png").write_bytes(pool[0])
            daemon.wait()
            daemon.search("cat")
            busy(row, daemon, pool, max(5.0, seconds - idle_s - 10), seed, events, queries)
            settle(daemon, row, "after all that")
            idle(row, daemon, idle_s, IDLE if idle_s >= 20 else 5 * IDLE, to_rest=idle_s >= 20)
            row.check(daemon.stop() == 0, "it didn't end well")
            if scale > 0.25:
                began = time.monotonic()
                daemon.start()
                settle(daemon, row, "after a restart")
                row.notes.append(f"a restart then takes {time.monotonic() - began:.1f} s")
                row.check(daemon.stop() == 0, "it didn't end well")
        finally:
            if daemon.process is not None:
                daemon.stop(signal.SIGKILL)
    return row


def busy(
    row: Row, daemon: Daemon, pool: list[bytes], seconds: float, seed: int, events: int = 0, queries: int = 0
) -> None:
    """All at once, and a sample now and then."""
    counts: Counter[str] = Counter()
    began = time.monotonic()

    def is_over() -> bool:
        enough = (counts["events"] >= events and counts["replies"] >= queries) or row.failures
        return time.monotonic() >= began + seconds and bool(enough)

    def is_enough() -> bool:
        # Where events are counted too, they may end before the queries do.
        return is_over() or 0 < events <= counts["events"]

    threads = [threading.Thread(target=churn, args=(daemon.folder, pool, counts, EVENTS / FULL_S, is_enough, seed))]
    threads += [
        threading.Thread(target=ask, args=(daemon.socket, counts, row, is_over, seed + number))
        for number in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    samples: list[dict[str, float]] = []
    while not is_over():
        time.sleep(seconds / 80)
        samples.append(sample(daemon))
    seconds = time.monotonic() - began
    for thread in threads:
        thread.join(timeout=120)
        row.check(not thread.is_alive(), "a client hangs")
    row.tried += counts["events"] + counts["replies"]
    row.notes.append(f"{counts['events']:,} events and {counts['replies']:,} queries in {seconds:.0f} s")
    row.notes.append(f"{counts['connections']:,} connections")
    for name in sorted({key for found in samples for key in found}):
        values = [found[name] for found in samples if name in found]
        level(row, name, values, LITE_KEEPS if name == "milvus MiB" else 0.0)


def churn(
    folder: Path, pool: list[bytes], counts: Counter[str], rate: float, is_over: Callable[[], bool], seed: int
) -> None:
    """Create, rename, rewrite, delete: some 200 names in five folders, pictures of a pool."""
    rng = random.Random(seed)
    names = [folder / f"{number % 5}" / f"meme {number}.png" for number in range(200)]
    for name in names:
        name.parent.mkdir(exist_ok=True)
    began = time.monotonic()
    while not is_over():
        name = rng.choice(names)
        what = rng.random()
        if not name.exists() or what < 0.25:
            name.write_bytes(rng.choice(pool))
        elif what < 0.5:
            name.rename(rng.choice(names))
        elif what < 0.75:
            half = name.with_name("half.part")
            half.write_bytes(rng.choice(pool))
            half.replace(name)
        else:
            name.unlink()
        counts["events"] += 1
        if counts["events"] % 50 == 0:
            time.sleep(max(0.0, began + counts["events"] / rate - time.monotonic()))


def ask(path: str, counts: Counter[str], row: Row, is_over: Callable[[], bool], seed: int) -> None:
    """Many requests on a connection, many in flight; and a new connection now and then."""
    rng = random.Random(seed)
    while not is_over():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(path)
            counts["connections"] += 1
            with sock.makefile("rb") as stream:
                for _ in range(rng.randint(1, 20)):
                    requests = [request(rng) for _ in range(IN_FLIGHT)]
                    sock.sendall(b"".join(requests))
                    for asked in requests:
                        if not answered(stream.readline, asked):
                            row.failures.append(f"no good answer to {asked!r}")
                            return
                        counts["replies"] += 1
                    if is_over():
                        break


def request(rng: random.Random) -> bytes:
    kind = rng.random()
    words = " ".join(rng.choices(WORDS, k=rng.randint(1, 4)))
    if kind < 0.1:
        return b'{"op": "status"}\n'
    if kind < 0.2:
        return words.encode() + b"\n"
    return json.dumps({"op": "search", "text": words, "limit": rng.choice((1, 20, 200))}).encode() + b"\n"


def answered(readline: Callable[[], bytes], asked: bytes) -> bool:
    """Reads one answer; is it a good one?"""
    line = readline()
    if asked.startswith(b"{"):
        return bool(line) and bool(json.loads(line)["ok"])
    while line.startswith(b"/"):
        line = readline()
    return line == b"\n"


def processes(pid: int) -> dict[str, list[int]]:
    """The daemon and its children, by what they are."""
    kinds: dict[str, list[int]] = {"daemon": [pid], "milvus": [], "decoders": []}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            for child in map(int, (thread / "children").read_text().split()):
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if command:
                    kinds["milvus" if b"milvus_lite" in command else "decoders"].append(child)
        except OSError:
            continue  # a thread or a child that has just ended
    return kinds


def sample(daemon: Daemon) -> dict[str, float]:
    """What is used now; the names end in their unit."""
    assert daemon.process is not None
    found: dict[str, float] = {}
    for kind, pids in processes(daemon.process.pid).items():
        pages = 0
        for pid in pids:
            try:
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except OSError:
                continue  # a decoder that is being replaced
        found[f"{kind} MiB"] = pages * PAGE / MIB
    here = Path("/proc") / str(daemon.process.pid)
    found["descriptors"] = len(os.listdir(here / "fd"))
    found["threads"] = len(os.listdir(here / "task"))
    found["index MiB"] = on_disk_bytes(daemon.home / ".local") / MIB
    return found


def on_disk_bytes(folder: Path) -> int:
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_size
            except FileNotFoundError:
                continue
    return total


def level(row: Row, name: str, values: list[float], more: float = 0.0) -> None:
    """The last quarter may not use much more than the second, and than ``more``, by which it comes and goes."""
    quarter = len(values) // 4
    if not quarter:
        return
    second, last = (statistics.fmean(values[start : start + quarter]) for start in (quarter, len(values) - quarter))
    unit = "MiB" if name.endswith("MiB") else ""
    row.notes.append(f"{name} {second:.0f} → {last:.0f}")
    row.check(
        last <= second * 1.1 + SLACK[unit] + more,
        f"{name} grows: {second:.1f} in the second quarter, {last:.1f} at last",
    )


def idle(row: Row, daemon: Daemon, seconds: float, most: float, *, to_rest: bool) -> None:
    """Nothing happens: what the daemon and its children use of a core, and how often they wake; ``to_rest``: once
    Milvus stands still."""

    def pids() -> list[int]:
        assert daemon.process is not None
        return [pid for found in processes(daemon.process.pid).values() for pid in found]

    # Thumbnails, copies and dictionaries are seen to at leisure, once all is settled; then some children end, and half
    # a minute after the last question Milvus stands still.
    began = time.monotonic()
    spent, before = math.inf, _look(pids())
    while time.monotonic() < began + LEISURE_S and (spent > 2 * most or (to_rest and not stands_still(daemon))):
        time.sleep(2)
        now = _look(pids())
        spent, before = sum(now[pid][0] - before[pid][0] for pid in now.keys() & before.keys()), now
    if to_rest:
        row.notes.append(f"at rest {time.monotonic() - began:.0f} s after all that")
    for _ in range(IDLE_LOOKS):
        with sleeper() as pid:
            (cpu, woken), (bare, naps) = _spent([pids(), [pid]], seconds)
        bare *= woken / max(naps, 1.0)  # what it would cost with the daemon's wakes
        if cpu <= most:
            break
    row.notes.append(
        f"idle: {cpu:.2%} of a core, {woken:.1f} wakes a second (a program that only wakes so often: {bare:.2%})"
    )
    row.check(cpu <= most, f"idle it uses {cpu:.2%} of a core")


def stands_still(daemon: Daemon) -> bool:
    """Whether Milvus is stopped, as proc_pid_stat(5) says."""
    assert daemon.process is not None
    milvus = processes(daemon.process.pid)["milvus"]
    states = [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] for pid in milvus]
    return states == ["T"]


@contextmanager
def sleeper() -> Iterator[int]:
    """A program that does nothing but wake; what that costs tells readers how fast the machine is just now."""
    nap = f"import time\nwhile True: time.sleep({NAP_S})"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", nap]) as process:
        try:
            time.sleep(1)
            yield process.pid
        finally:
            process.kill()


def _spent(groups: list[list[int]], seconds: float) -> list[tuple[float, float]]:
    """By group of processes: of a core, and wakes a second."""
    began = time.monotonic()
    first = [_look(watched) for watched in groups]
    time.sleep(seconds)
    last = [_look(watched) for watched in groups]
    span = time.monotonic() - began
    spent = []
    for before, after in zip(first, last, strict=True):
        # A process or a thread that ended meanwhile has taken its count with it.
        both = [(before[pid], after[pid]) for pid in before.keys() & after.keys()]
        woken = sum(count - a[1].get(thread, 0) for a, b in both for thread, count in b[1].items())
        spent.append((sum(b[0] - a[0] for a, b in both) / span, woken / span))
    return spent


def _look(watched: list[int]) -> dict[int, tuple[float, dict[str, int]]]:
    """What each has used so far, and its wakes; without those that have ended."""
    found = {}
    for pid in watched:
        with suppress(OSError):
            found[pid] = (used(pid), wakes(pid))
    return found


def used(pid: int) -> float:
    """Seconds of CPU, by the process's own clock: /proc counts whole ticks, and a short wake is none."""
    return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) makes


def wakes(pid: int) -> dict[str, int]:
    """Of each thread that lives."""
    found = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            text = (thread / "status").read_text()
        except OSError:
            continue
        found[thread.name] = int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found
