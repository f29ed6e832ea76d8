"""The model hub: what of it is on disk already, and how a model gets there.

Standard library only. The hub's own library runs in a child process
(:mod:`memewatchd.encoders.hub_child`), with the settings that it reads when it is imported.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from memewatchd.encoders.checkpoint import CONFIG, IMAGE_SETTINGS, WEIGHTS, missing_files
from memewatchd.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

log = logging.getLogger(__name__)

PAGES = "https://huggingface.co"
"""Where models have their pages, unless an endpoint is set."""

STALL_S = 30.0
"""A download that brings no byte for so long is given up."""
SAY_EVERY_S = 5.0
RATE_OVER_S = 15.0
TICK_S = 0.2
SPARE_DISK = 200_000_000
"""Bytes that a download leaves free: the index and the system want some too."""
OVERHEAD_RAM_MB = 700
"""What torch and transformers take themselves. The weights are held in float32, as most files have them."""

_CACHE_VARIABLES = (
    ("HF_HUB_CACHE", ""),
    ("HUGGINGFACE_HUB_CACHE", ""),
    ("HF_HOME", "hub"),
    ("XDG_CACHE_HOME", "huggingface/hub"),
)
"""The library's order, and what it adds to each."""


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Where the hub's library keeps what it downloads."""
    for variable, below in _CACHE_VARIABLES:
        if given := environ.get(variable):
            return Path(os.path.abspath(os.path.expandvars(os.path.expanduser(given)))) / below
    return Path(environ.get("HOME") or os.path.expanduser("~")) / ".cache/huggingface/hub"


def cached(repo: str, environ: Mapping[str, str]) -> Path | None:
    """The snapshot folder that holds all of the model ``repo``: the hub's latest known, else the newest; or None."""
    home = cache_dir(environ) / f"models--{repo.replace('/', '--')}"
    try:
        snapshots = sorted((home / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return None
    try:
        main = (home / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        main = ""
    snapshots.sort(key=lambda path: path.name != main)
    return next((path for path in snapshots if _complete(path)), None)


def _complete(folder: Path) -> bool:
    try:
        return not missing_files(folder)
    except (EncoderError, OSError):
        return False


def download(
    repo: str,
    *,
    endpoint: str,
    proxy: str,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    beat: Callable[[], None],
    stopping: Callable[[], bool],
    stall_s: float = STALL_S,
    free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
) -> Path:
    """Fetch what is missing of ``repo`` into the hub's cache → the complete snapshot's folder.

    Says size, free disk and memory first, then the progress every few seconds; ``beat`` is called while bytes
    come in. An interrupted download goes on where it ended. ``free``: bytes free at a folder.
    Raises EncoderError: it can't be reached or stalls for ``stall_s`` seconds (with what to do by hand), there
    is no such model, the disk is too small, or ``stopping`` said so.
    """
    cache = cache_dir(environ)
    page = f"{endpoint or environ.get('HF_ENDPOINT') or PAGES}/{repo}/tree/main"
    say(f"downloading the model {repo} from {page.removesuffix('/tree/main')}")
    with _Child(repo, cache, _environment(environ, endpoint, proxy)) as child:
        names: list[str] = []
        progress = _Progress(repo, 0)
        for message in child.messages(stall_s, stopping):
            if message is None:
                raise EncoderError(_by_hand(f"no byte of {repo} came in {stall_s:g} s", names, page))
            beat()
            if "error" in message:
                why = f"{repo}: {message['error']}" if repo not in message["error"] else message["error"]
                raise EncoderError(_by_hand(why, names, page) if message["unreachable"] else why)
            if "plan" in message:
                plan = message["plan"]
                names = [name for name, _ in plan["files"]]
                say(_announce(repo, plan, cache, free(_existing(cache))))
                progress = _Progress(repo, plan["left"])
                child.go()
            elif "got" in message:
                if line := progress.line(message["got"], time.monotonic()):
                    say(line)
            elif "done" in message:
                folder = Path(message["done"])
                if lacks := missing_files(folder):
                    raise EncoderError(f"{repo} is not a complete model: it lacks {'; '.join(lacks)}")
                say(f"{repo}: downloaded")
                return folder
        raise EncoderError(f"{repo}: the download ended without a word: {child.complaint()}")


def _announce(repo: str, plan: dict[str, Any], cache: Path, room: int) -> str:
    """What is about to happen, in a line. Raises EncoderError where ``room``, the bytes free, is too little."""
    left = plan["left"]
    total = sum(size for _, size in plan["files"])
    weights = sum(size for name, size in plan["files"] if name.endswith((".safetensors", ".bin")))
    if left and left + SPARE_DISK > room:
        raise EncoderError(
            f"{repo} needs {_mb(left)} more in {cache}, and only {_mb(room)} are free there. Make room, "
            "or set HF_HOME to a folder on another disk."
        )
    have = f", {_mb(total - left)} of them are here already" if left < total else ""
    memory = _free_memory()
    return (
        f"{repo}: {_mb(total)}{have}; goes to {cache} ({_mb(room)} free); it will take about "
        f"{weights // 10**6 + OVERHEAD_RAM_MB:,} MB of memory" + (f" ({_mb(memory)} free)" if memory else "")
    )


class _Child:
    """The downloading process. Leaving the ``with`` kills it."""

    def __init__(self, repo: str, cache: Path, environment: Mapping[str, str]) -> None:
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        try:
            self._process = subprocess.Popen(
                # -P: not the current folder, as for the picture decoder.
                [sys.executable, "-P", "-m", "memewatchd.encoders.hub_child", repo, str(cache)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=dict(environment),
                cwd="/",
                start_new_session=True,  # Ctrl-C in the terminal is the parent's to handle
            )
        except OSError as error:
            self._stderr.close()
            raise EncoderError(f"the download can't be started: {error}") from error
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                stream.close()

    def go(self) -> None:
        """Let it begin."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it died; messages() ends, too
            os.write(self._process.stdin.fileno(), b"go\n")

    def messages(self, stall_s: float, stopping: Callable[[], bool]) -> Iterator[dict[str, Any] | None]:
        """What it says, as it says it; None once it has said nothing new for ``stall_s``. Raises EncoderError."""
        last = time.monotonic()
        while True:
            if stopping():
                raise EncoderError("memewatchd is stopping")
            try:
                message = self._lines.get(timeout=TICK_S)
            except queue.Empty:
                if time.monotonic() - last > stall_s:
                    yield None
                continue
            if message is None:
                return
            last = time.monotonic()
            yield message

    def complaint(self) -> str:
        """The last line that it wrote to stderr."""
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        log.debug("the downloading process: %s", "\n".join(lines))
        return lines[-1][:300] if lines else f"exit code {code}"

    def _read(self, stdout: IO[bytes]) -> None:
        for line in stdout:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if isinstance(message, dict):  # a library may print, too
                self._lines.put(message)
        self._lines.put(None)


class _Progress:
    """Turns counts of bytes into a line now and then."""

    def __init__(self, repo: str, total: int) -> None:
        self._repo = repo
        self._total = total
        self._said = time.monotonic()
        self._seen: deque[tuple[float, int]] = deque([(self._said, 0)])

    def line(self, got: int, now: float) -> str:
        """The line to print at the time ``now``, with rate and time left; "" where the last one is recent."""
        self._seen.append((now, got))
        while len(self._seen) > 2 and self._seen[0][0] < now - RATE_OVER_S:
            self._seen.popleft()
        if now - self._said < SAY_EVERY_S:
            return ""
        self._said = now
        if got >= self._total:
            return f"{self._repo}: checking what came"
        (since, before), done = self._seen[0], f"{max(got, 0) / 1e6:,.0f} of {_mb(self._total)}"
        rate = (got - before) / max(now - since, 1e-3)
        if rate <= 0:
            return f"{self._repo}: {done}"
        return f"{self._repo}: {done}, {rate / 1e6:.1f} MB/s, {_duration((self._total - got) / rate)} left"


def _environment(environ: Mapping[str, str], endpoint: str, proxy: str) -> dict[str, str]:
    """The child's: what the hub's library, and the HTTP library below it, read when they are imported."""
    environment = {
        **environ,
        "HF_HUB_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # Xet has an endpoint of its own, and doesn't go on where it ended.
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_VERBOSITY": "error",
    }
    package = str(Path(__file__).resolve().parents[2])
    if package not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package, environ.get("PYTHONPATH"))))
    if endpoint:
        environment["HF_ENDPOINT"] = endpoint
    if proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            environment[name] = environment[name.lower()] = proxy
    return environment


def _by_hand(why: str, names: list[str], page: str) -> str:
    """``why``, and what the user can do about it."""
    weights, *more = WEIGHTS
    files = ", ".join(names) or (
        f"{CONFIG}, {IMAGE_SETTINGS[0]}, the tokenizer's files (tokenizer.json, tokenizer_config.json, "
        f"vocab.txt, …: those that are there) and {weights} (or {' or '.join(more)})"
    )
    return (
        f"{why}. Behind a firewall, set hub_endpoint (a mirror of the hub) or proxy; or fetch these files from "
        f"{page} into a folder by other means, and use memewatchd --model FOLDER: {files}"
    )


def _existing(path: Path) -> Path:
    """The nearest folder at or above ``path`` that is there."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _free_memory() -> int:
    """Bytes that programs can still have, 0 where the kernel doesn't say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def _mb(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
