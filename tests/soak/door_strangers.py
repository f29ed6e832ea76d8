"""What another user of the machine might try: the door, the state, Milvus, temporary files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import guarded
from crash import engine_of
from grounds import tiny_model, why_not
from guarded import Guarded, Inotify
from real_daemon import REPO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from report import Row

OTHER = 61_001
"""A user that nobody is: where we are root, we may be anyone."""

_TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/shm/")
_PROBE = re.compile(r"[a-z0-9_]{8}")

_STRANGER = """
import json, os, socket, sys
def asked(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(path)
        try:
            s.sendall(b'{"op": "list"}\\n')
        except OSError:
            pass
        return s.recv(100)
ways = {"stat": os.stat, "list": os.listdir, "read": lambda path: open(path, "rb").read(1), "ask": asked}
tries = json.load(sys.stdin)
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
for way, path in tries:
    try:
        said = repr(ways[way](path))
    except OSError as error:
        said = type(error).__name__
    print(json.dumps([way, path, said]))
"""


def why_no_other() -> str:
    """ "" where we may become another user, else why not."""
    if os.geteuid() != 0:
        return "not root"
    return why_not("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", "true")


def strangers(row: Row, daemon: Guarded) -> None:
    """Another user at the door, in the state, at Milvus, in /proc; the door also where its modes were loosened."""
    state = daemon.home / ".local" / "state" / "memewatchd"
    inside = sorted(state.rglob("*"))
    for path in inside:
        row.check(
            not stat.S_IMODE(path.lstat().st_mode) & 0o077, f"others have rights on {path.relative_to(daemon.home)}"
        )
    sockets = [path for path in inside if stat.S_ISSOCK(path.lstat().st_mode)]
    row.check(sockets, "Milvus' socket isn't where it was")
    row.check(any(path.name == "index.db" for path in inside), "the index isn't where it was")
    if why := why_no_other():
        row.notes.append(f"no second user was tried ({why})")
        return
    for path in (daemon.home, daemon.home / ".local", daemon.home / ".local" / "state"):
        path.chmod(0o755)  # as homes often are
    tries = [("ask", daemon.socket), ("list", str(state)), *(("ask", str(path)) for path in sockets)]
    tries += [(way, str(path)) for path in inside for way in ("stat", "list", "read")]
    for pid in guarded.family(daemon.pid):
        tries += [("list", f"/proc/{pid}/fd"), ("read", f"/proc/{pid}/mem"), ("read", f"/proc/{pid}/environ")]
    for way, tried, said in _as_another(row, tries):
        row.check(said == "PermissionError", f"a stranger tries to {way} {tried}: {said}")
    run, door = Path(daemon.socket).parent, Path(daemon.socket)
    run.chmod(0o777)
    door.chmod(0o777)
    for _, _, said in _as_another(row, [("ask", daemon.socket)]):
        row.check(said in ("b''", "ConnectionResetError"), f"a stranger at a door that was thrown open: {said}")
    run.chmod(0o700)
    door.chmod(0o600)
    row.notes.append("another user was refused everywhere")


def _as_another(row: Row, tries: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """What each of these (way, path) gives to a process of another user."""
    command = [sys.executable, "-c", _STRANGER, str(OTHER)]
    done = subprocess.run(command, input=json.dumps(tries), capture_output=True, text=True, check=False, timeout=60)
    row.tried += len(tries)
    found = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    row.check(done.returncode == 0 and len(found) == len(tries), f"the stranger failed: {done.stderr[-500:]}")
    return found


def nothing_open(row: Row, daemon: Guarded) -> None:
    """No socket of the internet's, no abstract one, no deleted file where others have files too."""
    row.check(engine_of(daemon.pid), "Milvus isn't a child of the daemon")
    pids = guarded.family(daemon.pid)
    found = guarded.internet_sockets(pids)
    row.check(not found, f"sockets of the internet: {found}")
    files = {link for pid in pids for link in guarded.open_files(pid)}
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and f"socket:[{fields[6]}]" in files:
            row.check(not fields[7].startswith("@"), f"an abstract socket: {fields[7]}")
    ours = _below_temporary(daemon)
    for link in files:
        row.check(not link.startswith(_TEMPORARY) or link.startswith(ours), f"{link} is open")


def _below_temporary(daemon: Guarded) -> tuple[str, ...]:
    """What the daemon needs that may lie below a temporary folder."""
    needed = [str(daemon.home), str(tiny_model()), str(REPO), sys.base_prefix, sys.prefix]
    return tuple(path for path in needed if path.startswith(_TEMPORARY))


@contextlib.contextmanager
def watched_disk(daemon: Guarded, row: Row) -> Iterator[None]:
    """Nothing that could tell comes up in temporary folders while the daemon lives.

    Those are its ``TMPDIR``, and as root a /tmp, /var/tmp and /dev/shm of its own. Empty folders can't tell, nor can
    what Python's tempfile writes to see whether it can.
    """
    with contextlib.ExitStack() as stack:
        folders = [daemon.home / "tmp", *_own_temporary(daemon, row, stack)]
        begun = {str(folder / name) for folder in folders for name in os.listdir(folder)}
        made: set[str] = set()
        mask = guarded.IN_CREATE | guarded.IN_MOVED_TO
        with Inotify(folders, mask, lambda path, _: made.add(str(path))):
            yield
        made |= {str(folder / name) for folder in folders for name in os.listdir(folder)}
        made -= begun
        row.notes.append(f"{len(made)} names came up in temporary folders")
        told = [path for path in made if not _is_probe(path) and not _is_empty(path)]
        row.check(not told, f"left in temporary folders: {sorted(told)[:5]}")


def _is_probe(path: str) -> bool:
    return bool(_PROBE.fullmatch(os.path.basename(path))) and not os.path.lexists(path)


def _is_empty(path: str) -> bool:
    return os.path.isdir(path) and not any(names for _, _, names in os.walk(path))


def _own_temporary(daemon: Guarded, row: Row, stack: contextlib.ExitStack) -> list[Path]:
    """Have the daemon start where /tmp and the like are empty, and say where those can be seen from here."""
    spaces = ["unshare", "-m", "--propagation", "private"]
    why = why_not(*spaces, "mount", "-t", "tmpfs", "none", "/mnt") if os.geteuid() == 0 else "not root"
    if why:
        row.notes.append(f"only TMPDIR was watched for files, not /tmp ({why})")
        return []
    script = "mount -t tmpfs none /mnt; n=0; "
    script += 'for p; do n=$((n + 1)); mkdir /mnt/$n; mount --bind "$p" /mnt/$n; done; '
    script += f"for m in {' '.join(_TEMPORARY)}; do mount -t tmpfs none $m; done; n=0; "
    script += 'for p; do n=$((n + 1)); mkdir -p "$p"; mount --bind /mnt/$n "$p"; umount /mnt/$n; done; '
    script += "echo made; exec sleep 100000"  # a process keeps the namespace
    keeper = subprocess.Popen(
        [*spaces, "sh", "-ec", script, "sh", *_below_temporary(daemon)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stack.callback(keeper.communicate)
    stack.callback(keeper.kill)
    assert keeper.stdout is not None
    if keeper.stdout.readline() != "made\n":
        raise RuntimeError("a /tmp of its own can't be made")
    daemon.through = ["nsenter", f"--mount=/proc/{keeper.pid}/ns/mnt", f"--wd={REPO}"]
    stack.callback(daemon.through.clear)
    return [Path(f"/proc/{keeper.pid}/root{folder}") for folder in _TEMPORARY]
