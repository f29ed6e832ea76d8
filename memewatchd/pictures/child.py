"""The parent's side of one child that opens pictures: start it, ask it, learn what it died of, end it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from memewatchd.errors import MemewatchError, PictureError
from memewatchd.looks import is_packed
from memewatchd.meme import Decoded
from memewatchd.pictures import wire
from memewatchd.pictures.human import MAX_BYTES
from memewatchd.pictures.tags import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

_REAP_S = 0.45
_MOST_FRAMES = 10**9  # what a frame's key in the index has room for
_RECYCLE_AFTER = 5_000  # pictures; what native decoders leak is given back
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "PYTHONHOME", "PYTHONUSERBASE")


class CrashedError(Exception):
    """The child died or was killed.

    ``final``: another try would only take as long again. ``late``: by the clock on the wall, so that it may
    have been the machine, busy with something else.
    """

    def __init__(self, message: str, *, final: bool = False, late: bool = False) -> None:
        super().__init__(message)
        self.final = final
        self.late = late


class LateError(PictureError):
    """The time on the wall ran out: perhaps the picture's doing, perhaps the machine's."""


class Child:
    """A running child and our end of its socket. Subclasses say which program it is, and what it is asked."""

    MODULE: ClassVar[str]
    NAME: ClassVar[str]
    """What people call it: "picture decoder"."""
    DOES: ClassVar[str]
    """What it does with a picture: "decode"."""
    START_S: ClassVar[float] = 60.0  # for importing Pillow, on a machine that is busy with everything else

    def __init__(self, limits: wire.Limits) -> None:
        self._limits = limits
        self._jobs = 0
        self.spent = False
        # Decoders complain on stderr, one line for each bad block. The child's RLIMIT_FSIZE bounds it.
        self._stderr = os.memfd_create("child-stderr", os.MFD_CLOEXEC)
        self._sock, theirs = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                self._command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                cwd="/",
                start_new_session=True,  # Ctrl-C in the terminal is the parent's to handle
            )
        except OSError as error:
            self._sock.close()
            os.close(self._stderr)
            raise MemewatchError(f"the {self.NAME} can't be started: {error}") from error
        finally:
            theirs.close()

    def await_ready(self) -> None:
        """Waits until the child can take a job. Raises MemewatchError with what it said as it died."""
        try:
            wire.receive(self._sock, time.monotonic() + self.START_S)
        except (wire.Closed, TimeoutError, ValueError) as error:
            complaint = os.pread(self._stderr, 65536, 0).decode("utf-8", "replace").strip()
            why = complaint.splitlines()[-1] if complaint else f"no answer in {self.START_S:.0f} s"
            raise MemewatchError(f"the {self.NAME} can't be started: {why}") from error

    @contextmanager
    def asking(self, fd: int, job: dict[str, Any]) -> Iterator[tuple[dict[str, Any], float]]:
        """Asks about the picture behind ``fd``; gives the reply, and the deadline for what comes after it.

        Raises PictureError for what the child says of the picture, CrashedError for what became of the child,
        or where the body raises ValueError, KeyError or TypeError because the reply is nonsense.
        """
        self._jobs += 1
        deadline = time.monotonic() + self._limits.deadline_s
        try:
            self._sock.settimeout(self._limits.deadline_s)
            wire.send(self._sock, job, fd=fd)
            reply = wire.receive(self._sock, deadline)
            self.spent = bool(reply.get("last")) or self._jobs >= _RECYCLE_AFTER
            if "error" in reply:
                raise PictureError(str(reply["error"]))
            yield reply, deadline
        except TimeoutError:
            self.process.kill()
            message = f"took longer than {self._limits.deadline_s:g} s to {self.DOES}"
            raise CrashedError(message, final=True, late=True) from None
        except wire.Closed:
            raise self._post_mortem() from None
        except (ValueError, KeyError, TypeError) as error:
            self.process.kill()
            raise CrashedError(f"the {self.NAME} answered nonsense ({error})") from error

    def close(self) -> None:
        """Kills and reaps it. One that sleeps in the kernel (a dead network share) is left to die alone."""
        self._sock.close()
        self.process.kill()
        try:
            self.process.wait(_REAP_S)
        except subprocess.TimeoutExpired:
            pass
        os.close(self._stderr)

    def _post_mortem(self) -> CrashedError:
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return CrashedError(f"the {self.NAME} hung up")
        if code == -signal.SIGXCPU:
            return CrashedError(f"took more than {self._limits.cpu_s} s of processor time to {self.DOES}", final=True)
        if code == -signal.SIGKILL:
            return CrashedError(f"the {self.NAME} was killed (signal 9), perhaps because memory ran out")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return CrashedError(f"the {self.NAME} crashed ({how})")

    def _command(self, descriptor: int) -> list[str]:
        # -P: not the current folder; -B: writes nothing. -I would also hide an editable install's PYTHONPATH.
        options = ["-P", "-B", "-W", "ignore"]
        arguments = [str(descriptor), str(os.getpid()), json.dumps(asdict(self._limits))]
        return [sys.executable, *options, "-m", self.MODULE, *arguments]


class DecodeChild(Child):
    """Gives a picture's size and frames."""

    MODULE = "memewatchd.pictures.decode"
    NAME = "decoder"
    DOES = "decode"

    def answer(self, fd: int, job: wire.Job) -> Decoded:
        """Raises PictureError for what the child says of the picture, CrashedError for what became of it."""
        import numpy as np

        with self.asking(fd, job.to_json()) as (reply, deadline):
            side = job.spec.crop
            count = _whole(reply, "frames", job.max_frames)
            n_frames = _whole(reply, "n_frames", 1 << 31)
            numbers = _rising(reply["numbers"], count, min(n_frames, _MOST_FRAMES))
            pixels = wire.receive_bytes(self._sock, count * side * side * 3, deadline)
            frames = np.frombuffer(pixels, np.uint8).reshape(count, side, side, 3)
            return Decoded(
                format=str(reply["format"]),
                width=_whole(reply, "width", self._limits.max_pixels),
                height=_whole(reply, "height", self._limits.max_pixels),
                n_frames=n_frames,
                frames=list(frames),
                numbers=numbers,
                description=_text(reply.get("description", "")),
                look=_look(reply.get("look", "")),
            )


def _environment() -> dict[str, str]:
    """What the child may know: how to find libraries, not the user's tokens or Python settings."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # each of its threads reserves address space
    package = str(Path(__file__).resolve().parents[2])
    if package not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        environment["PYTHONPATH"] = package
    return environment


def _rising(numbers: object, count: int, end: int) -> tuple[int, ...]:
    """``count`` rising numbers from 0 up to, not including, ``end``; for anything else ValueError."""
    if not isinstance(numbers, list) or len(numbers) != count or not all(type(number) is int for number in numbers):
        raise ValueError("its frames have no numbers")
    if sorted({-1, *numbers, end}) != [-1, *numbers, end]:
        raise ValueError(f"its frames are numbered {numbers}")
    return tuple(numbers)


def _text(value: object) -> str:
    """A description, bounded and cleaned once more: the child may have been taken over by what it read."""
    if not isinstance(value, str):
        raise ValueError("its description is no text")
    return "\n".join(filter(None, (clean(line, MAX_BYTES) for line in value[:MAX_BYTES].split("\n"))))


def _look(value: object) -> str:
    if value == "" or (isinstance(value, str) and is_packed(value)):
        return str(value)
    raise ValueError("it looks like nothing that is known")


def _whole(reply: dict[str, Any], key: str, most: int) -> int:
    value = reply[key]
    if not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{key} is {value!r}")
    return value
