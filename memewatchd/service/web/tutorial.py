"""The three calls of a well-known tutorial, for scripts that were written after it. docs/migrate.md has more."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from memewatchd.protocol import path_bytes
from memewatchd.service.web.reading import Left, json_object, uploaded, while_here
from memewatchd.service.web.refusal import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request

    from memewatchd.service.web.changes import Changes
    from memewatchd.service.web.inside import Memes

_MOST_DELETED = 1000


class Tutorial:
    """``/image_upload``, ``/image_search``, ``/image_delete``."""

    def __init__(self, memes: Memes, changes: Changes) -> None:
        self._memes = memes
        self._changes = changes

    def routes(self) -> list[Route]:
        """All three are POST."""
        return [
            Route("/image_upload", self._upload, methods=["POST"]),
            Route("/image_search", self._search, methods=["POST"]),
            Route("/image_delete", self._delete, methods=["POST"]),
        ]

    async def _upload(self, request: Request) -> Response:
        async with uploaded(request) as files:
            if not files or not (files[0].filename or files[0].size):
                raise Refusal(400, "no_picture", "there is no picture in the field image")
            path = await self._changes.add(files[0])
        name = os.path.basename(path).decode("utf-8", "replace")
        return JSONResponse({"message": f"Image uploaded: {name}"})

    async def _search(self, request: Request) -> Response:
        body = await json_object(request)
        text = body.get("text")
        if not isinstance(text, str) or not text.strip():
            raise Refusal(400, "no_text", "there is no text to search for")
        try:
            (reply,) = await while_here(request, self._memes.ask(op="search", text=text))
        except Left:
            return Response(status_code=499)
        hits = reply["hits"]
        ids = [self._memes.ids.of(path_bytes(hit)) for hit in hits]
        return JSONResponse({"results": [hit["path"] for hit in hits], "ids": ids})

    async def _delete(self, request: Request) -> Response:
        given = (await json_object(request)).get("image_id")
        numbers = given if isinstance(given, list) else [given]
        if not numbers or len(numbers) > _MOST_DELETED:
            raise Refusal(400, "bad_id", "image_id must be an id, or a list of ids")
        # All are looked up first: either all can go, or none does.
        paths = list(dict.fromkeys(self._memes.row(number).path for number in numbers))
        for path in paths:
            await asyncio.to_thread(self._changes.check, path)
        for path in paths:
            await self._changes.delete(path)
        return JSONResponse({"message": f"Moved to the trash: {len(paths)} image{'s' if len(paths) > 1 else ''}"})
