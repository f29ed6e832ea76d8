"""The real daemon as a process of its own, on real folders, Milvus and models; and what the disk itself says."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from caches import CACHE
from PIL import Image

from memewatchd.cache_names import digested_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPO = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0


class Daemon:
    """One home, one daemon at a time. Use :meth:`start` and :meth:`stop`, or ``with``."""

    def __init__(self, home: Path, *flags: str, **environment: str) -> None:
        self.home = home
        self.folder = home / "Memes"
        self.socket = str(home / "run" / "memewatchd.sock")
        self.flags = flags
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
        ours = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}
        # A reader of words takes 400 MB: tests that want one say so.
        self.environ = kept | ours | {"MEMEWATCHD_WORDS": "false"} | environment
        self.through: list[str] = []
        """A program and its arguments that start the daemon by becoming it: ``setpriv …``, ``unshare …``."""
        self.process: subprocess.Popen[str] | None = None
        (home / "run").mkdir(mode=0o700, exist_ok=True)
        # The dictionaries are digested once for all homes, not once for each.
        digested = home / ".cache" / "memewatchd" / "dictionaries"
        if not digested.is_symlink():
            digested.parent.mkdir(parents=True, exist_ok=True)
            common = Path(digested_dir({"XDG_CACHE_HOME": str(CACHE)}))
            common.mkdir(mode=0o700, parents=True, exist_ok=True)  # nothing is kept where a link leads nowhere
            digested.symlink_to(common)

    def start(self, *more: str) -> Daemon:
        """Start, and wait until it answers (which is long before the model is there)."""
        self.process = self.spawn(*more)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.status()
                return self
            except OSError:
                assert self.process.poll() is None, self.log()
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.05)

    def spawn(self, *more: str) -> subprocess.Popen[str]:
        """Only start."""
        with (self.home / "log").open("a") as log:
            return subprocess.Popen(
                [*self.through, sys.executable, "-m", "memewatchd.daemon", *self.flags, *more],
                cwd=REPO,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=30)
        self.out = out
        code = self.process.returncode
        self.process = None
        return code

    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    def __enter__(self) -> Daemon:
        return self.start()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            print(self.log())
        if self.process is not None:
            self.stop(signal.SIGKILL if kind is not None else signal.SIGTERM)

    # ---- asking, over the socket itself

    def lines(self, **request: Any) -> Iterator[dict[str, Any]]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(self.socket)
            sock.sendall(json.dumps(request).encode() + b"\n")
            sock.shutdown(socket.SHUT_WR)
            with sock.makefile("rb") as stream:
                for line in stream:
                    yield json.loads(line)

    def ask(self, **request: Any) -> dict[str, Any]:
        """The first reply, which must be a good one."""
        reply = next(self.lines(**request))
        assert reply.get("ok"), (reply, self.log())
        return reply

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.ask(op="status")["status"]
        return status

    def wait(self) -> None:
        self.ask(op="wait", timeout=PATIENCE_S)

    def files(self, op: str = "list") -> list[dict[str, Any]]:
        *files, end = self.lines(op=op)
        assert end == {"ok": True, "end": True, "count": len(files)}
        return [reply["file"] for reply in files]

    def listed(self) -> dict[bytes, str]:
        """Path → digest, as the index has it."""
        files = self.files()
        found = {path_of(file): file["digest"] for file in files}
        assert len(found) == len(files), "a path is listed twice"
        return found

    def failed(self) -> dict[bytes, str]:
        return {path_of(file): file["reason"] for file in self.files("failed")}

    def search(self, text: str, **more: Any) -> list[bytes]:
        return [path_of(hit) for hit in self.ask(op="search", text=text, **more)["hits"]]

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"never: {what}\n{self.log()}"
            time.sleep(0.05)

    def memewatch(self, *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
        """The client, as a program."""
        command = [sys.executable, "-m", "memewatchd.client", *arguments]
        return subprocess.run(command, cwd=REPO, env=self.environ, capture_output=True, check=False, timeout=PATIENCE_S)


def path_of(entry: dict[str, Any], key: str = "path") -> bytes:
    """The raw path of a hit or a file."""
    return base64.b64decode(entry[f"{key}_b64"]) if f"{key}_b64" in entry else os.fsencode(entry[key])


def picture(path: Path | bytes, seed: int) -> None:
    """A small picture that no other seed gives, written at once, in the format that the name asks for."""
    random = np.random.default_rng(seed)
    rough = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(rough).resize((40 + seed % 30, 36), Image.Resampling.BICUBIC)
    name = os.fsdecode(path)
    suffix = os.path.splitext(name)[1].lower()
    kind = {".jpg": "JPEG", ".gif": "GIF", ".webp": "WEBP", ".bmp": "BMP"}.get(suffix, "PNG")
    image.save(name, format=kind)


def pictures(folder: Path, seeds: range) -> None:
    """Many, in mixed formats."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        picture(folder / f"{seed:05}.{('png', 'jpg', 'gif', 'webp', 'bmp')[seed % 5]}", seed)


def on_disk(folder: Path) -> dict[bytes, str]:
    """Path → digest of every picture below ``folder``, found in the plainest way."""
    found = {}
    for base, folders, names in os.walk(os.fsencode(folder)):
        folders[:] = [name for name in folders if not name.startswith(b".")]
        for name in names:
            path = os.path.join(base, name)
            if not name.startswith(b".") and not name.endswith((b".part", b".crdownload", b"~")):
                with open(path, "rb") as stream:  # noqa: PTH123 - raw bytes
                    found[path] = hashlib.blake2b(stream.read(), digest_size=32).hexdigest()
    return found
