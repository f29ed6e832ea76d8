"""At rest: resident memory over the weights and bare imports, the client's own processor time, the daemon's when idle.

    python benchmarks/resting.py [--models bundled b16] [--idle 60] [--rest 310] [--calls 20]

Memory is what all of the daemon's processes hold, pages that they share counted once; bare imports are torch,
transformers and pymilvus. Children that decode are let go after a minute without work, and --idle begins then; the
picture tower of a large model rests after five minutes: with --rest of less than 300 seconds that row is left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import material
from rows import Report, Row, arguments, middle

IMPORTS = """
import sys
from memewatchd.encoders import bundled
bundled.register()
import numpy, pymilvus, torch, transformers
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.models.clip import modeling_clip
print("ready", flush=True)
sys.stdin.read()
"""
SETTLED_S = 90.0
"""By then nothing is left to be done, and what was started for work is let go (pictures/pool.py)."""
NAMES = {"bundled": "the bundled encoder", "b16": "a CLIP ViT-B/16"}


def bare_imports() -> float:
    """What a Python that has imported torch, transformers and pymilvus, and done nothing, holds in memory, MB."""
    command = [sys.executable, "-c", IMPORTS]
    with subprocess.Popen(command, cwd=material.REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        found = material.memory_mb([process.pid])
        process.stdin.close()
    return found


def at_rest(report: Report, home: Path, name: str, folder: Path, idle_s: float, rest_s: float) -> None:
    """A daemon that has indexed some pictures, answered some searches, and waits."""
    from real_daemon import Daemon

    weights = (folder / "model.safetensors").stat().st_size / 1e6
    imports = bare_imports()
    material.pictures(home / "Memes", 50)
    with (
        Daemon(home, "--model", "bundled" if name == "bundled" else str(folder)) as daemon,
        material.connected(daemon.socket) as ask,
    ):
        ask(op="wait")
        for text in material.queries(20):
            ask(op="search", text=text)
        settled_at = time.monotonic()
        time.sleep(SETTLED_S if rest_s else 2)
        assert daemon.process is not None
        pid = daemon.process.pid
        whole = material.memory_mb(material.tree(pid))
        report.add(
            Row(
                f"memory at rest with {NAMES[name]}, over weights + bare imports",
                whole,
                weights + imports,
                "MB",
                at_most=1.25,
            ),
            Row("the same, the daemon's own process alone", material.memory_mb([pid]), weights + imports, "MB"),
        )
        before = material.cpu_s(material.tree(pid))
        time.sleep(idle_s)
        used = material.cpu_s(material.tree(pid)) - before
        report.add(Row(f"processor time when idle with {NAMES[name]}, in a minute", used * 60 / idle_s, None, "s"))
        if rest_s >= 300:
            time.sleep(max(0.0, rest_s - (time.monotonic() - settled_at)))
            rested = material.memory_mb(material.tree(pid))
            what = f"memory after five idle minutes with {NAMES[name]}, over that before"
            report.add(Row(what, rested, whole, "MB"))


def client(report: Report, home: Path, calls: int) -> None:
    """The client's processor time for a search, over that of an interpreter that does nothing."""
    from real_daemon import Daemon

    (home / "Memes").mkdir(parents=True)
    material.small_pictures(home / "Memes" / "some", 20, 0)
    program = Path(sys.executable).parent / "memewatch"
    command = [str(program)] if program.exists() else [sys.executable, "-I", "-m", "memewatchd.client"]
    with Daemon(home, "--model", "bundled", MEMEWATCHD_WORDS="true") as daemon:
        daemon.wait()
        ours, nothing = [], []
        for text in material.queries(calls):
            nothing.append(processor_time([sys.executable, "-I", "-c", "pass"], daemon.environ))
            ours.append(processor_time([*command, "--socket", daemon.socket, "search", text], daemon.environ))
    report.add(
        Row(
            "the client's processor time for a search, over python -I -c pass",
            middle(ours) * 1e3,
            middle(nothing) * 1e3,
            "ms",
            at_most=2.5,
        )
    )


def processor_time(command: list[str], environ: dict[str, str]) -> float:
    """Seconds in user and kernel mode of one program."""
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1), command
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Each model at rest, then the client."""
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="*", choices=NAMES, default=list(NAMES))
    parser.add_argument("--idle", type=float, default=60.0, help="seconds of doing nothing that are watched")
    parser.add_argument("--rest", type=float, default=310.0, help="seconds until the picture tower surely rests")
    parser.add_argument("--calls", type=int, default=20, help="of the client")
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="meme-") as temporary:
        base = Path(temporary)
        for name in options.models:
            home = base / name
            home.mkdir()
            folder = material.bundled() if name == "bundled" else material.clip(base / "model", 16)
            at_rest(report, home, name, folder, options.idle, options.rest)
        (base / "client").mkdir()
        client(report, base / "client", options.calls)
    report.save(options.json)


if __name__ == "__main__":
    main()
