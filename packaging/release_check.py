"""`make release-check`: build wheel and sdist, install them where nothing else is, and search the samples there.

It fetches all packages that a new user would (pip's cache helps) and takes minutes, so it is no part of `make test`.
Run with the clone's own environment, whose setuptools builds; nothing else of it is used.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import bootstrap

ROOT = bootstrap.ROOT
BUILT_FROM = ("memewatchd", "setup.cfg", "pyproject.toml", "README.md", "README.zh-CN.md", "LICENSE")
SETTLED_S = "600"
# A search and the samples of which at least one must be among the first three.
WANTED = {
    "umbrel": {"umbrella.tif"},
    "angry": {"e4da3b7fbbce2345.png", "mmexport1699347201553.gif", "angry.webp", "生气.jpg"},
    "生气": {"e4da3b7fbbce2345.png", "mmexport1699347201553.gif", "angry.webp", "生气.jpg"},
}


def main() -> int:
    """The exit code; each step is said as it begins."""
    with tempfile.TemporaryDirectory(prefix="mw-") as folder:
        place = Path(folder)
        say("wheel and sdist")
        wheel, sdist = build(place)
        say("a clean environment, and torch alone")
        python = environment(place / "venv")
        say(f"{wheel.name} with {', '.join(extras())}")
        pip(python, "install", f"memewatchd[{','.join(extras())}] @ {wheel.as_uri()}")
        pip(python, "check")
        refuse_cuda(python)
        say("the samples, searched from there")
        search_samples(place / "wheel", python)
        say(f"{sdist.name} in the wheel's place, and once more")
        pip(python, "install", "--no-deps", "--force-reinstall", str(sdist))
        search_samples(place / "sdist", python)
        target = ROOT / "dist"
        target.mkdir(exist_ok=True)
        for file in (wheel, sdist):
            shutil.copy(file, target)
    print(f"All is well. In {target}: {wheel.name}, {sdist.name}")
    return 0


def say(step: str) -> None:
    print(f"== {step}", flush=True)


def build(place: Path) -> tuple[Path, Path]:
    """Both, the wheel from the sdist, so that a file which the sdist lacks is missed here. From a copy, because
    setuptools leaves folders behind."""
    copy = place / "copy"
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    backend = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run([sys.executable, "-c", backend, str(place)], cwd=copy)
    (sdist,) = place.glob("memewatchd-*.tar.gz")
    run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place, sdist])
    (wheel,) = place.glob("memewatchd-*.whl")
    return wheel, sdist


def environment(venv: Path) -> Path:
    """A new virtual environment with nothing but pip and torch; its Python."""
    base = getattr(sys, "_base_executable", "") or sys.executable
    run([base, "-m", "venv", str(venv)])
    python = venv / "bin" / "python"
    for arguments in bootstrap.torch_arguments():
        # With what torch itself needs: the set-up of a clone takes that from its lock files.
        if pip(python, "install", *(argument for argument in arguments if argument != "--no-deps"), check=False):
            return python
    raise SystemExit("torch can't be installed")


def extras() -> tuple[str, ...]:
    """All of them; those that build from source only where they can."""
    if bootstrap.missing_for_systemd():
        return ("heif", "ocr", "video", "web")
    return ("all",)


def refuse_cuda(python: Path) -> None:
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True)
    names = [package["name"] for package in json.loads(listed.stdout)]
    cuda = [name for name in names if name.startswith("nvidia-")]
    if cuda and bootstrap.wants_cpu():
        raise SystemExit(f"this drew in {', '.join(cuda)}")


def search_samples(home: Path, python: Path) -> None:
    """The main job as a new user does it: a daemon on a folder, wait, search, stop. Raises SystemExit."""
    shutil.copytree(ROOT / "samples", home / "Memes")
    (home / "run").mkdir(mode=0o700)
    environ = {"PATH": os.defpath, "HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), "PYTHONUTF8": "1"}
    programs = python.parent

    def memewatch(*words: str) -> str:
        return run([programs / "memewatch", *words], cwd=home, env=environ)

    log = home / "log"
    with log.open("wb") as out:
        daemon = subprocess.Popen([programs / "memewatchd"], cwd=home, env=environ, stdout=out, stderr=out)
    try:
        wait_for(home / "run" / "memewatchd.sock", daemon)
        memewatch("wait", "--timeout", SETTLED_S)
        for query, fitting in WANTED.items():
            names = {os.path.basename(path) for path in memewatch("search", "-n", "3", query).splitlines()}
            if not names & fitting:
                raise SystemExit(f"{query} found {', '.join(sorted(names))}")
            print(f"   {query}: {', '.join(sorted(names & fitting))}")
        code = "from memewatchd.client import Client; print(len(Client().list()))"
        print(f"   {run([python, '-I', '-c', code], cwd=home, env=environ).strip()} memes, by the Python API")
        daemon.send_signal(signal.SIGTERM)
        if daemon.wait(30):
            raise SystemExit(f"the daemon ended with {daemon.returncode}")
    except BaseException:
        print(log.read_text(errors="replace"), file=sys.stderr)
        raise
    finally:
        daemon.kill()
        daemon.wait()


def wait_for(socket: Path, daemon: subprocess.Popen[bytes]) -> None:
    while not socket.exists():
        try:
            code = daemon.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        raise SystemExit(f"the daemon ended with {code}")


def pip(python: Path, *arguments: str, check: bool = True) -> bool:
    """Whether it went well."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=python.parent)
    if done.returncode and check:
        raise SystemExit(f"{done.stdout}{done.stderr}")
    return done.returncode == 0


def run(command: list[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """A program's standard output. Raises SystemExit with all that it said where it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, env=env)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
