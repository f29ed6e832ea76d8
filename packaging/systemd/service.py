"""`make install-service` and `make uninstall-service`: memewatchd as a service of the user's own systemd.

    service.py install      the folder is in $MEMES
    service.py uninstall

Never needs root. Settings that are there already are never changed, only added to.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
BIN = HERE.parent.parent / ".venv" / "bin"
SERVICE = "memewatchd.service"
SOCKET = "memewatchd.socket"
DROP_IN = Path(f"{SERVICE}.d") / "hardening.conf"
# sysexits.h, as DESIGN's table of exit codes has them.
ALREADY_RUNNING = 75


class Refused(Exception):
    """It can't be installed; the message says why and what to do."""


def main(arguments: Sequence[str]) -> int:
    """Do what the Makefile asks; 1 and a remedy where it can't be done."""
    if len(arguments) != 1 or arguments[0] not in ("install", "uninstall"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        configuration = configuration_home()
        if arguments[0] == "install":
            install(configuration, os.environ.get("MEMES", ""))
        else:
            uninstall(configuration)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


def install(configuration: Path, folder: str) -> None:
    """Settings, units, start, and a word on each. Raises Refused."""
    program = BIN / "memewatchd"
    unit = rendered(program)
    print(write_folder(configuration / "memewatchd" / "config.toml", folder))
    checked = subprocess.run([program, "--check"], check=False, capture_output=True, text=True)
    if checked.returncode:
        raise Refused(f"The settings are wrong, so nothing was installed:\n{checked.stdout}{checked.stderr}")
    # The hardened unit may write only to what exists before the start.
    state = Path.home() / ".local" / "state" / "memewatchd"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    (Path.home() / ".cache").mkdir(mode=0o700, exist_ok=True)

    units = configuration / "systemd" / "user"
    (units / DROP_IN).parent.mkdir(parents=True, exist_ok=True)
    (units / SERVICE).write_text(unit, encoding="utf-8")
    (units / SOCKET).write_bytes((HERE / SOCKET).read_bytes())
    (units / DROP_IN).write_bytes((HERE / "hardening.conf").read_bytes())
    print(f"{units}: {SERVICE}, {SOCKET}")
    systemctl("daemon-reload")
    # A daemon of an earlier installation holds the socket that the new unit is to open.
    systemctl("stop", SERVICE, SOCKET)
    systemctl("enable", SERVICE, SOCKET)
    if not start():
        (units / DROP_IN).unlink()
        (units / DROP_IN).parent.rmdir()
        systemctl("daemon-reload")
        print("This system refuses the hardened service (see README, Troubleshooting); trying without the hardening")
        if not start():
            raise Refused("It doesn't start. Its log says why: journalctl --user -u memewatchd -n 30")
    print(f"memewatchd runs, now and after every login, from {program}")
    print("If this clone moves, run make install-service again. To take it back: make uninstall-service")
    print(f"Search: {shlex.join([str(BIN / 'memewatch'), 'search'])} angry cat")
    print("How it is: systemctl --user status memewatchd; its log: journalctl --user -u memewatchd")


def uninstall(configuration: Path) -> None:
    """Stop and remove the units; settings, state and pictures stay."""
    systemctl("disable", "--now", SERVICE, SOCKET)
    units = configuration / "systemd" / "user"
    for file in (units / SERVICE, units / SOCKET, units / DROP_IN):
        file.unlink(missing_ok=True)
    if (units / DROP_IN).parent.is_dir():
        try:
            (units / DROP_IN).parent.rmdir()
        except OSError:
            print(f"{(units / DROP_IN).parent}: left, there is something of yours in it")
    systemctl("daemon-reload")
    settings = configuration / "memewatchd" / "config.toml"
    print(f"memewatchd is no service any more. Left as they were: {settings}, ~/.local/state/memewatchd, your pictures")


def start() -> bool:
    """Start both and wait for READY. Raises Refused where another daemon is in the way."""
    systemctl("reset-failed", SERVICE, SOCKET)
    if systemctl("start", SOCKET, SERVICE).returncode == 0:
        return True
    status = systemctl("show", "--property=ExecMainStatus", "--value", SERVICE).stdout.strip()
    systemctl("stop", SERVICE, SOCKET)
    if status == str(ALREADY_RUNNING):
        raise Refused(
            "Another memewatchd runs already (make run?). Stop it, then: "
            "systemctl --user start memewatchd.socket memewatchd"
        )
    return False


def configuration_home() -> Path:
    """``XDG_CONFIG_HOME`` as the user's systemd has it, which may differ from the shell's. Raises Refused."""
    try:
        answer = systemctl("show-environment")
    except FileNotFoundError as error:
        raise Refused("systemctl isn't there, so this system has no systemd. Use make run instead.") from error
    if answer.returncode:
        raise Refused(
            f"Your own systemd doesn't answer: {answer.stderr.strip()}\n"
            "Log in as yourself, on the desktop or by ssh (su and sudo don't start it); in a container use make run."
        )
    values = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    given = values.get("XDG_CONFIG_HOME", "")
    return Path(given) if given.startswith("/") else Path.home() / ".config"


def write_folder(file: Path, folder: str) -> str:
    """Have ``file`` name ``folder``; what was done, for people.

    Keys that are there stay as they are. Raises Refused where they name another folder, where ``folder`` isn't
    one, and where its name can't stand in TOML.
    """
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    try:
        held = tomllib.loads(text).get("folder")
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{file}: is not TOML: {error}") from error
    if not folder:
        if held is None:
            raise Refused("Which folder? make install-service FOLDER=~/Memes")
        return f"{file}: folder is {held} already"
    path = os.path.abspath(os.path.expanduser(folder))
    if not os.path.isdir(path):
        raise Refused(f"FOLDER={folder}: there is no such folder. Make it first: mkdir -p {shlex.quote(path)}")
    listed = [held] if isinstance(held, str) else held
    if listed is not None:
        if [os.path.abspath(file.parent / os.path.expanduser(item)) for item in listed] == [path]:
            return f"{file}: folder is {path} already"
        raise Refused(f"{file}: says folder = {json.dumps(held)}. Change that line there, then try again.")
    try:
        # JSON's strings are TOML's, but for DEL.
        line = f"folder = [{json.dumps(path, ensure_ascii=False)}]\n".replace("\x7f", "\\u007f")
        line.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"FOLDER={folder!r}: its name isn't UTF-8, which settings can't hold; rename it") from error
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # First, because below a [table] it would be that table's.
    replace_text(file, line + text)
    return f"{file}: {line.strip()}"


def replace_text(file: Path, text: str) -> None:
    """Write all of it or nothing; a link stays a link."""
    target = file.resolve()
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=target.parent, delete=False) as out:
        out.write(text)
    if target.exists():
        os.chmod(out.name, target.stat().st_mode & 0o777)
    os.replace(out.name, target)


def rendered(program: Path) -> str:
    """The service unit with ``program`` quoted as systemd.service(5) has it. Raises Refused where it can't be."""
    path = str(program)
    # systemd's own rule for executables (string_is_safe).
    if any(character in "'\"\\\x7f" or character < " " for character in path):
        raise Refused(f"systemd starts no program with quotes or backslashes in its path; move this clone: {path}")
    quoted = path.replace("%", "%%")
    return (HERE / SERVICE).read_text(encoding="utf-8").replace(":@PROGRAM@", f':"{quoted}"')


def systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", "--user", *arguments], check=False, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
