"""Has the real daemon index the set, asks it everything over its socket, and keeps what it said of every picture."""

from __future__ import annotations

import json
import platform
import socket
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.search.figures import LEGS, SHOWN, Asked, Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from benchmarks.search.memes import Meme
    from benchmarks.search.queries import Query

REPO = Path(__file__).resolve().parents[2]
BUNDLED = REPO / "memewatchd" / "encoders" / "bundled" / "model.safetensors"
sys.path.insert(0, str(REPO / "tests" / "plugins"))

from real_daemon import Daemon  # noqa: E402 - beside the tests, which use it too

PATIENCE_S = 120
NOTHING_LEFT_OUT = -1.0
"""Below every score, so that no hit is left out."""


class Refused(Exception):
    """The daemon's own words."""


class Line:
    """One connection, one question after the other."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(2 * PATIENCE_S)
        self._socket.connect(path)
        self._stream = self._socket.makefile("rb")

    def ask(self, **request: Any) -> dict[str, Any]:
        """Raises Refused with the error's code first."""
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        reply: dict[str, Any] = json.loads(self._stream.readline())
        if not reply["ok"]:
            raise Refused(f"{reply['error']['code']}: {reply['error']['message']}")
        return reply


def server_flags(home: Path, alive: ExitStack) -> list[str]:
    """What the daemon is given for a Milvus server of our own, which runs until ``alive`` ends."""
    from milvus_server import MilvusServer, running  # beside real_daemon

    server: MilvusServer = alive.enter_context(running(home / "server"))
    (home / "token").write_text(server.token)
    return ["--milvus", server.uri, "--milvus-token-file", str(home / "token")]


def run(memes: Sequence[Meme], queries: Sequence[Query], home: Path, flags: Sequence[str], tagged: bool) -> Run:
    """Index ``home``/Memes, ask, and give back what was said. ``flags``: of the daemon, ``--model`` and its name first.
    Raises Refused where the daemon can't go on."""
    model = flags[1]
    with Daemon(home, *flags, MEMEWATCHD_WORDS="true") as daemon:
        line = Line(daemon.socket)
        _wait(line, words=False)
        with_words = _wait(line, words=True)
        status = _calibrated(line)
        if status["indexed"] != len(memes):
            raise Refused(f"{status['indexed']} of {len(memes)} pictures are indexed: {daemon.failed()}")
        of_file = {meme.file: number for number, meme in enumerate(memes)}
        of_path = {str(daemon.folder / file): number for file, number in of_file.items()}
        asked: list[Asked] = []
        merged: set[int] = set()
        for number, query in enumerate(queries, 1):
            asked.append(_ask(line, query, of_path, of_file, merged))
            if number % 500 == 0:
                print(f"  asked: {number} of {len(queries)}", file=sys.stderr, flush=True)
    about = about_here(model) | {
        "model": status["model"],
        "engine": status["engine"].split(",")[0],
        "words": with_words,
        "tags": tagged,
        "merged": len(merged),
    }
    return Run(about, [meme.file for meme in memes], asked)


def _calibrated(line: Line) -> dict[str, Any]:
    """The status once the daemon knows what fits nothing in these pictures; it measures that when all is indexed."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        status: dict[str, Any] = line.ask(op="status")["status"]
        if status.get("calibrated", status["indexed"]) >= status["indexed"]:
            return status
        if time.monotonic() > deadline:
            raise Refused(f"not calibrated after {PATIENCE_S} s: {status}")
        time.sleep(0.5)


def _wait(line: Line, *, words: bool) -> bool:
    """Until all is indexed (``words``: and read). False where this daemon can't read words."""
    more = {"words": True} if words else {}
    while True:
        try:
            line.ask(op="wait", timeout=PATIENCE_S, **more)
            return True
        except Refused as error:
            if words and str(error).startswith("bad_request"):
                print(f"  without the words in the pictures: {error}", file=sys.stderr, flush=True)
                return False
            if not str(error).startswith("timeout"):
                raise
        status = line.ask(op="status")["status"]
        left = {key: status.get(key) for key in ("state", "pending", "words_pending")}
        print(f"  still at work: {left}", file=sys.stderr, flush=True)


def _ask(line: Line, query: Query, of_path: dict[str, int], of_file: dict[str, int], merged: set[int]) -> Asked:
    """As a person asks, and once more with nothing left out. ``merged`` gets what is only shown as another's copy."""
    seen = line.ask(op="search", text=query.text, limit=SHOWN)["hits"]
    every = line.ask(op="search", text=query.text, limit=1000, min_score=NOTHING_LEFT_OUT)["hits"]
    right = sorted(of_file[file] for file in query.right)
    legs: dict[str, dict[int, float]] = {leg: {} for leg in LEGS}
    for hit in every:
        first, *copies = _files(hit, of_path)
        merged.update(copies)
        for leg in LEGS:
            if hit["why"][leg] is not None:
                legs[leg].update(dict.fromkeys((first, *copies), hit["why"][leg]))

    def order(hits: list[dict[str, Any]]) -> list[int]:
        # Who sees a picture with its copies sees the right one if it is any of them.
        groups = [_files(hit, of_path) for hit in hits]
        return [next((one for one in group if one in right), group[0]) for group in groups]

    return Asked(query.kind, query.language, query.text, query.half, right, order(seen), raw_order=order(every), **legs)


def _files(hit: dict[str, Any], of_path: dict[str, int]) -> list[int]:
    return [of_path[one["path"]] for one in (hit, *hit.get("copies", ()))]


def about_here(model: str) -> dict[str, Any]:
    """Commit, weights of the bundled model, machine, day."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=REPO, check=False, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "memewatchd", "benchmarks/search")
    processor = next(
        (row.partition(":")[2].strip() for row in _lines("/proc/cpuinfo") if row.startswith("model name")), ""
    )
    return {
        "commit": (git("rev-parse", "--short", "HEAD") or "none") + (" and changes" if changed else ""),
        "weights": sha256(BUNDLED.read_bytes()).hexdigest()[:16] if model == "bundled" else "",
        "machine": f"{processor or platform.machine()}, Python {platform.python_version()}",
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
