"""Looks at the disk and compares it with the index: which roots are here, what has moved, gone, come or changed.

Owned by the sync thread but for :meth:`Looker.forget_missing`. Moves and deletions are written at once, for which no
picture is read; what is to be read is left to the caller.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from memewatchd.folder.plan import Plan, make_plan
from memewatchd.meme import FileStat
from memewatchd.pictures.tags import read_tags
from memewatchd.progress import Event
from memewatchd.words import searchable_text, tag_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from memewatchd.folder.dirty import DirtySet
    from memewatchd.folder.plan import Move
    from memewatchd.folder.roots import RootState
    from memewatchd.folder.scan import Disk, Look
    from memewatchd.index.catalog import Catalog
    from memewatchd.index.ledger import Ledger
    from memewatchd.meme import FileRow
    from memewatchd.progress import Progress

log = logging.getLogger(__name__)


class Looker:
    """See the module."""

    def __init__(
        self,
        *,
        roots: Sequence[RootState],
        disk: Disk,
        ledger: Ledger,
        catalog: Catalog,
        progress: Progress,
        remember_roots: Callable[[], None],
    ) -> None:
        self._roots = list(roots)
        self._disk = disk
        self._ledger = ledger
        self._catalog = catalog
        self._progress = progress
        self._remember_roots = remember_roots
        self._forget = threading.Event()
        self._no_memes: dict[bytes, FileStat] = {}

    def forget_missing(self) -> None:
        """Any thread: at the next look forget the files of roots that are away."""
        self._forget.set()

    def note_no_meme(self, path: bytes, stat: FileStat) -> None:
        """What stands at ``path`` has been read and is no meme; it isn't read again until it changes."""
        self._no_memes[path] = stat

    def look(self, dirty: DirtySet) -> Look | None:
        """Take what is marked and look at it; None (and all is marked again) where a root came or went meanwhile."""
        marked = dirty.take()
        self.look_at_roots()
        here = {root.path: root.identity for root in self._roots if not root.away}
        look = self._disk.look(marked.without([root.path for root in self._roots if root.away]))
        if look.restless or any(here.get(root) != identity for root, identity in look.identities.items()):
            log.info("a folder was mounted or unmounted while it was looked at; looking again")
            dirty.mark(marked)
            return None
        for path, reason in look.unreadable.items():
            log.warning("%s: %s; what the index holds of it is kept", os.fsdecode(path), reason)
        return look

    def compare(self, look: Look, *, first: bool, vectors: bool) -> Plan:
        """What is to be done about what was seen. What has moved or gone is written already. Raises StoreError.

        ``first``: nothing was looked at before in this run; ``vectors``: the catalog knows which pictures have theirs.
        """
        plan = self._plan(look, first=first, vectors=vectors)
        self._apply(plan)
        return plan

    def look_at_roots(self) -> bool:
        """See which roots are away; says whether that, or which folder a root is, has changed."""
        changed = False
        forget = self._forget.is_set()
        for root in self._roots:
            before = (root.away, root.identity)
            root.look(self._catalog.holds(root.path))
            if root.away and forget:
                gone = self._catalog.under(root.path)
                log.info("%s is away; %d files of it are forgotten, as asked", os.fsdecode(root.path), len(gone))
                self._ledger.commit(forget=gone)
                self._progress.tell(Event("removed", row.path) for row in gone)
                root.accept()
            if (root.away, root.identity) != before:
                changed = True
                log.log(logging.WARNING if root.away else logging.INFO, "%s", root.away or "the root is here")
        if forget:
            self._forget.clear()
        away = {root.path: root.away for root in self._roots if root.away}
        self._catalog.set_away(away)
        self._progress.away = away
        if changed:
            self._remember_roots()
        return changed

    def _plan(self, look: Look, *, first: bool, vectors: bool) -> Plan:
        disk = look.files
        for path in [path for path in self._no_memes if look.scope.covers(path)]:
            if disk.get(path) == self._no_memes[path]:
                del disk[path]
            else:
                del self._no_memes[path]
        rows = self._catalog.rows_where(look.scope.covers)
        if first:
            # A folder that was taken out of the settings; its vectors are kept a while.
            rows = chain(rows, self._catalog.outside([root.path for root in self._roots]))
        plan = make_plan(disk, rows, self._moved_from)
        for row in plan.keep:
            if vectors and not row.error and not self._catalog.has_vector(row.digest):
                plan.read[row.path] = row.stat
        return plan

    def _moved_from(self, stat: FileStat) -> FileRow | None:
        """A row outside the scope whose path no longer holds its file: its folder's events are still to come."""
        for row in self._catalog.with_content(stat.content_key):
            try:
                there = FileStat.of(os.stat(row.path))
            except OSError:
                if not self._catalog.is_away(row.path):
                    return row
                continue
            if there.content_key != stat.content_key:
                return row
        return None

    def _apply(self, plan: Plan) -> None:
        """Moves and deletions: no picture is read for them."""
        moved = [_moved(move) for move in plan.moves]
        replaced = plan.read.keys() | {row.path for row in moved}
        # What a read will replace goes when its successor is there.
        forget = [row for row in plan.forget if row.path not in plan.read]
        if moved or forget:
            self._ledger.commit(rows=moved, forget=[*forget, *(move.row for move in plan.moves)])
        for path in replaced:
            self._no_memes.pop(path, None)
        self._progress.tell(Event("moved", move.path, move.row.path) for move in plan.moves)
        self._progress.tell(Event("removed", row.path) for row in forget if row.path not in replaced)
        if moved or forget:
            log.info("%d moved, %d forgotten", len(moved), len(forget))


def _moved(move: Move) -> FileRow:
    """The row of a file that has moved. Only its attributes are read anew: they may have changed on the way."""
    own = read_tags(move.path)
    text = searchable_text(move.path, own.tags, own.comment, move.row.inner)
    return replace(move.row, path=move.path, stat=move.stat, text=text, tags=tag_keys(own.tags))
