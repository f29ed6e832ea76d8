"""op → what is done: the table of everything that the door can be asked. Runs in the main thread's event loop."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, Protocol

from memewatchd import __version__
from memewatchd.errors import Paused, TimedOut, UnknownOp
from memewatchd.protocol import LIMIT_DEFAULT, PROTOCOL, SEARCH_WAIT_S, path_fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from memewatchd.index.catalog import Catalog
    from memewatchd.progress import Progress
    from memewatchd.protocol import Request
    from memewatchd.search.ranking import Hit
    from memewatchd.search.search import Searcher

Reply = dict[str, Any]
_OK: Reply = {"ok": True}
# Long lists are given in pieces, so that other connections are answered in between.
_BREATHE_EVERY = 200


class MirrorControl(Protocol):
    """What can be asked of the mirror."""

    def wake(self) -> None: ...
    def rescan(self, forget_missing: bool = False) -> None: ...
    def set_paused(self, paused: bool) -> None: ...


class Commands:
    """Carries out requests. ``about`` gives the parts of ``status`` that other rooms know."""

    def __init__(
        self,
        *,
        searcher: Searcher,
        catalog: Catalog,
        progress: Progress,
        mirror: MirrorControl,
        about: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._searcher = searcher
        self._catalog = catalog
        self._progress = progress
        self._mirror = mirror
        self._about = about
        self._table: dict[str, Callable[[dict[str, Any]], AsyncIterator[Reply]]] = {
            "search": self._search,
            "list": self._list,
            "status": self._status,
            "wait": self._wait,
            "failed": self._failed,
            "events": self._events,
            "rescan": self._rescan,
            "pause": self._pause,
            "resume": self._resume,
        }

    def handle(self, request: Request) -> AsyncIterator[Reply]:
        """The replies to one request. Raises RequestError, here or while they are taken."""
        handler = self._table.get(request.op)
        if handler is None:
            raise UnknownOp(f"there is no op {request.op}")
        return handler(request.args)

    async def _search(self, args: dict[str, Any]) -> AsyncIterator[Reply]:
        began = time.perf_counter()
        answer = await self._searcher.search(
            args["text"],
            LIMIT_DEFAULT if args["limit"] is None else args["limit"],
            SEARCH_WAIT_S if args["timeout"] is None else args["timeout"],
            args["min_score"],
        )
        reply: Reply = {"ok": True, "hits": [_hit(hit) for hit in answer.hits]}
        if answer.partial:
            reply["partial"] = True
        reply["took_ms"] = round((time.perf_counter() - began) * 1000, 1)
        yield reply

    async def _list(self, _: dict[str, Any]) -> AsyncIterator[Reply]:
        rows = await asyncio.to_thread(self._catalog.searchable_sorted)
        for number, row in enumerate(rows):
            if number % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
            file = {
                **path_fields(row.path),
                "digest": row.digest,
                "size": row.stat.size,
                "width": row.width,
                "height": row.height,
                "frames": row.frames,
            }
            yield {"ok": True, "file": file}
        yield {"ok": True, "end": True, "count": len(rows)}

    async def _failed(self, _: dict[str, Any]) -> AsyncIterator[Reply]:
        rows = await asyncio.to_thread(self._catalog.failed_sorted)
        for number, row in enumerate(rows):
            if number % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
            yield {"ok": True, "file": {**path_fields(row.path), "reason": row.error}}
        yield {"ok": True, "end": True, "count": len(rows)}

    async def _status(self, _: dict[str, Any]) -> AsyncIterator[Reply]:
        progress = self._progress
        eta = progress.eta_s
        yield {
            "ok": True,
            "status": {
                "protocol": PROTOCOL,
                "version": __version__,
                "state": progress.state,
                "problems": [*progress.problems.values(), *progress.away.values()],
                "indexed": self._catalog.indexed,
                "pending": progress.pending,
                "failed": self._catalog.failed,
                "encoded": progress.encoded,
                "words_pending": 0,
                "rate": round(progress.rate, 2),
                "eta_s": None if eta is None else round(eta, 1),
                "uptime_s": round(progress.uptime_s, 1),
                "pid": os.getpid(),
                **self._about(),
            },
        }

    async def _wait(self, args: dict[str, Any]) -> AsyncIterator[Reply]:
        if self._progress.paused:
            raise Paused("indexing is paused, so this would never end; run memewatch resume")
        walk = self._progress.new_walk()
        self._mirror.wake()
        try:
            async with asyncio.timeout(args["timeout"]):
                await asyncio.wrap_future(walk.done)
        except TimeoutError:
            left = self._progress.pending
            raise TimedOut(f"not settled within {args['timeout']:g} s; {left} files are still pending") from None
        finally:
            self._progress.drop_walk(walk)
        yield _OK

    async def _events(self, _: dict[str, Any]) -> AsyncIterator[Reply]:
        listener = self._progress.listen()
        try:
            yield _OK
            while True:
                event = await listener.get()
                reply: Reply = {"event": event.kind}
                if event.path:
                    reply |= path_fields(event.path)
                if event.origin:
                    reply |= path_fields(event.origin, "from")
                yield reply
        finally:
            self._progress.unlisten(listener)

    async def _rescan(self, args: dict[str, Any]) -> AsyncIterator[Reply]:
        self._mirror.rescan(args["forget_missing"])
        yield _OK

    async def _pause(self, _: dict[str, Any]) -> AsyncIterator[Reply]:
        self._mirror.set_paused(True)
        yield _OK

    async def _resume(self, _: dict[str, Any]) -> AsyncIterator[Reply]:
        self._mirror.set_paused(False)
        yield _OK


def _hit(hit: Hit) -> Reply:
    why = {"image": _rounded(hit.image), "words": _rounded(hit.words), "name": _rounded(hit.name)}
    return {**path_fields(hit.path), "score": round(hit.score, 4), "why": why}


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)
