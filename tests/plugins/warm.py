"""Daemons that start in a second: forked from a process that has imported torch, transformers and pymilvus already.

Each is a process of its own, killed and started anew as any other; only the seconds of importing are saved, which
leaves time for many more kills. Campaigns start some daemons the ordinary way too.

Run as a program, this is that process: it reads a request a line and answers each with a line.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if __name__ != "__main__":
    from caches import CACHE
    from real_daemon import REPO, Daemon

    if TYPE_CHECKING:
        from collections.abc import Sequence
        from pathlib import Path

    class Nest:
        """The process that forks; use ``with``. All that it forked ends with it."""

        def __init__(self) -> None:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                cwd=REPO,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
                | {"XDG_CACHE_HOME": str(CACHE)},
            )

        def ask(self, *request: Any) -> Any:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

        def __enter__(self) -> Nest:
            return self

        def __exit__(self, *_: object) -> None:
            self._process.communicate(timeout=30)

    class Forked:
        """As much of a Popen as :class:`Daemon` uses."""

        def __init__(self, nest: Nest, arguments: Sequence[str], environ: dict[str, str], log: Path) -> None:
            self._nest = nest
            self.returncode: int | None = None
            self.pid: int = nest.ask("fork", list(arguments), environ, str(log))

        def poll(self) -> int | None:
            if self.returncode is None:
                self.returncode = self._nest.ask("poll", self.pid)
            return self.returncode

        def send_signal(self, number: int) -> None:
            if self.poll() is None:  # not reaped, so its number is nobody else's
                os.kill(self.pid, number)

        def kill(self) -> None:
            self.send_signal(signal.SIGKILL)

        def communicate(self, timeout: float = 30) -> tuple[str, str]:
            deadline = time.monotonic() + timeout
            while self.poll() is None:
                if time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired("memewatchd", timeout)
                time.sleep(0.005)
            return "", ""

    class WarmDaemon(Daemon):
        """A daemon from the nest; with ``nest`` None for once, started the ordinary way."""

        def __init__(self, nest: Nest | None, home: Path, *flags: str, **environment: str) -> None:
            super().__init__(home, *flags, **environment)
            self.nest = nest

        def spawn(self, *more: str) -> Any:
            if self.nest is None:
                return super().spawn(*more)
            return Forked(self.nest, [*self.flags, *more], self.environ, self.home / "log")


def _hatch(arguments: list[str], environ: dict[str, str], log: str) -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDWR)
    said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for target, source in enumerate((nothing, nothing, said)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["memewatchd", *arguments]
    from memewatchd import daemon

    daemon.main()


def _sit() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizerFast  # noqa: F401 - what a model of ours takes

    import memewatchd.daemon
    import memewatchd.encoders.clip  # noqa: F401
    from memewatchd.encoders.glossary import glossary
    from memewatchd.index.pymilvus_client import import_pymilvus
    from memewatchd.search.input_method import lexicon
    from memewatchd.search.readings import readings

    import_pymilvus()
    lexicon()
    readings()
    glossary()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        match json.loads(line):
            case ["fork", arguments, environ, log]:
                pid = os.fork()
                if pid == 0:
                    code: Any = 1
                    try:
                        _hatch(arguments, environ, log)
                    except SystemExit as end:
                        code = end.code
                    finally:
                        os._exit(code)
                answer: Any = pid
            case ["poll", pid]:
                done, status = os.waitpid(pid, os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if done else None
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _sit()
