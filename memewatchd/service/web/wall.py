"""The page, and what it asks: a handful of calls below ``/api``."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from memewatchd.errors import RequestError
from memewatchd.protocol import path_bytes, path_fields
from memewatchd.service.web import pictures, tags
from memewatchd.service.web.changes import Changes
from memewatchd.service.web.guard import Guard
from memewatchd.service.web.inside import Inside, Memes
from memewatchd.service.web.reading import MOST_FILES, Left, json_object, uploaded, while_here
from memewatchd.service.web.refusal import Refusal, internal, response
from memewatchd.service.web.tutorial import Tutorial
from memewatchd.service.web.uploads import FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

PAGE = Path(__file__).with_name("page")
_FILES = {
    "wall.css": "text/css; charset=utf-8",
    "wall.js": "text/javascript; charset=utf-8",
    "texts.js": "text/javascript; charset=utf-8",
}
_MOST_FAILED = 500
_MOST_DELETED = 1000


class Wall:
    """The page's own calls."""

    def __init__(self, memes: Memes, changes: Changes) -> None:
        self._memes = memes
        self._changes = changes
        self._page = (PAGE / "index.html").read_text(encoding="utf-8")
        self._files = {name: (PAGE / name).read_bytes() for name in _FILES}

    def routes(self) -> list[Route]:
        """What changes something, or says what is searched for, is POST."""
        return [
            Route("/", self._index),
            Route("/favicon.ico", _nothing),
            Route("/static/{name}", self._static),
            Route("/picture/{id:int}", self._picture),
            Route("/thumb/{id:int}", self._thumb),
            Route("/api/status", self._status),
            Route("/api/failed", self._failed),
            Route("/api/search", self._search, methods=["POST"]),
            Route("/api/add", self._add, methods=["POST"]),
            Route("/api/delete", self._delete, methods=["POST"]),
            Route("/api/undo", self._undo, methods=["POST"]),
            Route("/api/tags", self._tags, methods=["POST"]),
            Route("/api/used", self._used, methods=["POST"]),
        ]

    # ---- the page and its pictures

    async def _index(self, request: Request) -> Response:
        language = preferred_language(request.headers.get("accept-language", ""))
        page = self._page.replace('lang="en"', f'lang="{language}"', 1)
        return Response(page, media_type="text/html; charset=utf-8", headers={"vary": "accept-language, cookie"})

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404)
        return Response(self._files[name], media_type=_FILES[name], headers={"cache-control": "no-cache"})

    async def _picture(self, request: Request) -> Response:
        row = self._memes.row(request.path_params["id"])
        download = "download" in request.query_params
        return await pictures.picture(request, row.path, self._memes.inside.sniff, download=download)

    async def _thumb(self, request: Request) -> Response:
        row = self._memes.row(request.path_params["id"])
        inside = self._memes.inside
        return await pictures.thumbnail(request, row.path, inside.sniff, inside.thumbnail)

    # ---- what is asked

    async def _status(self, request: Request) -> Response:
        (reply,) = await self._memes.ask(op="status")
        wall = {
            "folder": os.fsdecode(self._memes.inside.folders[0]).encode("utf-8", "replace").decode(),
            "writable": await asyncio.to_thread(self._changes.is_writable),
            "generation": self._memes.inside.known.generation,
            "file_bytes": FILE_BYTES,
            "files": MOST_FILES,
        }
        return JSONResponse({**reply["status"], "wall": wall})

    async def _failed(self, request: Request) -> Response:
        *replies, end = await self._memes.ask(op="failed")
        files = [{"path": reply["file"]["path"], "reason": reply["file"]["reason"]} for reply in replies[:_MOST_FAILED]]
        return JSONResponse({"files": files, "count": end["count"]})

    async def _search(self, request: Request) -> Response:
        body = await json_object(request)
        asked: dict[str, Any] = {"op": "search", "partial": True}
        asked |= {key: body[key] for key in ("text", "limit") if key in body}
        if "like" in body:
            asked["like"] = [path_fields(self._memes.row(body["like"]).path)]
        try:
            (reply,) = await while_here(request, self._memes.ask(**asked))
            hits = await asyncio.to_thread(self._described, reply["hits"])
        except Left:
            return Response(status_code=499)
        for hit in hits:
            hit["id"] = self._memes.ids.of(path_bytes(hit))
        more = {key: reply[key] for key in ("searched", "partial", "took_ms") if key in reply}
        return JSONResponse({"hits": hits, **more})

    def _described(self, hits: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Hits with what the page shows of them. Reads the disk."""
        known = self._memes.inside.known
        described = []
        for hit in hits:
            path = path_bytes(hit)
            row = known.get(path)
            if row is None or row.error:  # forgotten in between
                continue
            described.append(
                {
                    **hit,
                    "name": os.path.basename(hit["path"]),
                    "width": row.width,
                    "height": row.height,
                    "frames": row.frames,
                    "kind": row.kind,
                    "version": row.digest[:16],
                    "tags": tags.read(path),
                }
            )
        return described

    # ---- what is changed

    async def _add(self, request: Request) -> Response:
        added: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        async with uploaded(request) as files:
            if not files:
                raise Refusal(400, "no_picture", "there is no picture in the field image")
            for file in files:
                try:
                    path = await self._changes.add(file)
                except Refusal as refusal:
                    errors.append({"name": file.filename or "", "error": str(refusal), "code": refusal.code})
                else:
                    name = os.path.basename(path).decode("utf-8", "replace")
                    added.append({"name": name, "id": self._memes.ids.of(path)})
        status = 200 if added or not errors else 403 if errors[0]["code"] in ("read_only", "not_allowed") else 400
        return JSONResponse({"added": added, "errors": errors}, status)

    async def _delete(self, request: Request) -> Response:
        numbers = (await json_object(request)).get("ids")
        if not isinstance(numbers, list) or not 0 < len(numbers) <= _MOST_DELETED:
            raise Refusal(400, "bad_id", "ids must be a list of ids")
        paths = [self._memes.row(number).path for number in numbers]
        return JSONResponse({"undo": [await self._changes.delete(path) for path in paths]})

    async def _undo(self, request: Request) -> Response:
        words = (await json_object(request)).get("undo")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise Refusal(400, "bad_request", "undo must be a list of what deleting answered")
        paths = [await self._changes.undo(word) for word in words]
        return JSONResponse({"ids": [self._memes.ids.of(path) for path in paths]})

    async def _tags(self, request: Request) -> Response:
        body = await json_object(request)
        words = body.get("tags")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise Refusal(400, "bad_request", "tags must be a list of words")
        path = self._memes.row(body.get("id")).path
        return JSONResponse({"tags": await self._changes.set_tags(path, words)})

    async def _used(self, request: Request) -> Response:
        path = self._memes.row((await json_object(request)).get("id")).path
        await self._memes.ask(op="used", **path_fields(path))
        return JSONResponse({})


def make_app(inside: Inside, environ: Mapping[str, str], *, host: str, token: str) -> ASGIApp:
    """The whole of it, guarded. Call with the event loop running."""
    memes = Memes(inside)
    changes = Changes(memes, environ)
    app = Starlette(
        routes=[*Wall(memes, changes).routes(), *Tutorial(memes, changes).routes()],
        exception_handlers={
            HTTPException: _http_error,
            Refusal: _refused,
            RequestError: _refused,
            Exception: _bug,
        },
    )
    return Guard(app, host=host, token=token, uploads=frozenset({"/api/add", "/image_upload"}))


def preferred_language(header: str) -> str:
    """ "zh" or "en": what an Accept-Language header would rather have."""
    best, language = 0.0, "en"
    for part in header.lower().split(","):
        name, _, weight = part.partition(";")
        primary = name.strip().partition("-")[0]
        try:
            value = float(weight.strip().removeprefix("q=")) if weight.strip() else 1.0
        except ValueError:
            continue
        if primary in ("en", "zh") and value > best:
            best, language = value, primary
    return language


async def _nothing(_: Request) -> Response:
    return Response(status_code=204)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail, "code": "http"}, error.status_code, headers=error.headers)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal | RequestError)
    return response(error)


async def _bug(_: Request, error: Exception) -> Response:
    # Starlette raises it again after this; the guard logs it.
    return internal(error)
