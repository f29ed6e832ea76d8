"""Which memes a person picks, so that those rise a little among near-equals and head an empty search.

One small file in the state folder, readable by the user alone, and nothing of it is sent anywhere. Kept by digest, so
that a renamed meme keeps its place. Standard library only.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Final

from memewatchd.errors import StoreError
from memewatchd.meme import Digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_log = logging.getLogger(__name__)

USAGE_FILE: Final = "usage.txt"
HALF_LIFE_S: Final = 30 * 86_400.0
"""A pick of 30 days ago counts half of one of today: jokes get old."""
MOST_KEPT: Final = 10_000
"""Digests. Beyond that the least used ones are dropped; the file stays below 1.2 MB."""
FORGOTTEN_BELOW: Final = 0.01
"""Picks. What has faded so far (one pick, after 200 days) is dropped at the next write."""
HALF_WEIGHT: Final = 2.0
"""Picks of today that make a weight of a half."""

_HEADER: Final = "memewatchd usage 1"
_LINE: Final = re.compile(r"([0-9a-f]{8,128}) ([0-9]{1,9}\.[0-9]{1,9}) ([0-9]{1,12})")


class Usage:
    """Picks by digest. Thread-safe: picks come one after another, weights may be asked meanwhile.

    ``enabled``: False (the setting ``learn = false``) neither counts nor writes nor weighs. ``clock``: seconds since
    the epoch.
    """

    def __init__(self, state_dir: Path, *, enabled: bool = True, clock: Callable[[], float] = time.time) -> None:
        self._file = state_dir / USAGE_FILE
        self._enabled = enabled
        self._clock = clock
        self._lock = threading.Lock()
        # digest → how many picks it had, faded to the moment of the last one, and when that was
        self._picks: dict[Digest, tuple[float, float]] = self._read() if enabled else {}

    @property
    def enabled(self) -> bool:
        """Whether picks are counted."""
        return self._enabled

    def pick(self, digest: Digest) -> None:
        """Count one pick, and keep it over a crash. Blocks for a write.

        Raises StoreError where it can't be written (a full disk, say); it counts until the next start all the same.
        """
        if not self._enabled:
            return
        with self._lock:
            now = self._clock()
            picks = dict(self._picks)
            picks[digest] = (self._faded(picks.get(digest), now) + 1.0, now)
            faded = {each: self._faded(pick, now) for each, pick in picks.items()}
            if len(picks) > MOST_KEPT or min(faded.values()) < FORGOTTEN_BELOW:
                kept = sorted(picks, key=lambda each: (faded[each], picks[each][1]), reverse=True)[:MOST_KEPT]
                picks = {each: picks[each] for each in kept if faded[each] >= FORGOTTEN_BELOW}
            self._picks = picks
            self._write(picks)

    def weight(self, digest: Digest) -> float:
        """How much this is used, in [0, 1): 0 never, 1/3 once today, 1/2 twice, 3/4 six times."""
        pick = self._picks.get(digest)
        if pick is None:
            return 0.0
        count = self._faded(pick, self._clock())
        return count / (count + HALF_WEIGHT)

    def most_used(self) -> list[Digest]:
        """Every digest that was picked, the most used first; of equals, the one that was picked last."""
        now, picks = self._clock(), self._picks
        return sorted(picks, key=lambda each: (-self._faded(picks[each], now), -picks[each][1], each))

    def forget(self) -> None:
        """Forget all of it, on the disk too. Raises StoreError where the file can't be removed."""
        with self._lock:
            self._picks = {}
            try:
                self._file.unlink(missing_ok=True)
                for left in self._file.parent.glob(f".{USAGE_FILE}.*"):  # of a crash in the middle of a write
                    left.unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"{self._file} can't be removed: {error.strerror or error}") from error

    @staticmethod
    def _faded(pick: tuple[float, float] | None, now: float) -> float:
        # A clock that was set back makes nothing younger than it is.
        return 0.0 if pick is None else pick[0] * math.exp2(-max(0.0, now - pick[1]) / HALF_LIFE_S)

    def _read(self) -> dict[Digest, tuple[float, float]]:
        """What the file says; lines that are no longer lines (a disk that failed) are left out."""
        try:
            text = self._file.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return {}
        except OSError as error:
            _log.warning("%s can't be read, so nobody knows what was used before: %s", self._file, error)
            return {}
        now = self._clock()
        picks: dict[Digest, tuple[float, float]] = {}
        broken = 0
        for line in text.splitlines():
            match = _LINE.fullmatch(line)
            if match is not None:
                picks[Digest(match[1])] = (float(match[2]), min(float(match[3]), now))
            elif line != _HEADER:
                broken += 1
        if broken:
            _log.warning("%s: %d lines can't be read and are left out", self._file, broken)
        best = sorted(picks, key=lambda each: self._faded(picks[each], now), reverse=True)[:MOST_KEPT]
        return {each: picks[each] for each in best}

    def _write(self, picks: dict[Digest, tuple[float, float]]) -> None:
        """Replace the file: after a crash there is the old one or the new one."""
        lines = [_HEADER, *(f"{digest} {count:.6f} {last:.0f}" for digest, (count, last) in picks.items()), ""]
        try:
            # mkstemp makes it 0600.
            descriptor, temporary = tempfile.mkstemp(prefix=f".{USAGE_FILE}.", dir=self._file.parent)
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as stream:
                    stream.write("\n".join(lines))
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(temporary, self._file)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise StoreError(f"{self._file} can't be written: {error.strerror or error}") from error
