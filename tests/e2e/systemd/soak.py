"""memewatchd under a real systemd: `make soak-systemd`, as root, with `debootstrap`; minutes, so not in `make test`.

Boots systemd in a debootstrapped root of its own (boot.sh), with this clone shown read-only in it, installs the
service as an ordinary user there, and checks what only a real service manager can show. Never touches the machine's
own systemd. SOAK_ROOT names the root (default `.run/systemd-root`; kept for the next time).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path

import hardening
import upgrade
from machine import (
    BIN,
    CLONE,
    HOME,
    HOME_HERE,
    UID,
    USER,
    Machine,
    NamespaceMachine,
    give_to_user,
    holds,
    prepare,
    same,
    until,
)

REMEDY = "make install-service NETWORK=yes"


def check_installation(machine: Machine) -> None:
    said = machine.install()
    holds(said.startswith("0 "), "make install-service")
    holds("may not use the network" in said, "says that the network is closed")
    same(machine.shown("ActiveState"), "active", "the service is active, so READY=1 came")
    same(machine.shown("ActiveState", "memewatchd.socket"), "active", "so is its socket")
    status = machine.user("stat", "-c", "%a %U", f"/run/user/{UID}/memewatchd.sock").stdout.strip()
    same(status, f"600 {USER}", "only the user may connect")
    same(machine.memewatch("wait", "--timeout", "300").returncode, 0, "the folder is indexed")
    hits = machine.memewatch("search", "-n", "3", "cat")
    same(hits.returncode, 0, "a search has hits")
    until(lambda: "indexed" in machine.shown("StatusText"), "systemctl status has the counts", 15)
    print(f"    status: {machine.shown('StatusText')}")


def check_daemon_is_confined(machine: Machine) -> None:
    """The daemon itself; hardening.py tries each line in a service like it."""
    pid = machine.shown("MainPID")
    process = machine.user("cat", f"/proc/{pid}/status").stdout
    holds("NoNewPrivs:\t1" in process, "no new privileges")
    holds("Seccomp:\t2" in process, "system calls are filtered")
    same(machine.status()["sandbox"], "applied", "status says so")
    mounts = machine.user("cat", f"/proc/{pid}/mountinfo").stdout
    for path in ("/", "/usr", "/home", HOME, f"{HOME}/Memes", "/run/user", "/sys/fs/cgroup"):
        same(mount_mode(mounts, path), "ro", f"{path} is read-only")
    for path in (f"{HOME}/.local/state/memewatchd", f"{HOME}/.cache", "/tmp"):
        same(mount_mode(mounts, path), "rw", f"{path} is not")
    networks = [machine.user("readlink", f"/proc/{each}/ns/net").stdout for each in (pid, "self")]
    holds(networks[0] != networks[1], "it has a network of its own")
    score = machine.user("systemd-analyze", "--user", "security", "--no-pager", "memewatchd.service").stdout
    print(f"    systemd-analyze security: {score.splitlines()[-1].strip()}")


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
    folder = HOME_HERE / "Memes"
    pictures = [file for file in folder.iterdir() if file.suffix in (".png", ".jpg", ".webp", ".gif")]
    (folder / "many").mkdir()
    for number in range(600):
        picture = pictures[number % len(pictures)]
        # Bytes behind the picture's end make it another digest.
        (folder / "many" / f"{number}{picture.suffix}").write_bytes(picture.read_bytes() + number.to_bytes(4, "big"))
    give_to_user(folder / "many")
    until(lambda: (state := machine.status())["state"] == "indexing" and state["encoded"] > 0, "it indexes")
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
    file = HOME_HERE / ".config/memewatchd/config.toml"
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


def check_boot(machine: Machine) -> None:
    machine.restart_manager()
    until(lambda: machine.shown("ActiveState") == "active", "it starts with the user's systemd, at boot or login")
    same(machine.memewatch("search", "cat").returncode, 0, "and answers")


def check_folders_deleted(machine: Machine) -> None:
    """README: delete the state while nothing runs, and it is built anew."""
    machine.systemctl("stop", "memewatchd.service")
    for name in (".local/state/memewatchd", ".cache"):
        shutil.rmtree(HOME_HERE / name)
    same(machine.systemctl("start", "memewatchd.service").returncode, 0, "with state and caches deleted, it starts")
    same(machine.memewatch("wait", "--timeout", "600").returncode, 0, "and builds the index anew")
    left = {path.name for path in (HOME_HERE / ".cache").iterdir()}
    same(left, {"memewatchd", "thumbnails"}, "and leaves nothing else in the user's caches")


def check_network(machine: Machine) -> None:
    """Closed until it is needed; what needs it says so."""
    file = HOME_HERE / ".config/memewatchd/config.toml"
    good = file.read_text()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        needing = f'milvus = "http://127.0.0.1:{server.getsockname()[1]}"'
        for setting in (needing, 'model = "siglip2"'):
            file.write_text(f"{good}{setting}\n")
            machine.systemctl("restart", "memewatchd.service")
            same(machine.shown("ExecMainStatus"), "78", f"{setting} is refused where there is no network")
            log = [str(entry["MESSAGE"]) for entry in machine.journal("-n", "8")]
            holds(any(REMEDY in line for line in log), "with what to do")
            machine.systemctl("reset-failed")
        holds(machine.install(NETWORK="no").startswith("1 "), "NETWORK=no is refused with such a setting")
        file.write_text(f"{good}{needing}\n")
        holds("may use the network: milvus" in machine.install(), "for a server, make install-service opens it")
        server.accept()[0].close()
        same(machine.status()["sandbox"], "applied", "the server is asked, from within the sandbox")
    file.write_text(good)
    holds("as before" in machine.install(), "another installation leaves it open")
    holds("may not use the network" in machine.install(NETWORK="no"), "and NETWORK=no closes it")
    same(machine.memewatch("wait", "--timeout", "120").returncode, 0, "after which all is as it was")


def check_folders_elsewhere(machine: Machine) -> None:
    """A folder in a place that the sandbox hides, under a name that units read in a special way."""
    file = HOME_HERE / ".config/memewatchd/config.toml"
    good = file.read_text()
    odd = '/tmp/my "memes" %h: \\x20 猫'
    machine.user("sh", "-ec", 'mkdir -p "$0"; cp ~/Memes/animals/*.jpg "$0"', odd)
    file.write_text(f"folder = ['{HOME}/Memes', '{odd}']\n")
    holds(
        machine.user(str(BIN / "python"), str(CLONE / "packaging/systemd/service.py"), "install").returncode == 0, odd
    )
    same(machine.memewatch("wait", "--timeout", "120").returncode, 0, "is indexed")
    holds(odd in machine.memewatch("list").stdout, "and listed")
    file.write_text(good)
    machine.install()


def check_removal(machine: Machine) -> None:
    done = machine.user(str(BIN / "python"), str(CLONE / "packaging/systemd/service.py"), "uninstall")
    same(done.returncode, 0, "make uninstall-service")
    config = HOME_HERE / ".config"
    left = [str(path.relative_to(config)) for path in config.rglob("*") if not path.is_dir()]
    same(left, ["memewatchd/config.toml"], "only the settings are left")
    same(machine.shown("LoadState"), "not-found", "systemd knows it no more")
    listed = machine.systemctl("list-units", "--all", "--no-legend", "memewatchd*").stdout
    same(listed, "", "nor anything of it")
    same(machine.user("sh", "-c", f"ls /run/user/{UID} /tmp | grep memewatchd").stdout, "", "no socket is left")


def check_refusal(machine: Machine, why: str) -> None:
    """As on hosts that restrict user namespaces: the hardened service is refused, the plain one runs."""
    said = machine.install()
    holds(said.startswith("0 "), f"make install-service where {why}")
    holds("without the hardening" in said, "says that it took the hardening back")
    same(machine.shown("DropInPaths"), "", "the drop-in is gone")
    same(machine.memewatch("wait", "--timeout", "240").returncode, 0, "the service runs without it")
    same(machine.memewatch("search", "cat").returncode, 0, "and answers")
    same(machine.status()["sandbox"], "absent", "and status says so")


def main() -> int:
    """Run every check; 1 at the first that fails."""
    if os.getuid() != 0 or shutil.which("debootstrap") is None:
        print("This needs root and the package debootstrap.", file=sys.stderr)
        return 2
    prepare()
    with NamespaceMachine() as machine:
        check_installation(machine)
        check_daemon_is_confined(machine)
        hardening.check_all(machine)
        check_log(machine)
        check_activation(machine)
        check_boot(machine)
        check_network(machine)
        check_folders_elsewhere(machine)
        check_stop_while_indexing(machine)
        check_recovery(machine)
        check_wrong_settings(machine)
        check_folders_deleted(machine)
        check_removal(machine)
        upgrade.check_all(machine)
        check_removal(machine)
        machine.restart_manager("RestrictNamespaces=yes\n")
        check_refusal(machine, "a filter forbids user namespaces")
    print("all held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
