"""`make run`'s way to the daemon, with a program in its place that says how it was called."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = r"""#!/bin/sh
printf '%s\n' "$MEMEWATCHD_CLIENT" "${MEMEWATCHD_MILVUS-unset}" "$@"
"""


@pytest.fixture(params=["clone", "a clone, café $HOME 猫", "long" * 30])
def clone(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A clone that is set up, as far as its stamp says."""
    folder = tmp_path / request.param
    shutil.copytree(ROOT / "packaging", folder / "packaging", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "setup.cfg"):
        shutil.copy(ROOT / name, folder)
    (folder / "samples").mkdir()
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    (programs / "memewatchd").write_text(PROGRAM)
    (programs / "memewatchd").chmod(0o755)
    (folder / ".venv" / "setup").mkdir()
    stamp = "import bootstrap; print(bootstrap.stamp_text('run'), end='')"
    done = subprocess.run(
        [sys.executable, "-c", stamp],
        check=True,
        capture_output=True,
        cwd=folder,
        env=environment(PYTHONPATH="packaging"),
    )
    (folder / ".venv" / "setup" / "run.stamp").write_bytes(done.stdout)
    return folder


def environment(**more: str) -> dict[str, str]:
    """Ours without what an outer make or its user has set."""
    dropped = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MEMES", "FOLDER", "PYTHON", "TORCH_INDEX", "SETUP")
    return {key: value for key, value in os.environ.items() if key not in dropped} | more


def make(clone: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], check=False, capture_output=True, text=True, cwd=clone, env=environment(**more)
    )


@pytest.mark.parametrize("name", ["Memes", "my memes", "$HOME $(x) `id` 'q' \"猫\" #1"])
def test_a_folder_by_any_name(clone: Path, tmp_path: Path, name: str) -> None:
    memes = tmp_path / "home" / name
    memes.mkdir(parents=True)
    wanted = [".venv/bin/memewatch", "http://m:1", "--folder", str(memes)]
    for given in (str(memes), f"~/{name}", os.path.relpath(memes, clone)):
        done = make(clone, "run", f"FOLDER={given}", HOME=str(tmp_path / "home"), MEMEWATCHD_MILVUS="http://m:1")
        assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, wanted, "")


def test_a_folder_that_is_not_there(clone: Path) -> None:
    done = make(clone, "run", "FOLDER=not there")
    assert done.returncode != 0
    assert f"mkdir -p {shlex.quote(f'{clone}/not there')}" in done.stderr
    assert done.stdout == ""


def test_the_samples_touch_nothing_of_the_users(clone: Path, tmp_path: Path) -> None:
    done = make(clone, "run", MEMEWATCHD_MILVUS="http://m:1", XDG_RUNTIME_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    search, milvus, *flags = done.stdout.splitlines()
    assert milvus == "unset"
    values = dict(zip(flags[::2], flags[1::2], strict=True))
    assert values["--folder"] == str(clone / "samples")
    assert values["--state-dir"] == str(clone / ".run" / "state")
    assert Path(values["--config"]).read_text() == ""
    assert len(os.fsencode(values["--socket"])) < 108
    inside = clone / ".run" / "memewatchd.sock"
    if len(os.fsencode(inside)) < 108:
        assert values["--socket"] == str(inside)
        assert search == ".venv/bin/memewatch --socket .run/memewatchd.sock"
    else:
        assert values["--socket"] in search


def test_a_python_that_is_none(clone: Path) -> None:
    done = make(clone, "run", "PYTHON=/bin/false")
    assert done.returncode != 0
    assert "not a Python 3.11 to 3.14" in done.stderr


def test_help_names_every_command() -> None:
    done = subprocess.run(["make"], check=True, capture_output=True, text=True, cwd=ROOT, env=environment())
    for name in ("run", "test", "lint", "bench", "check", "install-service", "uninstall-service"):
        assert f"make {name} " in done.stdout
