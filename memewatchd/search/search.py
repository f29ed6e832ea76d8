"""A question in words → ranked hits. Runs in the main thread's event loop; what blocks runs in a bounded pool.

Asks the encoder for the query's vector, Milvus for the nearest pictures, and the catalog for names.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from memewatchd.errors import BadRequest, Degraded, EncoderError, StoreError, TimedOut
from memewatchd.search.copies import Copies
from memewatchd.search.filters import EXACT, predicate
from memewatchd.search.legs import Names, WordLegs, excludes
from memewatchd.search.look import LookLeg, PictureIndex, TextEncoder
from memewatchd.search.preparing import Preparer
from memewatchd.search.query import Query, parse
from memewatchd.search.ranking import Hit, Look, rank
from memewatchd.search.syllables import plain_letters, split

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.meme import Digest, FileRow, HostHit
    from memewatchd.ops import Example
    from memewatchd.search.calibrator import Calibrator
    from memewatchd.search.legs import Found
    from memewatchd.search.ranking import Match

log = logging.getLogger(__name__)

_SEARCH_THREADS = 4
_LOOK_AGAIN_S = 0.02

_Result = TypeVar("_Result")


class Files(Names, Protocol):
    """What a search needs of the catalog."""

    def rows(self) -> list[FileRow]: ...
    def is_away(self, path: bytes) -> bool: ...
    def searchable(self) -> list[FileRow]: ...
    def vectors(self) -> set[Digest]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits, best first. ``partial``: only names were searched, since the model isn't there yet. ``searched``: the words
    that were asked for in the place of what was typed, "" where those were."""

    hits: list[Hit]
    partial: bool = False
    searched: str = ""


class Searcher:
    """Answers searches.

    ``roots``: the watched folders, which ``in:`` is relative to. ``is_open`` says whether the index has been read,
    before which there are no names either; ``is_active`` whether the model's pictures in it can be searched;
    ``problem`` why neither will be soon, "" while it may. ``examples``: the vectors of example pictures;
    ``translate``: a text as the model in use is asked, and whether it is still being typed; ``calibrator`` tells
    whether a look is any answer; ``weight``: how much a picture is used, 0…1.
    ``elsewhere``: the files of other hosts nearest to a vector, None where there are no others.
    ``on_search`` is told of every search, so that work which can wait makes way; ``on_failure`` when
    Milvus has failed one, so that somebody mends it.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        index: PictureIndex,
        names: Files,
        *,
        roots: Sequence[bytes] = (),
        is_open: Callable[[], bool] = lambda: True,
        is_active: Callable[[], bool] = lambda: True,
        problem: Callable[[], str] = lambda: "",
        examples: Callable[[Sequence[Example]], list[NDArray[np.float32]]] = lambda _: [],
        translate: Callable[[str, bool], str] = lambda text, _: text,
        calibrator: Calibrator | None = None,
        weight: Callable[[Digest], float] = lambda _: 0.0,
        elsewhere: Callable[[NDArray[np.float32], int], list[HostHit]] | None = None,
        on_search: Callable[[], None] = lambda: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._encoder = encoder
        self._names = names
        self._roots = roots
        self._by_words = WordLegs(names, index.search_words)
        self.copies = Copies(names)
        self._look = LookLeg(encoder, index, names, self.copies)
        self._is_open = is_open
        self._is_active = is_active
        self._problem = problem
        self._examples = examples
        self._translate = translate
        self._calibrator = calibrator
        self._weight = weight
        self._elsewhere = elsewhere
        self._on_search = on_search
        self._on_failure = on_failure
        self.preparer = Preparer(self._in_pool, self.copies, calibrator, is_ready=lambda: is_active() and encoder.ready)
        self._pool = ThreadPoolExecutor(_SEARCH_THREADS, thread_name_prefix="search")

    def close(self) -> None:
        """Drop what waits; what runs is bounded by Milvus' own timeouts."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def search(
        self,
        text: str,
        limit: int,
        timeout_s: float,
        min_score: float | None = None,
        like: Sequence[Example] = (),
        *,
        typing: bool = False,
        fold: bool = True,
        all_hosts: bool = False,
    ) -> Answer:
        """The best ``limit`` hits for ``text`` and pictures ``like``; without both, what is used most, then the newest.
        ``typing``: a newer keystroke may replace this. Without ``fold``, and without words, copies come one by one.
        ``all_hosts``: what only other hosts have is found, too, by its look.

        Raises BadRequest (the query is wrong), TimedOut (after ``timeout_s`` seconds), Degraded (the model or
        Milvus has failed; the message says what to do).
        """
        self._on_search()
        query = parse(text)
        if all_hosts and self._elsewhere is None:
            raise BadRequest(
                "all_hosts needs a Milvus server and a name of our own there: the settings milvus and host"
            )
        try:
            async with asyncio.timeout(timeout_s):
                while not self._is_open():  # another thread opens it, once in a life
                    if problem := self._problem():
                        raise Degraded(problem)
                    await asyncio.sleep(_LOOK_AGAIN_S)
                if not (query.text or query.minus or like):
                    return Answer(await self._in_pool(self._newest, limit, self._filter(query), fold))
                return await self._by_query(query, like, limit, min_score, typing, all_hosts)
        except TimeoutError:
            still = "the model is still loading" if not self._encoder.ready else "the search took too long"
            raise TimedOut(f"no answer within {timeout_s:g} s: {still}; memewatch status says more") from None
        except StoreError as error:
            self._on_failure()
            raise Degraded(str(error)) from error
        except EncoderError as error:
            raise Degraded(str(error)) from error

    async def _by_query(
        self,
        query: Query,
        like: Sequence[Example],
        limit: int,
        min_score: float | None,
        typing: bool,
        all_hosts: bool,
    ) -> Answer:
        passes = self._filter(query)
        early = None
        by_words = functools.partial(self._words, query, passes, typing)
        if not (query.filters or query.minus or like) and self._may_be_as_typed(query):
            # While words are searched for, the look is, too: nearly always it is asked for in just these words.
            words, early = self._early(query.text, limit, min_score, passes, by_words)
        else:
            words = self._in_pool(by_words)
        try:
            found, text = await words
            while not (self._encoder.ready and self._is_active()):
                failed = self._encoder.failed or self._problem()
                if found.matches:
                    hits = await self._in_pool(self._ranked, found.matches, {}, limit, min_score, passes)
                    return Answer(hits, partial=True)
                if failed:
                    raise Degraded(failed)
                await asyncio.sleep(_LOOK_AGAIN_S)
                text = None
            if text is None:
                text = await self._in_pool(self._asked, query, found, typing)
            allowed, by_look = None, None
            if early is not None and text == query.text:
                vector, similar, by_look = await early
            else:
                minus = [await self._in_pool(self._translate, words, typing) for words in query.minus]
                examples = await self._in_pool(self._examples, like) if like else []
                vector = await self._look.vector(text, minus, examples)
                allowed = await self._in_pool(self._allowed, passes) if query.filters or query.minus else None
                similar = await self._in_pool(self._look.nearest, vector, limit, allowed)
        finally:
            if early is not None:
                _drop(early)
        others = await self._in_pool(self._others, vector, limit, passes, min_score) if all_hosts else []
        # Who filters has said what may be shown; and where a word is found, the question has an answer.
        chosen = min_score is not None or bool(like or query.minus or query.filters or found.matches)
        if not chosen and not self._is_any(vector, [*similar.values(), *others]):
            similar, others, by_look = {}, [], []
        searched = text if text != query.text else ""
        if by_look is not None and not (found.matches or others):
            return Answer(by_look, searched=searched)

        def ranked() -> list[Hit]:
            looks = similar | self._look.of(vector, found.matches.keys() - similar.keys(), allowed)
            return self._ranked(found.matches, looks, limit, min_score, passes)

        hits = await self._in_pool(ranked)
        return Answer(_among(hits, others)[:limit], searched=searched)

    def _may_be_as_typed(self, query: Query) -> bool:
        """Whether the model is likely to be asked in just these words, and they are no pinyin, and not translated."""
        if not (self._encoder.ready and self._is_active()):
            return False
        if all((letters := plain_letters(word)) and split(letters) for word in query.words):
            return False
        return query.text.isascii() or self._encoder.is_english_only is False

    def _early(
        self,
        text: str,
        limit: int,
        min_score: float | None,
        passes: Callable[[FileRow], bool],
        by_words: Callable[[], _Result],
    ) -> tuple[Awaitable[_Result], asyncio.Future[tuple[NDArray[np.float32], dict[bytes, Look], list[Hit]]]]:
        """What is found by words, and: the vector of ``text``, what looks like it, and the hits that this makes where
        nothing is found by words."""

        def find(
            vector: NDArray[np.float32], similar: dict[bytes, Look]
        ) -> tuple[NDArray[np.float32], dict[bytes, Look], list[Hit]]:
            return vector, similar, self._ranked({}, similar, limit, min_score, passes)

        words, look = self._look.of_text(text, limit, self._pool, by_words, find)
        return asyncio.wrap_future(words), asyncio.wrap_future(look)

    def _words(self, query: Query, passes: Callable[[FileRow], bool], typing: bool) -> tuple[Found, str | None]:
        """What is found by words, and :meth:`_asked`; None while the model isn't there."""
        found = self._by_words.find(query, passes)
        return found, self._asked(query, found, typing) if self._encoder.ready else None

    def _asked(self, query: Query, found: Found, typing: bool) -> str:
        """The text that the model is asked for."""
        meant = "" if found.literal else self._by_words.meant(query)
        return self._translate(meant or query.text, typing)

    def _others(
        self, vector: NDArray[np.float32], limit: int, passes: Callable[[FileRow], bool], min_score: float | None
    ) -> list[Hit]:
        """What other hosts have that looks so and that we don't have, too."""
        assert self._elsewhere is not None
        return [
            Hit(hit.row.path, hit.score, hit.score, frame=hit.frame if hit.row.frames > 1 else None, host=hit.host)
            for hit in self._elsewhere(vector, limit)
            if passes(hit.row) and not self._names.paths_of(hit.row.digest)
            if min_score is None or hit.score >= min_score
        ]

    def _is_any(self, vector: NDArray[np.float32], similar: Sequence[Look | Hit]) -> bool:
        """Whether what looks most like a text looks like it at all."""
        calibration = self._calibrator.current if self._calibrator is not None else None
        best = max((look.score for look in similar), default=-1.0)
        return calibration is None or calibration.fits(vector, best)

    async def keep_ready(self, is_calm: Callable[[], bool], prepare: Callable[[], None] = lambda: None) -> None:
        """For ever: prepare what searches need, see :class:`Preparer`; ``prepare``: what else is to be done once."""
        await self.preparer.run(is_calm, self._by_words.warm, prepare)

    def _filter(self, query: Query) -> Callable[[FileRow], bool]:
        if not (query.filters or query.minus):
            return lambda _: True
        holds, unwanted = predicate(query.filters, self._roots), excludes(query)
        if not (query.minus or any(one.name == EXACT for one in query.filters)):
            return holds

        def passes(row: FileRow) -> bool:
            row = self._by_words.with_words(row)
            return holds(row) and not unwanted(row)

        return passes

    def _allowed(self, passes: Callable[[FileRow], bool]) -> set[bytes]:
        """The paths that may be found."""
        return {row.path for row in self._names.searchable() if passes(row)}

    def _newest(self, limit: int, passes: Callable[[FileRow], bool], fold: bool) -> list[Hit]:
        rows = [row for row in self._names.searchable() if passes(row)]
        rows.sort(key=lambda row: (-self._weight(row.digest), -row.first_seen, -row.stat.mtime_ns, row.path))
        if not fold:
            return [Hit(row.path, 0.0) for row in rows[:limit]]
        return self.copies.fold((Hit(row.path, 0.0) for row in rows), limit, passes)

    def _ranked(
        self,
        matches: Mapping[bytes, Match],
        similar: Mapping[bytes, Look],
        limit: int,
        min_score: float | None,
        passes: Callable[[FileRow], bool],
    ) -> list[Hit]:
        every = len(matches) + len(similar)
        return self.copies.fold(rank(matches, similar, every, min_score, self._use), limit, passes)

    def _use(self, path: bytes) -> float:
        row = self._names.get(path)
        return 0.0 if row is None else self._weight(row.digest)

    def _in_pool(self, work: Callable[..., _Result], *arguments: object) -> asyncio.Future[_Result]:
        return asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(work, *arguments))


def _among(ours: list[Hit], others: Sequence[Hit]) -> list[Hit]:
    """All, each list in its own order, which for ours is by use as well; ours first among equals."""
    left, merged = list(others), []
    for hit in ours:
        while left and left[0].score > hit.score:
            merged.append(left.pop(0))
        merged.append(hit)
    return [*merged, *left]


def _drop(early: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more, and if it failed, who asked has been told or didn't need it."""
    if not early.done():
        early.cancel()
    elif not early.cancelled():
        early.exception()
