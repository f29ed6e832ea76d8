"""The daemon for other Python programs: ``from memewatchd.client import Client``.

    with Client() as client:
        for hit in client.search("angry cat", limit=5):
            print(hit.score, hit.path)

Standard library only, synchronous, and typed. What can go wrong is a ``memewatchd.errors.MemewatchError``:
``NoAnswer`` (``memewatchd.client.NoAnswer``) where no daemon answers, and where it says no the ``RequestError`` of
its code (``BadRequest``, ``Degraded``, ``TimedOut``, …).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from memewatchd import protocol
from memewatchd.desktop import examples
from memewatchd.desktop.arguments import UsageError
from memewatchd.desktop.connection import ANSWER_S, Connection
from memewatchd.desktop.trouble import HungUp, Refused
from memewatchd.errors import BadRequest, RequestError, TimedOut
from memewatchd.ops import LIMIT_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Hit:
    """A meme that was found.

    ``path``: absolute, as ``os.fsdecode`` has it, so that ``open`` takes it whatever its bytes. ``score``: higher
    is better, and only comparable within one answer. ``why``: the score of each part (``image``, ``words``,
    ``name``), None for a part that didn't find it. ``copies``: where the same picture lies, too. ``fields``: all that
    the daemon said. ``host``: whose file it is, "" for one of this machine; another's ``path`` is one over there.
    """

    path: str
    score: float
    why: Mapping[str, float | None] = field(default_factory=dict)
    copies: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    host: str = ""


@dataclass(frozen=True, slots=True)
class Answer(Sequence[Hit]):
    """The hits of a search, best first: a sequence of :class:`Hit`.

    ``partial``: the model is still loading, so these were found by names and words only. ``searched``: what was
    searched for where that isn't what was asked (pinyin read as Chinese), else "". ``took_ms``: milliseconds.
    """

    hits: tuple[Hit, ...]
    partial: bool = False
    searched: str = ""
    took_ms: float = 0.0

    @overload
    def __getitem__(self, index: int) -> Hit: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...

    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)


@dataclass(frozen=True, slots=True)
class File:
    """An indexed file. ``digest``: BLAKE2b-256 of its bytes, in hex; ``size``: bytes; ``width``, ``height``: pixels;
    ``frames``: 1 for a still."""

    path: str
    digest: str
    size: int
    width: int
    height: int
    frames: int
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Group:
    """Files that show one picture, the largest picture first. ``exact``: they are the same byte for byte."""

    files: tuple[File, ...]
    exact: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be indexed, and why, in words for people."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something became searchable, or stopped being so.

    ``kind``: "added", "removed", "moved" (``came_from`` is where it was), "failed", or "lost": events are missing
    here, because they weren't read fast enough. ``path``: None where ``kind`` is "lost".
    """

    kind: str
    path: str | None = None
    came_from: str | None = None


class Client:
    """The daemon, over one connection that is opened when it is needed and used again.

    For one thread at a time; threads that ask at the same time need a client each. A daemon that was restarted
    in the meantime is connected to anew.
    """

    def __init__(self, socket: str | None = None) -> None:
        """``socket``: where the daemon listens, if not where it does by default (or MEMEWATCHD_SOCKET says)."""
        self._path = socket
        self._connection: Connection | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. A client that is asked again opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def search(
        self,
        text: str = "",
        *,
        limit: int = LIMIT_DEFAULT,
        like: Sequence[str | os.PathLike[str] | bytes] = (),
        min_score: float | None = None,
        timeout: float | None = None,
        partial: bool = False,
        all_hosts: bool = False,
    ) -> Answer:
        """The best memes for these words (filters and ``-word`` may be among them); without any, the newest.

        ``like``: pictures to search with, each a file's path or the bytes of one. ``limit``: 1 to 1000. ``timeout``:
        seconds that it may wait for the model, 30 if None. ``partial``: a newer search may replace this one, as
        somebody types. ``all_hosts``: what only other machines on the same Milvus server have, too.
        """
        request: dict[str, Any] = {"op": "search", "text": text, "limit": limit, "partial": partial}
        if like:
            request["like"] = _examples(like)
        if min_score is not None:
            request["min_score"] = min_score
        if timeout is not None:
            request["timeout"] = timeout
        if all_hosts:
            request["all_hosts"] = True
        reply = self._one(request, ANSWER_S + (timeout or 0.0))
        return Answer(
            tuple(map(_hit, reply["hits"])),
            bool(reply.get("partial")),
            reply.get("searched") or "",
            reply.get("took_ms") or 0.0,
        )

    def status(self) -> dict[str, Any]:
        """What the daemon is doing, as in ``memewatch status --json``."""
        status: dict[str, Any] = self._one({"op": "status"})["status"]
        return status

    def wait(self, timeout: float | None = None, words: bool = False) -> bool:
        """Returns once all that is in the folders now can be found, is forgotten or has failed.

        False where that took more than ``timeout`` seconds; None waits for ever. ``words``: and once the words in
        all pictures have been read. Raises Paused while indexing is paused.
        """
        request: dict[str, Any] = {"op": "wait", "words": words}
        if timeout is not None:
            request["timeout"] = timeout
        try:
            self._one(request, None if timeout is None else timeout + ANSWER_S)
        except TimedOut:
            return False
        return True

    def list(self) -> tuple[File, ...]:
        """Every indexed file."""
        return tuple(map(_file, self._items("list", "file")))

    def failed(self) -> tuple[Failure, ...]:
        """Each file that could not be indexed, and why."""
        return tuple(Failure(_path(file), file["reason"]) for file in self._items("failed", "file"))

    def duplicates(self) -> tuple[Group, ...]:
        """All files that have copies, re-encoded and resized ones too, in groups."""
        return tuple(
            Group(tuple(map(_file, group["files"])), group["exact"]) for group in self._items("duplicates", "group")
        )

    def events(self) -> Generator[Event]:
        """Each change as it becomes searchable, for as long as the daemon runs; then it raises NoAnswer.

        It listens from this call on, not from the first ``next``, on a connection of its own, which
        ``close()`` closes.
        """
        events = _listen(self._path)
        next(events)  # the daemon's word that it began
        return events

    def used(self, path: str | os.PathLike[str]) -> None:
        """Somebody picked this meme: it rises a little in later searches."""
        self.close()  # asking again on a second connection could count it twice
        self._one({"op": "used", **protocol.path_fields(os.fsencode(path))})

    # ---- asking

    def _one(self, request: Mapping[str, Any], answer_s: float | None = ANSWER_S) -> dict[str, Any]:
        return self._ask(request, answer_s)[0]

    def _items(self, op: str, key: str) -> Iterator[dict[str, Any]]:
        return (reply[key] for reply in self._ask({"op": op}, ANSWER_S)[:-1])

    def _ask(self, request: Mapping[str, Any], answer_s: float | None) -> Sequence[dict[str, Any]]:
        """All replies to a request; on a new connection where the one at hand was closed in the meantime."""
        if self._connection is not None:
            try:
                return self._exchange(self._connection, request, answer_s)
            except HungUp:
                pass
        self._connection = Connection(self._path)
        return self._exchange(self._connection, request, answer_s)

    def _exchange(
        self, connection: Connection, request: Mapping[str, Any], answer_s: float | None
    ) -> Sequence[dict[str, Any]]:
        replies = []
        try:
            for reply in connection.ask(request, answer_s):
                replies.append(reply)
                if not ("file" in reply or "group" in reply):  # a list's end, or the only reply
                    break
        except Refused as refused:
            raise _typed(refused) from None
        except BaseException:
            self.close()  # a reply that is still under way would be taken for the next one's
            raise
        return replies


def _listen(path: str | None) -> Generator[Event]:
    connection = Connection(path)
    try:
        for reply in connection.ask({"op": "events"}, None):
            at, came_from = (_path(reply, key) if key in reply else None for key in ("path", "from"))
            yield Event(reply.get("event", ""), at, came_from)
    except Refused as refused:
        raise _typed(refused) from None
    finally:
        connection.close()


def _hit(fields: Mapping[str, Any]) -> Hit:
    copies = tuple(map(_path, fields.get("copies") or ()))
    return Hit(_path(fields), fields["score"], fields.get("why") or {}, copies, fields, fields.get("host", ""))


def _file(fields: Mapping[str, Any]) -> File:
    return File(
        _path(fields), fields["digest"], fields["size"], fields["width"], fields["height"], fields["frames"], fields
    )


def _path(fields: Mapping[str, Any], key: str = "path") -> str:
    return os.fsdecode(protocol.path_bytes(fields, key))


def _examples(pictures: Sequence[str | os.PathLike[str] | bytes]) -> Sequence[Mapping[str, Any]]:
    """Raises BadRequest, which names the file that can't be read."""
    found: list[Mapping[str, Any]] = []
    for picture in pictures:
        if isinstance(picture, bytes):
            found.append({"data_b64": base64.b64encode(picture).decode()})
            continue
        try:
            found += examples.read([os.fspath(picture)])
        except UsageError as error:
            raise BadRequest(str(error).removeprefix("--like ")) from None
    return found


def _typed(refused: Refused) -> RequestError:
    """The error of its code."""
    for kind in RequestError.__subclasses__():
        if kind.code == refused.code:
            return kind(str(refused))
    return RequestError(f"{refused.code}: {refused}")  # of a daemon newer than we are
