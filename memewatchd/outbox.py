"""What has been read and encoded and waits to be written. Owned by the sync thread."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from memewatchd.folder.dirty import Dirty
from memewatchd.progress import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memewatchd.folder.dirty import DirtySet
    from memewatchd.index.catalog import Catalog
    from memewatchd.index.ledger import Ledger
    from memewatchd.intake import Finished, Intake
    from memewatchd.looking import Looker
    from memewatchd.meme import FileRow
    from memewatchd.progress import Progress

log = logging.getLogger(__name__)

# Rows are written when so many are finished or the oldest has waited so long, and at once when nothing else is to do.
ROWS = 64
WAIT_S = 0.5


class Outbox:
    """See the module. What it writes it also tells: to the looker, the intake, the log, and whoever watches."""

    def __init__(
        self, dirty: DirtySet, looker: Looker, ledger: Ledger, catalog: Catalog, intake: Intake, progress: Progress
    ) -> None:
        self._dirty = dirty
        self._looker = looker
        self._ledger = ledger
        self._catalog = catalog
        self._intake = intake
        self._progress = progress
        self._finished: list[Finished] = []
        self._encoded: set[str] = set()
        self.due_at = 0.0
        """When what waits is written at the latest; of the clock that :meth:`add` is given."""

    def __len__(self) -> int:
        return len(self._finished)

    @property
    def paths(self) -> list[bytes]:
        """What waits."""
        return [item.path for item in self._finished]

    def add(self, finished: Sequence[Finished], now: float) -> None:
        if finished and not self._finished:
            self.due_at = now + WAIT_S
        self._finished += finished

    def clear(self) -> None:
        """Forget what waits."""
        self._finished.clear()

    def is_due(self, now: float, *, idle: bool) -> bool:
        """Whether to write; ``idle``: nothing else is to do."""
        return bool(self._finished) and (idle or len(self._finished) >= ROWS or now >= self.due_at)

    def write(self) -> list[bytes]:
        """Write all that waits; gives their paths. Raises StoreError, and then nothing waits any more."""
        finished, self._finished = self._finished, []
        # What looked gone may only be away, with all of its root, and be back by now: a look decides.
        vanished = [item.path for item in finished if item.path and item.row is None and item.no_meme is None]
        self._dirty.mark(Dirty.of(map(os.path.dirname, vanished)))
        if any(item.row is None and item.path for item in finished) and self._looker.look_at_roots():
            self._dirty.mark_all()
        known = {item.path: self._catalog.get(item.path) for item in finished}
        rows = [item.row for item in finished if item.row is not None]
        pictures = [item.picture for item in finished if item.picture is not None]
        changed = [row for item in finished if item.no_meme is not None and (row := known[item.path]) is not None]
        forget = [row for row in changed if not self._catalog.is_away(row.path)]
        self._ledger.commit(pictures=pictures, rows=rows, forget=forget)
        self._intake.stored()
        self._encoded.update(digest for digest, _ in pictures)
        self._progress.encoded = len(self._encoded)
        for item in finished:
            if item.no_meme is not None:
                self._looker.note_no_meme(item.path, item.no_meme)
        for row in rows:
            if row.error and known[row.path] != row:
                log.info("%s: %s", os.fsdecode(row.path), row.error)
        # A row that only notes another ctime, or a new model's vector, is no news.
        news = [row for row in rows if _differ(known[row.path], self._catalog.get(row.path))]
        self._progress.tell(Event("failed" if row.error else "added", row.path) for row in news)
        self._progress.tell(Event("removed", row.path) for row in forget)
        self._progress.count_settled(len(finished))
        return [item.path for item in finished]


def _differ(old: FileRow | None, new: FileRow | None) -> bool:
    """Whether people would notice, of two rows of one path as they are stored."""
    if old is None or new is None:
        return old is not new
    return (old.digest, old.error, old.text, old.tags) != (new.digest, new.error, new.text, new.tags)
