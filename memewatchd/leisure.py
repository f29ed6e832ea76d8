"""When there is time for what can wait: not while somebody searches. A leaf; standard library only."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STILL_S = 2.0
"""So long after a search nothing is begun: another often follows."""
LONGEST_S, THEN_S = 30.0, 3.0
"""Where searches don't end, what waits gets :data:`THEN_S` seconds after every :data:`LONGEST_S`."""


class Leisure:
    """Any thread may call. ``clock``: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first = self._last = -math.inf

    def searched(self) -> None:
        """Somebody searches, now."""
        now = self._clock()
        if now - self._last >= STILL_S:
            self._first = now
        self._last = now

    def is_now(self) -> bool:
        """Whether what can wait may go on, for a moment; whoever does more asks again."""
        now = self._clock()
        if now - self._last >= STILL_S:
            return True
        return (now - self._first) % (LONGEST_S + THEN_S) >= LONGEST_S
