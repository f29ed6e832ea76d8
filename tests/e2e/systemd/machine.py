"""A booted systemd to try things in: a debootstrapped root of its own, and commands in it as its user or as root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLONE = Path(__file__).resolve().parents[3]
ROOT = Path(os.environ.get("SOAK_ROOT") or CLONE / ".run" / "systemd-root")
USER, UID = "memes", 1000
HOME = f"/home/{USER}"
# The user's home, seen from outside.
HOME_HERE = ROOT / HOME.lstrip("/")
PACKAGES = "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,python3,libgomp1,procps"
CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
BIN = CLONE / ".venv" / "bin"
MANAGER_DROP_IN = ROOT / "etc/systemd/system/user@.service.d/soak.conf"
# Some logins may ask for real time, and then the hardening must forbid it.
MANAGER = "[Service]\nLimitRTPRIO=10\n"


def prepare() -> None:
    """The root, its user, and an empty home."""
    if not (ROOT / "sbin" / "init").exists():
        print(f"debootstrap into {ROOT}", flush=True)
        ROOT.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", ROOT], check=True)
        if (ROOT / "proc").is_mount():
            subprocess.run(["umount", ROOT / "proc"], check=True)
    if f"{USER}:" not in (ROOT / "etc" / "passwd").read_text():
        subprocess.run(["chroot", ROOT, "useradd", "--uid", str(UID), USER], check=True)
    lingering = ROOT / "var" / "lib" / "systemd" / "linger"
    lingering.mkdir(parents=True, exist_ok=True)
    (lingering / USER).touch()
    MANAGER_DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    MANAGER_DROP_IN.write_text(MANAGER)
    # The interpreter may lie below /root, which only root may enter.
    (ROOT / "root").chmod(0o711)
    shutil.rmtree(HOME_HERE, ignore_errors=True)
    # Only a journal on the disk is split by user, so that a user can read their part.
    journal = ROOT / "var" / "log" / "journal"
    shutil.rmtree(journal, ignore_errors=True)
    journal.mkdir()
    shutil.copytree(CLONE / "samples", HOME_HERE / "Memes")
    give_to_user(HOME_HERE)


def give_to_user(*tops: Path) -> None:
    for top in tops:
        for path in (top, *top.rglob("*")):
            os.chown(path, UID, UID, follow_symlinks=False)


def shown() -> list[Path]:
    """What a clone needs in there: itself, and the interpreter where it isn't the system's."""
    prefix = Path(sysconfig.get_config_var("prefix"))
    return [CLONE] if prefix.is_relative_to("/usr") else [CLONE, prefix]


class Machine(ABC):
    """A booted root. Use as a context manager."""

    @abstractmethod
    def superuser(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in there as root."""

    def user(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in there as the user, as a login session would."""
        values = {
            "HOME": HOME,
            "LANG": "C.UTF-8",
            "PATH": "/usr/bin:/bin",
            "USER": USER,
            "XDG_RUNTIME_DIR": f"/run/user/{UID}",
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{UID}/bus",
            **environment,
        }
        become = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--init-groups"]
        assigned = [f"{name}={value}" for name, value in values.items()]
        return self.superuser("env", "-i", *assigned, *become, *command)

    def booted(self) -> bool:
        return self.systemctl("is-system-running").stdout.strip() == "running"

    def systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.user("systemctl", "--user", *arguments)

    def shown(self, name: str, unit: str = "memewatchd.service") -> str:
        """A property of a unit."""
        return self.systemctl("show", f"--property={name}", "--value", unit).stdout.strip()

    def memewatch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.user(str(BIN / "memewatch"), *arguments)

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.memewatch("status", "--json").stdout)
        return answer

    def journal(self, *arguments: str) -> list[dict[str, str]]:
        command = ("journalctl", "--user", "-u", "memewatchd", "-o", "json", *arguments)
        return [json.loads(line) for line in self.user(*command).stdout.splitlines()]

    def install(self, script: Path = CLONE / "packaging/systemd/service.py", **environment: str) -> str:
        """What `make install-service` does once all is set up; its exit code, a space, and what it printed."""
        given = {"MEMES": f"{HOME}/Memes", **environment}
        done = self.user(str(script.parents[2] / ".venv/bin/python"), str(script), "install", **given)
        print(*(f"    {line}" for line in (done.stdout + done.stderr).splitlines()), sep="\n", flush=True)
        return f"{done.returncode} {done.stdout}{done.stderr}"

    def restart_manager(self, drop_in: str = "") -> None:
        """Start the user's manager anew, with more lines in its own unit."""
        MANAGER_DROP_IN.write_text(MANAGER + drop_in)
        self.superuser("systemctl", "daemon-reload")
        same(self.superuser("systemctl", "restart", f"user@{UID}.service").returncode, 0, "a new user manager")


class NamespaceMachine(Machine):
    """Under this machine's own kernel, in namespaces (boot.sh). ``seen``: paths of this machine that show there."""

    def __init__(self, seen: Sequence[Path] | None = None) -> None:
        self.seen = shown() if seen is None else seen

    def __enter__(self) -> NamespaceMachine:
        base = next(path for path in CGROUPS if (path / "cgroup.controllers").exists())
        self.cgroup = base / f"memewatchd-soak-{os.getpid()}"
        self.cgroup.mkdir()
        boot = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup"]
        boot += ["sh", str(Path(__file__).with_name("boot.sh")), str(ROOT), *map(str, self.seen)]
        joined = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.cgroup), *boot]
        self.unshare = subprocess.Popen(joined, stdin=subprocess.DEVNULL)
        children = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        until(lambda: children.read_text().split(), "PID 1 exists")
        self.init = int(children.read_text().split()[0])
        until(self.booted, "it booted")
        return self

    def __exit__(self, *failure: object) -> None:
        if failure[0] is not None:
            print(self.user("journalctl", "--user", "--no-pager", "-n", "60").stdout)
        # The end of its PID 1 is the end of all that runs in there.
        os.kill(self.init, 9)
        self.unshare.wait()
        until(lambda: not self._left(), "its processes ended")
        for folder in sorted((path for path in self.cgroup.rglob("*") if path.is_dir()), reverse=True):
            folder.rmdir()
        self.cgroup.rmdir()

    def _left(self) -> list[str]:
        return [line for file in self.cgroup.rglob("cgroup.procs") for line in file.read_text().split()]

    def superuser(self, *command: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--target={self.init}", "-m", "-p", "-u", "-i", "-C", "--root", "--wd"]
        return subprocess.run([*enter, *command], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def until(condition: Callable[[], object], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.2)


def same(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, not {wanted!r}")
    print(f"ok: {what}", flush=True)


def holds(condition: object, what: str) -> None:
    same(bool(condition), True, what)
