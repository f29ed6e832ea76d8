"""What a search finds by the look: the pictures whose vectors are nearest to that of the query."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from memewatchd.meme import MAX_FRAMES
from memewatchd.search.ranking import Look

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from memewatchd.meme import Digest, FileRow, PictureHit, WordsHit
    from memewatchd.search.copies import Copies

# Milvus answers at most this many at once (its own limit).
MOST_PICTURES = 16_384
# Of very many literal matches, only the first ones are also ordered by look.
MOST_NAMED = 500
# A filter that lets this many pictures pass is handed to Milvus (with their frames they are as many as it gives); of a
# wider one the best are tried one by one.
MOST_ALLOWED = 2_048
# How much of an unwanted text's vector is taken away: half, so that what was asked for still leads.
MINUS_SHARE = 0.5

_A = TypeVar("_A")
_B = TypeVar("_B")


class TextEncoder(Protocol):
    """What a search needs of the encoders."""

    @property
    def ready(self) -> bool: ...
    @property
    def failed(self) -> str: ...
    @property
    def is_english_only(self) -> bool | None: ...
    def encode_text(self, text: str) -> Future[NDArray[np.float32]]: ...


class PictureIndex(Protocol):
    """What a search needs of Milvus."""

    def search_pictures(
        self, vector: NDArray[np.float32], limit: int, digests: Collection[Digest] | None = None
    ) -> list[PictureHit]: ...
    def search_words(self, text: str, limit: int) -> list[WordsHit]: ...


class Names(Protocol):
    """What this needs of the catalog."""

    def paths_of(self, digest: Digest, /) -> list[bytes]: ...
    def get(self, path: bytes, /) -> FileRow | None: ...
    def vectors(self) -> set[Digest]: ...


def then(first: Future[_A], pool: Executor, work: Callable[[_A], _B]) -> Future[_B]:
    """What ``work`` makes of what ``first`` gives, in ``pool``, as soon as that is there: no other thread has to wake
    in between. To cancel it is to cancel ``first``."""
    second: Future[_B] = Future()

    def begin(done: Future[_A]) -> None:
        if second.set_running_or_notify_cancel():
            try:
                pool.submit(end, done.result()).add_done_callback(drop)
            except BaseException as error:  # noqa: BLE001 - it failed, or the pool is closed: somebody waits for it
                second.set_exception(error)

    def end(value: _A) -> None:
        try:
            second.set_result(work(value))
        except BaseException as error:  # noqa: BLE001 - as above
            second.set_exception(error)

    def drop(ending: Future[None]) -> None:
        if ending.cancelled():  # the pool closes
            second.set_exception(CancelledError())

    second.add_done_callback(lambda _: second.cancelled() and first.cancel())
    first.add_done_callback(begin)
    return second


class LookLeg:
    """Files that look like what is asked for. But for :meth:`vector` it blocks; any thread may call."""

    def __init__(self, encoder: TextEncoder, index: PictureIndex, names: Names, copies: Copies) -> None:
        self._encoder = encoder
        self._index = index
        self._names = names
        self._copies = copies

    async def vector(
        self, text: str, minus: Sequence[str], examples: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """The unit-length vector (dim,) of ``text`` and of examples, less a share of each unwanted text's."""

        async def of(words: str) -> NDArray[np.float32]:
            return await asyncio.wrap_future(self._encoder.encode_text(words))

        wanted = [*examples, await of(text)] if text else examples
        vector = np.sum(wanted, axis=0) if wanted else np.float32(0)
        for words in minus:
            vector = vector - MINUS_SHARE * await of(words)
        return _unit(vector)

    def of_text(
        self,
        text: str,
        limit: int,
        pool: Executor,
        meanwhile: Callable[[], _A],
        work: Callable[[NDArray[np.float32], dict[bytes, Look]], _B],
    ) -> tuple[Future[_A], Future[_B]]:
        """What ``work`` makes of the vector of ``text`` and of what :meth:`nearest` finds for it, all in ``pool``; and
        before it what ``meanwhile`` gives, which is done while Milvus searches: while the vector is made it would only
        be in the way, as both want the interpreter."""

        def find(vector: NDArray[np.float32]) -> _B:
            vector = _unit(vector)
            return work(vector, self.nearest(vector, limit, None))

        encoded = self._encoder.encode_text(text)
        found = then(encoded, pool, find)
        return then(encoded, pool, lambda _: meanwhile()), found

    def nearest(self, vector: NDArray[np.float32], limit: int, allowed: set[bytes] | None) -> dict[bytes, Look]:
        """Path → look of the nearest ``limit`` files; of all that are allowed, where those are few."""
        similar: dict[bytes, Look] = {}
        few = self._digests(allowed) if allowed is not None and len(allowed) <= MOST_ALLOWED else None
        if few is not None:
            if few:
                self._take(self._index.search_pictures(vector, MAX_FRAMES * len(few), sorted(few)), allowed, similar)
            return similar
        wanted = limit
        while True:
            pictures = self._index.search_pictures(vector, min(wanted, MOST_PICTURES))
            self._take(pictures, allowed, similar)
            # Some pictures have no file just now (deleted ones are kept a while, a root may be away), some don't pass
            # the filters, some are frames of one file, some files are copies of others: ask for more.
            if len(pictures) < wanted or wanted >= MOST_PICTURES:
                return similar
            if len(similar) >= limit and self._copies.distinct(similar, limit) >= limit:
                return similar
            wanted *= 4

    def of(
        self, vector: NDArray[np.float32], paths: Collection[bytes], allowed: set[bytes] | None
    ) -> dict[bytes, Look]:
        """Path → look of these files: those that were found by words are ordered by it."""
        similar: dict[bytes, Look] = {}
        missing = sorted(self._digests(paths) & self._names.vectors())[:MOST_NAMED] if paths else []
        if missing:
            self._take(self._index.search_pictures(vector, MAX_FRAMES * len(missing), missing), allowed, similar)
        return similar

    def _take(self, pictures: Iterable[PictureHit], allowed: set[bytes] | None, similar: dict[bytes, Look]) -> None:
        for picture in pictures:
            for path in self._names.paths_of(picture.digest):
                known = similar.get(path)
                if (allowed is None or path in allowed) and (known is None or known.score < picture.score):
                    similar[path] = Look(picture.score, picture.frame)

    def _digests(self, paths: Iterable[bytes]) -> set[Digest]:
        return {row.digest for row in map(self._names.get, paths) if row is not None}


def _unit(vector: Any) -> NDArray[np.float32]:
    """Of unit length, but for one of zeros."""
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length else vector, np.float32)
