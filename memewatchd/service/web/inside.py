"""What the wall may ask of the daemon, and how: the door's own table of commands, and what is known of a path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from memewatchd import protocol
from memewatchd.service.web.ids import Ids
from memewatchd.service.web.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from memewatchd.meme import Digest, FileRow


class Known(Protocol):
    """The index's view of files; the catalog."""

    @property
    def generation(self) -> int: ...
    def get(self, path: bytes) -> FileRow | None: ...
    def rows(self) -> list[FileRow]: ...
    def all_paths_of(self, digest: Digest) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class Inside:
    """``handle``: a request's replies, as the door gets them. ``folders``: the watched roots; new files go into the
    first. ``sniff``: a file's first bytes → the kind of picture, or None. ``thumbnail``: a path → the bytes of a
    small PNG of it that is there already, or None; it may read the disk.
    """

    handle: Callable[[protocol.Request], AsyncIterator[dict[str, Any]]]
    known: Known
    folders: tuple[bytes, ...]
    sniff: Callable[[bytes], str | None]
    thumbnail: Callable[[bytes], bytes | None]


class Memes:
    """Requests to the daemon, and ids for paths. Main thread only, but for :meth:`check_place`."""

    def __init__(self, inside: Inside) -> None:
        self.inside = inside
        self.ids = Ids(lambda: (row.path for row in inside.known.rows()), lambda: inside.known.generation)

    async def ask(self, **body: Any) -> list[dict[str, Any]]:
        """All replies to one request, checked as the door checks it. Raises RequestError."""
        request = protocol.check_line(protocol.Line(body, 0))
        replies = self.inside.handle(request)
        return [reply async for reply in replies]

    def row(self, number: Any) -> FileRow:
        """The good file that an id stands for. Raises Refusal (404; 400 for what is no id)."""
        if type(number) is not int:
            raise Refusal(400, "bad_id", "an id is a whole number")
        path = self.ids.path(number)
        row = None if path is None else self.inside.known.get(path)
        if row is None or row.error:
            raise Refusal(404, "gone", f"there is no picture with the id {number}")
        return row

    def check_place(self, path: bytes, *, follow: bool) -> None:
        """That a path (with ``follow``: what it leads to) lies in a watched folder. Reads the disk. Raises Refusal."""
        real = os.path.realpath(path) if follow else os.path.realpath(os.path.dirname(path)) + b"/."
        for folder in self.inside.folders:
            if real.startswith(os.path.realpath(folder).rstrip(b"/") + b"/"):
                return
        raise Refusal(403, "outside", "this file lies outside of the watched folders, so it isn't changed from here")
