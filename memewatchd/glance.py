"""Asks the kernel, in a handful of calls, whether anything has changed that a health check would find.

A health check goes through the mirror, the watcher and the engine: a thousand pages of memory that nobody has touched
for ten seconds, to find what was found before. A glance is written to touch as little as Python can: each function that
it called would be some ten pages more. Owned by the sync thread.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from memewatchd.folder.mounts import MountTable
from memewatchd.index.space import FLOOR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Resting(Protocol):
    """What a glance needs of the engine; ``pid`` and ``where`` are the embedded one's."""

    @property
    def is_resting(self) -> bool: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def where(self) -> str: ...


class Glance:
    """See the module. Of ``engine`` only one that rests can be judged by a glance. ``is_all_told``: whether the kernel
    tells of every change in the folders."""

    def __init__(self, folders: Sequence[bytes], engine: Resting, is_all_told: Callable[[], bool]) -> None:
        # As the watcher has it: what is mounted there at its first use is used by this.
        self._folders = [os.path.join(folder, b".") for folder in folders]
        self._engine = engine
        self._is_all_told = is_all_told
        self._mounts = MountTable()
        self._pid: int | None = None
        self._index_folder = os.path.dirname(engine.where)
        self._known: tuple[object, ...] | None = None

    def remember(self) -> None:
        """To be called before the folders are looked at: what is seen now is what that will have judged."""
        self._pid = self._engine.pid
        self._known = self._see()

    def is_enough(self) -> bool:
        """To be called after that: whether glances may stand for health checks now, seeing all that those look at."""
        return self._known is not None and self._is_all_told()

    def is_same(self) -> bool:
        """Whether all is as it was remembered."""
        return self._known is not None and self._see() == self._known

    def close(self) -> None:
        """Nothing is remembered."""
        self._known = None
        self._mounts.close()

    def _see(self) -> tuple[object, ...] | None:
        """None where something is wrong, or can't be seen by a glance."""
        if self._pid is None or not self._engine.is_resting:
            return None
        try:
            if os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return None
            disk = os.statvfs(self._index_folder)
            if disk.f_bavail * disk.f_frsize < FLOOR:
                return None
            found = []
            for folder in self._folders:
                stat = os.stat(folder)
                # ctime changes with its permissions, and with every name in it that comes or goes.
                found.append((stat.st_dev, stat.st_ino, stat.st_ctime_ns))
        except OSError:
            return None
        return (found, self._mounts.look())
