"""Writes to Milvus, in the order that a crash between any two calls leaves repairable; the catalog follows.

Order: pictures → files (new) → files (old, one delete). A crash leaves at worst a picture without a file (it is
used again, not encoded again) or two rows of one path (the next load keeps the one that fits the disk).

A digest that loses its last file gets a *tombstone*, a row without a path that says since when: its vectors and
its words are kept for a while, so that a folder that comes back costs nothing.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Protocol

from memewatchd.index.schema import fit
from memewatchd.meme import Digest, FileRow, FileStat, PictureWords

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.index.catalog import Catalog

log = logging.getLogger(__name__)

KEEP_VECTORS_S = 30 * 24 * 3600


class Rows(Protocol):
    """What the ledger needs of the store."""

    def read_files(self) -> Iterator[FileRow]: ...
    def insert_files(self, rows: Sequence[FileRow]) -> object: ...
    def delete_files(self, ids: Collection[str]) -> None: ...
    def open_pictures(self, fingerprint: str, dim: int) -> None: ...
    def picture_digests(self) -> set[Digest]: ...
    def insert_pictures(self, pictures: Sequence[tuple[Digest, int, NDArray[np.float32]]]) -> None: ...
    def delete_pictures(self, digests: Collection[Digest]) -> None: ...


class WordRows(Protocol):
    """What the ledger needs of the store to keep the words read in pictures."""

    def read_words(self) -> Iterator[PictureWords]: ...
    def insert_words(self, words: Sequence[PictureWords]) -> list[PictureWords]: ...
    def delete_words(self, digests: Collection[Digest], reader: str | None = None) -> None: ...


class Ledger:
    """Store and catalog, changed together; owned by the sync thread. Every method may raise StoreError.

    Without ``words``, what was read in the pictures is left alone, whatever of it there is.
    """

    def __init__(
        self,
        store: Rows,
        catalog: Catalog,
        *,
        words: WordRows | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._words = words
        self._catalog = catalog
        self._wall = wall

    def load(self) -> None:
        """Fill the catalog from Milvus. Of two rows of one path the one that fits the disk is kept."""
        self._catalog.clear()
        stale: list[str] = []
        for row in self._store.read_files():
            rival = self._catalog.get(row.path) if row.path else None
            keep = row
            if rival is not None and rival.id != row.id:
                keep, loser = (row, rival) if _fits_disk(row) else (rival, row)
                stale.append(loser.id)
            self._catalog.put(keep)
        # A file is back, and the tombstone not yet gone: left there, it would cost that file its vectors in a month.
        risen = [row for row in self._catalog.tombstones() if self._catalog.is_used(row.digest)]
        stale += [row.id for row in risen]
        if stale:
            log.info("%d rows were left over by an interrupted write; they are dropped", len(stale))
            self._store.delete_files(stale)
            for row in risen:
                self._catalog.remove_tombstone(row.digest)
        if self._words is not None:
            self._load_words(self._words)

    def _load_words(self, words: WordRows) -> None:
        replaced: dict[str, list[Digest]] = {}
        for read in words.read_words():  # of one picture, the newest last
            before = self._catalog.words_reader(read.digest)
            if before is not None:
                replaced.setdefault(before, []).append(read.digest)
            self._catalog.put_words(read)
        for reader, digests in replaced.items():
            words.delete_words(digests, reader)

    def use_model(self, fingerprint: str, dim: int) -> None:
        """Open the collection of this model's pictures, which makes it if it isn't there."""
        self._store.open_pictures(fingerprint, dim)
        self._catalog.set_vectors(self._store.picture_digests())

    def commit(
        self,
        *,
        pictures: Iterable[tuple[Digest, Mapping[int, NDArray[np.float32]]]] = (),
        rows: Iterable[FileRow] = (),
        forget: Iterable[FileRow] = (),
    ) -> None:
        """Store pictures (a digest and its vectors by the frame's number), then new rows, then drop what they replace.

        A row replaces the earlier row of its path; rows to ``forget`` go without a successor.
        """
        catalog = self._catalog
        fresh = {digest: vectors for digest, vectors in pictures if not catalog.has_vector(digest)}
        if fresh:
            self._store.insert_pictures(
                [(digest, frame, vector) for digest, vectors in fresh.items() for frame, vector in vectors.items()]
            )
            for digest in fresh:
                catalog.add_vector(digest)

        # As Milvus will hold them, or a row that is too long would differ from itself after a restart.
        new = {row.path: fit(row) for row in rows}
        old = {row.id: row for row in forget}
        for path, row in list(new.items()):
            before = catalog.get(path)
            if before is not None and before.id == row.id:
                del new[path]
            elif before is not None:
                old[before.id] = before
        buried = self._bury(new.values(), old.values())
        if new or buried:
            self._store.insert_files([*new.values(), *buried])
        risen = {row.digest for row in new.values() if catalog.tombstone(row.digest) is not None}
        dead_ids = set(old) | {tombstone.id for d in risen if (tombstone := catalog.tombstone(d)) is not None}
        if dead_ids:
            self._store.delete_files(dead_ids)

        for row_id, row in old.items():
            current = catalog.get(row.path)
            if current is not None and (current is row or current.id == row_id):
                catalog.remove(row.path)
        for digest in risen:
            catalog.remove_tombstone(digest)
        for row in (*new.values(), *buried):
            catalog.put(row)

    def commit_words(self, words: Iterable[PictureWords]) -> None:
        """Store what was read in pictures, then drop what another reader had read in them.

        What the same reader has read already is left as it is. Only with ``words``.
        """
        assert self._words is not None
        new: dict[Digest, PictureWords] = {}
        replaced: dict[str, list[Digest]] = {}
        for read in words:
            before = self._catalog.words_reader(read.digest)
            if before == read.reader or read.digest in new:
                continue
            new[read.digest] = read
            if before is not None:
                replaced.setdefault(before, []).append(read.digest)
        if not new:
            return
        for stored in self._words.insert_words(list(new.values())):
            self._catalog.put_words(stored)
        for reader, digests in replaced.items():
            self._words.delete_words(digests, reader)

    def _bury(self, new: Iterable[FileRow], old: Iterable[FileRow]) -> list[FileRow]:
        """Tombstones for digests whose last file is among ``old``."""
        catalog = self._catalog
        leaving: dict[Digest, list[FileRow]] = {}
        for row in old:
            if row.digest and not row.error:
                leaving.setdefault(row.digest, []).append(row)
        for row in new:
            leaving.pop(row.digest, None)
        tombstones = []
        for digest, rows in leaving.items():
            gone = {row.path for row in rows}
            if catalog.tombstone(digest) is None and gone.issuperset(catalog.all_paths_of(digest)):
                tombstones.append(_tombstone(digest, int(self._wall()), rows[0]))
        return tombstones

    def sweep(self) -> int:
        """Drop the vectors and the words of digests that no file has had for a month. Returns how many digests."""
        catalog = self._catalog
        now = self._wall()
        marked = {row.digest: row for row in catalog.tombstones()}
        kept = catalog.vectors() | catalog.words().keys()
        orphans = [d for d in kept if d not in marked and not catalog.is_used(d)]
        if orphans:
            log.info("%d pictures without a file (an interrupted write); kept for a month", len(orphans))
            buried = [_tombstone(digest, int(now)) for digest in orphans]
            self._store.insert_files(buried)
            for row in buried:
                catalog.put(row)
        expired = [row for row in marked.values() if now - row.first_seen > KEEP_VECTORS_S]
        if expired:
            digests = [row.digest for row in expired]
            self._store.delete_pictures(digests)
            read = [digest for digest in digests if catalog.words_of(digest) is not None]
            if read and self._words is not None:
                self._words.delete_words(read)
                for digest in read:
                    catalog.drop_words(digest)
            self._store.delete_files([row.id for row in expired])
            catalog.remove_vectors(digests)
            for digest in digests:
                catalog.remove_tombstone(digest)
        return len(expired)


def _tombstone(digest: Digest, since: int, size: FileRow | None = None) -> FileRow:
    if size is None:
        return FileRow(b"", FileStat(0, 0, 0, 0), digest, since)
    shape = (size.width, size.height, size.frames)
    return FileRow(b"", FileStat(0, 0, 0, 0), digest, since, *shape, kind=size.kind, inner=size.inner, look=size.look)


def _fits_disk(row: FileRow) -> bool:
    try:
        return FileStat.of(os.stat(row.path)) == row.stat
    except OSError:
        return False
