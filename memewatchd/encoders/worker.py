"""A thread that works off a queue, and says since when it has been at one thing."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any

from memewatchd.errors import EncoderError, MemewatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)


class Worker:
    """A daemon thread that serves a queue of futures, and knows since when it is busy with one."""

    def __init__(self, name: str, run: Callable[[Worker], None], clock: Callable[[], float]) -> None:
        self._run = run
        self._clock = clock
        self._queue: queue.SimpleQueue[tuple[Any, Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._busy_since: float | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def start(self) -> None:
        self.touch()
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more, cancel what waits, and end after the call that runs."""
        with self._lock:
            self._stopped = True
        self._drain()
        self._queue.put(None)

    def join(self, timeout: float) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout)

    def submit(self, item: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            if self._stopped:
                future.set_exception(EncoderError("memewatchd is stopping"))
            else:
                self._queue.put((item, future))
        return future

    def touch(self) -> None:
        """Note that this thread is alive and has work."""
        self._busy_since = self._clock()

    def rest(self) -> None:
        """Note that this thread waits for work, which may take any time."""
        self._busy_since = None

    def beats(self, now: float, limit: float) -> bool:
        since = self._busy_since
        return self._thread.is_alive() and (since is None or now - since < limit)

    def serve(self, work: Callable[[Any], Any], leisure: Sequence[tuple[float, Callable[[], None]]] = ()) -> None:
        """Do ``work`` on each item, until stopped. ``leisure``: what is done once whenever no item has come for so many
        seconds, in their order."""
        while True:
            self.rest()
            job = self._next(leisure)
            if job is None:
                return
            item, future = job
            if not future.set_running_or_notify_cancel():
                continue
            self.touch()
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
