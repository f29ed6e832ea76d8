"""The vectors that were stored in the last seconds, for a server: they are found in memory until it surely shows them.

A server shows a write with its next time tick. To ask for one's own writes (``Session``) is to wait for that tick,
200 to 400 ms right after each write, which while pictures are being indexed is always: as long as ``Strong`` takes. So
searches ask with ``Bounded`` staleness, which waits for nothing and lacks at most the last five seconds (the server's
``gracefulTime``), and what we wrote since is compared here.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from memewatchd.meme import PictureHit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.meme import Digest

KEEP_S: Final = 10.0
"""Twice what ``Bounded`` allows."""
MOST: Final = 2000
"""Some 3 MB, and 1 ms to compare; a daemon encodes less in that time."""


class Fresh:
    """One thread adds and drops, any may search."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: list[tuple[float, Digest, int, NDArray[np.float32]]] = []
        self._lost_until = 0.0

    def add(self, rows: Iterable[tuple[Digest, int, NDArray[np.float32]]]) -> None:
        """These were stored just now."""
        now = self._clock()
        with self._lock:
            kept = [row for row in self._rows if now < row[0] + KEEP_S] + [(now, *row) for row in rows]
            if len(kept) > MOST:
                kept, self._lost_until = kept[-MOST:], now + KEEP_S
            self._rows = kept

    def drop(self, digests: Collection[Digest]) -> None:
        """These were deleted."""
        gone = set(digests)
        with self._lock:
            self._rows = [row for row in self._rows if row[1] not in gone]

    def near(self, vector: NDArray[np.float32], digests: Collection[Digest] | None = None) -> list[PictureHit] | None:
        """The cosine between each and ``vector``; None where more was stored than is kept here."""
        import numpy as np

        now = self._clock()
        with self._lock:
            rows = [row for row in self._rows if now < row[0] + KEEP_S]
            if now < self._lost_until:
                return None
        if digests is not None:
            wanted = set(digests)
            rows = [row for row in rows if row[1] in wanted]
        if not rows:
            return []
        stored = np.stack([row[3] for row in rows])
        lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(vector)
        scores = stored @ vector / np.maximum(lengths, np.finfo(np.float32).tiny)
        return [PictureHit(row[1], row[2], float(score)) for row, score in zip(rows, scores, strict=True)]
