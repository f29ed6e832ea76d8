"""The health check, every ten seconds: does Milvus answer, do the watches live, are the roots the same?

Where all is at rest, a glance at what the kernel knows stands for it. Owned by the sync thread but for
:meth:`HealthCheck.check_soon`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from memewatchd.folder.dirty import DirtySet

CHECK_S = 10.0
THOROUGH_CHECK_S = 60.0
# A glance sees all that a check looks at; but who believes that for ever?
GLANCES_S = 300.0


class Watches(Protocol):
    """What is needed of the watcher."""

    def check(self) -> None: ...


class Roots(Protocol):
    """What is needed of the looker."""

    def look_at_roots(self) -> bool: ...


class Glances(Protocol):
    """What is needed of :class:`memewatchd.glance.Glance`."""

    def remember(self) -> None: ...
    def is_enough(self) -> bool: ...
    def is_same(self) -> bool: ...
    def close(self) -> None: ...


class HealthCheck:
    """See the module. ``check_index`` is told whether a quick look will do; ``at_leisure`` wakes whoever works when
    there is nothing else to do, so that nobody else needs a timer, and says whether they have done all they could."""

    def __init__(
        self,
        *,
        dirty: DirtySet,
        watcher: Watches,
        roots: Roots,
        check_index: Callable[[bool], None] = lambda quick: None,
        at_leisure: Callable[[], bool] = lambda: True,
        glance: Glances | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dirty = dirty
        self._watcher = watcher
        self._roots = roots
        self._check_index = check_index
        self._at_leisure = at_leisure
        self._glance = glance
        self._clock = clock
        self._is_fresh = False  # whether this very round of the mirror made a check
        self.due_at = self._thorough_at = 0.0

    def check_soon(self) -> None:
        """Any thread: the next check is due, and is thorough."""
        self.due_at = self._thorough_at = 0.0

    def check_index_if_due(self) -> bool:
        """Raises StoreError where Milvus isn't well; says whether it was looked at."""
        now = self._clock()
        if now < self.due_at:
            return False
        quick = now < self._thorough_at
        self.due_at = now + CHECK_S
        if not quick:
            self._thorough_at = now + THOROUGH_CHECK_S
        self._check_index(quick)
        if self._glance is not None:
            # After what may put Milvus to rest, and before the folders are looked at.
            self._glance.remember()
        return True

    def check_if_due(self) -> None:
        """All of it. Raises StoreError."""
        self._is_fresh = self.check_index_if_due()
        if not self._is_fresh:
            return
        self._watcher.check()
        if self._roots.look_at_roots():
            self._dirty.mark_all()
        self._at_leisure()

    def stand_still(self, beat: Callable[[], None]) -> None:
        """For a mirror that is at rest: wait until someone wakes it or a check is to be made.

        Where one has just been made, none is while glances, as often, find all as it was: who is woken in between may
        do what needs a check. ``beat`` is called at each glance.
        """
        glance = self._glance
        may_glance = glance is not None and self._is_fresh and glance.is_enough() and self._at_leisure()
        next_at = self.due_at
        ends_at = next_at + GLANCES_S
        while not self._dirty.wait_woken(max(0.0, next_at - self._clock())):
            beat()
            now = self._clock()
            if glance is None or not may_glance or now >= ends_at or not glance.is_same():
                return
            next_at = now + CHECK_S

    def close(self) -> None:
        """Nothing is kept of what was seen."""
        if self._glance is not None:
            self._glance.close()
