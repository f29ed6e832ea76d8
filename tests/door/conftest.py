from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.errors import BadRequest, Paused, TimedOut
from memewatchd.protocol import Request, path_fields
from memewatchd.query_socket import Door, DoorLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

PATIENCE_S = 30.0


class House:
    """What stands behind the door in these tests: answers by the words of a search."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        self.requests: list[Request] = []
        self.paused = False
        self.used: list[bytes] = []
        self.mistake = "what was searched for"
        self.paths = [b"/memes/cat.png", b"/memes/\xff.png", b"/memes/new\nline.png", b"/memes/ta\tb\\.png"]
        self.status: dict[str, Any] = {"state": "settled", "indexed": 4}
        self.events: list[dict[str, Any]] = [
            {"event": "added", **path_fields(b"/memes/a b.png")},
            {"event": "moved", **path_fields(b"/memes/\xff.png"), **path_fields(b"/memes/ol\nd.png", "from")},
            {"event": "lost"},
        ]

    async def handle(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        self.requests.append(request)
        self.began.release()
        try:
            async for reply in getattr(self, f"on_{request.op}")(**request.args):
                yield reply
        finally:
            self.ended.release()

    async def on_search(self, text: str, limit: int, **_: Any) -> AsyncIterator[dict[str, Any]]:
        if text == "for ever":
            await asyncio.Event().wait()
        if text == "a bug":
            raise KeyError(self.mistake)
        if text == "a broken store":
            raise ConnectionResetError("not the client's connection")
        if text == "a filter":
            raise BadRequest("the filter ext: is not there yet")
        if text == "very much":
            for _ in range(64):
                yield {"ok": True, "hits": [], "padding": "x" * 1024 * 1024}
            return
        paths = [] if text == "nothing" else self.paths[:limit]
        hits = [{**path_fields(path), "score": 0.5 - rank / 10} for rank, path in enumerate(paths)]
        reply: dict[str, Any] = {"ok": True, "hits": hits, "took_ms": 0.1}
        if text == "early":
            reply["partial"] = True
        yield reply

    async def on_list(self, **_: Any) -> AsyncIterator[dict[str, Any]]:
        for path in self.paths:
            file = {"digest": "0" * 64, "size": 5, "width": 2, "height": 3, "frames": 1}
            yield {"ok": True, "file": {**path_fields(path), **file}}
        yield {"ok": True, "end": True, "count": len(self.paths)}

    async def on_duplicates(self) -> AsyncIterator[dict[str, Any]]:
        file = {"digest": "0" * 64, "size": 5, "width": 2, "height": 3, "frames": 1}
        files = [{**path_fields(path), **file} for path in self.paths]
        if files:
            yield {"ok": True, "group": {"files": files, "exact": True}}
        yield {"ok": True, "end": True, "count": bool(files)}

    async def on_failed(self) -> AsyncIterator[dict[str, Any]]:
        for path in self.paths:
            yield {"ok": True, "file": {**path_fields(path), "reason": "it is\nempty"}}
        yield {"ok": True, "end": True, "count": len(self.paths)}

    async def on_status(self) -> AsyncIterator[dict[str, Any]]:
        yield {"ok": True, "status": self.status}

    async def on_wait(self, timeout: float | None, **_: Any) -> AsyncIterator[dict[str, Any]]:  # noqa: ASYNC109
        if self.paused:
            raise Paused("indexing is paused")
        if timeout is not None:
            raise TimedOut(f"not settled within {timeout:g} s")
        yield {"ok": True}

    async def on_events(self) -> AsyncIterator[dict[str, Any]]:
        yield {"ok": True}
        for event in self.events:
            yield event
        await asyncio.Event().wait()

    async def on_rescan(self, forget_missing: bool) -> AsyncIterator[dict[str, Any]]:
        await asyncio.sleep(0.1)
        yield {"ok": True}

    async def on_pause(self) -> AsyncIterator[dict[str, Any]]:
        await asyncio.sleep(0.1)
        self.paused = True
        yield {"ok": True}

    async def on_resume(self) -> AsyncIterator[dict[str, Any]]:
        self.paused = False
        yield {"ok": True}

    async def on_used(self, path: str, path_b64: bytes | None) -> AsyncIterator[dict[str, Any]]:
        raw = path.encode() if path_b64 is None else path_b64
        if raw not in self.paths:
            raise BadRequest(f"path: {path} is not indexed")
        self.used.append(raw)
        yield {"ok": True}


class OpenDoor:
    """A door with an event loop and a thread of its own."""

    def __init__(self, house: House, path: Path, limits: DoorLimits | None, inherited: socket.socket | None) -> None:
        self.house = house
        self.path = str(path)
        self.door = Door(house.handle, limits=limits)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        try:
            self.run(self.door.open(self.path, inherited))
        except BaseException:
            self.close()
            raise

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)

    def client(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(PATIENCE_S)
        client.connect(self.path)
        return client

    def ask(self, raw: bytes) -> bytes:
        """Sends, half-closes, and reads to the end."""
        with self.client() as client:
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
            return read_all(client)

    def close(self) -> None:
        if self._thread.is_alive():
            self.run(self.door.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


def read_all(client: socket.socket) -> bytes:
    received = b""
    while data := client.recv(1 << 20):
        received += data
    return received


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder with a short name: a socket's path may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="mw-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def open_door(house: House, folder: Path) -> Iterator[Callable[..., OpenDoor]]:
    """Opens a door in front of ``house``; closed after the test."""
    doors: list[OpenDoor] = []

    def opened(
        path: Path = folder / "s", limits: DoorLimits | None = None, inherited: socket.socket | None = None
    ) -> OpenDoor:
        doors.append(OpenDoor(house, path, limits, inherited))
        return doors[-1]

    yield opened
    for door in doors:
        door.close()


@pytest.fixture
def door(open_door: Callable[..., OpenDoor]) -> OpenDoor:
    return open_door()


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Fails a test that leaves file descriptors behind (asked for before ``door``: looked at after it)."""
    before = os.listdir("/proc/self/fd")
    yield
    assert len(os.listdir("/proc/self/fd")) == len(before)
