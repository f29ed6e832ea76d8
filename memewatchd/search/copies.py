"""Files that show one picture: the same bytes, or the same look in another format or size.

What is a copy is a matter between a file and each other one, never by way of a third: a chain of small differences
would join what is nothing alike. Blocks; any thread may call.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from memewatchd.search import alike

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from memewatchd.meme import Digest, FileRow
    from memewatchd.search.ranking import Hit

QUARTERS_APART: Final = 6.0
"""Of copies, the mean brightness of no quarter is further apart (of 256)."""
WORDS_APART: Final = 0.5
"""Two that look alike are none all the same where less than this share of the words' letters that were read in them
agrees: one template with two captions, too fine for the look. In a small copy some letters are read wrongly."""
_DRAWER = 24.0
_QUARTER = alike.COARSE // 2


class Files(Protocol):
    """What this needs of the catalog."""

    @property
    def generation(self) -> int:
        """Another number after each change of what :meth:`rows` gives and of what is away."""

    def rows(self) -> list[FileRow]: ...
    def is_away(self, path: bytes) -> bool: ...
    def words_of(self, digest: Digest, /) -> str | None: ...


class Copies:
    """Which files are copies of which. Looks at the catalog when it is asked and the catalog has changed."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._generation = -1
        self._digests: dict[bytes, Digest] = {}
        self._rows: dict[Digest, list[FileRow]] = {}
        self._looks = _Looks()
        self._found: dict[Digest, list[Digest]] = {}

    def fold(
        self, hits: Iterable[Hit], limit: int | None = None, passes: Callable[[FileRow], bool] = lambda _: True
    ) -> list[Hit]:
        """The first ``limit`` of ``hits``, less those that are copies of an earlier one.

        Each names its copies, whether they are among the hits or not, the best first; but for those that don't pass.
        """
        folded: list[Hit] = []
        taken: set[bytes] = set()
        with self._lock:
            self._look()
            for hit in hits:
                if limit is not None and len(folded) >= limit:
                    break
                if hit.path in taken:
                    continue
                taken.add(hit.path)
                others = [row for row in self._group(hit.path) if row.path not in taken]
                taken.update(row.path for row in others)
                named = tuple(row.path for row in others if passes(row))
                folded.append(replace(hit, copies=named) if named else hit)
        return folded

    def distinct(self, paths: Iterable[bytes], enough: int) -> int:
        """How many of these are left when copies count once; no further than ``enough``."""
        count = 0
        taken: set[bytes] = set()
        with self._lock:
            self._look()
            for path in paths:
                if count >= enough:
                    break
                if path not in taken:
                    count += 1
                    taken.update(row.path for row in self._group(path))
        return count

    def groups(self) -> list[list[FileRow]]:
        """All files that have copies, the best of each group first (the largest picture, then the oldest file), which
        the others are copies of; groups by the path of the best."""
        with self._lock:
            self._look()
            known = self._rows  # which is replaced, and never changed
        taken: set[Digest] = set()
        groups = []
        for digest in sorted(known, key=lambda digest: _goodness(known[digest][0])):
            if digest in taken:
                continue
            with self._lock:  # for a moment: of 20,000 files this takes seconds, and searches go on
                alike_ones = self._alike(digest)
            time.sleep(0)
            members = [digest, *(other for other in alike_ones if other in known and other not in taken)]
            taken.update(members)
            rows = [row for member in members for row in known[member]]
            if len(rows) > 1:
                groups.append(sorted(rows, key=_goodness))
        return sorted(groups, key=lambda rows: rows[0].path)

    @property
    def is_stale(self) -> bool:
        """Whether the catalog has changed since it was looked at."""
        return self._generation != self._files.generation

    def warm(self) -> None:
        """Look at the catalog now, so that no search waits for it."""
        with self._lock:
            self._look()

    # --- under the lock ---

    def _group(self, path: bytes) -> list[FileRow]:
        """The file and its copies, the best first."""
        digest = self._digests.get(path)
        if digest is None:
            return []
        return sorted((row for one in (digest, *self._alike(digest)) for row in self._rows[one]), key=_goodness)

    def _alike(self, digest: Digest) -> list[Digest]:
        found = self._found.get(digest)
        if found is None:
            found = self._found[digest] = list(self._looks.like(digest))
        if not found:
            return found
        said = self._files.words_of(digest)
        return [other for other in found if not _say_else(said, self._files.words_of(other))]

    def _look(self) -> None:
        if not self.is_stale:
            return
        generation = self._files.generation
        rows: dict[Digest, list[FileRow]] = defaultdict(list)
        for row in self._files.rows():
            if row.digest and not row.error and not self._files.is_away(row.path):
                rows[row.digest].append(row)
        for some in rows.values():
            some.sort(key=_goodness)
        if rows.keys() != self._rows.keys():
            self._found = {}
            self._looks.drop(self._rows.keys() - rows.keys())
            self._looks.add([rows[digest][0] for digest in rows.keys() - self._rows.keys()])
        self._rows = dict(rows)
        self._digests = {row.path: digest for digest, some in rows.items() for row in some}
        self._generation = generation


def _say_else(one: str | None, other: str | None) -> bool:
    """Whether other words were read in one picture than in the other, where words were read in both."""
    if not one or not other:
        return False
    from rapidfuzz import fuzz

    return fuzz.ratio("".join(one.split()), "".join(other.split())) < 100 * WORDS_APART


def _goodness(row: FileRow) -> tuple[int, int, bytes]:
    """Sorts the largest picture first, then the oldest file."""
    return (-row.width * row.height, row.stat.mtime_ns, row.path)


class _Looks:
    """Looks by digest, in drawers by the brightness of their quarters: only what lies near can be alike."""

    def __init__(self) -> None:
        self._places: dict[Digest, int] = {}
        self._digests: dict[int, Digest] = {}
        self._looks: dict[int, str] = {}
        self._free: list[int] = []
        self._drawers: dict[tuple[int, ...], list[int]] = {}
        self._coarse = np.zeros((0, alike.COARSE, alike.COARSE), np.float32)
        self._quarters = np.zeros((0, 4), np.float32)
        self._sizes = np.zeros((0, 2), np.int64)

    def add(self, rows: Sequence[FileRow]) -> None:
        """A row of each new digest; those without a look are like nothing."""
        self._make_room(len(rows))
        for row in rows:
            seen = alike.unpacked(row.look)
            if seen is None:
                continue
            place = self._free.pop()
            self._places[row.digest] = place
            self._digests[place], self._looks[place] = row.digest, row.look
            self._coarse[place], self._sizes[place] = seen.coarse, (row.width, row.height)
            self._quarters[place] = _quarters(seen.coarse)
            self._drawers.setdefault(_drawer(self._quarters[place]), []).append(place)

    def drop(self, digests: Iterable[Digest]) -> None:
        for digest in digests:
            place = self._places.pop(digest, None)
            if place is not None:
                del self._digests[place], self._looks[place]
                self._drawers[_drawer(self._quarters[place])].remove(place)
                self._free.append(place)

    def like(self, digest: Digest) -> Iterator[Digest]:
        """The others that look like this one."""
        place = self._places.get(digest)
        if place is None:
            return
        quarters = self._quarters[place]
        reach = zip(_drawer(quarters - QUARTERS_APART), _drawer(quarters + QUARTERS_APART), strict=True)
        keys = product(*(range(low, high + 1) for low, high in reach))
        near = np.array([other for key in keys for other in self._drawers.get(key, ()) if other != place], np.int64)
        if not near.size:
            return
        size = (int(self._sizes[place, 0]), int(self._sizes[place, 1]))
        near = near[np.abs(self._quarters[near] - quarters).max(1) <= QUARTERS_APART]
        near = near[alike.same_shape(size, self._sizes[near])]
        near = near[np.abs(self._coarse[near] - self._coarse[place]).max((1, 2), initial=0) <= alike.COARSE_APART]
        if not near.size:
            return
        one, others = (alike.see(self._looks[place]), [alike.see(self._looks[other]) for other in near.tolist()])
        assert one is not None
        seen = [other for other in others if other is not None]
        for other in near[alike.are_alike(one, size, seen, self._sizes[near])].tolist():
            yield self._digests[other]

    def _make_room(self, count: int) -> None:
        missing = count - len(self._free)
        if missing > 0:
            here = len(self._sizes)
            room = max(missing, here // 2)
            self._coarse, self._quarters, self._sizes = (
                np.concatenate([table, np.zeros((room, *table.shape[1:]), table.dtype)])
                for table in (self._coarse, self._quarters, self._sizes)
            )
            self._free.extend(range(here + room - 1, here - 1, -1))


def _quarters(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean brightness of the four quarters: float32 (4,)."""
    means: NDArray[np.float32] = coarse.reshape(2, _QUARTER, 2, _QUARTER).mean((1, 3)).ravel()
    return means


def _drawer(quarters: NDArray[np.float32]) -> tuple[int, ...]:
    return tuple((quarters // _DRAWER).astype(int).tolist())
