"""Tries every line of hardening.conf under a real user manager.

For each: what it forbids is done without it (so that the check can fail), is refused by the line alone (so it does
something there), and is refused with the whole drop-in, installed. Lines that allow something are left out instead,
and then it is refused. A line that no check knows fails.
"""

from __future__ import annotations

import json
import platform
import re
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import limits
from machine import BIN, CLONE, HOME, HOME_HERE, ROOT, UID, USER, give_to_user, holds, same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from machine import Machine

PROBE = Path(__file__).with_name("probe.py")
UNITS = f"{HOME}/.config/systemd/user"
UNIT = "soak-probe.service"
ANSWER = "soak-answer"
OURS = re.compile(r"^# For this installation:\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Forbids:
    """A line that forbids ``attempts``. ``namespace``: only with PrivateUsers=yes. ``beside``: lines it needs."""

    attempts: tuple[str, ...]
    namespace: bool = True
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allows:
    """A line without which ``attempts``, made with the whole drop-in, come to ``instead`` (None: any refusal).

    ``apart``: a line that happens to allow the same here, and is left out too, with the line and without.
    """

    attempts: tuple[str, ...]
    instead: str | None = None
    apart: str = ""


NO_EXEC = "NoExecPaths=%h/.local/state/memewatchd %h/.cache/memewatchd %h/.cache/thumbnails /tmp /var/tmp /dev/shm"
HOMES = ("BindReadOnlyPaths=%h %t/systemd/notify",)
CHECKS: dict[str, Forbids | Allows] = {
    "PrivateUsers=yes": Forbids(("run_set_uid",), namespace=False),
    "ProtectSystem=strict": Forbids(("write_elsewhere",)),
    # systemd 252 makes NoExecPaths' mounts writable as the disk is: nothing to rely on.
    "ReadWritePaths=%h/.local/state/memewatchd": Allows(("write_state",), apart=NO_EXEC),
    "TemporaryFileSystem=%h/.cache:size=64M,mode=0700,noexec": Allows(("use_cache",)),
    "BindReadOnlyPaths=-%h/.cache/huggingface": Allows(("read_model",)),
    "BindPaths=%h/.cache/memewatchd %h/.cache/thumbnails": Allows(("share_cache",), apart=NO_EXEC),
    NO_EXEC: Forbids(("run_from_state", "run_from_tmp", "run_from_memory")),
    "TemporaryFileSystem=/home:ro /root:ro /run/user:ro": Forbids(
        ("read_other_home", "write_home", "change_picture", "add_picture", "ask_manager", "ask_session_bus"),
        beside=HOMES,
    ),
    HOMES[0]: Allows(("read_pictures",)),
    "InaccessiblePaths=-%h/.ssh -%h/.gnupg -%h/.password-store -%h/.local/share/keyrings -%h/.aws -%h/.kube "
    "-/run/dbus": Forbids(("read_keys", "ask_system_bus")),
    "PrivateTmp=yes": Forbids(("read_tmp",)),
    "PrivateIPC=yes": Forbids(("attach_segment",)),
    "PrivateDevices=yes": Forbids(("open_device",)),
    "ProtectKernelTunables=yes": Forbids(("list_symbols",)),
    "ProtectKernelModules=yes": Forbids(("list_modules",)),
    "ProtectControlGroups=yes": Forbids(("make_control_group",)),
    "PrivateNetwork=yes": Forbids(("see_network", "connect_loopback")),
    "RestrictAddressFamilies=AF_UNIX": Forbids(
        ("open_internet_socket", "open_netlink_socket", "open_packet_socket"), namespace=False
    ),
    "NoNewPrivileges=yes": Forbids(("run_set_uid",), namespace=False),
    "LockPersonality=yes": Forbids(("change_personality",), namespace=False),
    "RestrictRealtime=yes": Forbids(("go_realtime",), namespace=False),
    "RestrictSUIDSGID=yes": Forbids(("own_set_uid",), namespace=False),
    "RestrictNamespaces=yes": Forbids(("make_namespace",), namespace=False),
    "SystemCallArchitectures=native": Forbids(("use_other_architecture",), namespace=False),
    "SystemCallFilter=@system-service": Forbids(("trace",), namespace=False),
    "SystemCallFilter=~@keyring io_uring_setup io_uring_enter io_uring_register": Forbids(
        ("read_keyring", "use_io_uring"), namespace=False
    ),
    "SystemCallErrorNumber=EPERM": Allows(("trace",), instead="SIGSYS"),
}
# Where control groups can do it: limits.py.
LIMITS = {"MemoryMax=75%", "TasksMax=2048", "OOMPolicy=continue"}
# These check_folders_deleted of soak.py shows.
ORDER = {"Requires=memewatchd-state.service", "After=memewatchd-state.service"}
# What the unit itself has, also where the drop-in is taken back.
PLAIN = {"UMask=0077": "leave_readable", "OOMScoreAdjust=500": "be_spared"}
# Not everywhere: io_uring may be switched off (kernel.io_uring_disabled), i386's calls left out, real time kept from
# groups.
MAYBE = {"use_io_uring", "use_other_architecture", "go_realtime"}


class Prober:
    """Runs probe.py as a service of the user's with given settings."""

    def __init__(self, machine: Machine, port: int) -> None:
        """``port``: where something listens on 127.0.0.1 outside of the sandbox."""
        self.machine = machine
        self.port = port
        self.installed = (HOME_HERE / ".config/systemd/user/memewatchd.service").read_text()
        text = (HOME_HERE / ".config/systemd/user/memewatchd.service.d/hardening.conf").read_text()
        # What this very installation needs: the interpreter may be elsewhere.
        self.hardening, _, self.ours = text.partition("\n# For this installation:\n")

    def prepare(self) -> None:
        """What the attempts look for; as root."""
        script = f"""
            mkdir -p /home/other /srv/soak /usr/lib/modules/soak /usr/local/bin {HOME}/.ssh
            mkdir -p {HOME}/.cache/huggingface {HOME}/.cache/memewatchd {HOME}/.cache/thumbnails
            echo theirs >/home/other/secret; chmod 755 /home/other; chmod 644 /home/other/secret
            echo key >{HOME}/.ssh/id_soak; echo note >/tmp/soak-note; echo model >{HOME}/.cache/huggingface/soak
            cp /usr/bin/id /usr/local/bin/soak-id; chmod 4755 /usr/local/bin/soak-id
            test -e /dev/soak-camera || mknod -m 666 /dev/soak-camera c 1 5
            chown -R {USER}: /srv/soak {HOME}/.ssh {HOME}/.cache"""
        same(self.machine.superuser("sh", "-ec", script).returncode, 0, "what is to be kept from the service is there")
        make = "import ctypes; assert ctypes.CDLL(None).shmget(0x6D656D65, 4096, 0o1600) >= 0"
        same(self.machine.user("python3", "-c", make).returncode, 0, "and memory that programs share")

    def run(
        self, lines: Sequence[str], attempts: Sequence[str], unit: str = "[Service]\n", *, without_start: bool = False
    ) -> dict[str, str]:
        """What came of each attempt, by name, in a service with ``lines``. ``unit``: what is before them.

        ``without_start``: that it doesn't start is an answer too.
        """
        command = " ".join([str(BIN / "python"), str(PROBE), HOME, str(self.port), *attempts])
        text = "\n".join([unit, "[Service]", *lines, "Type=oneshot", "LimitRTPRIO=10", f"ExecStart={command}"])
        file = ROOT / UNITS.lstrip("/") / UNIT
        file.write_text(f"{text}\nStandardOutput=truncate:{HOME}/{ANSWER}\n")
        answer = HOME_HERE / ANSWER
        answer.unlink(missing_ok=True)
        give_to_user(file)
        self.machine.systemctl("daemon-reload")
        done = self.machine.systemctl("start", UNIT)
        self.result = self.machine.shown("Result", UNIT)
        self.machine.systemctl("reset-failed", UNIT)
        said = self.machine.user("cat", f"{HOME}/{ANSWER}").stdout
        if not said and without_start:
            return dict.fromkeys(attempts, "the service doesn't start")
        if not said:
            raise AssertionError(f"no answer with {list(lines)}: {self.result} {done.stderr}")
        found: dict[str, str] = json.loads(said)
        return found

    def plain(self) -> str:
        """The installed unit, but for what makes it the daemon's."""
        ours = ("ExecStart=", "Type=", "Requires=", "After=", "Watchdog", "Restart", "StartLimit")
        return "\n".join(line for line in self.installed.splitlines() if not line.startswith(ours))

    def whole(self, *but: str) -> list[str]:
        """The drop-in's lines, without ``but``."""
        kept = [line for line in settings(self.hardening) if line not in but and line not in ORDER]
        return [*kept, *settings(self.ours)]


def settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.match(r"[A-Z]\w+=", line)]


def check_each_line(prober: Prober) -> None:
    """Every line of the installed drop-in."""
    known = CHECKS.keys() | LIMITS | ORDER
    same(set(settings(prober.hardening)) - known, set(), "every line of hardening.conf has a check")
    same(known - set(settings(prober.hardening)), set(), "every check has its line")
    attempts = sorted({name for check in CHECKS.values() for name in check.attempts})
    free = prober.run([], attempts)
    untried = {name for name in MAYBE if free[name] != "done"}
    if platform.machine() != "x86_64":
        untried.add("use_other_architecture")
    same({name: said for name, said in free.items() if said != "done" and name not in untried}, {}, "free, all is done")
    allowed = {name for check in CHECKS.values() if isinstance(check, Allows) for name in check.attempts} - {"trace"}
    confined = prober.run(prober.whole(), attempts, prober.plain())
    same({name for name, said in confined.items() if said == "done"} - untried, allowed, "in the sandbox, only that")
    for line, check in CHECKS.items():
        for name, said in alone(prober, line, check).items():
            if name in untried:
                print(f"not tried: {name}: this machine doesn't do it anyway ({free[name]})")
                continue
            holds(said != "done", f"{line}: {name}: {said}")
            if isinstance(check, Allows) and check.instead is not None:
                same(said, check.instead, f"{line}: without it, {name}")


def alone(prober: Prober, line: str, check: Forbids | Allows) -> Mapping[str, str]:
    """What came of the line's attempts with it alone, or, where it allows something, with all but it."""
    if isinstance(check, Allows):
        if check.apart:
            with_it = prober.run(prober.whole(check.apart), check.attempts, prober.plain())
            same(set(with_it.values()), {"done"}, f"{line}: with it")
        return prober.run(prober.whole(line, check.apart), check.attempts, prober.plain(), without_start=True)
    namespace = ["PrivateUsers=yes"] if check.namespace else []
    beside = [*check.beside, *settings(prober.ours)] if check.beside else []
    return prober.run([*namespace, *beside, line], check.attempts)


def check_plain_unit(prober: Prober) -> None:
    """What the unit has without the drop-in."""
    free = prober.run([], list(PLAIN.values()))
    confined = prober.run([], list(PLAIN.values()), prober.plain())
    for line, name in PLAIN.items():
        holds(line in settings(prober.installed), f"the unit has {line}")
        same((free[name], confined[name] != "done"), ("done", True), f"{line}: {name}: {confined[name]}")


def check_open_network(prober: Prober, network: str) -> None:
    """``network``: network.conf."""
    attempts = ["open_internet_socket", "connect_loopback", "open_netlink_socket", "open_packet_socket", "change_model"]
    said = prober.run([*prober.whole(), *settings(network)], attempts, prober.plain())
    done = {name for name, each in said.items() if each == "done"}
    same(done, {*attempts[:3]}, "with network.conf the network is open, and nothing else")


def check_disk_mounted_later(prober: Prober) -> None:
    """A disk that is mounted while the daemon runs is seen."""
    machine = prober.machine
    pid = machine.shown("MainPID")
    machine.superuser("mkdir", "-p", "/srv/later")
    machine.superuser("mount", "-t", "tmpfs", "tmpfs", "/srv/later")
    holds("/srv/later" in machine.superuser("cat", f"/proc/{pid}/mountinfo").stdout, "a disk mounted later is seen")
    machine.superuser("umount", "/srv/later")
    holds("/srv/later" not in machine.superuser("cat", f"/proc/{pid}/mountinfo").stdout, "and lets itself be unmounted")


def check_all(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        prober = Prober(machine, listener.getsockname()[1])
        prober.prepare()
        check_plain_unit(prober)
        check_each_line(prober)
        check_open_network(prober, (CLONE / "packaging/systemd/network.conf").read_text())
        check_disk_mounted_later(prober)
        limits.check_all(machine, prober, sorted(LIMITS))
    (ROOT / UNITS.lstrip("/") / UNIT).unlink()
    (HOME_HERE / ANSWER).unlink()
    print(machine.systemctl("--version").stdout.splitlines()[0], sys.version.split()[0], UID, sep=", ")
