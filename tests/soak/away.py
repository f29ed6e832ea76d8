"""Roots that go away and come back, on a real mount: unmounted, renamed, covered, emptied, closed, in any order.

The campaign runs in a mount namespace of its own, as another process:

    unshare -m python away.py SECONDS SEED MODEL MOUNTS
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    HERE = Path(__file__).resolve().parent
    sys.path[:0] = [str(HERE), str(HERE.parent / "plugins"), str(HERE.parents[1])]

import os

from grounds import new_home, tiny_model, why_not, within
from real_daemon import Daemon, on_disk, picture
from report import Row

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = 60
# Without any capability, root is refused what anybody is refused.
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


def campaign(seconds: float, seed: int) -> Row:
    """As many cycles as ``seconds`` hold."""
    namespace = ["unshare", "-m" if os.geteuid() == 0 else "-Urm", "--propagation", "private"]
    note = why_not(*namespace, "mount", "-t", "tmpfs", "none", "/mnt")
    command = [*([] if note else namespace), sys.executable, __file__]
    arguments = [str(seconds), str(seed), str(tiny_model()), "" if note else "mounts"]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, timeout=seconds * 2 + 600
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-4000:])
    row = Row(**json.loads(done.stdout.splitlines()[-1]))
    if note:
        row.notes.append(f"nothing was mounted: it isn't permitted here ({note})")
    return row


class Place:
    """The root ``above/Memes``, which shows what ``disk`` holds; and the ways in which it can go away."""

    def __init__(self, home: Path, mounts: bool) -> None:
        self.home = home
        self.above = home / "above"
        self.root = self.above / "Memes"
        self.root.mkdir(parents=True)
        self.disk = self.root
        self.ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "renamed": (self._put_aside, self._put_back),
            "exchanged for an empty folder": (lambda: (self._put_aside(), self.root.mkdir(parents=True)), self._again),
            "exchanged for a file": (lambda: (self._put_aside(), self.above.mkdir(), self.root.touch()), self._again),
            "exchanged for a dangling link": (
                lambda: (self._put_aside(), self.above.mkdir(), self.root.symlink_to("nowhere")),
                self._again,
            ),
            "unreadable": (lambda: self.disk.chmod(0), lambda: self.disk.chmod(0o755)),
            "below a closed folder": (lambda: self.above.chmod(0), lambda: self.above.chmod(0o755)),
        }
        if mounts:
            self.disk = home / "disk"
            self.disk.mkdir()
            _run("mount", "-t", "tmpfs", "disk", self.disk)
            self.ways |= {
                "unmounted": (self.unmount, self.mount),
                "unmounted, lazily": (lambda: _run("umount", "--lazy", self.root), self.mount),
                "covered": (lambda: _run("mount", "-t", "tmpfs", "cover", self.root), self.unmount),
                "covered, hidden things in it": (self._cover_hidden, self.unmount),
            }
            self.mount()

    def mount(self) -> None:
        _run("mount", "--bind", self.disk, self.root)

    def unmount(self) -> None:
        # A plain one is refused while a picture is being read.
        if why_not("umount", self.root):
            _run("umount", "--lazy", self.root)

    def _put_aside(self) -> None:
        self.above.rename(self.home / "aside")

    def _put_back(self) -> None:
        (self.home / "aside").rename(self.above)

    def _again(self) -> None:
        shutil.rmtree(self.above)
        self._put_back()

    def _cover_hidden(self) -> None:
        _run("mount", "-t", "tmpfs", "cover", self.root)
        (self.root / ".Trash-1000").mkdir()


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


class Cycles:
    """The daemon, its two roots, and what must be found."""

    def __init__(self, home: Path, row: Row, rng: random.Random, model: str, mounts: bool, patient: bool) -> None:
        """``patient``: also wait, now and then, for what is seen every ten seconds without anybody's asking."""
        self.row, self.rng = row, rng
        self.patient = patient
        self.place = Place(home, mounts)
        self.other = home / "Other"
        self.other.mkdir()
        self.daemon = Daemon(home, "--folder", str(self.place.root), "--folder", str(self.other), "--model", model)
        if why_not(*POWERLESS, "true"):
            row.notes.append("setpriv isn't here")
        else:
            self.daemon.through = POWERLESS
        self.heard: list[dict[str, Any]] = []
        self.listens_to: object = None
        self.made = 0
        self.earlier = 0
        for folder in (self.place.disk, self.other):
            (folder / "deep" / "er").mkdir(parents=True)
            for number in range(FILES):
                self.picture(folder / ("deep/er" if number % 2 else "") / f"cat {folder.name} {number}.png")

    def picture(self, path: Path) -> None:
        """A new one, which is to be encoded once."""
        self.made += 1
        picture(path, self.made)

    @property
    def elsewhere(self) -> dict[bytes, str]:
        return on_disk(self.other)

    def all_here(self, when: str) -> None:
        """All is back: every row of both roots, nothing encoded twice, nothing forgotten."""
        self.daemon.wait()
        status = self.daemon.status()
        self.row.check(status["state"] in ("settled", "indexing"), f"{when}: the state is {status['state']}")
        self.row.check(not any(root["away"] for root in status["roots"]), f"{when}: still away: {status['roots']}")
        self.row.compare(on_disk(self.place.root) | self.elsewhere, self.daemon.listed(), when)
        total = self.earlier + status["encoded"]
        self.row.check(total == self.made, f"{when}: {total} were encoded of {self.made}")
        forgotten = sum(map(int, re.findall(r"(\d+) forgotten", self.daemon.log())))
        self.row.check(not forgotten, f"{when}: {forgotten} were forgotten")

    def restart(self, number: int) -> None:
        self.daemon.wait()
        self.earlier += self.daemon.status()["encoded"]
        code = self.daemon.stop(number)
        self.row.check(code == (0 if number == signal.SIGTERM else -number), f"it ended with {code}")
        self.daemon.start()

    def is_away(self) -> bool:
        status = self.daemon.status()
        away = {root["path"]: root for root in status["roots"]}[str(self.place.root)]
        return bool(status["state"] == "degraded" and away["away"] and away["why"])

    def away_once(self, way: str) -> None:
        """Away in one way, and what holds meanwhile; and back."""
        row, rng, daemon = self.row, self.rng, self.daemon
        row.tried += 1
        leave, come = self.place.ways[way]
        leave()
        if not self.patient or rng.random() < 0.8:
            daemon.wait()
            row.check(self.is_away(), f"{way}: a look didn't see it: {daemon.status()['roots']}")
        row.check(within(15, self.is_away), f"{way}: never seen to be away")
        self.while_away(way)
        if rng.random() < (0.35 if self.patient else 0.1):
            self.restart(rng.choice((signal.SIGTERM, signal.SIGKILL)))
            daemon.wait()
            row.check(self.is_away(), f"{way}: not seen after a restart: {daemon.status()['roots']}")
            self.while_away(f"{way}, after a restart")
        if rng.random() < 0.5 and way != "unreadable":
            disk = self.place.disk if self.place.disk.exists() else self.place.home / "aside" / "Memes"
            self.picture(disk / f"new {self.made}.png")
        come()
        if self.patient and rng.random() < 0.1:
            row.check(within(15, lambda: not self.is_away()), f"{way}: its return is never seen")
        self.all_here(f"{way}, back again")

    def while_away(self, when: str) -> None:
        row, daemon = self.row, self.daemon
        if self.rng.random() < 0.5:
            self.picture(self.other / f"new {self.made}.png")
            daemon.wait()
        row.compare(self.elsewhere, daemon.listed(), f"{when}: the other root")
        below = os.fsencode(self.place.root) + b"/"
        for text in ("cat", "cat Memes 7", "cat Other 7"):
            hits = daemon.search(text, limit=100, min_score=-1)  # whether it is like any or not
            row.check(hits, f"{when}: {text!r} finds nothing")
            row.check(not [hit for hit in hits if hit.startswith(below)], f"{when}: a search gave what is away")
        if not daemon.status()["roots"][0]["why"]:
            row.check(False, f"{when}: it isn't said why")

    def flutter(self, times: int) -> None:
        """Away and back faster than anyone looks, while there is work on that disk."""
        self.listen()
        for path in self.rng.sample(sorted(on_disk(self.place.root)), 30):
            os.utime(path)  # to be read again
        for number in range(10):
            self.picture(self.place.root / f"flutter {self.row.tried} {number}.png")
        for _ in range(times):
            leave, come = self.place.ways[self.rng.choice(list(self.place.ways))]
            leave()
            self.pause()
            come()
            self.pause()
            self.row.tried += 1
        self.all_here("after fluttering")
        self.row.check(self.heard, "not one event was heard while fluttering")
        removed = [event for event in self.heard if event.get("event") in ("removed", "lost")]
        self.row.check(not removed, f"while fluttering {len(removed)} were removed: {removed[:3]}")

    def listen(self) -> None:
        """To the events, from now until the daemon ends."""
        if self.listens_to is self.daemon.process:
            return
        self.listens_to = self.daemon.process
        events = self.daemon.lines(op="events")
        next(events)

        def keep() -> None:
            with contextlib.suppress(OSError, ValueError):
                self.heard.extend(events)

        threading.Thread(target=keep, daemon=True).start()

    def pause(self) -> None:
        time.sleep(self.rng.choice((0, 0, 0.002, 0.01, 0.06, 0.2, 0.6)))

    def forget(self) -> None:
        """Forgotten when that is asked for, and not before; and even then nothing is encoded again."""
        row, daemon = self.row, self.daemon
        leave, come = self.place.ways["unmounted" if "unmounted" in self.place.ways else "renamed"]
        leave()
        daemon.ask(op="rescan")
        daemon.wait()
        self.restart(signal.SIGTERM)
        daemon.wait()
        row.check(self.is_away(), "a rescan took what is away for gone")
        daemon.ask(op="rescan", forget_missing=True)
        daemon.wait()
        row.compare(self.elsewhere, daemon.listed(), "asked to forget")
        row.check("are forgotten, as asked" in daemon.log(), "nothing was forgotten, though asked for")
        come()
        daemon.wait()
        row.compare(on_disk(self.place.root) | self.elsewhere, daemon.listed(), "forgotten, and back again")
        row.check(self.earlier + daemon.status()["encoded"] == self.made, "what came back was encoded again")
        row.tried += 1


def inside(seconds: float, seed: int, model: str, mounts: bool) -> Row:
    """In the namespace."""
    row = Row("away", "times away")
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    with ExitStack() as unwind:
        home = unwind.enter_context(new_home())
        cycles = Cycles(home, row, rng, model, mounts, patient=seconds >= 60)
        if mounts:
            unwind.callback(_run, "umount", "--lazy", cycles.place.disk)
            unwind.callback(cycles.place.unmount)
        daemon = cycles.daemon
        unwind.callback(lambda: daemon.process and daemon.stop(signal.SIGKILL))
        try:
            daemon.start()
            cycles.all_here("at the start")
            ways: list[str] = []
            while time.monotonic() < until or not row.tried:
                ways = ways or rng.sample(list(cycles.place.ways), len(cycles.place.ways))
                cycles.away_once(ways.pop())
                if rng.random() < 0.3:
                    cycles.flutter(rng.randint(2, 8))
            cycles.forget()
            row.check(daemon.stop() == 0, "it didn't end well")
        except AssertionError as error:
            row.check(False, f"after {row.tried}: {str(error)[:3000]}")
        if row.failures:
            print(daemon.log()[-6000:], file=sys.stderr)
            row.notes.append("the log's end: " + daemon.log()[-300:].replace("\n", " / "))
    return row


def _main() -> None:
    seconds, seed, model, mounts = sys.argv[1:]
    found: dict[str, Any] = asdict(inside(float(seconds), int(seed), model, bool(mounts)))
    print(json.dumps(found))


if __name__ == "__main__":
    _main()
