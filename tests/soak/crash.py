"""SIGKILL at any moment while a folder is in constant change: of the daemon, and of the embedded Milvus alone.

After each kill the next daemon must bring the index to exactly what the disk holds, fail nothing, and encode nothing
that an earlier one had in the index already.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from grounds import new_home, tiny_model, within
from private_server import PrivateServer
from real_daemon import on_disk, picture
from report import Row
from warm import Nest, WarmDaemon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real_daemon import Daemon

EXTENSIONS = ("png", "jpg", "gif", "webp", "bmp")
FEWEST, MOST = 15, 60
"""Files at a time: enough for every kind of change, few enough that a kill doesn't take long to be looked into."""
COLD = 20
"""Every so many starts are done the ordinary way, with all its seconds of importing."""
RETURN_S = 60.0


class Churn:
    """Changes a folder without a pause, but for :meth:`still`; all from one seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._seed = seed * 1_000_000
        self.changes = 0
        self.made: set[str] = set()
        """Digests written since it was last emptied."""
        for name in ("a", "b/c", ".hidden"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(FEWEST):
            self._create()
        self._thread = threading.Thread(target=self._run, name="churn")

    def __enter__(self) -> Churn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Nothing changes meanwhile."""
        with self._lock:
            yield

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                self.once()
            self._stop.wait(self._random.choice((0, 0.002, 0.02, 0.1)))

    def once(self) -> None:
        """One change, of any kind."""
        files = sorted(path for path in self._folder.rglob("*") if path.is_file() and path.parent.name != ".hidden")
        kinds = {
            self._create: 5,
            self._create_slowly: 1,
            self._rewrite: 3,
            self._replace: 3,
            self._move: 4,
            self._copy: 2,
            self._delete: 1 if len(files) < MOST else 12,
            self._hide: 1,
            self._move_folder: 1,
        }
        change = self._random.choices([*kinds], [*kinds.values()])[0]
        if change in (self._create, self._create_slowly, self._move_folder) or len(files) < FEWEST:
            (self._create if len(files) < FEWEST else change)()  # type: ignore[call-arg]
        else:
            change(self._random.choice(files))  # type: ignore[call-arg]
        self.changes += 1

    def _new_path(self) -> Path:
        folders = [path for path in self._folder.rglob("*") if path.is_dir() and path.name != ".hidden"]
        folder = self._random.choice([self._folder, *sorted(folders)])
        return folder / f"{self._random.randrange(10**9):09}.{self._random.choice(EXTENSIONS)}"

    def _draw(self, path: Path) -> None:
        self._seed += 1
        picture(path, self._seed)
        self.made.update(on_disk_of(path))

    def _create(self) -> None:
        self._draw(self._new_path())

    def _create_slowly(self) -> None:
        path = self._new_path()
        hidden = self._folder / ".hidden" / path.name
        self._draw(hidden)
        data = hidden.read_bytes()
        hidden.unlink()
        with path.open("wb") as stream:
            for part in (data[: len(data) // 2], data[len(data) // 2 :]):
                stream.write(part)
                stream.flush()
                self._stop.wait(0.02)

    def _rewrite(self, path: Path) -> None:
        self._draw(path)

    def _replace(self, path: Path) -> None:
        part = path.with_name(f".{path.name}.part{path.suffix}")
        self._draw(part)
        part.rename(path)

    def _move(self, path: Path) -> None:
        path.rename(self._new_path().with_suffix(path.suffix))

    def _copy(self, path: Path) -> None:
        shutil.copy(path, self._new_path().with_suffix(path.suffix))

    def _delete(self, path: Path) -> None:
        path.unlink()

    def _hide(self, path: Path) -> None:
        """Out of sight, and back if it is there already: what comes back must cost nothing."""
        away = sorted((self._folder / ".hidden").iterdir())
        if away:
            away[0].rename(self._new_path().with_suffix(away[0].suffix))
        else:
            path.rename(self._folder / ".hidden" / path.name)

    def _move_folder(self) -> None:
        folders = [path for path in (self._folder / "a", self._folder / "b") if path.is_dir()]
        folder = self._random.choice(folders)
        away = folder.with_name(f"{folder.name} moved")
        folder.rename(away)
        if self._random.random() < 0.5:
            self._stop.wait(0.05)
        away.rename(folder)
        if self._random.random() < 0.3:
            inner = self._folder / "b" / "c"
            other = self._folder / "a" / "c"
            (inner if inner.is_dir() else other).rename(other if inner.is_dir() else inner)


def on_disk_of(path: Path) -> list[str]:
    """The digest of one file."""
    import hashlib

    return [hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest()]


def campaign(
    seconds: float,
    seed: int,
    *,
    kills: int | None = None,
    parts: tuple[str, ...] = ("lite", "engine", "server"),
    server: tuple[str, str] | None = None,
) -> Row:
    """``kills``: an end before the time is over; ``server``: address and token of one that runs already."""
    row = Row("crash", "kills of the daemon or its Milvus under constant change")
    shares = {"lite": 0.55, "engine": 0.15, "server": 0.3}
    total = sum(shares[part] for part in parts)
    with Nest() as nest:
        for number, part in enumerate(parts):
            until = time.monotonic() + seconds * shares[part] / total
            with contextlib.ExitStack() as stack:
                home = stack.enter_context(new_home())
                flags = ["--model", str(tiny_model())]
                if part == "server":
                    if server is None:
                        found = stack.enter_context(PrivateServer())
                        server = found.uri, found.token
                        until = max(until, time.monotonic() + seconds * shares[part] / total / 2)
                    (home / "token").write_text(server[1])
                    flags += ["--milvus", server[0], "--milvus-token-file", str(home / "token")]
                prefix = f"crash{seed}_{os.getpid()}_"
                daemon = WarmDaemon(nest, home, *flags, MEMEWATCHD_COLLECTION_PREFIX=prefix)
                churn = stack.enter_context(Churn(daemon.folder, seed + number))
                (_kill_engine if part == "engine" else _kill_daemon)(row, daemon, churn, nest, until, kills, seed, part)
                row.notes.append(f"{part}: {churn.changes} changes")
    return row


def _kill_daemon(
    row: Row, daemon: WarmDaemon, churn: Churn, nest: Nest, until: float, kills: int | None, seed: int, part: str
) -> None:
    chance = random.Random(seed)
    known: set[str] = set()
    tried = young = 0
    candidates: set[str] = set()
    while time.monotonic() < until and (kills is None or tried < kills):
        when = f"{part}, kill {tried + 1} of seed {seed}"
        daemon.nest = None if kills is None and tried % COLD == COLD - 1 else nest
        daemon.start()
        if chance.random() < 0.3:
            # While it starts: the model loads, rows are read, moves and deletions are written.
            time.sleep(chance.uniform(0, 0.8))
            young += 1
        else:
            with churn.still():
                daemon.wait()
                _look(row, daemon, known, candidates | churn.made, when)
                # One that was put out of sight before it could be stored may be back by the next look.
                seen = on_disk(daemon.folder) | on_disk(daemon.folder / ".hidden")
                candidates = set(seen.values())
                known |= set(daemon.listed().values())
                churn.made.clear()
            time.sleep(chance.uniform(0, 1.2))
        # What an earlier one has listed is stored; all else may be encoded by the next.
        known |= set(daemon.listed().values())
        time.sleep(chance.uniform(0, 0.05))
        row.check(daemon.stop(signal.SIGKILL) == -signal.SIGKILL, f"{when}: it had ended before")
        tried += 1
    with churn.still(), daemon:
        daemon.wait()
        _look(row, daemon, known, candidates | churn.made, f"{part}, after the last kill")
    row.tried += tried
    row.notes.append(f"{part}: {tried} kills of the daemon, {young} of them while it started")


def _look(row: Row, daemon: Daemon, known: set[str], candidates: set[str], when: str) -> None:
    """Nothing changes just now, and the daemon has said that all is settled."""
    row.compare(on_disk(daemon.folder), daemon.listed(), when)
    failed = daemon.failed()
    row.check(not failed, f"{when}: failed {failed}")
    status = daemon.status()
    row.check(status["state"] == "settled", f"{when}: {status['state']}, {status['problems']}")
    encoded, new = status["encoded"], len(candidates - known)
    row.check(encoded <= new, f"{when}: {encoded} encoded, of {new} that were not stored")


def _kill_engine(
    row: Row, daemon: WarmDaemon, churn: Churn, nest: Nest, until: float, kills: int | None, seed: int, part: str
) -> None:
    chance = random.Random(seed)
    tried = 0
    slowest = 0.0
    with daemon:
        assert daemon.process is not None
        pid = daemon.process.pid
        daemon.wait()
        while time.monotonic() < until and (kills is None or tried < kills):
            when = f"{part}, kill {tried + 1} of seed {seed}"
            before = engine_of(pid)
            if before is None:
                row.check(within(RETURN_S, lambda: engine_of(pid)), f"{when}: no engine came back")
                continue
            time.sleep(chance.uniform(0, 0.6))
            try:
                os.kill(before, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it was just being started anew
            tried += 1
            began = time.monotonic()
            row.check(daemon.status()["pid"] == pid, f"{when}: the daemon ended")
            if chance.random() < 0.5:
                continue  # the next one comes while it revives, perhaps
            came = within(RETURN_S, lambda before=before: engine_of(pid) not in (None, before))  # type: ignore[misc]
            row.check(came, f"{when}: no engine came back")
            with churn.still():
                daemon.wait()
                slowest = max(slowest, time.monotonic() - began)
                row.compare(on_disk(daemon.folder), daemon.listed(), when)
                row.check(not daemon.failed(), f"{when}: failed {daemon.failed()}")
        with churn.still():
            daemon.wait()
            row.compare(on_disk(daemon.folder), daemon.listed(), f"{part}, at the end")
            made = len(on_disk(daemon.folder))
        row.check(made > 0, f"{part}: nothing was there to be lost")
        # Nothing changes any more, and it must be noticed all the same.
        with churn.still():
            # All may be settled and the last kill not noticed yet.
            row.check(within(RETURN_S, lambda: engine_of(pid)), f"{part}: no engine came back")
            quiet = engine_of(pid)
            assert quiet is not None
            os.kill(quiet, signal.SIGKILL)
            tried += 1
            back = within(RETURN_S, lambda: engine_of(pid) not in (None, quiet))
            row.check(back, f"{part}: killed while nothing happened, it was not noticed")
            daemon.wait()
            row.check(daemon.search("cat", min_score=-1) or made == 0, f"{part}: nothing is found after the revival")
    row.tried += tried
    row.notes.append(f"{part}: {tried} kills of the embedded Milvus alone, settled again within {slowest:.1f} s")


def engine_of(pid: int) -> int | None:
    """The process id of the embedded Milvus that this daemon started."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[1])
            if parent == pid and os.readlink(entry / "exe").endswith("/milvus_lite/lib/milvus"):
                return int(entry.name)
    return None
