"""What `memewatch pick` and `copy` ask of the daemon: the words behind a meme, and a file to paste."""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memewatchd.errors import BadRequest, Degraded
from memewatchd.protocol import path_fields
from memewatchd.search.pinyin import keys
from memewatchd.search.readings import readings
from memewatchd.words import BETWEEN

if TYPE_CHECKING:
    from memewatchd.meme import FileRow
    from memewatchd.pictures.export import Exporter

_NOT_INITIAL = re.compile("[a-z]+")


def meta_fields(row: FileRow | None) -> dict[str, Any]:
    """What a launcher may match as people type, besides the name: ``words`` and ``tags``, folded, and the ``pinyin``
    of both, whole and as initials."""
    if row is None:
        return {}
    text = row.text.replace(f" {BETWEEN} ", " ")
    return {"words": text, "tags": list(row.tags), "pinyin": spelled(" ".join((text, *row.tags)))}


@functools.lru_cache(1 << 16)  # some 30 µs a text, and a launcher asks for all of them at a key press
def spelled(text: str) -> str:
    """How a folded text's Han characters are read, in small letters, whole and as initials: "shengqi sq"."""
    found = keys(text, readings())
    return f"{found} {_NOT_INITIAL.sub('', found)}".lower() if found else ""


async def export_reply(exporter: Exporter | None, args: dict[str, Any]) -> dict[str, Any]:
    """The answer to ``export``; ``args`` as the protocol checks them. Raises BadRequest, Degraded."""
    path: bytes | None = args["path_b64"]
    if path is None:
        if args["path"] is None:
            raise BadRequest("export needs path, the meme that is to be copied")
        path = args["path"].encode()
    if exporter is None:
        raise Degraded("this daemon was started without what prepares pictures")
    made = await asyncio.to_thread(exporter.export, path, args["as"], args["max_px"])
    reply: dict[str, Any] = {"ok": True, **path_fields(made.file, "file"), "mime": made.mime}
    reply |= {"animated": made.animated, "as_file": made.as_file}
    if args["inline"]:
        reply["data_b64"] = base64.b64encode(await asyncio.to_thread(_read, made.file)).decode()
    return reply


def _read(file: bytes) -> bytes:
    try:
        return Path(os.fsdecode(file)).read_bytes()
    except OSError as error:
        raise Degraded(f"what was prepared can't be read: {error.strerror}") from error
