"""memewatchd under a real systemd: `make soak-systemd`, as root, with `debootstrap`; minutes, so not in `make test`.

Boots systemd in a debootstrapped root of its own (boot.sh), with this clone shown read-only in it, installs the
service as an ordinary user there, and checks what only a real service manager can show. Never touches the machine's
own systemd. SOAK_ROOT names the root (default `.run/systemd-root`; kept for the next time).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CLONE = Path(__file__).resolve().parents[3]
ROOT = Path(os.environ.get("SOAK_ROOT") or CLONE / ".run" / "systemd-root")
USER, UID = "memes", 1000
HOME = f"/home/{USER}"
PACKAGES = "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,python3,libgomp1,procps"
CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
BIN = CLONE / ".venv" / "bin"


def prepare() -> None:
    """The root, its user, and an empty home."""
    if not (ROOT / "sbin" / "init").exists():
        print(f"debootstrap into {ROOT}", flush=True)
        ROOT.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", ROOT], check=True)
    if f"{USER}:" not in (ROOT / "etc" / "passwd").read_text():
        subprocess.run(["chroot", ROOT, "useradd", "--uid", str(UID), USER], check=True)
    lingering = ROOT / "var" / "lib" / "systemd" / "linger"
    lingering.mkdir(parents=True, exist_ok=True)
    (lingering / USER).touch()
    # The interpreter may lie below /root, which only root may enter.
    (ROOT / "root").chmod(0o711)
    home = ROOT / HOME.lstrip("/")
    shutil.rmtree(home, ignore_errors=True)
    # Only a journal on the disk is split by user, so that a user can read their part.
    journal = ROOT / "var" / "log" / "journal"
    shutil.rmtree(journal, ignore_errors=True)
    journal.mkdir()
    shutil.copytree(CLONE / "samples", home / "Memes")
    for path in (home, *home.rglob("*")):
        os.chown(path, UID, UID)


class Machine:
    """The booted root. Use as a context manager."""

    def __enter__(self) -> Machine:
        base = next(path for path in CGROUPS if (path / "cgroup.controllers").exists())
        self.cgroup = base / f"memewatchd-soak-{os.getpid()}"
        self.cgroup.mkdir()
        prefix = Path(sysconfig.get_config_var("prefix"))
        shown = [CLONE] if prefix.is_relative_to("/usr") else [CLONE, prefix]
        boot = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup"]
        boot += ["sh", str(Path(__file__).with_name("boot.sh")), str(ROOT), *map(str, shown)]
        joined = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.cgroup), *boot]
        self.unshare = subprocess.Popen(joined, stdin=subprocess.DEVNULL)
        children = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        until(lambda: children.read_text().split(), "PID 1 exists")
        self.init = int(children.read_text().split()[0])
        until(lambda: self.user("systemctl", "--user", "is-system-running").stdout.strip() == "running", "it booted")
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

    def superuser(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in there as root."""
        enter = ["nsenter", f"--target={self.init}", "-m", "-p", "-u", "-i", "-C", "--root", "--wd"]
        return subprocess.run([*enter, *command], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.user("systemctl", "--user", *arguments)

    def shown(self, name: str, unit: str = "memewatchd.service") -> str:
        """A property of a unit."""
        return self.systemctl("show", f"--property={name}", "--value", unit).stdout.strip()

    def memewatch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.user(str(BIN / "memewatch"), *arguments)

    def journal(self) -> list[dict[str, str]]:
        lines = self.user("journalctl", "--user", "-u", "memewatchd", "-o", "json").stdout.splitlines()
        return [json.loads(line) for line in lines]


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


def install(machine: Machine) -> subprocess.CompletedProcess[str]:
    """What `make install-service` does once all is set up."""
    script = str(CLONE / "packaging/systemd/service.py")
    done = machine.user(str(BIN / "python"), script, "install", MEMES=f"{HOME}/Memes")
    print(done.stdout, done.stderr, sep="", flush=True)
    return done


def check_installation(machine: Machine) -> None:
    done = install(machine)
    same(done.returncode, 0, "make install-service")
    same(machine.shown("ActiveState"), "active", "the service is active, so READY=1 came")
    same(machine.shown("ActiveState", "memewatchd.socket"), "active", "so is its socket")
    status = machine.user("stat", "-c", "%a %U", f"/run/user/{UID}/memewatchd.sock").stdout.strip()
    same(status, f"600 {USER}", "only the user may connect")
    same(machine.memewatch("wait", "--timeout", "300").returncode, 0, "the folder is indexed")
    hits = machine.memewatch("search", "-n", "3", "cat")
    same(hits.returncode, 0, "a search has hits")
    until(lambda: "indexed" in machine.shown("StatusText"), "systemctl status has the counts", 15)
    print(f"    status: {machine.shown('StatusText')}")


def check_hardening(machine: Machine) -> None:
    pid = machine.shown("MainPID")
    process = machine.user("cat", f"/proc/{pid}/status").stdout
    holds("NoNewPrivs:\t1" in process, "no new privileges")
    holds("Seccomp:\t2" in process, "system calls are filtered")
    same(status_of(machine)["sandbox"], "applied", "status says so")
    mounts = machine.user("cat", f"/proc/{pid}/mountinfo").stdout
    for path in ("/", "/usr", HOME, f"{HOME}/Memes", "/tmp", f"/run/user/{UID}"):
        same(mount_mode(mounts, path), "ro", f"{path} is read-only")
    for path in (f"{HOME}/.local/state/memewatchd", f"{HOME}/.cache"):
        same(mount_mode(mounts, path), "rw", f"{path} is not")


def mount_mode(mountinfo: str, path: str) -> str:
    """ "ro" or "rw", by the last mount that holds ``path``."""
    found = ("", "")
    for line in mountinfo.splitlines():
        point, options = line.split()[4:6]
        if Path(path).is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, options.split(",")[0])
    return found[1]


def check_log(machine: Machine) -> None:
    secret = "zebra-crossing"
    machine.memewatch("search", secret)
    entries = [entry for entry in machine.journal() if entry.get("SYSLOG_IDENTIFIER") == "memewatchd"]
    holds(entries, "the journal has our log")
    same({entry.get("PRIORITY") for entry in entries} - set("34567"), set(), "with levels")
    printed = [entry["MESSAGE"] for entry in entries if entry.get("_TRANSPORT") == "stdout"]
    print("    printed past the log:", *printed, sep="\n      ")
    holds(all(secret not in str(entry["MESSAGE"]) for entry in entries), "but not what was searched for")


def check_activation(machine: Machine) -> None:
    same(machine.systemctl("stop", "memewatchd.service").returncode, 0, "stop")
    same(machine.shown("ActiveState"), "inactive", "stopped")
    answer = machine.memewatch("search", "-n", "1", "cat")
    same(answer.returncode, 0, "a search starts it, and is answered")
    same(machine.shown("ActiveState"), "active", "started by its socket")


def check_stop_while_indexing(machine: Machine) -> None:
    folder = ROOT / HOME.lstrip("/") / "Memes"
    pictures = [file for file in folder.iterdir() if file.suffix in (".png", ".jpg", ".webp", ".gif")]
    (folder / "many").mkdir()
    for number in range(600):
        picture = pictures[number % len(pictures)]
        # Bytes behind the picture's end make it another digest.
        (folder / "many" / f"{number}{picture.suffix}").write_bytes(picture.read_bytes() + number.to_bytes(4, "big"))
    for path in (folder / "many", *(folder / "many").iterdir()):
        os.chown(path, UID, UID)
    until(lambda: (state := status_of(machine))["state"] == "indexing" and state["encoded"] > 0, "it indexes")
    began = time.monotonic()
    machine.systemctl("stop", "memewatchd.service")
    took = time.monotonic() - began
    holds(took < 5, f"a stop in the middle of indexing takes {took:.1f} s")
    same(machine.shown("Result"), "success", "and is clean")
    left = machine.user("sh", "-c", "ls /proc/[0-9]*/exe >/dev/null 2>&1; ps -u memes -o comm= || true").stdout.split()
    same([name for name in left if name.startswith(("milvus", "memewatch", "python"))], [], "nothing of it still runs")
    machine.systemctl("start", "memewatchd.service")
    same(machine.memewatch("wait", "--timeout", "600").returncode, 0, "after the next start it settles")
    listed = machine.memewatch("list").stdout.splitlines()
    failed = [json.loads(line)["path"] for line in machine.memewatch("failed", "--json").stdout.splitlines()]
    there = [
        str(Path(HOME) / "Memes" / file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and file.suffix != ".txt"
    ]
    holds(set(listed) <= set(there), "nothing is listed that isn't there")
    same(len(set(listed)) + len(set(failed) - set(listed)), len(there), "every file is indexed or failed")


def status_of(machine: Machine) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(machine.memewatch("status", "--json").stdout)
    return answer


def check_recovery(machine: Machine) -> None:
    before = machine.shown("MainPID")
    machine.user("kill", "-KILL", before)
    until(lambda: machine.shown("MainPID") not in (before, "0"), "it is started again after a crash")
    until(lambda: machine.shown("ActiveState") == "active", "and gets ready")
    same(machine.memewatch("search", "cat").returncode, 0, "and answers")
    before = machine.shown("MainPID")
    machine.user("kill", "-STOP", before)
    until(lambda: machine.shown("MainPID") not in (before, "0"), "the watchdog replaces one that hangs", 150)
    until(lambda: machine.shown("ActiveState") == "active", "and gets ready")
    same(machine.memewatch("wait", "--timeout", "120").returncode, 0, "a hanging one was replaced")


def check_wrong_settings(machine: Machine) -> None:
    file = ROOT / HOME.lstrip("/") / ".config/memewatchd/config.toml"
    good = file.read_text()
    file.write_text(good + 'modle = "clip"\n')
    machine.systemctl("stop", "memewatchd.service", "memewatchd.socket")
    machine.systemctl("start", "memewatchd.service")
    same(machine.shown("ExecMainStatus"), "78", "wrong settings end it with 78")
    time.sleep(5)
    same(machine.shown("NRestarts"), "0", "and aren't tried again")
    file.write_text(good)
    machine.systemctl("reset-failed")
    same(machine.systemctl("start", "memewatchd.service").returncode, 0, "put right, it starts")


def check_removal(machine: Machine) -> None:
    done = machine.user(str(BIN / "python"), str(CLONE / "packaging/systemd/service.py"), "uninstall")
    same(done.returncode, 0, "make uninstall-service")
    config = ROOT / HOME.lstrip("/") / ".config"
    left = [str(path.relative_to(config)) for path in config.rglob("*") if not path.is_dir()]
    same(left, ["memewatchd/config.toml"], "only the settings are left")
    same(machine.shown("LoadState"), "not-found", "systemd knows it no more")


def check_without_user_namespaces(machine: Machine) -> None:
    """As on hosts that restrict them: the hardened service is refused, the plain one runs."""
    forbid(machine, "[Service]\nRestrictNamespaces=yes\n")
    done = install(machine)
    same(done.returncode, 0, "make install-service where user namespaces are refused")
    holds("without the hardening" in done.stdout, "says that it took the hardening back")
    same(machine.shown("DropInPaths"), "", "the drop-in is gone")
    same(machine.memewatch("wait", "--timeout", "120").returncode, 0, "the service runs without it")
    same(status_of(machine)["sandbox"], "absent", "and status says so")
    forbid(machine, "")


def forbid(machine: Machine, drop_in: str) -> None:
    """Start the user's manager anew with a drop-in."""
    file = ROOT / "etc/systemd/system/user@.service.d/soak.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(drop_in)
    machine.superuser("systemctl", "daemon-reload")
    same(machine.superuser("systemctl", "restart", f"user@{UID}.service").returncode, 0, "a new user manager")


def main() -> int:
    """Run every check; 1 at the first that fails."""
    if os.getuid() != 0 or shutil.which("debootstrap") is None:
        print("This needs root and the package debootstrap.", file=sys.stderr)
        return 2
    prepare()
    with Machine() as machine:
        check_installation(machine)
        check_hardening(machine)
        check_log(machine)
        check_activation(machine)
        check_stop_while_indexing(machine)
        check_recovery(machine)
        check_wrong_settings(machine)
        check_removal(machine)
        check_without_user_namespaces(machine)
    print("all held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
