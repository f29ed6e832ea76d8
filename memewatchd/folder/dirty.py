"""Where the mirror must look: a bounded set of marks that the watcher fills and the mirror empties.

Nothing is queued per file: ten thousand events in one folder are one mark.
"""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

MAX_MARKS = 4096
"""Beyond this many marks one walk over the roots costs less than keeping them apart (a guess)."""


@dataclass(frozen=True, slots=True)
class Dirty:
    """What to look at. No path lies below one of ``trees``, except a tree's own.

    ``folders`` are looked at without their subfolders, ``trees`` with all that is below.
    Paths are absolute raw bytes, a root's own or below it.
    """

    folders: frozenset[bytes] = frozenset()
    trees: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, folders: Iterable[bytes] = (), trees: Iterable[bytes] = ()) -> Dirty:
        """Leaves out what a tree covers anyway."""
        all_trees = frozenset(trees)
        kept = frozenset(tree for tree in all_trees if not any(up in all_trees for up in ancestors(tree)))
        rest = (path for path in folders if path not in kept and not any(up in kept for up in ancestors(path)))
        return cls(frozenset(rest), kept)

    def __bool__(self) -> bool:
        return bool(self.folders or self.trees)

    def without(self, roots: Collection[bytes]) -> Dirty:
        """Less what lies in these folders."""
        if not roots:
            return self

        def is_here(path: bytes) -> bool:
            return not any(path == root or path.startswith(root.rstrip(b"/") + b"/") for root in roots)

        return Dirty.of(filter(is_here, self.folders), filter(is_here, self.trees))


def ancestors(path: bytes) -> Iterator[bytes]:
    """The folders above an absolute path, nearest first, down to ``b"/"``."""
    end = len(path)
    while end > 1:
        end = path.rfind(b"/", 0, end)
        if end < 0:
            return
        yield path[:end] or b"/"


class DirtySet:
    """Thread-safe. Marks come from the watcher's thread, the mirror waits for them and takes them.

    ``clock`` gives seconds that never go back; ``first_mark`` and ``last_mark`` are its readings (None
    while nothing is marked), so that the mirror can let a burst settle without waiting for ever.
    """

    def __init__(
        self,
        roots: Sequence[bytes],
        limit: int = MAX_MARKS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roots = tuple(roots)
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        # Not a threading.Condition, which is a dozen of Python's functions a wait: see memewatchd/glance.py.
        self._woken = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        weakref.finalize(self, os.close, self._woken)
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self._folders: set[bytes] = set()
        self._trees: set[bytes] = set()
        self.first_mark: float | None = None
        self.last_mark: float | None = None

    def mark_folder(self, path: bytes) -> None:
        """Look at this folder's own files, and at subfolders that are new."""
        self._mark([path], [])

    def mark_tree(self, path: bytes) -> None:
        """Look at all that is below this folder."""
        self._mark([], [path])

    def mark_all(self) -> None:
        """Look at everything."""
        self._mark([], self._roots)

    def mark(self, dirty: Dirty) -> None:
        """Puts back what was taken and could not be dealt with."""
        self._mark(dirty.folders, dirty.trees)

    def _mark(self, folders: Iterable[bytes], trees: Iterable[bytes]) -> None:
        with self._lock:
            self._folders.update(folders)
            self._trees.update(trees)
            if len(self._folders) + len(self._trees) > self._limit:
                self._folders.clear()
                self._trees = set(self._roots)
            if self._folders or self._trees:
                self.last_mark = self._clock()
                if self.first_mark is None:
                    self.first_mark = self.last_mark
                    self.wake()

    def wake(self) -> None:
        """Ends the current or the next :meth:`wait_woken` without marking anything."""
        os.eventfd_write(self._woken, 1)

    def wait_woken(self, timeout: float | None = None) -> bool:
        """Waits for the *first* mark since the last :meth:`take`, :meth:`wake` or ``timeout`` seconds (then: False).

        One thread waits. For a caller that lets a burst settle: the marks that follow the first don't wake it.
        """
        if not self._poll.poll(None if timeout is None else timeout * 1000):
            return False
        os.eventfd_read(self._woken)
        return True

    def take(self) -> Dirty:
        """Everything marked so far; the set is empty afterwards."""
        with self._lock:
            folders, trees = self._folders, self._trees
            self._folders, self._trees = set(), set()
            self.first_mark = self.last_mark = None
        return Dirty.of(folders, trees)
