"""The daemon's exclusive names: stale sockets, second daemons, paths that can't be."""

from __future__ import annotations

import json
import os
import shutil
import signal
from typing import TYPE_CHECKING

from door_strangers import OTHER, why_no_other
from grounds import new_home, within
from guarded import Guarded

if TYPE_CHECKING:
    from report import Row


def names(row: Row, daemon: Guarded, patient: bool) -> None:
    """Stale sockets, second daemons, paths that can't be."""
    home = daemon.home
    daemon.start()
    daemon.stop(signal.SIGKILL)
    row.check(os.path.exists(daemon.socket), "a killed daemon leaves its socket")
    with daemon:
        daemon.wait()
        row.check(len(daemon.listed()) == 200, "after a stale socket it isn't all there")
        other_state, other_socket = str(home / "other"), str(home / "run" / "other.sock")
        _ends(row, daemon, 75, "uses", "--socket", other_socket)
        _ends(row, daemon, 75, "holds the socket", "--state-dir", other_state)
        _ends(row, daemon, 75, "another memewatchd")
        if patient:
            _neighbour(row, daemon)
        row.check(daemon.status()["state"] == "settled", "the first daemon was disturbed")
        row.check(len(daemon.listed()) == 200, "the first daemon lost files")
    _ends(row, daemon, 78, "107", "--socket", str(home / ("x" * 120)))
    _ends(row, daemon, 78, "must not be empty", "--socket", "")
    _ends(row, daemon, 78, "no folder", "--socket", str(home / "log" / "s"))
    _ends(row, daemon, 78, "is no socket", "--socket", str(home / "log"))
    for mode in (0o770, 0o707, 0o1777):
        shared = home / f"shared-{mode:o}"
        shared.mkdir()
        shared.chmod(mode)
        _ends(row, daemon, 78, "other users can write", "--socket", str(shared / "s"))
    if not why_no_other():
        theirs = home / "theirs"
        theirs.mkdir(mode=0o755)
        os.chown(theirs, OTHER, OTHER)
        _ends(row, daemon, 78, "other users can write", "--socket", str(theirs / "s"))
    shared = home / "shared-state"
    shared.mkdir()
    shared.chmod(0o777)
    _ends(row, daemon, 78, "others can write", "--state-dir", str(shared))


def _ends(row: Row, daemon: Guarded, code: int, says: str, *more: str) -> None:
    row.tried += 1
    got, said = daemon.ended(*more)
    right = got == code and says in said and said.startswith("memewatchd: ") and len(said.splitlines()) == 1
    row.check(right, f"memewatchd {more}: exit code {got}, not {code}: {said[-300:]}")


def _neighbour(row: Row, daemon: Guarded) -> None:
    """A second daemon on the first one's folder, with a state and a socket of its own: in peace; not so on its .db."""
    row.tried += 2
    with new_home() as home:
        shutil.rmtree(home / "Memes")
        second = Guarded(home, *daemon.flags, "--folder", str(daemon.folder))
        with second:
            second.wait()
            row.check(second.listed() == daemon.listed(), "a second one on a folder doesn't find what the first has")
        database = daemon.home / ".local" / "state" / "memewatchd" / "index.db"
        # Not `with`, which would start another.
        second.start("--milvus", str(database))
        try:
            row.check(
                within(60, lambda: second.status()["state"] == "degraded"), "a second one on a .db isn't degraded"
            )
            said = json.dumps(second.status())
            row.check("in use by another program" in said, f"a second one on a .db: {said[:500]}")
        finally:
            second.stop()
