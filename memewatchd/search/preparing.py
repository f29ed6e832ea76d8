"""Does what a search would otherwise have to wait for, while nothing else is to be done."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from memewatchd.search.calibrator import Calibrator
    from memewatchd.search.copies import Copies

log = logging.getLogger(__name__)

_SOON_S = 1.0


class Preparer:
    """Reads dictionaries once, looks for copies in what is new, and measures anew what fits nothing.

    ``in_pool`` calls a function in a thread; ``is_ready`` says whether the model and its pictures are there. It has no
    timer of its own once all is done: :meth:`look_again` wakes it, where there is something to do.
    """

    def __init__(
        self,
        in_pool: Callable[[Callable[[], Any]], Awaitable[Any]],
        copies: Copies,
        calibrator: Calibrator | None,
        *,
        is_ready: Callable[[], bool],
    ) -> None:
        self._in_pool = in_pool
        self._copies = copies
        self._calibrator = calibrator
        self._is_ready = is_ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()

    def look_again(self) -> bool:
        """Any thread, now and then: wakes :meth:`run` where something has changed. Costs next to nothing otherwise.

        Says whether all is prepared.
        """
        is_behind = self._copies.is_stale or (self._calibrator is not None and self._calibrator.is_stale)
        if self._loop is not None and is_behind:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._woken.set)
        return not is_behind

    async def run(self, is_calm: Callable[[], bool], *once: Callable[[], None]) -> None:
        """For ever: when ``is_calm``, do what is to be done, and ``once`` before all else. Not earlier: it would be in
        the way of the first search."""
        self._loop = asyncio.get_running_loop()
        left = list(once)
        while True:
            soon = left or not is_calm()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _SOON_S if soon else None)
            self._woken.clear()
            if not (is_calm() and self._is_ready()):
                continue
            try:
                while left:
                    await self._in_pool(left.pop(0))
                if self._copies.is_stale:
                    await self._in_pool(self._copies.warm)
                if self._calibrator is not None and self._calibrator.is_stale:
                    await self._in_pool(self._calibrator.measure)
            except Exception:
                log.exception("a search was not prepared; it does without")
