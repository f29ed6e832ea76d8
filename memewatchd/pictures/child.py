"""The parent's side of one decode child: start it, ask it, learn what it died of, end it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memewatchd.errors import MemewatchError, PictureError
from memewatchd.meme import Decoded
from memewatchd.pictures import wire

_START_S = 60.0  # for importing Pillow, on a machine that is busy with everything else
_REAP_S = 0.45
_RECYCLE_AFTER = 5_000  # pictures; what native decoders leak is given back
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "PYTHONHOME", "PYTHONUSERBASE")


class CrashedError(Exception):
    """The child died or was killed. ``final``: another try would only take as long again."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class Child:
    """A running decode child and our end of its socket."""

    def __init__(self, limits: wire.Limits) -> None:
        self._limits = limits
        self._jobs = 0
        self.spent = False
        # Decoders complain on stderr, one line for each bad block. The child's RLIMIT_FSIZE bounds it.
        self._stderr = os.memfd_create("decode-stderr", os.MFD_CLOEXEC)
        self._sock, theirs = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                _command(theirs.fileno(), limits),
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
            raise MemewatchError(f"the picture decoder can't be started: {error}") from error
        finally:
            theirs.close()

    def await_ready(self) -> None:
        """Waits until the child can take a job. Raises MemewatchError with what it said as it died."""
        try:
            wire.receive(self._sock, time.monotonic() + _START_S)
        except (wire.Closed, TimeoutError, ValueError) as error:
            complaint = os.pread(self._stderr, 65536, 0).decode("utf-8", "replace").strip()
            why = complaint.splitlines()[-1] if complaint else f"no answer in {_START_S:.0f} s"
            raise MemewatchError(f"the picture decoder can't be started: {why}") from error

    def decode(self, fd: int, job: wire.Job) -> Decoded:
        """Raises PictureError for what the child says of the picture, CrashedError for what became of it."""
        import numpy as np

        self._jobs += 1
        deadline = time.monotonic() + self._limits.deadline_s
        try:
            self._sock.settimeout(self._limits.deadline_s)
            wire.send(self._sock, job.to_json(), fd=fd)
            reply = wire.receive(self._sock, deadline)
            self.spent = bool(reply.get("last")) or self._jobs >= _RECYCLE_AFTER
            if "error" in reply:
                raise PictureError(str(reply["error"]))
            side = job.spec.crop
            count = _whole(reply, "frames", job.max_frames)
            pixels = wire.receive_bytes(self._sock, count * side * side * 3, deadline)
        except TimeoutError:
            self.process.kill()
            raise CrashedError(f"took longer than {self._limits.deadline_s:g} s to decode", final=True) from None
        except wire.Closed:
            raise self._post_mortem() from None
        except (ValueError, KeyError, TypeError) as error:
            self.process.kill()
            raise CrashedError(f"the decoder answered nonsense ({error})") from error
        frames = np.frombuffer(pixels, np.uint8).reshape(count, side, side, 3)
        return Decoded(
            format=str(reply["format"]),
            width=_whole(reply, "width", self._limits.max_pixels),
            height=_whole(reply, "height", self._limits.max_pixels),
            n_frames=_whole(reply, "n_frames", 1 << 31),
            frames=list(frames),
        )

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
            return CrashedError("the decoder hung up")
        if code == -signal.SIGXCPU:
            return CrashedError(f"took more than {self._limits.cpu_s} s of processor time to decode", final=True)
        if code == -signal.SIGKILL:
            return CrashedError("the decoder was killed (signal 9), perhaps because memory ran out")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return CrashedError(f"the decoder crashed ({how})")


def _command(descriptor: int, limits: wire.Limits) -> list[str]:
    # -P: not the current folder; -B: writes nothing. -I would also hide an editable install's PYTHONPATH.
    options = ["-P", "-B", "-W", "ignore"]
    arguments = [str(descriptor), str(os.getpid()), json.dumps(asdict(limits))]
    return [sys.executable, *options, "-m", "memewatchd.pictures.decode", *arguments]


def _environment() -> dict[str, str]:
    """What the child may know: how to find libraries, not the user's tokens or Python settings."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # each of its threads reserves address space
    package = str(Path(__file__).resolve().parents[2])
    if package not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        environment["PYTHONPATH"] = package
    return environment


def _whole(reply: dict[str, Any], key: str, most: int) -> int:
    value = reply[key]
    if not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{key} is {value!r}")
    return value
