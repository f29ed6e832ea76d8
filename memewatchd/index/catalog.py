"""What the index says of every file, in memory: path → row, digest → paths, inode → path.

Filled from Milvus at the start and changed by the sync thread alone, after Milvus has taken the change;
read by the searches' threads and the main thread. One lock; nothing is handed out that later changes.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from memewatchd.meme import Digest, FileRow, PictureWords

_Key = TypeVar("_Key")


class Catalog:
    """The rows of ``files``, which digests have a vector in the active model's collection, and the words read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_path: dict[bytes, FileRow] = {}
        self._by_folder: dict[bytes, set[bytes]] = {}
        self._by_digest: dict[Digest, set[bytes]] = {}
        self._by_content: dict[tuple[int, int, int], set[bytes]] = {}
        self._tombstones: dict[Digest, FileRow] = {}
        self._vectors: set[Digest] = set()
        self._failed = 0
        self._indexed = 0
        self._away: tuple[bytes, ...] = ()
        self._generation = 0
        self._words: dict[Digest, str] = {}
        self._readers: dict[Digest, str] = {}
        self._words_generation = 0
        self._unread: tuple[tuple[str, int, int], list[Digest]] | None = None

    # ---- written by the sync thread

    def clear(self) -> None:
        """Forget all; the index is about to be read anew."""
        with self._lock:
            for table in (
                self._by_path,
                self._by_folder,
                self._by_digest,
                self._by_content,
                self._tombstones,
                self._words,
                self._readers,
            ):
                table.clear()
            self._vectors = set()
            self._failed = self._indexed = 0
            self._generation += 1
            self._words_generation += 1

    def put(self, row: FileRow) -> None:
        """Add a row, in the place of its path's earlier one. A row without a path is a tombstone."""
        with self._lock:
            if not row.path:
                self._tombstones[row.digest] = row
                return
            self._drop(row.path)
            self._generation += 1
            self._by_path[row.path] = row
            self._by_folder.setdefault(os.path.dirname(row.path), set()).add(row.path)
            self._by_content.setdefault(row.stat.content_key, set()).add(row.path)
            if row.digest:
                self._by_digest.setdefault(row.digest, set()).add(row.path)
            self._count(row, +1)

    def remove(self, path: bytes) -> None:
        """Forget a path; unknown ones are fine."""
        with self._lock:
            self._drop(path)

    def remove_tombstone(self, digest: Digest) -> None:
        """A file with this digest is back, or its vectors are gone for good."""
        with self._lock:
            self._tombstones.pop(digest, None)

    def set_vectors(self, digests: Iterable[Digest]) -> None:
        """The active collection was opened: these digests have vectors in it."""
        with self._lock:
            self._vectors = set(digests)
            self._indexed = sum(not row.error and row.digest in self._vectors for row in self._by_path.values())

    def add_vector(self, digest: Digest) -> None:
        """A picture was stored."""
        with self._lock:
            if digest not in self._vectors:
                self._vectors.add(digest)
                self._indexed += len(self._good_paths(digest))

    def remove_vectors(self, digests: Iterable[Digest]) -> None:
        """Pictures were swept out."""
        with self._lock:
            for digest in digests:
                if digest in self._vectors:
                    self._vectors.remove(digest)
                    self._indexed -= len(self._good_paths(digest))

    def put_words(self, words: PictureWords) -> None:
        """A picture was read: in the place of what was read in it before."""
        with self._lock:
            self._words[words.digest] = words.text
            self._readers[words.digest] = words.reader
            self._words_generation += 1

    def drop_words(self, digest: Digest) -> None:
        """What was read in a picture is gone; unknown ones are fine."""
        with self._lock:
            if self._words.pop(digest, None) is not None:
                del self._readers[digest]
                self._words_generation += 1

    def set_away(self, roots: Iterable[bytes]) -> None:
        """Files of these roots are kept and not returned."""
        away = tuple(root.rstrip(b"/") + b"/" for root in roots)
        if away != self._away:
            self._away = away
            self._generation += 1

    def _good_paths(self, digest: Digest) -> list[bytes]:
        return [path for path in self._by_digest.get(digest, ()) if not self._by_path[path].error]

    def _count(self, row: FileRow, step: int) -> None:
        if row.error:
            self._failed += step
        elif row.digest in self._vectors:
            self._indexed += step

    def _drop(self, path: bytes) -> None:
        row = self._by_path.pop(path, None)
        if row is None:
            return
        self._count(row, -1)
        self._generation += 1
        _discard(self._by_folder, os.path.dirname(path), path)
        _discard(self._by_content, row.stat.content_key, path)
        if row.digest:
            _discard(self._by_digest, row.digest, path)

    # ---- read by anyone

    @property
    def generation(self) -> int:
        """Another number after each change of what :meth:`named` gives."""
        return self._generation

    @property
    def indexed(self) -> int:
        """Files that a search can return (copies count)."""
        return self._indexed

    @property
    def failed(self) -> int:
        """Files that could not be indexed."""
        return self._failed

    def get(self, path: bytes) -> FileRow | None:
        """The row of one path."""
        return self._by_path.get(path)

    def rows(self) -> list[FileRow]:
        """Every row, away ones too, in no order."""
        with self._lock:
            return list(self._by_path.values())

    def tombstones(self) -> list[FileRow]:
        """Digests that no file has any more, whose vectors are still kept. ``first_seen`` says since when."""
        with self._lock:
            return list(self._tombstones.values())

    def tombstone(self, digest: Digest) -> FileRow | None:
        """The tombstone of one digest."""
        return self._tombstones.get(digest)

    def rows_where(self, covers: Callable[[bytes], bool]) -> Iterator[FileRow]:
        """Rows whose path ``covers`` accepts, which it does for all files of a folder or (but for a few) for none."""
        with self._lock:
            paths = [path for folder, paths in self._by_folder.items() if covers(folder + b"/.") for path in paths]
            rows = [self._by_path[path] for path in paths]
        return (row for row in rows if covers(row.path))

    def with_content(self, key: tuple[int, int, int]) -> list[FileRow]:
        """Rows of this inode, size and mtime."""
        with self._lock:
            return [self._by_path[path] for path in self._by_content.get(key, ())]

    def with_digest(self, digest: Digest) -> FileRow | None:
        """Some row with this content, else its tombstone, else None."""
        with self._lock:
            for path in self._by_digest.get(digest, ()):
                return self._by_path[path]
            return self._tombstones.get(digest)

    def paths_of(self, digest: Digest) -> list[bytes]:
        """The searchable paths with this content, sorted, without those of roots that are away."""
        with self._lock:
            return sorted(path for path in self._good_paths(digest) if not self.is_away(path))

    def all_paths_of(self, digest: Digest) -> list[bytes]:
        """Every path with this content, failed and away ones too."""
        with self._lock:
            return list(self._by_digest.get(digest, ()))

    def is_used(self, digest: Digest) -> bool:
        """Whether a file refers to this digest."""
        return digest in self._by_digest

    def has_vector(self, digest: Digest) -> bool:
        """Whether the active model's collection holds this digest."""
        return digest in self._vectors

    def vectors(self) -> set[Digest]:
        """A copy of the digests that have vectors."""
        with self._lock:
            return set(self._vectors)

    @property
    def words_generation(self) -> int:
        """Another number after each change of what :meth:`words` gives."""
        return self._words_generation

    def words(self) -> dict[Digest, str]:
        """A copy of the words of every picture that was read, "" where none were found (1 ms for 100,000)."""
        with self._lock:
            return dict(self._words)

    def words_of(self, digest: Digest) -> str | None:
        """The words read in a picture; None: not read yet."""
        return self._words.get(digest)

    def words_reader(self, digest: Digest) -> str | None:
        """What has read a picture; None: nothing yet."""
        return self._readers.get(digest)

    def unread(self, reader: str) -> list[Digest]:
        """Digests of good files, but for roots that are away, that ``reader`` has not read; newest first.

        Between two changes it is looked up once, so that ``status`` may count them.
        """
        with self._lock:
            key = (reader, self._generation, self._words_generation)
            if self._unread is None or self._unread[0] != key:
                seen: dict[Digest, int] = {}
                for row in self._by_path.values():
                    good = not row.error and row.digest and not self.is_away(row.path)
                    if good and self._readers.get(row.digest) != reader:
                        seen[row.digest] = max(row.first_seen, seen.get(row.digest, row.first_seen))
                self._unread = (key, sorted(seen, key=lambda digest: (-seen[digest], digest)))
            return list(self._unread[1])

    def is_away(self, path: bytes) -> bool:
        """Whether a path lies in a root that is away."""
        return path.startswith(self._away) if self._away else False

    def searchable(self) -> list[FileRow]:
        """Rows that a search may return."""
        return [
            row for row in self.rows() if not row.error and row.digest in self._vectors and not self.is_away(row.path)
        ]

    def searchable_sorted(self) -> list[FileRow]:
        """The same, by path."""
        return sorted(self.searchable(), key=lambda row: row.path)

    def failed_sorted(self) -> list[FileRow]:
        """Rows that could not be indexed, by path, but for roots that are away."""
        rows = (row for row in self.rows() if row.error and not self.is_away(row.path))
        return sorted(rows, key=lambda row: row.path)

    def named(self, matches: Callable[[str], bool]) -> list[FileRow]:
        """Good rows whose ``text`` ``matches`` accepts, vectors or not: names are known before any model is."""
        return [
            row
            for row in self.rows()
            if row.text and not row.error and matches(row.text) and not self.is_away(row.path)
        ]

    def under(self, root: bytes) -> list[FileRow]:
        """Rows that lie in this root."""
        prefix = root.rstrip(b"/") + b"/"
        return [row for row in self.rows() if row.path.startswith(prefix)]

    def outside(self, roots: Iterable[bytes]) -> list[FileRow]:
        """Rows that lie in none of these roots."""
        prefixes = tuple(root.rstrip(b"/") + b"/" for root in roots)
        return [row for row in self.rows() if not row.path.startswith(prefixes)]

    def holds(self, root: bytes) -> bool:
        """Whether any row lies in this root."""
        prefix = root.rstrip(b"/") + b"/"
        with self._lock:
            return any((folder + b"/").startswith(prefix) for folder in self._by_folder)


def _discard(table: dict[_Key, set[bytes]], key: _Key, path: bytes) -> None:
    paths = table.get(key)
    if paths is not None:
        paths.discard(path)
        if not paths:
            del table[key]
