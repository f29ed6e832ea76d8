"""Decoding as the daemon sees it: a file descriptor in, a future of frames out.

Each worker is a thread that owns one decode child: it starts it, feeds it, and when the child
crashes, overruns or hangs, replaces it and goes on. The parent imports neither Pillow nor, before the
first picture, numpy.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from concurrent.futures import CancelledError, Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memewatchd.errors import MemewatchError, PictureError
from memewatchd.meme import Decoded, FrameSpec
from memewatchd.pictures import wire
from memewatchd.pictures.wire import Limits

__all__ = ["DecodePool", "Limits"]

_QUEUE_PER_WORKER = 4  # descriptors held open ahead of the decoders; submit() waits beyond that
_START_S = 60.0  # for importing Pillow, on a machine that is busy with everything else
_CLOSE_S = 0.9
_RECYCLE_AFTER = 5_000  # pictures; what native decoders leak is given back
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "PYTHONHOME", "PYTHONUSERBASE")


@dataclass(frozen=True, slots=True)
class _Task:
    fd: int
    job: wire.Job
    future: Future[Decoded]


class DecodePool:
    """Decodes pictures in ``workers`` child processes. Thread-safe. Starts on first use."""

    def __init__(self, workers: int, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self._limits = limits
        self._queue: deque[_Task] = deque()
        self._bound = workers * _QUEUE_PER_WORKER
        self._changed = threading.Condition()
        self._closing = False
        self._workers = [_Worker(self, number) for number in range(workers)]
        self._started = False

    def submit(self, fd: int, spec: FrameSpec, max_frames: int = 1) -> Future[Decoded]:
        """Queues the file behind ``fd`` (a copy of it is taken; its position is neither used nor moved).

        Waits while the queue is full. The future fails with PictureError, whose message is for people;
        with MemewatchError where no decoder can be started (not the picture's fault); and with
        CancelledError once the pool is closed. Frames are writable uint8 arrays (crop, crop, 3).
        """
        task = _Task(os.dup(fd), wire.Job(spec, max_frames), Future())
        with self._changed:
            self._start()
            self._changed.wait_for(lambda: self._closing or len(self._queue) < self._bound)
            if not self._closing:
                self._queue.append(task)
                self._changed.notify_all()
                return task.future
        _cancel(task)
        return task.future

    def start(self) -> None:
        """Starts the children in the background, so that the first picture need not wait for them."""
        with self._changed:
            self._start()

    @property
    def pids(self) -> list[int]:
        """The process ids of the children that run now."""
        return [pid for worker in self._workers if (pid := worker.pid)]

    def close(self) -> None:
        """Cancels what is queued, kills the children, even mid-picture, and reaps them. May be repeated."""
        with self._changed:
            self._closing = True
            tasks, self._queue = list(self._queue), deque()
            self._changed.notify_all()
        for task in tasks:
            _cancel(task)
        for worker in self._workers:
            worker.kill()
        deadline = time.monotonic() + _CLOSE_S
        for worker in self._workers:
            if worker.ident is not None and worker is not threading.current_thread():
                worker.join(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        if not self._started and not self._closing:
            self._started = True
            for worker in self._workers:
                worker.start()

    def next_task(self) -> _Task | None:
        """For the workers: waits for the next task; None when the pool closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._queue)
            if self._closing:
                return None
            self._changed.notify_all()
            return self._queue.popleft()

    @property
    def closing(self) -> bool:
        return self._closing

    @property
    def limits(self) -> Limits:
        return self._limits


class _Worker(threading.Thread):
    """One thread and its child. The thread must outlive the child: its end would kill it (see decode.py)."""

    def __init__(self, pool: DecodePool, number: int) -> None:
        super().__init__(name=f"decode-{number}", daemon=True)
        self._pool = pool
        self._child: _Child | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.process.pid if child else None

    def kill(self) -> None:
        """Ends the child now. For other threads; a child started later sees that the pool closes."""
        with self._lock:
            if self._child:
                self._child.process.kill()

    def run(self) -> None:
        try:
            self._ensure_child()
        except (MemewatchError, CancelledError):
            pass  # the first task will meet it again, and tell
        while task := self._pool.next_task():
            if not task.future.set_running_or_notify_cancel():
                os.close(task.fd)
                continue
            try:
                task.future.set_result(self._decode(task))
            except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits for it
                task.future.set_exception(CancelledError() if self._pool.closing else error)
            finally:
                os.close(task.fd)
        self._drop_child()

    def _decode(self, task: _Task) -> Decoded:
        # A child can die of something that isn't the picture's doing (the OOM killer chose it, an
        # administrator did): only what kills two fresh ones is to blame.
        for attempt in range(2):
            child = self._ensure_child()
            try:
                decoded = child.decode(task.fd, task.job)
            except PictureError:
                if child.spent:
                    self._drop_child()
                raise
            except _CrashedError as crash:
                self._drop_child()
                if self._pool.closing:
                    raise CancelledError from None
                if attempt or crash.final:
                    raise PictureError(str(crash)) from None
            except BaseException:
                self._drop_child()
                raise
            else:
                if child.spent:
                    self._drop_child()
                return decoded
        raise AssertionError("unreachable")

    def _ensure_child(self) -> _Child:
        if self._child and self._child.process.poll() is not None:
            self._drop_child()
        if not self._child:
            child = _Child(self._pool.limits)
            with self._lock:
                self._child = child
                if self._pool.closing:
                    child.process.kill()
            try:
                child.await_ready()
            except BaseException as error:
                self._drop_child()
                if self._pool.closing:
                    raise CancelledError from error
                raise
        return self._child

    def _drop_child(self) -> None:
        with self._lock:
            child, self._child = self._child, None
            if child:
                child.close()


class _CrashedError(Exception):
    """The child died or was killed. ``final``: another try would only take as long again."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class _Child:
    """A running decode child and our end of its socket."""

    def __init__(self, limits: Limits) -> None:
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
        """Raises PictureError for what the child says of the picture, _CrashedError for what became of it."""
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
            raise _CrashedError(
                f"took longer than {self._limits.deadline_s:g} s to decode", final=True
            ) from None
        except wire.Closed:
            raise self._post_mortem() from None
        except (ValueError, KeyError, TypeError) as error:
            self.process.kill()
            raise _CrashedError(f"the decoder answered nonsense ({error})") from error
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
            self.process.wait(_CLOSE_S / 2)
        except subprocess.TimeoutExpired:
            pass
        os.close(self._stderr)

    def _post_mortem(self) -> _CrashedError:
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return _CrashedError("the decoder hung up")
        if code == -signal.SIGXCPU:
            return _CrashedError(
                f"took more than {self._limits.cpu_s} s of processor time to decode", final=True
            )
        if code == -signal.SIGKILL:
            return _CrashedError("the decoder was killed (signal 9), perhaps because memory ran out")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return _CrashedError(f"the decoder crashed ({how})")


def _command(descriptor: int, limits: Limits) -> list[str]:
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


def _cancel(task: _Task) -> None:
    os.close(task.fd)
    task.future.cancel()
    task.future.set_running_or_notify_cancel()
