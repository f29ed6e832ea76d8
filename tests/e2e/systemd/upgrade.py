"""A newer version over an older one: the same clone, brought up to date, and `make install-service` again."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from machine import CLONE, HOME, HOME_HERE, give_to_user, holds, same, until

from memewatchd import __version__

if TYPE_CHECKING:
    from machine import Machine

OLDER = "0.0.1"
PLACE = "clone"
SCRIPT = Path(HOME) / PLACE / "packaging/systemd/service.py"


def put_clone(version: str) -> None:
    """A clone in the user's home whose program says that it is ``version``; its libraries are this clone's."""
    top = HOME_HERE / PLACE
    for name in ("memewatchd", "packaging"):
        shutil.rmtree(top / name, ignore_errors=True)
        shutil.copytree(CLONE / name, top / name, ignore=shutil.ignore_patterns("__pycache__"))
    init = top / "memewatchd/__init__.py"
    init.write_text(init.read_text().replace(__version__, version))
    python = f"python{sysconfig.get_python_version()}"
    packages = top / ".venv/lib" / python / "site-packages"
    packages.mkdir(parents=True, exist_ok=True)
    packages.joinpath("clone.pth").write_text(f"{HOME}/{PLACE}\n{sysconfig.get_path('purelib')}\n")
    programs = top / ".venv/bin"
    programs.mkdir(exist_ok=True)
    base = Path(sys.base_prefix) / "bin"
    (top / ".venv/pyvenv.cfg").write_text(f"home = {base}\ninclude-system-site-packages = false\n")
    (programs / "python").unlink(missing_ok=True)
    (programs / "python").symlink_to(base / python)
    for name, module in (("memewatchd", "daemon"), ("memewatch", "client")):
        text = f"#!{HOME}/{PLACE}/.venv/bin/python\nfrom memewatchd.{module} import main\n\nmain()\n"
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    give_to_user(top)


def check_all(machine: Machine) -> None:
    put_clone(OLDER)
    holds(machine.install(SCRIPT).startswith("0 "), f"version {OLDER} is installed")
    same(machine.memewatch("wait", "--timeout", "600").returncode, 0, "and indexes")
    before, pid = machine.status(), machine.shown("MainPID")
    listed = machine.memewatch("list").stdout
    holds(before["indexed"] > 0, f"{before['indexed']} files")
    runs(machine, OLDER)
    # What an older version had in its drop-in is gone; what the user put beside it stays.
    units = HOME_HERE / ".config/systemd/user"
    drop_ins = units / "memewatchd.service.d"
    (drop_ins / "hardening.conf").write_text("[Service]\nEnvironment=FROM_AN_OLDER_VERSION=1\n")
    (drop_ins / "own.conf").write_text("[Service]\nNice=5\n")

    put_clone(__version__)
    holds(machine.install(SCRIPT).startswith("0 "), f"version {__version__} is installed over it")
    holds(machine.shown("MainPID") not in (pid, "0"), "the daemon was started anew")
    runs(machine, __version__)
    same(machine.memewatch("wait", "--timeout", "120").returncode, 0, "it settles")
    after = machine.status()
    same((after["indexed"], after["failed"]), (before["indexed"], before["failed"]), "the index is kept")
    same(machine.memewatch("list").stdout, listed, "to the file")
    same(after["encoded"], 0, "and nothing was encoded again")
    same(after["sandbox"], "applied", "in the sandbox")
    holds("FROM_AN_OLDER" not in machine.shown("Environment"), "the drop-in is the new one")
    same(machine.shown("Nice"), "5", "the user's own is kept")
    (drop_ins / "own.conf").unlink()


def runs(machine: Machine, version: str) -> None:
    """What the daemon said when it began; systemd counts it as started a moment before the journal has that."""
    until(lambda: said(machine)[-1:] == [version], f"{version} runs, says the journal")
    print(f"ok: {version} runs", flush=True)


def said(machine: Machine) -> list[str]:
    """The versions that began, the latest last."""
    entries = [str(entry["MESSAGE"]) for entry in machine.journal("-n", "40")]
    return [entry.split("memewatchd ")[1].split()[0] for entry in entries if " watches " in entry]
