"""The Debian package: what is in it, and that it needs nothing else of this clone."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import memewatchd

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "packaging" / "deb" / "build.py"
pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb: apt install dpkg")


def build(target: Path, **environment: str) -> Path:
    command = [sys.executable, "-I", str(BUILD), str(target)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def root(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked, as dpkg would onto a machine."""
    folder = tmp_path_factory.mktemp("root")
    subprocess.run(["dpkg-deb", "-x", str(deb), str(folder)], check=True)
    return folder


def field(deb: Path, name: str) -> str:
    done = subprocess.run(["dpkg-deb", "-f", str(deb), name], check=True, capture_output=True, text=True)
    return done.stdout.rstrip("\n")


def run(root: Path, code: str) -> str:
    """A Python that finds the package's module and otherwise its own library only."""
    place = root / "usr/lib/python3/dist-packages"
    command = [sys.executable, "-B", "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(place)!r})\n{code}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_control_file(deb: Path) -> None:
    assert deb.name == f"memewatch_{memewatchd.__version__}_all.deb"
    assert field(deb, "Architecture") == "all"
    assert field(deb, "Depends") == "python3 (>= 3.11)"
    assert "pipx" in field(deb, "Description")
    assert 100 < int(field(deb, "Installed-Size")) < 2000


def test_the_client_works_from_there(root: Path) -> None:
    program = root / "usr/bin/memewatch"
    assert program.stat().st_mode & 0o777 == 0o755
    assert program.read_text().startswith("#!/usr/bin/python3 -I\n")
    code = f"import runpy\nsys.argv = ['memewatch', '--version']\nrunpy.run_path({str(program)!r})"
    assert run(root, code) == f"memewatch {memewatchd.__version__}\n"


def test_every_module_in_it_can_be_imported(root: Path) -> None:
    package = root / "usr/lib/python3/dist-packages"
    modules = [".".join(file.relative_to(package).with_suffix("").parts) for file in package.rglob("*.py")]
    assert "memewatchd.desktop.launchers" in modules
    assert "memewatchd.daemon" not in modules
    names = [module.removesuffix(".__init__") for module in modules]
    assert run(root, f"import importlib\nfor name in {names!r}:\n    importlib.import_module(name)") == ""
    assert run(root, "from memewatchd.client import Client, Hit\nprint(Client.__name__)") == "Client\n"


def test_all_files_are_there_and_whole(deb: Path, root: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-e", str(deb), str(tmp_path / "control")], check=True)
    listed = dict(line.split("  ")[::-1] for line in (tmp_path / "control/md5sums").read_text().splitlines())
    found = {str(file.relative_to(root)): file for file in root.rglob("*") if file.is_file() and not file.is_symlink()}
    assert {name: hashlib.md5(file.read_bytes()).hexdigest() for name, file in found.items()} == listed
    assert {file.stat().st_mode & 0o777 for file in found.values()} == {0o644, 0o755}
    for page in ("man1/memewatch.1", "man1/memewatchd.1", "man5/memewatchd.toml.5"):
        assert b".Sh NAME" in gzip.decompress((root / f"usr/share/man/{page}.gz").read_bytes())
    for name in ("memewatch", "memewatchd"):
        assert "complete -F" in (root / f"usr/share/bash-completion/completions/{name}").read_text()
        assert "complete -c" in (root / f"usr/share/fish/vendor_completions.d/{name}.fish").read_text()
    assert (root / "usr/share/zsh/vendor-completions/_memewatch").read_text().startswith("#compdef ")
    assert "pipx install" in (root / "usr/share/doc/memewatch/README.Debian").read_text()


def test_the_same_sources_make_the_same_package(tmp_path: Path) -> None:
    first, second = (build(tmp_path / name, SOURCE_DATE_EPOCH="1700000000") for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd: apt install systemd")
def test_systemd_accepts_its_units(root: Path, tmp_path: Path) -> None:
    program = tmp_path / ".local/bin/memewatchd"
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    units = [str(root / "usr/lib/systemd/user" / name) for name in ("memewatchd.service", "memewatchd.socket")]
    command = ["systemd-analyze", "--user", "verify", "--man=no", *units]

    def complaints() -> tuple[int, list[str]]:
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        return done.returncode, [line for line in done.stderr.splitlines() if "memewatchd" in line]

    code, lines = complaints()
    assert (code != 0, "is not executable" in lines[0]) == (True, True)
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert complaints() == (0, [])


@pytest.mark.skipif(
    shutil.which("desktop-file-validate") is None, reason="needs desktop-file-validate: apt install desktop-file-utils"
)
def test_the_desktop_file_is_valid(root: Path) -> None:
    file = root / "usr/share/applications/memewatchd.desktop"
    done = subprocess.run(["desktop-file-validate", str(file)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(shutil.which("lintian") is None, reason="needs lintian: apt install lintian")
def test_lintian_finds_no_errors(deb: Path) -> None:
    command = ["lintian", "--fail-on", "error", "--allow-root", str(deb)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
