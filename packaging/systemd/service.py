"""`make install-service` and `make uninstall-service`: memewatchd as a service of the user's own systemd.

    service.py install      the folder is in $MEMES; $NETWORK: "yes", "no" or as the settings need it
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

import confine

from memewatchd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).resolve().parent
CLONE = HERE.parent.parent
BIN = CLONE / ".venv" / "bin"
SERVICE = "memewatchd.service"
SOCKET = "memewatchd.socket"
FOLDERS = "memewatchd-state.service"
DROP_IN = Path(f"{SERVICE}.d") / "hardening.conf"
NETWORK = DROP_IN.with_name("network.conf")
UNITS = (SERVICE, SOCKET, FOLDERS)
# The daemon's exit codes, as in sysexits.h.
ALREADY_RUNNING, WRONG_SETTINGS = "75", "78"


class Refused(Exception):
    """It can't be installed; the message says why and what to do."""


def main(arguments: Sequence[str]) -> int:
    """Do what the Makefile asks; 1 and a remedy where it can't be done."""
    if len(arguments) != 1 or arguments[0] not in ("install", "uninstall"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        environment = manager_environment()
        configuration = configuration_home(environment)
        if arguments[0] == "install":
            install(configuration, environment, os.environ.get("MEMES", ""), os.environ.get("NETWORK", ""))
        else:
            uninstall(configuration)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


def install(configuration: Path, environment: Mapping[str, str], folder: str, network: str) -> None:
    """Settings, units, start, and a word on each; over an older installation too. Raises Refused."""
    if network not in ("", "yes", "no"):
        raise Refused(f"NETWORK={network}: must be yes or no")
    program = BIN / "memewatchd"
    unit = rendered(program)
    print(write_folder(configuration / "memewatchd" / "config.toml", folder))
    checked = subprocess.run([program, "--check"], check=False, capture_output=True, text=True)
    if checked.returncode:
        raise Refused(f"The settings are wrong, so nothing was installed:\n{checked.stdout}{checked.stderr}")

    units = configuration / "systemd" / "user"
    (units / DROP_IN).parent.mkdir(parents=True, exist_ok=True)
    hardening = confined(environment, network, (units / NETWORK).exists())
    (units / SERVICE).write_text(unit, encoding="utf-8")
    for name in (SOCKET, FOLDERS):
        (units / name).write_bytes((HERE / name).read_bytes())
    for file in (DROP_IN, NETWORK):
        (units / file).unlink(missing_ok=True)
    for name, text in hardening.items():
        (units / DROP_IN).with_name(name).write_text(text, encoding="utf-8")
    print(f"{units}: {', '.join(UNITS)}")
    systemctl("daemon-reload")
    # A daemon of an earlier installation holds the socket that the new unit is to open.
    systemctl("stop", SERVICE, SOCKET)
    systemctl("enable", SERVICE, SOCKET)
    if not start():
        why = systemctl("show", "--property=ExecMainStatus", "--value", SERVICE).stdout.strip()
        for name in hardening:
            (units / DROP_IN).with_name(name).unlink()
        remove_if_empty((units / DROP_IN).parent)
        systemctl("daemon-reload")
        print(
            f"This system refuses the hardened service (status {why}; see README, When something is wrong); "
            "trying without the hardening"
        )
        if not start():
            raise Refused("It doesn't start. Its log says why: journalctl --user -u memewatchd -n 30")
    print(f"memewatchd runs, now and after every login, from {program}")
    print("If this clone moves, run make install-service again. To take it back: make uninstall-service")
    print(f"Search: {shlex.join([str(BIN / 'memewatch'), 'search'])} angry cat")
    print("How it is: systemctl --user status memewatchd; its log: journalctl --user -u memewatchd")


def confined(environment: Mapping[str, str], network: str, was_open: bool) -> dict[str, str]:
    """The drop-ins' texts by name: the sandbox with what this installation needs, and the open network where asked.

    ``network``: "yes", "no", or "" for what the settings need or the last installation had (``was_open``).
    Raises Refused.
    """
    home = Path.home()
    state = home / ".local" / "state" / "memewatchd"
    try:
        needs = confine.needs(environment, state, CLONE)
        is_open = network == "yes" or (not network and bool(needs.network or was_open))
        lines = confine.lines(needs, str(home), str(state), is_open=is_open)
    except (ConfigError, ValueError) as error:
        raise Refused(f"No sandbox can be made for these settings: {error}") from error
    text = (HERE / "hardening.conf").read_text(encoding="utf-8")
    if lines:
        text += "\n".join(["", "# For this installation:", "[Service]", *lines, ""])
    texts = {DROP_IN.name: text}
    why = "NETWORK=yes" if network else needs.network or "as before; NETWORK=no closes it"
    if is_open:
        texts[NETWORK.name] = (HERE / NETWORK.name).read_text(encoding="utf-8")
        # What the drop-in is to make writable must be there.
        Path(needs.cache).mkdir(mode=0o700, parents=True, exist_ok=True)
        print(f"The service may use the network: {why}")
    else:
        print("The service may not use the network; NETWORK=yes opens it")
    return texts


def uninstall(configuration: Path) -> None:
    """Stop and remove the units; settings, state and pictures stay."""
    systemctl("disable", "--now", SERVICE, SOCKET)
    units = configuration / "systemd" / "user"
    for file in (*UNITS, DROP_IN, NETWORK):
        (units / file).unlink(missing_ok=True)
    if not remove_if_empty((units / DROP_IN).parent):
        print(f"{(units / DROP_IN).parent}: left, there is something of yours in it")
    systemctl("daemon-reload")
    systemctl("reset-failed", SERVICE, SOCKET)
    settings = configuration / "memewatchd" / "config.toml"
    print(f"memewatchd is no service any more. Left as they were: {settings}, ~/.local/state/memewatchd, your pictures")


def remove_if_empty(folder: Path) -> bool:
    """Whether ``folder`` is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def start() -> bool:
    """Start both and wait for READY. Raises Refused where the sandbox is not to blame."""
    systemctl("reset-failed", SERVICE, SOCKET)
    if systemctl("start", SOCKET, SERVICE).returncode == 0:
        return True
    status = systemctl("show", "--property=ExecMainStatus", "--value", SERVICE).stdout.strip()
    systemctl("stop", SERVICE, SOCKET)
    if status == ALREADY_RUNNING:
        raise Refused(
            "Another memewatchd runs already (make run?). Stop it, then: "
            "systemctl --user start memewatchd.socket memewatchd"
        )
    if status == WRONG_SETTINGS:
        raise Refused("It is installed, and a setting is wrong. Its log: journalctl --user -u memewatchd -n 5")
    return False


def manager_environment() -> dict[str, str]:
    """What the user's systemd, and so the service, has in its environment. Raises Refused where there is none."""
    try:
        answer = systemctl("show-environment")
    except FileNotFoundError as error:
        raise Refused("systemctl isn't there, so this system has no systemd. Use make run instead.") from error
    if answer.returncode:
        raise Refused(
            f"Your own systemd doesn't answer: {answer.stderr.strip()}\n"
            "Log in as yourself, on the desktop or by ssh (su and sudo don't start it); in a container use make run."
        )
    return dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)


def configuration_home(environment: Mapping[str, str]) -> Path:
    """``XDG_CONFIG_HOME`` as the user's systemd has it, which may differ from the shell's."""
    given = environment.get("XDG_CONFIG_HOME", "")
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
