"""Which files are still to be read, in what order, and which of them wait: for their writer, or for power.

Owned by the sync thread. What somebody has just saved is read before a backlog, and on battery instead of it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from memewatchd.meme import FileStat

# A plan of more than this many files is a backlog: what changes meanwhile is read before it.
BACKLOG_FILES = 64
# On battery more than this many at once wait for power; what somebody has just saved doesn't.
FEW_FILES = 8
# While somebody writes to a file it is tried again, with growing patience.
QUIET_S = 0.05
RETRY_MAX_S = 2.0


@dataclass(slots=True)
class Todo:
    """A file to be read; ``stat`` is how it stood at ``since``; tried again at ``due`` while somebody writes."""

    stat: FileStat
    since: float
    due: float = 0.0
    tries: int = 0
    is_bulk: bool = False


class Agenda:
    """See the module. Times are the mirror's clock, in seconds."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._todo: dict[bytes, Todo] = {}
        self._fresh: deque[bytes] = deque()
        self._backlog: deque[bytes] = deque()
        self._waiting: dict[bytes, Todo] = {}

    def __len__(self) -> int:
        return len(self._todo) + len(self._waiting)

    def __contains__(self, path: bytes) -> bool:
        return path in self._todo or path in self._waiting

    @property
    def paths(self) -> list[bytes]:
        return [*self._todo, *self._waiting]

    @property
    def readable(self) -> int:
        """How many wait for nobody but us."""
        return len(self._todo)

    @property
    def has_fresh(self) -> bool:
        """Whether something is to be read that isn't of a backlog."""
        return bool(self._fresh)

    @property
    def has_backlog(self) -> bool:
        return bool(self._backlog)

    def clear(self) -> None:
        for queue in (self._todo, self._fresh, self._backlog, self._waiting):
            queue.clear()

    def enter(self, files: Mapping[bytes, FileStat], now: float, *, new: Iterable[bytes], saving: bool) -> None:
        """Files as a plan found them. ``new``: those that aren't under way elsewhere; ``saving``: on battery."""
        # Those that have their place already don't count: their folder is looked at again for each new file in it.
        count = sum(path not in self._todo for path in new)
        # On battery a few, one after another, are many too.
        is_bulk = count + len(self._fresh) > FEW_FILES if saving else count > BACKLOG_FILES
        for path, stat in files.items():
            known = self._todo.get(path) or self._waiting.pop(path, None)
            bulk = known.is_bulk if known else is_bulk
            if path not in self._todo:
                (self._backlog if bulk else self._fresh).append(path)
            unchanged = known is not None and known.stat == stat
            self._todo[path] = Todo(stat, known.since if known and unchanged else now, is_bulk=bulk)

    def remove(self, paths: Iterable[bytes]) -> None:
        """They have vanished."""
        for path in paths:
            self._todo.pop(path, None)
            self._waiting.pop(path, None)

    def wake(self, now: float, *, saving: bool) -> None:
        """Those that have waited long enough are to be read."""
        for path in [path for path, todo in self._waiting.items() if todo.due <= now]:
            todo = self._todo[path] = self._waiting.pop(path)
            (self._backlog if saving and todo.is_bulk else self._fresh).append(path)

    def take(self, *, saving: bool) -> tuple[bytes, Todo] | None:
        """The next one to be read; None where there is none, or where the rest waits for power."""
        for queue in (self._fresh,) if saving else (self._fresh, self._backlog):
            while queue:
                path = queue.popleft()
                if (todo := self._todo.pop(path, None)) is not None:
                    return path, todo
        return None

    def put_off(self, path: bytes, todo: Todo, stat: FileStat, now: float) -> None:
        """Somebody may still be writing to it, which stands at ``stat``: it is tried again in a while."""
        tries = todo.tries + 1
        pause = (
            min(max(self._settle_s, 0.02) * (1 + tries // 8), RETRY_MAX_S) if tries > 1 else min(self._settle_s, 0.05)
        )
        changed = (stat.size, stat.mtime_ns) != (todo.stat.size, todo.stat.mtime_ns)
        since = now if changed else todo.since
        self._waiting[path] = Todo(stat, since, now + max(pause, QUIET_S), tries, todo.is_bulk)

    def read_again(self, path: bytes, stat: FileStat, now: float) -> None:
        """It changed while it was read."""
        if path not in self:
            self._waiting[path] = Todo(stat, now, now + QUIET_S)

    def next_due(self) -> float:
        """When the first that waits for its writer has waited long enough; infinity where none does."""
        return min((todo.due for todo in self._waiting.values()), default=math.inf)
