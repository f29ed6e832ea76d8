"""What `make run` and `make test` do before anything of ours can be imported: set up `.venv`.

Standard library only. Nothing is written outside the clone but pip's own cache. A stamp in `.venv/setup` for
each goal says what was set up; while it holds, a second run does nothing.

    bootstrap.py run|test    set up what is missing for that goal (SETUP=again: even if the stamp holds)
"""

from __future__ import annotations

import configparser
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
PRIVATE = ROOT / ".run"
REPORTS = VENV / "setup"
LOCKS = ROOT / "packaging" / "lock"

TORCH = "2.13.0"
TORCH_PYTHONS = ((3, 11), (3, 14))
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# pip 24.1 is the first that can tell its progress to a program.
TOOLS = ("pip>=24.1", "setuptools>=77,<81")
EXTRAS = {"run": ("ocr", "web", "heif"), "test": ("test",)}
DESCRIPTIONS = {
    "ocr": "reading the words in pictures",
    "web": "the web page",
    "heif": "HEIC pictures",
    "test": "what the tests need",
}
# The distribution by which a part is seen to be there.
WITNESSES = {
    "torch": ("torch", TORCH),
    "base": ("memewatchd",),
    "ocr": ("rapidocr",),
    "web": ("uvicorn",),
    "heif": ("pillow_heif",),
    "test": ("milvus", "2."),
}
# Programs that some tests start, and their Debian packages.
TEST_PROGRAMS = {
    "nc": "netcat-openbsd",
    "socat": "socat",
    "jq": "jq",
    "systemd-analyze": "systemd",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "node": "nodejs",
    "man": "man-db",
    "mandoc": "mandoc",
    "fish": "fish",
    "zsh": "zsh",
    "desktop-file-validate": "desktop-file-utils",
    "dpkg-deb": "dpkg",
    "lintian": "lintian",
}
# Download sizes in MB for Linux on x86-64, measured; other machines differ a little.
SIZES = {"torch": 200, "base": 130, "ocr": 120, "web": 1, "heif": 6, "test": 90}


def main(arguments: Sequence[str]) -> int:
    """Do what the Makefile asks; the exit status is make's to show."""
    if len(arguments) != 1 or arguments[0] not in EXTRAS:
        print(__doc__, file=sys.stderr)
        return 2
    set_up(arguments[0])
    return 0


def set_up(goal: str) -> None:
    """Bring `.venv` to what ``goal`` needs. Quick where that is so already; leaves by :func:`fail` if it can't."""
    check_python()
    PRIVATE.mkdir(mode=0o700, exist_ok=True)
    with (PRIVATE / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = REPORTS / f"{goal}.stamp"
        wanted = stamp_text(goal)
        held = stamp.read_text() if stamp.is_file() else ""
        if held == wanted and VENV_PYTHON.exists() and os.environ.get("SETUP") != "again":
            return
        announce(goal)
        have_systemd = installed("systemd_python")
        missing = [] if have_systemd else missing_for_systemd()
        stages = Stages(total=3 if missing or have_systemd else 4)
        make_venv(stages)
        install_torch(stages)
        install_package(stages, goal)
        if missing:
            print(
                "      without systemd-python (under systemd the log then has levels, but no fields). "
                f"To have it: {apt_line(missing)}"
            )
        elif not have_systemd:
            stages.begin("systemd-python, which builds from source")
            # By its own requirement, not as `.[systemd]`: it needs the build tools that it names.
            if not pip("systemd", systemd_requirement()):
                print(f"      it didn't build ({REPORTS.relative_to(ROOT)}/systemd.log says why); going on without")
        if goal == "test" and (lacking := [TEST_PROGRAMS[name] for name in TEST_PROGRAMS if not shutil.which(name)]):
            print(f"      some tests are skipped, with a word. To have all: {apt_line(lacking)}")
        stamp.write_text(wanted)
        print("      set up", flush=True)


def check_python() -> None:
    """Leave with the remedy where this Python can't serve."""
    low, high = TORCH_PYTHONS
    if not low <= sys.version_info[:2] <= high:
        fail(
            f"Python {low[0]}.{low[1]} to {high[0]}.{high[1]} is needed, this is {version()}. "
            "Name one: make run PYTHON=/path/to/python3"
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        fail(f"Python's venv module is missing. Install it, then try again:\n  {apt_line([f'python{minor()}-venv'])}")


def missing_for_systemd() -> list[str]:
    """The Debian packages without which systemd-python can't be built."""
    include = Path(sysconfig.get_paths()["include"])
    wanted = {
        "libsystemd-dev": Path("/usr/include/systemd/sd-daemon.h").exists(),
        "pkg-config": shutil.which("pkg-config") is not None,
        "gcc": any(shutil.which(name) for name in ("cc", "gcc")),
        f"python{minor()}-dev": (include / "Python.h").exists(),
    }
    return [package for package, there in wanted.items() if not there]


def stamp_text(goal: str) -> str:
    """All that the set-up for ``goal`` depends on, as one hash."""
    parts = (
        (ROOT / "setup.cfg").read_bytes(),
        Path(__file__).read_bytes(),
        lock(goal).read_bytes(),
        sys.version.encode(),
        os.fsencode(ROOT),
        torch_index().encode(),
        goal.encode(),
        " ".join(missing_for_systemd()).encode(),
    )
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).hexdigest() + "\n"


def announce(goal: str) -> None:
    """Say what will be fetched, how big it is, and where it goes."""
    parts = {"torch": "torch (CPU build)" if wants_cpu() else "torch", "base": "memewatchd's libraries"}
    parts |= {extra: DESCRIPTIONS[extra] for extra in EXTRAS[goal]}
    lacking = {part: text for part, text in parts.items() if not installed(*WITNESSES[part])}
    if not lacking:
        print(f"Setting up in {VENV}: all is there, checking")
        return
    print(f"Setting up in {VENV} (pip's cache aside, nothing is written elsewhere). To fetch:")
    for part, text in lacking.items():
        size = "several GB" if part == "torch" and not wants_cpu() else f"about {SIZES[part]:>4} MB"
        print(f"      {text:<32} {size}")
    print("      no model: one comes with memewatchd", flush=True)


class Stages:
    """Numbers the stages as they begin."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0

    def begin(self, text: str) -> None:
        self.done += 1
        print(f"[{self.done}/{self.total}] {text}", flush=True)


def make_venv(stages: Stages) -> None:
    """A virtual environment of this Python at this place; one that is neither is made anew."""
    stages.begin(f"virtual environment (Python {version()})")
    if not venv_is_ours():
        # From the base interpreter: the one that runs may itself live in what is about to be cleared.
        base = getattr(sys, "_base_executable", "") or sys.executable
        done = subprocess.run([base, "-m", "venv", "--clear", str(VENV)], check=False, capture_output=True, text=True)
        if done.returncode:
            fail(f"{base} can't make a virtual environment:\n{done.stdout}{done.stderr}")
    REPORTS.mkdir(exist_ok=True)
    if not pip("tools", *TOOLS):
        fail_with_log("tools")


def venv_is_ours() -> bool:
    """Whether `.venv` runs, is of this Python, and was made here (its scripts name their own place)."""
    settings = VENV / "pyvenv.cfg"
    if not VENV_PYTHON.exists() or not settings.is_file() or not (VENV / "bin" / "pip").exists():
        return False
    text = settings.read_text(encoding="utf-8", errors="surrogateescape")
    made_at = re.search(r"^command = .* -m venv (.*)$", text, re.MULTILINE)
    if made_at and not made_at[1].endswith(str(VENV)):
        return False
    return site_packages().is_dir()


def install_torch(stages: Stages) -> None:
    """torch first and alone, so that nothing else draws in the CUDA build."""
    stages.begin("torch, CPU build" if wants_cpu() else f"torch from {torch_index()}")
    record = REPORTS / "torch-index"
    again = record.is_file() and record.read_text() != torch_index()
    if torch_installed() and not again:
        return
    force = ["--force-reinstall"] if again else []
    if not any(pip("torch", *force, *arguments) for arguments in torch_arguments()):
        fail_with_log("torch")
    record.write_text(torch_index())


def torch_arguments() -> list[list[str]]:
    """What to tell pip for torch, in order of preference. What the CPU build needs is in the lock files."""
    index = torch_index()
    if not wants_cpu():
        return [[f"torch=={TORCH}", "--index-url", index]]
    cpu = ["--no-deps", f"torch=={TORCH}+cpu"]
    return [cpu, [*cpu, "--index-url", index]]


def torch_index() -> str:
    return os.environ.get("TORCH_INDEX") or CPU_INDEX


def wants_cpu() -> bool:
    return torch_index().rstrip("/").endswith("/cpu")


def torch_installed() -> bool:
    return installed(*WITNESSES["torch"])


def installed(name: str, version: str = "") -> bool:
    return any(site_packages().glob(f"{name}-{version}*.dist-info"))


def install_package(stages: Stages, goal: str) -> None:
    """memewatchd itself, editable, with the goal's extras, in the versions and with the hashes of the lock file."""
    extras = EXTRAS[goal]
    stages.begin(f"memewatchd with {', '.join(extras)}")
    locked = ["--no-deps", "--require-hashes", "--requirement"]
    if pip(f"locked-{goal}", *locked, str(lock(goal))) and pip("package", "--no-deps", *package_arguments(())):
        return
    if goal == "test":
        fail_with_log(f"locked-{goal}")
    print(f"      not in the versions of the lock ({(REPORTS / f'locked-{goal}.log').relative_to(ROOT)} says why)")
    if not pip("locked-base", *locked, str(lock("base"))) and not pip("package", *package_arguments(())):
        fail_with_log("package")
    pip("package", *package_arguments(()))
    for extra in extras:
        if not pip(extra, *package_arguments((extra,))):
            log = (REPORTS / f"{extra}.log").relative_to(ROOT)
            print(f"      without {extra}: it couldn't be installed ({log} says why; `make setup` tries again)")


def lock(goal: str) -> Path:
    """Pinned versions with hashes; `make lock` writes them."""
    return LOCKS / f"{goal}.txt"


def package_arguments(extras: Sequence[str]) -> list[str]:
    """What to tell pip for memewatchd. The build uses the environment's setuptools, so that it needs no network."""
    return ["--no-build-isolation", "--editable", f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)]


def pip(name: str, *arguments: str) -> bool:
    """Run ``pip install``; keep its output in a log and its resolver's report beside it; whether it went well."""
    log = REPORTS / f"{name}.log"
    report = REPORTS / f"{name}.json"
    fresh = report.with_suffix(".json.new")
    command = [str(VENV_PYTHON), "-m", "pip", "install", "--report", str(fresh), *arguments]
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_USER": "0"}
    environment |= {"PIP_ROOT_USER_ACTION": "ignore", "PYTHONUNBUFFERED": "1"}
    if sys.stdout.isatty() and name != "tools":
        environment["PIP_PROGRESS_BAR"] = "raw"
    with (
        log.open("w") as kept,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if not show_progress(line):
                kept.write(line)
    if process.returncode == 0 and fresh.is_file() and json.loads(fresh.read_text())["install"]:
        fresh.replace(report)
    fresh.unlink(missing_ok=True)
    return process.returncode == 0


def show_progress(line: str) -> bool:
    """Show a line of pip's raw progress in place (it only comes on a terminal); False if it is another line."""
    match = re.fullmatch(r"Progress (\d+) of (\d+)\s*", line)
    if match is None:
        return False
    done, total = (int(number) / 1e6 for number in match.groups())
    text = f"{done:,.0f} of {total:,.0f} MB" if done < total else ""
    print(f"\r      {text:<30}\r", end="", flush=True)
    return True


def systemd_requirement() -> str:
    """systemd-python as setup.cfg asks for it."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    return settings["options.extras_require"]["systemd"].strip()


def site_packages() -> Path:
    return VENV / "lib" / f"python{minor()}" / "site-packages"


def version() -> str:
    return ".".join(str(part) for part in sys.version_info[:3])


def minor() -> str:
    return ".".join(str(part) for part in sys.version_info[:2])


def apt_line(packages: Sequence[str]) -> str:
    """The one line that installs Debian packages; make itself never calls sudo."""
    return f"{'' if os.getuid() == 0 else 'sudo '}apt install {' '.join(packages)}"


def fail_with_log(name: str) -> NoReturn:
    """Leave with the end of a stage's log."""
    log = REPORTS / f"{name}.log"
    last = log.read_text(errors="replace").splitlines()[-15:]
    fail("\n".join([*(f"      {line}" for line in last), f"Setting up stopped here; the whole log is {log}"]))


def fail(message: str) -> NoReturn:
    print(message, file=sys.stderr, flush=True)
    raise SystemExit(1)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nStopped. The next run goes on from here.", file=sys.stderr)
        sys.exit(130)
