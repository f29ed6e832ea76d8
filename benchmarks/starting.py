"""Starting: to the first answered `status`, to the first answered search, and anew on files that haven't changed.

    python benchmarks/starting.py [--rounds 5] [--files 20000]

The search is compared with a process that only imports torch and transformers and loads the same model, and with one
that loads it as the daemon does, without transformers; the restart with one that opens the same engine, reads all rows'
stat fields and walks the folders with os.scandir and stat. All are timed from the start of their process, in turns.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import material
from rows import Report, Row, arguments, middle

if TYPE_CHECKING:
    from real_daemon import Daemon

STATUS_S = 0.3
LOAD = """
import sys
from memewatchd.encoders import bundled
bundled.register()
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
folder = str(bundled.FOLDER)
AutoModel.from_pretrained(folder, dtype=torch.float32)
AutoImageProcessor.from_pretrained(folder, backend="pil")
AutoTokenizer.from_pretrained(folder)
"""
OURS = """
from memewatchd.encoders.bundled import FOLDER
from memewatchd.encoders.models import encoder_class
encoder_class(FOLDER).load(FOLDER, "bundled", device="cpu")
"""
WALK = """
import os, sys
from pathlib import Path
from memewatchd.index.engine import Engine
state, root = sys.argv[1:]
fields = ["id", "path", "digest", "size", "mtime_ns", "ctime_ns", "ino"]
engine = Engine.open(state + "/index.db", "", Path(state))
rows = 0
engine.client.load_collection("memewatchd_files")
pages = engine.client.query_iterator("memewatchd_files", batch_size=1000, output_fields=fields)
while page := pages.next():
    rows += len(page)
def walk(folder):
    found = 0
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            found += walk(entry.path)
        else:
            os.stat(entry.path)
            found += 1
    return found
assert walk(root) == rows, rows
engine.close()
os._exit(0)
"""


def bare(program: str, *given: str) -> float:
    """Seconds that a Python program takes from its start to its end."""
    command = [sys.executable, "-c", program, *given]
    return material.timed(lambda: subprocess.run(command, check=True, cwd=material.REPO, capture_output=True))


def first_status(daemon: Daemon) -> float:
    """Seconds from the start of the process to an answer. Leaves it running."""
    began = time.perf_counter()
    daemon.process = daemon.spawn()
    while True:
        try:
            daemon.status()
            return time.perf_counter() - began
        except OSError:
            assert daemon.process.poll() is None, daemon.log()
            time.sleep(0.005)


def main() -> None:
    """In turns, so that a busy moment hits both."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=20_000)
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="meme-") as temporary:
        few = Path(temporary) / "few"
        few.mkdir()
        starts(report, few, options.rounds)
        many = Path(temporary) / "many"
        many.mkdir()
        restarts(report, many, options.rounds, options.files)
    report.save(options.json)


def starts(report: Report, home: Path, rounds: int) -> None:
    """With an index that is complete."""
    from real_daemon import Daemon

    material.pictures(home / "Memes", 20)
    daemon = Daemon(home, "--model", "bundled", MEMEWATCHD_WORDS="true")
    with daemon:
        daemon.wait()
    status, search, load, ours = [], [], [], []
    for number in range(rounds):
        load.append(bare(LOAD))
        ours.append(bare(OURS))
        began = time.perf_counter()
        status.append(first_status(daemon))
        hits = daemon.search(f"a yellow circle, {number}")
        search.append(time.perf_counter() - began)
        assert hits
        daemon.stop()
    report.add(
        Row("start to the first answered status, over 0.3 s", middle(status), STATUS_S, "s", at_most=1.0),
        Row("start to the first answered search, over load alone", middle(search), middle(load), "s", at_most=1.1),
        Row("the same, over load alone without transformers", middle(search), middle(ours), "s"),
    )


def restarts(report: Report, home: Path, rounds: int, files: int) -> None:
    """Until the daemon has compared every file with its row."""
    from real_daemon import Daemon

    material.fill(home, files)
    daemon = Daemon(home, "--model", "bundled", MEMEWATCHD_WORDS="true")
    ours, walk = [], []
    for _ in range(rounds):
        walk.append(bare(WALK, str(material.state_dir(home)), str(home / "Memes")))
        began = time.perf_counter()
        first_status(daemon)
        while (status := daemon.status())["state"] == "starting":
            time.sleep(0.01)
        ours.append(time.perf_counter() - began)
        daemon.wait()
        status = daemon.status()
        # Their content is no picture: had one been read, it would have failed.
        assert (status["indexed"], status["failed"], status["encoded"]) == (files, 0, 0), status
        daemon.stop()
    what = f"restart on {files:,} unchanged files, over a bare walk and read of the rows"
    report.add(Row(what, middle(ours), middle(walk), "s", at_most=1.5))


if __name__ == "__main__":
    main()
