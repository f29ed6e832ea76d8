"""A question in words → ranked hits. Runs in the main thread's event loop; what blocks runs in a bounded pool.

Asks the encoder for the query's vector, Milvus for the nearest pictures, and the catalog for names.
"""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from memewatchd.errors import BadRequest, Degraded, EncoderError, StoreError, TimedOut
from memewatchd.search.filters import EXACT
from memewatchd.search.query import Query, parse
from memewatchd.search.ranking import Hit, rank
from memewatchd.words import is_literal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.meme import Digest, FileRow, PictureHit

# Milvus answers at most this many at once (its own limit).
MOST_PICTURES = 16_384
# Of very many literal matches, only the first ones are also ordered by look.
MOST_NAMED = 500
_SEARCH_THREADS = 4
_LOOK_AGAIN_S = 0.02

_Result = TypeVar("_Result")


class TextEncoder(Protocol):
    """What a search needs of the encoders."""

    @property
    def ready(self) -> bool: ...
    @property
    def failed(self) -> str: ...
    def encode_text(self, text: str) -> Future[NDArray[np.float32]]: ...


class PictureIndex(Protocol):
    """What a search needs of Milvus."""

    def search_pictures(
        self, vector: NDArray[np.float32], limit: int, digests: Collection[Digest] | None = None
    ) -> list[PictureHit]: ...


class Names(Protocol):
    """What a search needs of the catalog."""

    def named(self, matches: Callable[[str], bool]) -> list[FileRow]: ...
    def paths_of(self, digest: Digest) -> list[bytes]: ...
    def searchable(self) -> list[FileRow]: ...
    def vectors(self) -> set[Digest]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits, best first. ``partial``: only names were searched, since the model isn't there yet."""

    hits: list[Hit]
    partial: bool = False


def _refuse_unserved(query: Query) -> None:
    """Raises BadRequest for what the language has and the search hasn't yet, by name: never a silent other answer."""
    if query.minus:
        raise BadRequest(f"the filter -word is not built yet: -{query.minus[0]}; leave it out")
    for one in query.filters:
        if one.name == EXACT:
            raise BadRequest(f'the filter "exact words" is not built yet: {one.spelled}; leave the quotes out')
        raise BadRequest(f"the filter {one.name}: is not built yet: {one.spelled}; leave it out")


class Searcher:
    """Answers searches.

    ``is_open`` says whether the index has been read, before which there are no names either; ``is_active`` whether
    the model's pictures in it can be searched; ``problem`` why neither will be soon, "" while it may.
    ``on_failure`` is told when Milvus has failed a search, so that somebody mends it.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        index: PictureIndex,
        names: Names,
        *,
        is_open: Callable[[], bool] = lambda: True,
        is_active: Callable[[], bool] = lambda: True,
        problem: Callable[[], str] = lambda: "",
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._encoder = encoder
        self._index = index
        self._names = names
        self._is_open = is_open
        self._is_active = is_active
        self._problem = problem
        self._on_failure = on_failure
        self._pool = ThreadPoolExecutor(_SEARCH_THREADS, thread_name_prefix="search")

    def close(self) -> None:
        """Drop what waits; what runs is bounded by Milvus' own timeouts."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def search(self, text: str, limit: int, timeout_s: float, min_score: float | None = None) -> Answer:
        """The best ``limit`` hits for ``text``; without words, the newest.

        Raises BadRequest (the query is wrong), TimedOut (after ``timeout_s`` seconds), Degraded (the model or
        Milvus has failed; the message says what to do).
        """
        query = parse(text)
        _refuse_unserved(query)
        try:
            async with asyncio.timeout(timeout_s):
                while not self._is_open():  # another thread opens it, once in a life
                    if problem := self._problem():
                        raise Degraded(problem)
                    await asyncio.sleep(_LOOK_AGAIN_S)
                if query.is_empty:
                    return Answer(await self._in_pool(self._newest, limit))
                return await self._by_words(query, limit, min_score)
        except TimeoutError:
            still = "the model is still loading" if not self._encoder.ready else "the search took too long"
            raise TimedOut(f"no answer within {timeout_s:g} s: {still}; memewatch status says more") from None
        except StoreError as error:
            self._on_failure()
            raise Degraded(str(error)) from error
        except EncoderError as error:
            raise Degraded(str(error)) from error

    async def _by_words(self, query: Query, limit: int, min_score: float | None) -> Answer:
        named = await self._in_pool(self._named, query)
        while not (self._encoder.ready and self._is_active()):
            failed = self._encoder.failed or self._problem()
            if named:
                return Answer(rank((row.path for row in named), {}, limit, min_score), partial=True)
            if failed:
                raise Degraded(failed)
            await asyncio.sleep(_LOOK_AGAIN_S)
        vector = await asyncio.wrap_future(self._encoder.encode_text(query.text))
        similar = await self._in_pool(self._similar, vector, limit, named)
        return Answer(rank((row.path for row in named), similar, limit, min_score))

    def _named(self, query: Query) -> list[FileRow]:
        if not query.words:
            return []
        return self._names.named(lambda text: is_literal(query.words, text))

    def _similar(self, vector: NDArray[np.float32], limit: int, named: list[FileRow]) -> dict[bytes, float]:
        """Path → similarity of the nearest ``limit`` files, and of those found by name."""
        similar: dict[bytes, float] = {}
        wanted = limit
        while True:
            pictures = self._index.search_pictures(vector, min(wanted, MOST_PICTURES))
            for picture in pictures:
                for path in self._names.paths_of(picture.digest):
                    similar[path] = max(picture.score, similar.get(path, -1.0))
            # Some pictures have no file just now (deleted ones are kept a while, a root may be away): ask for more.
            if len(similar) >= limit or len(pictures) < wanted or wanted >= MOST_PICTURES:
                break
            wanted *= 4
        vectors = self._names.vectors() if named else set()
        missing = {row.digest for row in named if row.path not in similar and row.digest in vectors}
        if missing:
            asked = sorted(missing)[:MOST_NAMED]
            for picture in self._index.search_pictures(vector, len(asked), asked):
                for path in self._names.paths_of(picture.digest):
                    similar[path] = max(picture.score, similar.get(path, -1.0))
        return similar

    def _newest(self, limit: int) -> list[Hit]:
        rows = sorted(self._names.searchable(), key=lambda row: (-row.first_seen, -row.stat.mtime_ns, row.path))
        return [Hit(row.path, 0.0) for row in rows[:limit]]

    async def _in_pool(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(work, *arguments))
