"""Decoding as the daemon sees it: a file descriptor in, a future of frames out.

Each worker is a thread that owns one child: it starts it, feeds it, and when the child crashes, overruns or
hangs, replaces it and goes on. The parent imports neither Pillow nor, before the first picture, numpy.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from memewatchd.errors import MemewatchError, PictureError
from memewatchd.pictures import wire
from memewatchd.pictures.child import CrashedError, DecodeChild, LateError
from memewatchd.pictures.wire import Limits

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from memewatchd.meme import Decoded, FrameSpec

__all__ = ["ChildPool", "DecodePool", "Limits"]

IDLE_S = 60.0
"""A child is let go after so long without work: 25 to 40 MB of memory, and a tenth of a second to start it again."""

_QUEUE_PER_WORKER = 4  # descriptors held open ahead of the decoders; submit() waits beyond that
_CLOSE_S = 0.9


JobT = TypeVar("JobT")
AnswerT = TypeVar("AnswerT")
JobT_contra = TypeVar("JobT_contra", contravariant=True)
AnswerT_co = TypeVar("AnswerT_co", covariant=True)


class Asked(Protocol[JobT_contra, AnswerT_co]):
    """What a pool needs of a child; see :class:`memewatchd.pictures.child.Child`."""

    @property
    def process(self) -> subprocess.Popen[bytes]: ...
    @property
    def spent(self) -> bool: ...
    def await_ready(self) -> None: ...
    def answer(self, fd: int, job: JobT_contra, /) -> AnswerT_co: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Task(Generic[JobT, AnswerT]):
    fd: int
    job: JobT
    future: Future[AnswerT]


class ChildPool(Generic[JobT, AnswerT]):
    """Has questions about files answered by ``workers`` children. Thread-safe. Starts on first use.

    ``start_child`` starts one; ``idle_s``: seconds without work after which a child is let go.
    """

    def __init__(
        self,
        workers: int,
        start_child: Callable[[], Asked[JobT, AnswerT]],
        *,
        name: str,
        idle_s: float,
    ) -> None:
        self.start_child = start_child
        self.idle_s = idle_s
        self._queue: deque[_Task[JobT, AnswerT]] = deque()
        self._bound = workers * _QUEUE_PER_WORKER
        self._changed = threading.Condition()
        self._closing = False
        self._workers = [_Worker(self, f"{name}-{number}") for number in range(workers)]
        self._started = False

    def ask(self, fd: int, job: JobT) -> Future[AnswerT]:
        """Queues the file behind ``fd`` (a copy of it is taken; its position is neither used nor moved).

        Waits while the queue is full. The future fails with PictureError, whose message is for people (LateError
        where only the time on the wall ran out); with MemewatchError where no child can be started (not the
        picture's fault); and with CancelledError once the pool is closed.
        """
        task: _Task[JobT, AnswerT] = _Task(os.dup(fd), job, Future())
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

    def signal(self, number: int) -> None:
        """Sends a signal to the children that run now."""
        for worker in self._workers:
            worker.signal(number)

    def close(self) -> None:
        """Cancels what is queued, kills the children, even mid-picture, and reaps them. May be repeated."""
        with self._changed:
            self._closing = True
            tasks, self._queue = list(self._queue), deque()
            self._changed.notify_all()
        for task in tasks:
            _cancel(task)
        self.signal(signal.SIGKILL)
        deadline = time.monotonic() + _CLOSE_S
        for worker in self._workers:
            if worker.ident is not None and worker is not threading.current_thread():
                worker.join(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        if not self._started and not self._closing:
            self._started = True
            for worker in self._workers:
                worker.start()

    def next_task(self, timeout: float | None) -> _Task[JobT, AnswerT] | None:
        """For the workers: waits for the next task; None when the pool closes or the time, in seconds, is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._queue, timeout)
            if self._closing or not self._queue:
                return None
            self._changed.notify_all()
            return self._queue.popleft()

    @property
    def closing(self) -> bool:
        return self._closing


class DecodePool(ChildPool[wire.Job, "Decoded"]):
    """Decodes pictures."""

    def __init__(self, workers: int, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        super().__init__(workers, lambda: DecodeChild(limits), name="decode", idle_s=IDLE_S)

    def submit(self, fd: int, spec: FrameSpec, max_frames: int = 1) -> Future[Decoded]:
        """:meth:`ask` for frames: writable uint8 arrays (crop, crop, 3)."""
        return self.ask(fd, wire.Job(spec, max_frames))


class _Worker(threading.Thread, Generic[JobT, AnswerT]):
    """One thread and its child. The thread must outlive the child: its end would kill it (see decode.py)."""

    def __init__(self, pool: ChildPool[JobT, AnswerT], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._pool = pool
        self._child: Asked[JobT, AnswerT] | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.process.pid if child else None

    def signal(self, number: int) -> None:
        """Sends a signal to the child. For other threads; a child started later sees that the pool closes."""
        with self._lock:
            if self._child:
                self._child.process.send_signal(number)

    def run(self) -> None:
        try:
            self._ensure_child()
        except (MemewatchError, CancelledError):
            pass  # the first task will meet it again, and tell
        while True:
            # Without a child there is nothing to let go.
            task = self._pool.next_task(self._pool.idle_s if self._child else None)
            if task is None:
                self._drop_child()
                if self._pool.closing:
                    return
                continue
            if not task.future.set_running_or_notify_cancel():
                os.close(task.fd)
                continue
            try:
                task.future.set_result(self._answer(task))
            except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits for it
                task.future.set_exception(CancelledError() if self._pool.closing else error)
            finally:
                os.close(task.fd)

    def _answer(self, task: _Task[JobT, AnswerT]) -> AnswerT:
        # A child can die of something that isn't the picture's doing (the OOM killer chose it, an
        # administrator did): only what kills two fresh ones is to blame.
        for attempt in range(2):
            child = self._ensure_child()
            try:
                answer = child.answer(task.fd, task.job)
            except PictureError:
                if child.spent:
                    self._drop_child()
                raise
            except CrashedError as crash:
                self._drop_child()
                if self._pool.closing:
                    raise CancelledError from None
                if attempt or crash.final:
                    raise (LateError if crash.late else PictureError)(str(crash)) from None
            except BaseException:
                self._drop_child()
                raise
            else:
                if child.spent:
                    self._drop_child()
                return answer
        raise AssertionError("unreachable")

    def _ensure_child(self) -> Asked[JobT, AnswerT]:
        if self._child and self._child.process.poll() is not None:
            self._drop_child()
        if not self._child:
            child = self._pool.start_child()
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


def _cancel(task: _Task[JobT, AnswerT]) -> None:
    os.close(task.fd)
    task.future.cancel()
    task.future.set_running_or_notify_cancel()
