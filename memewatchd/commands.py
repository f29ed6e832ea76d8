"""op → what is done: the table of everything that the door can be asked. Runs in the main thread's event loop."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, Protocol

from memewatchd import __version__
from memewatchd.errors import BadRequest, Degraded, Paused, StoreError, TimedOut, UnknownOp
from memewatchd.ops import LIMIT_DEFAULT
from memewatchd.picking import export_reply, meta_fields
from memewatchd.protocol import PROTOCOL, SEARCH_WAIT_S, path_bytes, path_fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from memewatchd.index.catalog import Catalog
    from memewatchd.meme import FileRow
    from memewatchd.pictures.export import Exporter
    from memewatchd.progress import Progress
    from memewatchd.protocol import Request
    from memewatchd.search.naming import Namer
    from memewatchd.search.ranking import Hit
    from memewatchd.search.search import Answer, Searcher
    from memewatchd.search.usage import Usage

Reply = dict[str, Any]
_OK: Reply = {"ok": True}
# Long lists are given in pieces, so that other connections are answered in between.
_BREATHE_EVERY = 200
_TURNING_S = 0.005


class MirrorControl(Protocol):
    """What can be asked of the mirror."""

    def wake(self) -> None: ...
    def rescan(self, forget_missing: bool = False) -> None: ...
    def set_paused(self, paused: bool) -> None: ...


class Asked(Protocol):
    """What can be asked of the reindexer (for a model), and of the copier (for a Milvus)."""

    def ask(self, what: str, /) -> str: ...


class Commands:
    """Carries out requests. ``about`` gives the parts of ``status`` that other rooms know; ``turn`` is odd while one
    model takes the place of another, and another number afterwards."""

    def __init__(
        self,
        *,
        searcher: Searcher,
        catalog: Catalog,
        progress: Progress,
        mirror: MirrorControl,
        about: Callable[[], Mapping[str, Any]],
        usage: Usage | None = None,
        exporter: Exporter | None = None,
        namer: Namer | None = None,
        reindexer: Asked | None = None,
        copier: Asked | None = None,
        turn: Callable[[], int] = lambda: 0,
    ) -> None:
        self._searcher = searcher
        self._catalog = catalog
        self._progress = progress
        self._mirror = mirror
        self._about = about
        self._usage = usage
        self._exporter = exporter
        self._namer = namer
        self._reindexer = reindexer
        self._copier = copier
        self._turn = turn
        # One at a time, and who waits for it holds no thread: there are few for all that isn't a search.
        self._exporting, self._describing = asyncio.Lock(), asyncio.Lock()
        self._table: dict[str, Callable[[dict[str, Any]], AsyncIterator[Reply]]] = {
            "search": self._search,
            "list": self._list,
            "status": self._status,
            "wait": self._wait,
            "failed": self._failed,
            "duplicates": self._duplicates,
            "describe": self._describe,
            "events": self._events,
            "rescan": self._rescan,
            "pause": self._pause,
            "resume": self._resume,
            "used": self._used,
            "forget-usage": self._forget_usage,
            "reindex": self._reindex,
            "export": self._export,
        }

    def handle(self, request: Request) -> AsyncIterator[Reply]:
        """The replies to one request. Raises RequestError, here or while they are taken."""
        handler = self._table.get(request.op)
        if handler is None:
            raise UnknownOp(f"there is no op {request.op}")
        return handler(request.args)

    async def _search(self, args: dict[str, Any]) -> AsyncIterator[Reply]:
        began = time.perf_counter()
        answer = await self._in_one_turn(
            args["text"],
            LIMIT_DEFAULT if args["limit"] is None else args["limit"],
            SEARCH_WAIT_S if args["timeout"] is None else args["timeout"],
            args["min_score"],
            args["like"] or (),
            typing=args["partial"],
            all_hosts=args["all_hosts"],
        )
        reply: Reply = {"ok": True, "hits": [self._hit(hit) for hit in answer.hits]}
        if args["meta"]:
            for hit in (hit for hit in reply["hits"] if "host" not in hit):
                hit.update(meta_fields(self._catalog.get(path_bytes(hit))))
        if answer.searched:
            reply["searched"] = answer.searched
        if answer.partial:
            reply["partial"] = True
        reply["took_ms"] = round((time.perf_counter() - began) * 1000, 1)
        yield reply

    async def _in_one_turn(self, *asked: Any, typing: bool, all_hosts: bool) -> Answer:
        """Search, and again where another model took over meanwhile: vectors of two models don't compare."""
        while True:
            turn = self._turn()
            if turn % 2:  # it takes milliseconds
                await asyncio.sleep(_TURNING_S)
                continue
            try:
                answer = await self._searcher.search(*asked, typing=typing, all_hosts=all_hosts)
            except Exception:
                if turn == self._turn():
                    raise
                continue
            if turn == self._turn():
                return answer

    def _hit(self, hit: Hit) -> Reply:
        why = {"image": _rounded(hit.image), "words": _rounded(hit.words), "name": _rounded(hit.name)}
        found: Reply = {**path_fields(hit.path), "score": round(hit.score, 4), "why": why}
        row = self._catalog.get(hit.path)
        if hit.host:
            found["host"] = hit.host
        if hit.frame is not None and (hit.host or (row is not None and row.frames > 1)):
            found["frame"] = hit.frame
        if hit.copies:
            found["copies"] = [path_fields(path) for path in hit.copies]
        return found

    async def _list(self, args: dict[str, Any]) -> AsyncIterator[Reply]:
        rows = await (self._rows_as_used() if args["order"] == "used" else self._rows_by_path())
        for number, row in enumerate(rows):
            if number % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
            file = _file_fields(row)
            if args["meta"]:
                file |= meta_fields(row)
            yield {"ok": True, "file": file}
        yield {"ok": True, "end": True, "count": len(rows)}

    async def _rows_by_path(self) -> list[FileRow]:
        return await asyncio.to_thread(self._catalog.searchable_sorted)

    async def _rows_as_used(self) -> list[FileRow]:
        """In the order of a search without words, and all of them."""
        answer = await self._searcher.search("", self._catalog.indexed + _BREATHE_EVERY, SEARCH_WAIT_S, fold=False)
        return [row for hit in answer.hits if (row := self._catalog.get(hit.path)) is not None]

    async def _failed(self, _: dict[str, Any]) -> AsyncIterator[Reply]:
        rows = await asyncio.to_thread(self._catalog.failed_sorted)
        for number, row in enumerate(rows):
            if number % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
            yield {"ok": True, "file": {**path_fields(row.path), "reason": row.error}}
        yield {"ok": True, "end": True, "count": len(rows)}

    async def _duplicates(self, _: dict[str, Any]) -> AsyncIterator[Reply]:
        groups = await asyncio.to_thread(self._searcher.copies.groups)
        for number, rows in enumerate(groups):
            if number % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
            exact = len({row.digest for row in rows}) == 1
            yield {"ok": True, "group": {"files": [_file_fields(row) for row in rows], "exact": exact}}
        yield {"ok": True, "end": True, "count": len(groups)}

    async def _describe(self, args: dict[str, Any]) -> AsyncIterator[Reply]:
        pictures = args["like"] or []
        if len(pictures) != 1:
            raise BadRequest("describe needs like, a list of one picture")
        if self._namer is None:
            raise UnknownOp("nothing here can describe")
        async with self._describing:
            phrase = await asyncio.to_thread(self._namer.name, pictures[0])
        yield {"ok": True, "name": None if phrase is None else phrase._asdict()}

    async def _status(self, _: dict[str, Any]) -> AsyncIterator[Reply]:
        progress = self._progress
        eta, words_eta = progress.eta_s, progress.words_eta_s
        yield {
            "ok": True,
            "status": {
                "protocol": PROTOCOL,
                "version": __version__,
                "state": progress.state,
                "problems": [*progress.problems.values(), *progress.away.values()],
                "indexed": self._catalog.indexed,
                "pending": progress.pending,
                "holding": progress.holding,
                "failed": self._catalog.failed,
                "encoded": progress.encoded,
                "words_pending": progress.words_pending,
                "words_state": progress.words_state,
                "words_rate": round(progress.words_rate, 2),
                "words_eta_s": None if words_eta is None else round(words_eta, 1),
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
        if args["words"] and self._progress.words_off:
            raise BadRequest(f"the words in pictures are not read: {self._progress.words_off}")
        words = None
        walk = self._progress.new_walk()
        self._mirror.wake()
        try:
            async with asyncio.timeout(args["timeout"]):
                await asyncio.wrap_future(walk.done)
                if args["words"]:
                    words = self._progress.new_words_wait()
                    self._mirror.wake()
                    await asyncio.wrap_future(words.done)
        except TimeoutError:
            left = f"{self._progress.pending} files are still pending"
            if words is not None:
                left = f"the words in {self._progress.words_pending} pictures are still to be read"
            raise TimedOut(f"not settled within {args['timeout']:g} s; {left}") from None
        finally:
            self._progress.drop_walk(walk)
            if words is not None:
                self._progress.drop_words_wait(words)
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

    async def _reindex(self, args: dict[str, Any]) -> AsyncIterator[Reply]:
        model, milvus = args["model"], args["milvus"]
        if bool(model) == bool(milvus):
            raise BadRequest(
                "reindex needs model (a name as siglip2, a hub id or a folder), or milvus (http://host:port)"
            )
        asked = self._reindexer if model else self._copier
        if asked is None:
            raise UnknownOp("nothing here can reindex")
        yield {"ok": True, "message": await asyncio.to_thread(asked.ask, model or milvus)}

    async def _export(self, args: dict[str, Any]) -> AsyncIterator[Reply]:
        async with self._exporting:
            yield await export_reply(self._exporter, args)

    async def _used(self, args: dict[str, Any]) -> AsyncIterator[Reply]:
        path: bytes | None = args["path_b64"]
        if path is None:
            if args["path"] is None:
                raise BadRequest("used needs path, the meme that was picked")
            path = args["path"].encode()
        row = self._catalog.get(path)
        if row is None or row.error or not row.digest:
            why = f"could not be indexed: {row.error}" if row is not None and row.error else "is not indexed"
            raise BadRequest(f"path: {path.decode(errors='replace')} {why}")
        if self._usage is not None:
            await self._stored(self._usage.pick, row.digest)
        yield _OK

    async def _forget_usage(self, _: dict[str, Any]) -> AsyncIterator[Reply]:
        if self._usage is not None:
            await self._stored(self._usage.forget)
        yield _OK

    async def _stored(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do what writes to the disk, in a thread. Raises Degraded."""
        try:
            await asyncio.to_thread(work, *arguments)
        except StoreError as error:
            raise Degraded(str(error)) from error


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)


def _file_fields(row: FileRow) -> Reply:
    return {
        **path_fields(row.path),
        "digest": row.digest,
        "size": row.stat.size,
        "width": row.width,
        "height": row.height,
        "frames": row.frames,
    }
