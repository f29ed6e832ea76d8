"""What a fresh clone's set-up, the wheel and the units hold."""

from __future__ import annotations

import configparser
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def script(relative: str) -> ModuleType:
    """A script of `packaging/` as a module."""
    path = ROOT / "packaging" / relative
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # where Python finds what is beside a script
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


bootstrap = script("bootstrap.py")
service = script("systemd/service.py")


def cuda_parts(names: list[str]) -> list[str]:
    """Those distributions that only a CUDA build of torch needs."""
    return [name for name in names if name.lower().startswith(("nvidia-", "nvidia_", "triton"))]


def resolved(report: dict[str, Any]) -> dict[str, str]:
    """Names and versions in a report of pip's resolver."""
    return {item["metadata"]["name"]: item["metadata"]["version"] for item in report["install"]}


@pytest.mark.skipif(not bootstrap.wants_cpu(), reason="TORCH_INDEX asks for a GPU's build")
def test_the_set_up_fetches_no_cuda(tmp_path: Path) -> None:
    """The resolver's own report: the one that the set-up kept, or, in an environment made otherwise, a fresh one."""
    report = bootstrap.REPORTS / "torch.json"
    if not report.is_file():
        report = tmp_path / "torch.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--report", str(report)]
        for arguments in bootstrap.torch_arguments():
            if subprocess.run([*command, *arguments], check=False, capture_output=True).returncode == 0:
                break
    names = resolved(json.loads(report.read_text()))
    assert names["torch"].startswith(f"{bootstrap.TORCH}+cpu")
    for kept in bootstrap.REPORTS.glob("*.json"):
        names |= resolved(json.loads(kept.read_text()))
    assert cuda_parts(list(names)) == []
    assert cuda_parts([found.name for found in importlib.metadata.distributions()]) == []


def test_a_report_with_cuda_is_seen() -> None:
    report = {"install": [{"metadata": {"name": name, "version": "1"}} for name in ("torch", "nvidia-cublas-cu12")]}
    assert cuda_parts(list(resolved(report))) == ["nvidia-cublas-cu12"]


@pytest.mark.parametrize("goal", ["base", *bootstrap.EXTRAS])
def test_the_lock_holds_what_setup_cfg_asks_for(goal: str) -> None:
    """Every requirement is pinned to a version that fits, with hashes, for each Python; `make lock` mends it."""
    pinned: dict[str, list[Requirement]] = {}
    for block in re.split(r"\n(?=[a-zA-Z])", bootstrap.lock(goal).read_text()):
        line, *hashes = block.strip().replace("\\\n", "\n").splitlines()
        assert hashes
        assert all(re.fullmatch(r" *--hash=sha256:[0-9a-f]{64} *", each) for each in hashes)
        found = Requirement(line)
        pinned.setdefault(canonicalize_name(found.name), []).append(found)
    assert cuda_parts(list(pinned)) == []
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    asked = settings["options"]["install_requires"]
    for extra in bootstrap.EXTRAS.get(goal, ()):
        asked += "\n" + settings["options.extras_require"][extra]
    wanted = [Requirement(line) for line in asked.splitlines() if line and not line.startswith("#")]
    assert len(wanted) > 10
    for requirement in wanted:
        if requirement.name == "torch":
            continue
        for python in ("3.11", "3.12", "3.13", "3.14"):
            here = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
            pins = [
                pin
                for pin in pinned[canonicalize_name(requirement.name)]
                if pin.marker is None or pin.marker.evaluate(here)
            ]
            (pin,) = pins
            (exact,) = pin.specifier
            assert exact.operator == "=="
            assert requirement.specifier.contains(exact.version), (str(requirement), str(pin))


def test_a_stamp_holds_for_one_state_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another setup.cfg, another place, another goal or another torch: the set-up runs again."""
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    shutil.copytree(bootstrap.LOCKS, tmp_path / "lock")
    monkeypatch.setattr(bootstrap, "LOCKS", tmp_path / "lock")
    here = bootstrap.stamp_text("run")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    seen = [here, bootstrap.stamp_text("run"), bootstrap.stamp_text("test")]
    monkeypatch.setenv("TORCH_INDEX", "https://example.org/whl/cu130")
    seen.append(bootstrap.stamp_text("run"))
    with (tmp_path / "setup.cfg").open("a") as file:
        file.write("# changed\n")
    seen.append(bootstrap.stamp_text("run"))
    with (tmp_path / "lock" / "run.txt").open("a") as file:
        file.write("# changed\n")
    seen.append(bootstrap.stamp_text("run"))
    assert len(set(seen)) == len(seen)
    assert seen[-1] == bootstrap.stamp_text("run")


def test_the_wheel_is_whole(tmp_path: Path) -> None:
    # From a copy: setuptools leaves a build folder behind, which two runs at once would share.
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "memewatchd", copy / "memewatchd", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(copy)], check=True)
    (wheel,) = tmp_path.glob("memewatchd-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        (entry_points,) = (name for name in inside if name.endswith("entry_points.txt"))
        programs = archive.read(entry_points).decode()
    assert "memewatchd = memewatchd.daemon:main" in programs
    assert "memewatch = memewatchd.client:main" in programs
    everything = {str(file.relative_to(copy)) for file in (copy / "memewatchd").rglob("*") if file.is_file()}
    assert {name for name in inside if name.startswith("memewatchd/")} == everything
    assert {name.split("/")[0] for name in inside - everything} == {wheel.name.split("-py3")[0] + ".dist-info"}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """An executable whose path has all that systemd reads in a special way."""
    file = tmp_path / "a clone, 100% café $HOME 猫" / "memewatchd"
    file.parent.mkdir()
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def units(tmp_path: Path, program: Path) -> Path:
    """The units as they are installed."""
    folder = tmp_path / "units"
    (folder / service.DROP_IN).parent.mkdir(parents=True)
    (folder / service.SERVICE).write_text(service.rendered(program))
    for name in (service.SOCKET, service.FOLDERS):
        (folder / name).write_bytes((ROOT / "packaging/systemd" / name).read_bytes())
    for file in (service.DROP_IN, service.NETWORK):
        (folder / file).write_bytes((ROOT / "packaging/systemd" / file.name).read_bytes())
    return folder


def systemd_analyze(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"XDG_RUNTIME_DIR": str(home), "HOME": str(home)}
    command = ["systemd-analyze", "--user", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


NEEDS_SYSTEMD = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd: apt install systemd")


@NEEDS_SYSTEMD
def test_systemd_accepts_the_units(units: Path, tmp_path: Path) -> None:
    names = [str(units / service.SERVICE), str(units / service.SOCKET)]
    done = systemd_analyze("verify", "--man=no", *names, home=tmp_path)
    ours = [line for line in done.stderr.splitlines() if "memewatchd" in line or "hardening" in line]
    assert (done.returncode, ours) == (0, [])


@NEEDS_SYSTEMD
def test_systemd_sees_a_program_that_is_not_there(units: Path, program: Path, tmp_path: Path) -> None:
    """The check above can fail, and the path is unescaped to what it was."""
    program.unlink()
    done = systemd_analyze("verify", "--man=no", str(units / service.SERVICE), home=tmp_path)
    assert done.returncode != 0
    assert "is not executable" in done.stderr
    assert "memewatchd" in done.stderr


def test_a_path_that_systemd_refuses_is_refused_here() -> None:
    with pytest.raises(service.Refused, match="move this clone"):
        service.rendered(Path('/home/u/"quoted"/memewatchd'))


HOME, STATE = "/home/u", "/home/u/.local/state/memewatchd"


@pytest.mark.parametrize(
    ("read", "write", "is_open", "lines"),
    [
        ((f"{HOME}/Memes", "/usr/lib", "/mnt/memes"), (STATE,), False, []),
        (("/home/other/Memes", "/tmp/clone"), (), False, ["ReadOnly /home/other/Memes", "ReadOnly /tmp/clone"]),
        ((f"{HOME}/.cache/mine",), (), False, [f"ReadOnly {HOME}/.cache/mine"]),
        ((f"{HOME}/Memes",), ("/mnt/index",), False, [" /mnt/index"]),
        ((f"{HOME}/Memes",), (), True, [" /home/u/.cache/huggingface"]),
    ],
)
def test_the_sandbox_is_opened_for_what_an_installation_needs_and_no_more(
    read: tuple[str, ...], write: tuple[str, ...], is_open: bool, lines: list[str]
) -> None:
    needs = service.confine.Needs(read, write, f"{HOME}/.cache/huggingface", "")
    wanted = [f'Bind{kind}Paths="-{path}"' for kind, path in (line.split(" ") for line in lines)]
    assert service.confine.lines(needs, HOME, STATE, is_open=is_open) == wanted


def test_a_graphics_card_is_left_to_be_seen() -> None:
    needs = service.confine.Needs((), (), f"{HOME}/.cache/huggingface", "", graphics=True)
    assert service.confine.lines(needs, HOME, STATE, is_open=False) == ["PrivateDevices=no"]


def test_an_index_right_in_the_home_would_open_the_home() -> None:
    needs = service.confine.Needs((), (HOME,), f"{HOME}/.cache/huggingface", "")
    with pytest.raises(ValueError, match="one of its own"):
        service.confine.lines(needs, HOME, STATE, is_open=False)


def test_a_path_in_a_unit_means_itself() -> None:
    assert service.confine.optional('/mnt/my "memes" %h:\\ 猫') == '"-/mnt/my \\"memes\\" %%h\\:\\\\ 猫"'
    with pytest.raises(ValueError, match="control character"):
        service.confine.optional("/mnt/a\nb")


@pytest.mark.parametrize(
    ("settings", "network"),
    [
        ({}, ""),
        ({"MEMEWATCHD_MILVUS": "http://127.0.0.1:19530"}, "milvus is http://127.0.0.1:19530"),
        ({"MEMEWATCHD_MODEL": "siglip2"}, "the model siglip2 is to be downloaded"),
        ({"MEMEWATCHD_TRANSLATE": "dictionary"}, ""),
    ],
)
def test_the_network_is_opened_only_for_what_needs_it(tmp_path: Path, settings: dict[str, str], network: str) -> None:
    environ = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), **settings}
    assert service.confine.needs(environ, tmp_path / "state", ROOT).network == network


def test_translation_by_tencent_opens_the_network_and_its_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    keys.write_text("id\nkey\n")
    environ = {"HOME": str(tmp_path), "MEMEWATCHD_TRANSLATE": "tencent", "MEMEWATCHD_TENCENT_KEYS_FILE": str(keys)}
    needs = service.confine.needs(environ, tmp_path / "state", ROOT)
    assert needs.network == "translate is tencent"
    assert str(keys) in needs.read


def test_settings_are_made(tmp_path: Path) -> None:
    memes = tmp_path / 'my "memes" \\ 猫\x7f'
    memes.mkdir()
    file = tmp_path / "etc" / "config.toml"
    assert str(file) in service.write_folder(file, str(memes))
    assert tomllib.loads(file.read_text()) == {"folder": [str(memes)]}
    before = file.read_text()
    assert "already" in service.write_folder(file, f"{memes}/")
    assert "already" in service.write_folder(file, "")
    assert file.read_text() == before


def test_other_settings_stay(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('# mine\nmodel = "siglip2"\n')
    file.chmod(0o640)
    service.write_folder(file, str(tmp_path))
    assert file.read_text().endswith('# mine\nmodel = "siglip2"\n')
    assert tomllib.loads(file.read_text())["folder"] == [str(tmp_path)]
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("held", "folder", "message"),
    [
        ('folder = "/elsewhere"\n', ".", "/elsewhere"),
        ("", "", "Which folder"),
        ("", "./not-there", "no such folder"),
        ("folder = \n", ".", "not TOML"),
    ],
)
def test_a_refusal_changes_nothing(tmp_path: Path, held: str, folder: str, message: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(held)
    with pytest.raises(service.Refused, match=message):
        service.write_folder(file, folder)
    assert file.read_text() == held


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.mkdir(folder)
    with pytest.raises(service.Refused, match="UTF-8"):
        service.write_folder(tmp_path / "config.toml", folder)
    assert not (tmp_path / "config.toml").exists()


def test_without_a_user_manager_it_says_so(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path), "MEMES": "."}
    command = [sys.executable, ROOT / "packaging/systemd/service.py", "install"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "make run" in done.stderr
    assert list(tmp_path.iterdir()) == []
