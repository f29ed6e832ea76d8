"""What stands in a request, checked; and work that ends when the browser has lost interest."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from memewatchd.service.web.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from starlette.requests import Request

MOST_FILES = 20
"""Pictures in one request."""
_T = TypeVar("_T")


class Left(Exception):
    """The browser hung up: nobody waits for the answer."""


async def json_object(request: Request) -> dict[str, Any]:
    """The body, which must be a JSON object. Raises Refusal (400)."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "bad_request", "the body is not JSON") from error
    if not isinstance(body, dict):
        raise Refusal(400, "bad_request", "the body is not a JSON object")
    return body


@asynccontextmanager
async def uploaded(request: Request) -> AsyncIterator[list[UploadFile]]:
    """The files in the multipart field ``image``, while the context lasts. Raises Refusal (400)."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Refusal(400, "no_picture", "send the picture as multipart/form-data, in a field named image")
    try:
        form = await request.form(max_files=MOST_FILES, max_fields=MOST_FILES)
    except HTTPException as error:
        raise Refusal(400, "bad_request", f"the upload can't be read: {error.detail}") from error
    try:
        yield [file for file in form.getlist("image") if isinstance(file, UploadFile)]
    finally:
        await form.close()


async def while_here(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The work's result; cancelled where the browser hangs up first (a newer keystroke). Raises Left.

    The body must have been read: after it, all that comes is the end.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Left
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
