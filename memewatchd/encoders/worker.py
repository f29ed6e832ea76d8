"""Threads that work off one queue, and say since when each has been at one thing."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any

from memewatchd.errors import EncoderError, MemewatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)


class Worker:
    """Daemon threads that serve one queue of futures, and know since when each is busy with one.

    Each runs ``run``, which calls :meth:`serve` once it is ready.
    """

    def __init__(
        self, name: str, run: Callable[[Worker], None], clock: Callable[[], float], *, threads: int = 1
    ) -> None:
        self._run = run
        self._clock = clock
        self._queue: queue.SimpleQueue[tuple[Any, Future[Any]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._main, name=name, daemon=True) for _ in range(threads)]
        self._busy_since: dict[int, float] = {}
        self._took_last: int | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take nothing more, cancel what waits, and end after the calls that run."""
        with self._lock:
            self._stopped = True
        self._drain()
        for _ in self._threads:
            self._queue.put(None)

    def join(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def submit(self, item: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            if self._stopped:
                future.set_exception(EncoderError("memewatchd is stopping"))
            else:
                self._queue.put((item, future))
        return future

    def touch(self) -> None:
        """Note that the calling thread is alive and has work."""
        with self._lock:
            self._busy_since[threading.get_ident()] = self._clock()

    def rest(self) -> None:
        """Note that the calling thread waits for work, which may take any time."""
        with self._lock:
            self._busy_since.pop(threading.get_ident(), None)

    def progressed(self) -> None:
        """Note, from any thread, that what is being worked at has come further."""
        with self._lock:
            self._busy_since = dict.fromkeys(self._busy_since, self._clock())

    def beats(self, now: float, limit: float) -> bool:
        """Whether all threads live, and none has been at one thing for ``limit`` seconds or more."""
        with self._lock:
            since = min(self._busy_since.values(), default=now)
        return all(thread.is_alive() for thread in self._threads) and now - since < limit

    def has_others_busy(self) -> bool:
        """Whether another thread than the calling one is at work, or will be at once."""
        return len(self._threads) > 1 and (not self._queue.empty() or len(self._busy_since) > 1)

    def took_last(self) -> bool:
        """Whether no other thread than the calling one has taken the last item."""
        return self._took_last in (None, threading.get_ident())

    def serve(self, work: Callable[[Any], Any], leisure: Sequence[tuple[float, Callable[[], None]]] = ()) -> None:
        """Do ``work`` on each item, until stopped. ``leisure``: what is done once whenever no item has come to the
        calling thread for so many seconds, in their order."""
        while True:
            self.rest()
            job = self._next(leisure)
            if job is None:
                return
            item, future = job
            if not future.set_running_or_notify_cancel():
                continue
            self.touch()
            self._took_last = threading.get_ident()
            try:
                result = work(item)
            except MemewatchError as error:
                _fail(future, error)
            except Exception as error:
                log.exception("the model failed")
                failure = EncoderError(f"the model failed: {str(error) or type(error).__name__}")
                failure.__cause__ = error
                _fail(future, failure)
            else:
                with contextlib.suppress(InvalidStateError):
                    future.set_result(result)

    def _next(self, leisure: Sequence[tuple[float, Callable[[], None]]]) -> tuple[Any, Future[Any]] | None:
        waited_s = 0.0
        for after_s, act in leisure:
            with contextlib.suppress(queue.Empty):
                return self._queue.get(timeout=after_s - waited_s)
            act()
            waited_s = after_s
        return self._queue.get()

    def _main(self) -> None:
        self.touch()
        self._run(self)
        self.rest()

    def _drain(self) -> None:
        while True:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                _fail(job[1], EncoderError("memewatchd is stopping"))


def _fail(future: Future[Any], error: Exception) -> None:
    with contextlib.suppress(InvalidStateError):
        future.set_exception(error)
