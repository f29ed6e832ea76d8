"""Torrents: thousands of files at once, more events than the kernel keeps, fewer watches than folders, odd moves."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from grounds import encoded, new_home, settle, tiny_model, why_not, within
from real_daemon import Daemon, on_disk, picture
from report import Row

from memewatchd.folder.dirty import DirtySet
from memewatchd.folder.ignore import Ignore
from memewatchd.folder.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL_S = 240.0
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
OVERFLOW = "Too many changes at once below"
FEW = 6


def campaign(seconds: float, seed: int, *, lower_queue: bool = True) -> Row:
    """Rounds of all of it, each as large as ``seconds`` lets it be, and on a home of its own.

    ``lower_queue``: have the kernel keep 16 events only, for as long as a daemon starts. It is a setting of the
    whole machine; without it the queue overflows by the daemon being stopped meanwhile.
    """
    row = Row("torrents", "files changed")
    until = time.monotonic() + seconds
    rounds = 0
    while True:
        began = time.monotonic()
        row.notes.clear()
        one_round(row, min(1.0, seconds / FULL_S), seed + rounds, lower_queue)
        rounds += 1
        if time.monotonic() + (time.monotonic() - began) > until:
            break
    row.notes.insert(0, f"{rounds} rounds, of the last:")
    return row


def one_round(row: Row, scale: float, seed: int, lower_queue: bool) -> None:
    """Everything once; at ``scale`` 1 with 20,000 files."""
    rng = random.Random(seed)
    with new_home() as home:
        daemon = Daemon(home, "--model", str(tiny_model()))
        pool = made(home / "pool", round(2_500 * scale) + 20, seed * 100_000)
        try:
            with short_queue(row) if lower_queue else nullcontext():
                daemon.start()
                daemon.wait()
            row.check(daemon.status()["watching"] == "inotify", f"it doesn't watch: {daemon.status()}")
            flood(row, daemon, pool, round(20_000 * scale), rng)
            moved(row, daemon, round(10_000 * scale))
            branches(row, daemon, round(500 * scale) + 10, seed)
            odd_moves(row, daemon, pool, max(3, round(200 * scale)))
            while_it_stands_still(row, daemon, pool)
            deleted(row, daemon)
            lines = daemon.log().count(OVERFLOW)
            row.check(lines, "no overflow was told in the log")
            row.notes.append(f"the log tells of {lines} overflows")
            row.check(daemon.stop() == 0, "it didn't end well")
            few_watches(row, daemon, pool, alone=scale >= 0.5)
        finally:
            if daemon.process is not None:
                daemon.stop(signal.SIGKILL)
    dead_readers(row)


def made(folder: Path, count: int, seed: int) -> list[bytes]:
    """So many distinct small pictures, as bytes."""
    folder.mkdir()
    found = []
    for number in range(count):
        path = folder / f"p.{('png', 'jpg', 'gif', 'webp', 'bmp')[number % 5]}"
        picture(path, seed + number)
        found.append(path.read_bytes())
    return found


@contextmanager
def short_queue(row: Row) -> Iterator[None]:
    """The kernel's queue holds 16 events for whoever starts to listen now."""
    before = QUEUE.read_text()
    try:
        QUEUE.write_text("16")
    except OSError as error:
        row.notes.append(f"max_queued_events can't be lowered here ({error.strerror})")
        yield
        return
    try:
        yield
    finally:
        QUEUE.write_text(before)


def flood(row: Row, daemon: Daemon, pool: list[bytes], count: int, rng: random.Random) -> None:
    """Files in many folders, most of them copies of a few, as fast as they can be written."""
    few = pool[: max(5, len(pool) // 10)]
    began = time.monotonic()
    for number in range(count):
        folder = daemon.folder / "flood" / f"{number % 97:02}"
        if number < 97:
            folder.mkdir(parents=True)
        data = pool[number] if number < len(pool) else rng.choice(few)
        (folder / f"{number:05}.png").write_bytes(data)
    row.tried += count
    settle(daemon, row, "after the flood")
    row.notes.append(f"{count:,} files copied in: searchable after {time.monotonic() - began:.0f} s")
    row.check(encoded(daemon) <= len(pool), f"copies were encoded: {encoded(daemon)} of {len(pool)}")
    row.check(encoded(daemon) >= min(count, len(pool)), f"only {encoded(daemon)} were encoded")


def moved(row: Row, daemon: Daemon, count: int) -> None:
    """One folder of half of the files, renamed as a whole, and again, and back."""
    big = daemon.folder / "flood" / "big"
    big.mkdir()
    files = sorted(path for path in (daemon.folder / "flood").rglob("*.png"))[:count]
    for path in files:
        path.rename(big / path.name)
    settle(daemon, row, "after the gathering")
    before = encoded(daemon)
    began = time.monotonic()
    big.rename(daemon.folder / "moved")
    settle(daemon, row, "after the move")
    row.notes.append(f"a folder of {len(files):,} moved in {time.monotonic() - began:.1f} s")
    row.check(encoded(daemon) == before, "a moved folder was encoded")
    for place in ("flood/deep", "moved again", "moved"):
        (daemon.folder / "moved").rename(daemon.folder / place)
        (daemon.folder / place).rename(daemon.folder / "moved")
    settle(daemon, row, "after moves to and fro")
    row.check(encoded(daemon) == before, "a folder moved to and fro was encoded")
    row.tried += len(files) * 8


def branches(row: Row, daemon: Daemon, count: int, seed: int) -> None:
    """A git repository in the folder whose branches hold other pictures under the same names."""
    repo = daemon.folder / "repo"

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=soak", "-c", "user.email=soak@localhost", "-c", "gc.auto=0"]
        environ = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        subprocess.run(["git", *who, *arguments], cwd=repo, env=environ, check=True, capture_output=True)

    if said := why_not("git", "--version"):
        row.notes.append(f"no git here ({said})")
        return
    repo.mkdir()
    git("init", "-q", "-b", "one")
    for branch, start in (("one", 0), ("two", count // 3)):
        if branch == "two":
            git("checkout", "-q", "--orphan", "two")
            git("rm", "-rfq", ".")
        for number in range(start, start + count):
            (repo / f"{number % 7}").mkdir(exist_ok=True)
            picture(repo / f"{number % 7}" / f"{number}.png", seed * 100_000 + 50_000 + number + 7_000 * (start > 0))
        git("add", ".")
        git("commit", "-q", "-m", branch)
        settle(daemon, row, f"on branch {branch}")
    before = encoded(daemon)
    for turn in range(6):
        git("checkout", "-q", ("one", "two")[turn % 2])
        settle(daemon, row, f"after checkout {turn}")
    for turn in range(7):
        git("checkout", "-q", ("one", "two")[turn % 2])
    settle(daemon, row, "after many checkouts")
    row.check(encoded(daemon) == before, f"a branch seen before was encoded: {encoded(daemon) - before}")
    row.tried += count * 15


def odd_moves(row: Row, daemon: Daemon, pool: list[bytes], times: int) -> None:
    """What kills the thread of watchdog's own observer, at all speeds."""
    out = daemon.home / "out"
    d = daemon.folder / "d"
    for turn in range(times):
        out.mkdir()
        d.mkdir()
        time.sleep((0, 0.001, 0.02)[turn % 3])
        d.rename(out / "d")
        d.mkdir()
        time.sleep((0, 0.001, 0.02)[turn % 3])
        d.rmdir()
        (out / "d").rmdir()
        out.rmdir()
    d.mkdir()
    row.tried += times
    heard(row, daemon, d / "odd.png", pool[0], "after odd moves")
    settle(daemon, row, "after odd moves")


def heard(row: Row, daemon: Daemon, path: Path, data: bytes, when: str) -> None:
    """A change must be heard at once: sooner than the ten-second check could see it."""
    daemon.wait()
    before = daemon.status()["indexed"]
    path.write_bytes(data)
    row.check(within(5, lambda: daemon.status()["indexed"] == before + 1), f"{when}: a change isn't heard any more")


def while_it_stands_still(row: Row, daemon: Daemon, pool: list[bytes]) -> None:
    """More events than any queue holds, while the daemon is stopped; it must find by itself what was lost."""
    assert daemon.process is not None
    told = daemon.log().count(OVERFLOW)
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        a, b = daemon.folder / "a.png", daemon.folder / "b.png"
        a.write_bytes(pool[1])
        # The setting may stand low just now for somebody else; what counts is how it was when the watch was made.
        for _ in range(max(int(QUEUE.read_text()), 16_384) // 4 + 500):
            a.rename(b)
            b.rename(a)
        (daemon.folder / "d").rename(daemon.folder / "e")
        deep = daemon.folder / "new" / "deep"
        deep.mkdir(parents=True)
        for number in range(20):
            (deep / f"{number}.png").write_bytes(pool[number % len(pool)])
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    row.tried += 20
    disk = on_disk(daemon.folder)
    row.check(within(30, lambda: daemon.listed() == disk), "what was lost while it stood still was not found")
    # The files can be there sooner: a check of its own may look before the last event is read.
    row.check(within(30, lambda: daemon.log().count(OVERFLOW) > told), "the log doesn't tell of the overflow")
    heard(row, daemon, deep / "after.png", pool[2], "after an overflow")


def deleted(row: Row, daemon: Daemon) -> None:
    """All of it, at once."""
    row.tried += len(on_disk(daemon.folder))
    for path in daemon.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    took = settle(daemon, row, "after deleting all")
    row.check(daemon.status()["indexed"] == 0, "something is left")
    row.notes.append(f"all deleted: forgotten after {took:.1f} s")


def few_watches(row: Row, daemon: Daemon, pool: list[bytes], alone: bool) -> None:
    """A kernel that watches six folders and no more; ``alone``: also wait until polling finds a change by itself."""
    limit = f'echo {FEW} >/proc/sys/user/max_inotify_watches && exec "$@"'
    through = ["unshare", "-Ur", "sh", "-c", limit, "sh"]
    if said := why_not(*through, "true"):
        row.notes.append(f"no user namespaces here, so too few watches were not tried ({said})")
        return
    for number in range(40):
        folder = daemon.folder / f"few {number}"
        folder.mkdir()
        (folder / "a.png").write_bytes(pool[number % len(pool)])
    row.tried += 80
    daemon.through = through
    with daemon:
        settle(daemon, row, "with too few watches")
        status = daemon.status()
        row.check(status["watching"] == "polling", f"it doesn't say that it polls: {status['watching']}")
        row.check("sysctl fs.inotify.max_user_watches" in status["watching_why"], f"why: {status['watching_why']!r}")
        row.check(status["watching_why"] in daemon.log(), "the log doesn't say that and why it polls")
        for number in range(40):
            (daemon.folder / f"few {number}" / "b.png").write_bytes(pool[(number + 7) % len(pool)])
        settle(daemon, row, "changed with too few watches")
        if alone:
            (daemon.folder / "few 3" / "c.png").write_bytes(pool[3])
            for number in range(30):
                (daemon.folder / f"few {number}" / "a.png").unlink()
            disk = on_disk(daemon.folder)
            row.check(within(50, lambda: daemon.listed() == disk), "polling didn't find a change")
    daemon.through = []


def dead_readers(row: Row) -> None:
    """The thread that hears, ended in every way in which it can end: the next check mends it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = os.fsencode(folder)
        marks = DirtySet([root])
        watcher = Watcher([root], Ignore(), marks)
        watcher.start()
        logging.disable(logging.CRITICAL)  # a traceback each
        try:
            for way in ("a bug", "its end") * 2:
                end_reader(watcher, folder, way)
                row.check(watcher._reader and not watcher._reader.is_alive(), f"the reader lives after {way}")
                marks.take()
                watcher.check()
                row.check(root in marks.take().trees, f"{way}: the root wasn't marked by the check")
                (folder / "after.png").touch()
                row.check(within(5, marks.take), f"{way}: nothing is heard after the check")
                row.tried += 1
        finally:
            logging.disable(logging.NOTSET)
            watcher.stop()


def end_reader(watcher: Watcher, folder: Path, way: str) -> None:
    reader, watch = watcher._reader, watcher._roots[0].watch
    assert reader
    assert watch
    if way == "a bug":

        def fall(_: object) -> None:
            raise RuntimeError("as by a bug")

        watch.on_event = fall  # type: ignore[method-assign]
        (folder / "a.png").touch()
    else:
        reader.stop()
    reader.join(timeout=10)
