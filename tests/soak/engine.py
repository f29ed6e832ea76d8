"""All that can befall Milvus itself, embedded and as a server: what is said meanwhile, and that it mends by itself.

Each trouble is brought about for real. While it lasts, a search is answered soon, by hits or by an error that says
what to do, and ``status`` says ``degraded`` and why. When its cause is gone, the index comes to what the disk holds
without being asked; the pictures are as they were; an embedded index that was ruined is kept under another name.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    HERE = Path(__file__).resolve().parent
    sys.path[:0] = [str(HERE), str(HERE.parent / "plugins"), str(HERE.parents[1])]

from crash import engine_of
from grounds import new_home, tiny_model, why_not, within
from private_server import PrivateServer
from real_daemon import Daemon, on_disk, picture, pictures
from report import Row
from warm import Nest, WarmDaemon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SOON_S = 15.0
"""A search may wait for a server that doesn't answer: 10 s to connect, or 10 s for itself."""
NOTICED_S = 60.0
MENDED_S = 90.0
MIB = 1 << 20
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
FIRST = 13
"""Pictures that are there from the first, one of them with a name that a person gave."""


class Bench:
    """What a trouble needs: where to count, a nest, a seed, and a server's address where one runs already."""

    def __init__(self, row: Row, nest: Nest, seed: int, server: tuple[str, str] | None) -> None:
        self.row = row
        self.nest = nest
        self.random = random.Random(seed)
        self.server = server
        self.private: PrivateServer | None = None
        self.slowest = 0.0
        self._prefixes = 0

    @contextlib.contextmanager
    def daemon(self, *flags: str, warm: bool = True) -> Iterator[WarmDaemon]:
        """A daemon over some pictures, not started; killed at the end if it runs."""
        with new_home() as home:
            pictures(home / "Memes", range(FIRST - 1))
            picture(home / "Memes" / "angry cat.png", FIRST)
            self._prefixes += 1
            prefix = f"engine{os.getpid()}_{self._prefixes}_"
            made = WarmDaemon(
                self.nest if warm else None,
                *(home, "--model", str(tiny_model()), *flags),
                MEMEWATCHD_COLLECTION_PREFIX=prefix,
            )
            try:
                yield made
            finally:
                if made.process is not None:
                    made.process.kill()
                    made.process.communicate()

    def flags(self, home: Path) -> list[str]:
        """For the server; its token lies in this home."""
        assert self.server is not None
        (home / "token").write_text(self.server[1])
        return ["--milvus", self.server[0], "--milvus-token-file", str(home / "token")]

    @contextlib.contextmanager
    def daemon_on_server(self) -> Iterator[WarmDaemon]:
        with self.daemon() as daemon:
            daemon.flags += tuple(self.flags(daemon.home))
            yield daemon

    # ---- what must hold

    def said(self, daemon: Daemon, when: str, remedy: str) -> None:
        """A search fails soon and names the remedy, and so does ``status``."""
        reply, took = self.search(daemon)
        error = reply.get("error", {})
        good = not reply["ok"] and error["code"] == "degraded" and re.search(remedy, error["message"])
        self.row.check(good, f"{when}: a search was answered {reply}")
        self.row.check(took < SOON_S, f"{when}: a search took {took:.0f} s")
        self.degraded(daemon, when, remedy)

    def degraded(self, daemon: Daemon, when: str, remedy: str) -> None:
        def is_said() -> bool:
            status = daemon.status()
            return status["state"] == "degraded" and bool(re.search(remedy, " ".join(map(str, status["problems"]))))

        self.row.check(within(NOTICED_S, is_said), f"{when}: status says {daemon.status()}")

    def search(self, daemon: Daemon) -> tuple[dict[str, Any], float]:
        """The reply, good or bad, and how long it took. No picture is called so: the look decides."""
        began = time.monotonic()
        # A model of random weights finds nothing fitting; whoever gives a score is shown what is nearest all the same.
        reply = next(daemon.lines(op="search", text="zebra crossing", min_score=-1))
        took = time.monotonic() - began
        self.slowest = max(self.slowest, took)
        return reply, took

    def mended(self, daemon: Daemon, when: str) -> None:
        """By itself: nobody asks for a walk until it is settled."""
        settled = within(MENDED_S, lambda: daemon.status()["state"] == "settled")
        self.row.check(settled, f"{when}: not mended: {daemon.status()['state']}, {daemon.status()['problems']}")
        if settled:
            self.same(daemon, when)

    def same(self, daemon: Daemon, when: str) -> None:
        daemon.wait()
        self.row.compare(on_disk(daemon.folder), daemon.listed(), when)
        self.row.check(not daemon.failed(), f"{when}: failed {daemon.failed()}")
        self.row.check(self.search(daemon)[0].get("hits"), f"{when}: nothing is found")

    def restarted(self, daemon: WarmDaemon, prepare: Callable[[], object]) -> None:
        """Index all, stop, ``prepare`` the trouble, start."""
        daemon.start()
        daemon.wait()
        daemon.stop()
        prepare()
        daemon.start()


def index_of(daemon: Daemon) -> Path:
    return daemon.home / ".local" / "state" / "memewatchd" / "index.db"


@contextlib.contextmanager
def store_of(daemon: Daemon, server: tuple[str, str] | None = None) -> Iterator[Any]:
    """The daemon's index, opened beside it (a server) or while it isn't running (embedded)."""
    from memewatchd.index.engine import Engine
    from memewatchd.index.store import Store

    file = index_of(daemon)
    with Engine.open(server[0] if server else str(file), server[1] if server else "", file.parent) as engine:
        yield Store(engine, daemon.environ["MEMEWATCHD_COLLECTION_PREFIX"])


# ---- the embedded engine


RUINS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut short": lambda data, chance: data[: chance.randrange(1, len(data))],
    "garbage": lambda data, chance: chance.randbytes(len(data)),
    "garbage inside": lambda data, chance: (
        data[: len(data) // 3] + chance.randbytes(len(data) // 3) + data[2 * len(data) // 3 :]
    ),
    "zeroes": lambda data, _: bytes(len(data)),
}


def damaged(bench: Bench) -> int:
    """The file ruined while no daemon runs."""
    for what, ruin in RUINS.items():
        with bench.daemon() as daemon:
            file = index_of(daemon)
            ruined = b""

            def spoil(file: Path = file, ruin: Callable[[bytes, random.Random], bytes] = ruin) -> None:
                nonlocal ruined
                ruined = ruin(file.read_bytes(), bench.random)
                file.write_bytes(ruined)

            bench.restarted(daemon, spoil)
            bench.same(daemon, what)
            _is_set_aside(bench, daemon, what, ruined)
    return len(RUINS)


def _is_set_aside(bench: Bench, daemon: Daemon, when: str, ruined: bytes | None) -> None:
    file = index_of(daemon)
    found = [path for path in file.parent.glob("index.db.broken-*") if not path.name.endswith("-journal")]
    bench.row.check(len(found) == 1, f"{when}: set aside are {found}")
    for aside in found:
        bench.row.check(ruined is None or aside.read_bytes() == ruined, f"{when}: what was set aside was changed")
        bench.row.check(str(aside) in daemon.log(), f"{when}: the log doesn't name {aside}")
        bench.row.check(aside.name in daemon.status()["engine"], f"{when}: status doesn't name {aside}")


def damaged_while_open(bench: Bench) -> int:
    """The file ruined under a running daemon; it shows when Milvus is started again."""
    with bench.daemon() as daemon:
        daemon.start()
        daemon.wait()
        file = index_of(daemon)
        with file.open("r+b") as stream:
            stream.seek(4096)
            stream.write(bench.random.randbytes(file.stat().st_size - 4096))
        pictures(daemon.folder, range(100, 104))
        assert daemon.process is not None
        child = engine_of(daemon.process.pid)
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        bench.search(daemon)
        within(SOON_S, lambda: daemon.status()["state"] == "settled" and "broken" in daemon.status()["engine"])
        bench.mended(daemon, "ruined while open")
        _is_set_aside(bench, daemon, "ruined while open", None)
    return 1


def newer(bench: Bench) -> int:
    """An index that a later program wrote: kept as it is, another begun beside it."""
    from memewatchd.index import schema

    with bench.daemon() as daemon:
        index_of(daemon).parent.mkdir(parents=True, mode=0o700)
        before = dict(schema.VERSIONS)
        schema.VERSIONS.update({kind: version + 98 for kind, version in before.items()})
        try:
            with store_of(daemon) as store:
                store.open_files()
                theirs = store.collections()
        finally:
            schema.VERSIONS.update(before)
        daemon.start()
        bench.same(daemon, "a newer schema")
        bench.row.check(f"schema {before['files'] + 98}" in daemon.log(), "a newer schema: the log doesn't say so")
        daemon.stop()
        with store_of(daemon) as store:
            bench.row.check(set(theirs) < set(store.collections()), "a newer schema: it is gone")
    return 1


def wrong_dimension(bench: Bench) -> int:
    """Our own collection of this very model, with vectors of another length; ``--reset`` mends it."""
    with bench.daemon() as daemon:

        def replace() -> None:
            with store_of(daemon) as store:
                (fingerprint,) = store.pictures_collections()
                store.drop_pictures(fingerprint)
                store.open_pictures(fingerprint, 3)

        bench.restarted(daemon, replace)
        daemon.until(lambda: daemon.status()["model_state"] == "ready", "the model is ready")
        bench.said(daemon, "a wrong dimension", r"3 dimensions.*drop it.*--reset")
        bench.row.check(daemon.search("angry"), "a wrong dimension: names aren't found either")
        daemon.stop()
        reset = daemon.spawn("--reset")
        reset.communicate()
        bench.row.check(reset.returncode == 0, f"a wrong dimension: --reset ended with {reset.returncode}")
        daemon.start()
        bench.same(daemon, "a wrong dimension")
    return 1


def read_only(bench: Bench) -> int:
    """Index or state folder that can't be written, which a root without its powers is refused as anybody is."""
    if os.geteuid() == 0 and (why := why_not(*POWERLESS, "true")):
        bench.row.notes.append(f"read-only: not tried ({why})")
        return 0
    with bench.daemon(warm=False) as daemon:
        daemon.through = POWERLESS if os.geteuid() == 0 else []
        file = index_of(daemon)
        for what, modes, remedy in (
            ("a read-only file", {file: 0o400}, "writable"),
            ("a read-only state folder", {file.parent: 0o500}, "writable|denied"),
        ):
            before = {path: path.stat().st_mode for path in modes if path.exists()}

            def forbid(modes: dict[Path, int] = modes) -> None:
                for path, mode in modes.items():
                    path.chmod(mode)

            bench.restarted(daemon, forbid)
            pictures(daemon.folder, range(200, 203))
            bench.degraded(daemon, what, remedy)
            reply, took = bench.search(daemon)
            told = reply["ok"] or reply["error"]["code"] == "degraded"
            bench.row.check(told and took < SOON_S, f"{what}: a search was answered {reply} in {took:.0f} s")
            for path, mode in ((file.parent, 0o700), (file, 0o600), *before.items()):
                path.chmod(mode & 0o7777)
            bench.mended(daemon, what)
            for path in daemon.folder.glob("002*"):
                path.unlink()
            daemon.stop()
    return 2


def full_disk(bench: Bench) -> int:
    """A small tmpfs for the state, in a mount namespace of its own."""
    namespace = ["unshare", "-m" if os.geteuid() == 0 else "-Urm", "--propagation", "private"]
    if why := why_not(*namespace, "mount", "-t", "tmpfs", "none", "/mnt"):
        bench.row.notes.append(f"full disk: not tried, nothing can be mounted here ({why})")
        return 0
    command = [*namespace, sys.executable, __file__, str(bench.random.randrange(10**6)), str(tiny_model())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-3000:])
    found = Row(**json.loads(done.stdout.splitlines()[-1]))
    bench.row.lost += found.lost
    bench.row.stale += found.stale
    bench.row.crashed += found.crashed
    bench.row.failures += found.failures
    return found.tried


def _full_disk(bench: Bench) -> int:
    with bench.daemon() as daemon:
        state = index_of(daemon).parent
        state.mkdir(parents=True, mode=0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m,mode=0700", "none", state], check=True)
        ballast = state / "ballast"

        def leave(mib: float) -> None:
            """Only so much is free."""
            ballast.unlink(missing_ok=True)
            free = os.statvfs(state).f_bavail * os.statvfs(state).f_frsize
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
                left = free - int(mib * MIB)
                while left > 0:
                    left -= stream.write(bytes(min(left, MIB)))

        try:
            daemon.start()
            bench.same(daemon, "a disk with room")

            when = "a nearly full disk"
            leave(20)
            pictures(daemon.folder, range(300, 310))
            bench.degraded(daemon, when, r"\d+ MiB are free in .*Free some space")
            bench.row.check(bench.search(daemon)[0].get("hits"), f"{when}: searches fail")
            reply = next(daemon.lines(op="wait", timeout=20))
            code = reply.get("error", {}).get("code")
            bench.row.check(code == "degraded", f"{when}: wait was answered {reply}")
            bench.row.check(len(daemon.listed()) == FIRST, f"{when}: it went on indexing")
            leave(100)
            bench.mended(daemon, when)

            when = "a full disk"
            leave(0)
            pictures(daemon.folder, range(310, 320))
            assert daemon.process is not None
            child = engine_of(daemon.process.pid)
            assert child is not None
            os.kill(child, signal.SIGKILL)
            bench.degraded(daemon, when, "space")
            bench.row.check(bench.search(daemon)[1] < SOON_S, f"{when}: a search took long")
            leave(100)
            bench.mended(daemon, when)

            when = "a disk that is full from one moment to the next"
            pictures(daemon.folder, range(320, 360))
            time.sleep(bench.random.uniform(0, 0.5))
            leave(0)
            bench.degraded(daemon, when, "space")
            leave(100)
            bench.mended(daemon, when)

            when = "a start on a full disk"
            daemon.stop()
            leave(0)
            pictures(daemon.folder, range(360, 365))
            daemon.start()
            bench.degraded(daemon, when, "space")
            bench.row.check(bench.search(daemon)[1] < SOON_S, f"{when}: a search took long")
            leave(100)
            bench.mended(daemon, when)
            daemon.stop()
        finally:
            if daemon.process is not None:
                daemon.process.kill()
                daemon.process.communicate()
            subprocess.run(["umount", "-l", state], check=True)
    return 4


# ---- a server


def wrong_token(bench: Bench) -> int:
    """The file with the token holds another; then the right one is written into it."""
    with bench.daemon_on_server() as daemon:
        token = daemon.home / "token"
        right = token.read_text()
        token.write_text("root:wrong")
        daemon.start()
        bench.said(daemon, "a wrong token", "refuses the token.*--milvus-token-file")
        token.unlink()
        bench.degraded(daemon, "a token's file that is gone", "milvus_token_file: can't read")
        token.write_text(right)
        bench.mended(daemon, "a wrong token")
        _drop(bench, daemon)
    return 2


def dropped(bench: Bench) -> int:
    """Collections that somebody drops under a daemon that has nothing to do."""
    with bench.daemon_on_server() as daemon:
        daemon.start()
        daemon.wait()
        with store_of(daemon, bench.server) as store:
            for kind in ("pictures", "files"):
                when = f"{kind} dropped"
                store.drop([name for name in store.collections() if f"_{kind}" in name])
                bench.search(daemon)  # for pictures, it fails, and that is how it is noticed; else by looking
                gone = within(NOTICED_S, lambda: [c for c in store.collections() if f"_{kind}" in c])  # noqa: B023
                bench.row.check(gone, f"{when}: not made anew")
                bench.mended(daemon, when)
        _drop(bench, daemon)
    return 2


def wrong_dimension_on_server(bench: Bench) -> int:
    """As above, and mended under the daemon that complains."""
    with bench.daemon_on_server() as daemon:

        def replace() -> None:
            with store_of(daemon, bench.server) as store:
                (fingerprint,) = store.pictures_collections()
                store.drop_pictures(fingerprint)
                store.open_pictures(fingerprint, 3)

        bench.restarted(daemon, replace)
        daemon.until(lambda: daemon.status()["model_state"] == "ready", "the model is ready")
        bench.said(daemon, "a server's wrong dimension", "3 dimensions.*drop it")
        with store_of(daemon, bench.server) as store:
            store.drop([name for name in store.collections() if "_pictures" in name])
        bench.mended(daemon, "a server's wrong dimension")
        _drop(bench, daemon)
    return 1


def _drop(bench: Bench, daemon: Daemon) -> None:
    daemon.stop()
    with store_of(daemon, bench.server) as store:
        store.drop(store.collections())


def server_trouble(bench: Bench) -> int:
    """A server that isn't there at the start, is killed while it indexes, stands still for a while."""
    private = bench.private
    assert private is not None
    private.kill()
    where = re.escape(private.uri)
    with bench.daemon_on_server() as daemon:
        daemon.start()
        bench.said(daemon, "no server at the start", f"{where} did not answer.*start it")
        private.start()
        bench.mended(daemon, "no server at the start")

        when = "a server killed while it indexes"
        pictures(daemon.folder, range(100, 160))
        time.sleep(bench.random.uniform(0.3, 1.5))
        private.kill()
        bench.said(daemon, when, f"{where} did not answer.*start it")
        (daemon.folder / "00001.jpg").unlink()
        (daemon.folder / "00002.gif").rename(daemon.folder / "renamed.gif")
        private.start()
        bench.mended(daemon, when)
        encoded, distinct = daemon.status()["encoded"], FIRST + 60
        bench.row.check(encoded <= distinct, f"{when}: {encoded} encoded, of {distinct}")

        when = "a server killed while nothing happens"
        private.kill()
        bench.said(daemon, when, f"{where} did not answer.*start it")
        private.start()
        bench.mended(daemon, when)

        when = "a server that stands still"
        pictures(daemon.folder, range(160, 170))
        private.freeze()
        try:
            reply, took = bench.search(daemon)
        finally:
            private.thaw()
        told = reply.get("error", {}).get("code") == "degraded" and took < SOON_S
        bench.row.check(told, f"{when}: a search was answered {reply} in {took:.0f} s")
        if not within(3, lambda: not private.alive()):
            bench.row.notes.append("a server outlived standing still")
        else:  # some of its parts take each other for dead then, and it ends by itself
            private.start()
        bench.mended(daemon, when)
    return 4


EMBEDDED = (damaged, damaged_while_open, newer, wrong_dimension, read_only, full_disk)
SHARED = (wrong_token, dropped, wrong_dimension_on_server)
OWN = (server_trouble,)


def campaign(
    seconds: float,
    seed: int,
    *,
    only: Sequence[Callable[[Bench], int]] = (*EMBEDDED, *SHARED, *OWN),
    server: tuple[str, str] | None = None,
) -> Row:
    """All of ``only`` once, and the embedded ones again and again while there is time.

    ``server``: address and token of one that runs already, for those that don't kill it.
    """
    row = Row("engine", "troubles of Milvus")
    until = time.monotonic() + seconds
    with ExitStack() as stack:
        bench = Bench(row, stack.enter_context(Nest()), seed, server)
        if server is None and any(trouble in (*SHARED, *OWN) for trouble in only):
            bench.private = stack.enter_context(PrivateServer())
            bench.server = bench.private.uri, bench.private.token
        for trouble in only:
            _try(bench, trouble)
        again = [trouble for trouble in only if trouble in EMBEDDED]
        while again and time.monotonic() < until and not row.failures:
            _try(bench, again[row.tried % len(again)])
    row.notes.append(f"a search was answered within {bench.slowest:.1f} s, by hits or by what to do")
    return row


def _try(bench: Bench, trouble: Callable[[Bench], int]) -> None:
    try:
        bench.row.tried += trouble(bench)
    except Exception as error:  # noqa: BLE001 - one trouble's end must not hide the others
        bench.row.tried += 1
        bench.row.check(False, f"{trouble.__name__}: {str(error)[-1500:] or error!r}")


def _main() -> None:
    """The full disk, in a namespace of its own."""
    row = Row("engine", "troubles of Milvus")
    with Nest() as nest:
        row.tried = _full_disk(Bench(row, nest, int(sys.argv[1]), None))
    print(json.dumps(asdict(row)))


if __name__ == "__main__":
    _main()
