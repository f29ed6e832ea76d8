"""The door: binds or inherits the socket, accepts, reads lines, and answers them in their order.

Everything here runs on the event loop's thread. What a request *does* is the handler's business
(``commands.py``); this module knows lines, limits and deadlines. What people search for is never
logged above DEBUG.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import struct
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from memewatchd import protocol, socket_name
from memewatchd.errors import Busy, ConfigError, Internal, RequestError
from memewatchd.line_reader import CHUNK, Budget, Gone, LineReader, Refused
from memewatchd.ops import CHANGING_OPS
from memewatchd.protocol import LIKE_LINE_BYTES, Request

log = logging.getLogger(__name__)

Handler = Callable[[Request], AsyncIterator[dict[str, Any]]]
"""Yields the replies to one request, in order, without their ``id``; raises :class:`RequestError`."""

_ACCEPT_AT_ONCE = 64
_ACCEPT_AGAIN_S = 0.5
_UCRED = struct.Struct("3i")  # pid, uid, gid: struct ucred of socket(7)
_BATCHED_OPS = frozenset({"list", "failed"})


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """What one client, or all of them together, may cost.

    ``connections`` at once; ``line_s``: from a line's first byte to its newline; ``write_s``: for a
    client to take 64 KiB of an answer (a stream of events may be read at any pace); ``long_bytes``:
    of all lines longer than 64 KiB together; ``linger_s``: for a client that has been answered for
    the last time to stop sending.
    """

    connections: int = 600
    line_s: float = 30.0
    write_s: float = 30.0
    long_bytes: int = 4 * LIKE_LINE_BYTES
    linger_s: float = 5.0


class Door:
    """The socket. Made, opened and closed on the event loop's thread."""

    def __init__(self, handler: Handler, *, limits: DoorLimits | None = None) -> None:
        self._handler = handler
        self._limits = limits or DoorLimits()
        self._budget = Budget(self._limits.long_bytes)
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._name: socket_name.SocketName | None = None
        self._listener: socket.socket | None = None
        self._hangups: _Hangups | None = None
        self._retry: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def open(self, path: str | None, inherited: socket.socket | None = None) -> None:
        """Listens at ``path``, or on the socket that systemd passed.

        Raises :class:`ConfigError` and :class:`AlreadyRunning`; then nothing is left open.
        """
        if inherited is not None:
            self._name, self._listener = socket_name.inherit(inherited)
        elif path is not None:
            self._name, self._listener = socket_name.bind(path)
        else:
            raise ConfigError("no socket: give its path with --socket")
        self._listener.setblocking(False)
        self._hangups = _Hangups()
        self._accept_again()

    async def close(self) -> None:
        """Ends every connection, frees the name, and removes the socket where :meth:`open` made it."""
        if self._retry is not None:
            self._retry.cancel()
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            if self._name is not None:
                self._name.remove_socket()
            self._listener.close()
            self._listener = None
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._hangups is not None:
            self._hangups.close()
            self._hangups = None
        if self._name is not None:
            self._name.close()
            self._name = None

    def _accept_again(self) -> None:
        self._retry = None
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        listener = self._listener
        for _ in range(_ACCEPT_AT_ONCE):
            if listener is None:
                return
            try:
                client, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Most likely no file descriptor is left. Those who wait keep the listener readable:
                # without a pause this would spin.
                log.error("can't accept a connection: %s", error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                self._retry = loop.call_later(_ACCEPT_AGAIN_S, self._accept_again)
                return
            client.setblocking(False)
            self._welcome(client)

    def _welcome(self, client: socket.socket) -> None:
        uid = _peer_uid(client)
        if uid not in (os.geteuid(), 0):
            log.warning("refused a connection of user %d", uid)
            client.close()
            return
        if len(self._connections) >= self._limits.connections:
            _turn_away(client)
            return
        assert self._hangups is not None  # opened before the first accept
        connection = _Connection(client, self._handler, self._limits, self._budget, self._hangups)
        task = asyncio.get_running_loop().create_task(connection.serve())
        self._connections[task] = connection
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task).close()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection ended in an error:\n%s", _where(error))


class _Connection:
    """One client: one request at a time, in order. Owned by its task."""

    def __init__(
        self,
        client: socket.socket,
        handler: Handler,
        limits: DoorLimits,
        budget: Budget,
        hangups: _Hangups,
    ) -> None:
        self._socket = client
        self._handler = handler
        self._limits = limits
        self._hangups = hangups
        self._lines = LineReader(client, limits.line_s, budget)
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> None:
        try:
            while (raw := await self._next()) is not None:
                await self._answer(raw)
                # Neither reading nor writing has to wait where a client sends and takes quickly.
                await asyncio.sleep(0)
        except Gone as error:
            log.debug("a client has gone: %s", error)

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    async def _next(self) -> bytes | None:
        """The next line that can be looked at; refusals are answered on the way. None: no more."""
        while True:
            try:
                return await self._lines.next()
            except Refused as refused:
                await self._send(_error(refused.reason, refused.plain))
                if refused.fatal:
                    await self._linger()
                    return None

    async def _answer(self, raw: bytes) -> None:
        id_json = ""
        plain = protocol.is_plain(raw)
        op = ""
        try:
            line = protocol.read_line(raw)
            id_json = line.id_json
            del raw  # up to 32 MiB
            request = protocol.check_line(line)
            op = request.op
            log.debug("%s %r", op, request.args)
            await self._carry_out(request)
        except RequestError as error:
            await self._send(_error(error, plain, id_json))
        except Gone:
            raise
        except Exception as error:  # the one place that catches: a bug must not end the door
            log.error("%s failed:\n%s", op or "reading a request", _where(error))
            log.debug("%s failed", op, exc_info=error)
            reason = Internal("an internal error; the daemon's log has more")
            await self._send(_error(reason, plain, id_json))

    async def _carry_out(self, request: Request) -> None:
        watched = request.op not in CHANGING_OPS
        if watched:
            self._hangups.watch(self._socket, asyncio.current_task())
        replies: AsyncIterator[dict[str, Any]] | None = None
        try:
            replies = self._handler(request)
            await self._reply(request, replies)
        finally:
            if watched:
                self._hangups.forget(self._socket)
            # An iterator that is a generator ends its work here, not when it is collected.
            if (end := getattr(replies, "aclose", None)) is not None:
                await end()

    async def _reply(self, request: Request, replies: AsyncIterator[dict[str, Any]]) -> None:
        patient = request.op == "events"
        batch = bytearray()
        async for reply in replies:
            if not request.plain:
                batch += protocol.encode(reply, request.id_json)
            elif reply.get("ok"):
                batch += protocol.plain_answer(reply["hits"])
            if len(batch) >= CHUNK or request.op not in _BATCHED_OPS:
                await self._send(batch, patient=patient)
                batch = bytearray()
                await asyncio.sleep(0)
        await self._send(batch, patient=patient)

    async def _send(self, data: bytes | bytearray, *, patient: bool = False) -> None:
        view = memoryview(data)
        for start in range(0, len(view), CHUNK):
            try:
                async with asyncio.timeout(None if patient else self._limits.write_s):
                    await self._loop.sock_sendall(self._socket, view[start : start + CHUNK])
            except TimeoutError:
                raise Gone("it doesn't read its answer") from None
            except OSError as error:
                raise Gone(error.strerror) from None

    async def _linger(self) -> None:
        """Lets a client that is still sending finish, so that it sees its answer and not a broken pipe."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(self._limits.linger_s):
                while await self._loop.sock_recv(self._socket, CHUNK):
                    pass
        except (OSError, TimeoutError):
            pass


class _Hangups:
    """Ends the work for clients that have left, and only for those.

    Reading can't tell a client that has left from one that has only finished sending and waits for
    its answer. epoll can: EPOLLHUP, always reported, means that both directions are shut.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    def watch(self, client: socket.socket, task: asyncio.Task[Any] | None) -> None:
        if task is not None:
            self._tasks[client.fileno()] = task
            self._epoll.register(client.fileno(), 0)

    def forget(self, client: socket.socket) -> None:
        if self._tasks.pop(client.fileno(), None) is not None:
            self._epoll.unregister(client.fileno())

    def _ready(self) -> None:
        for fd, _ in self._epoll.poll(0):
            self._epoll.unregister(fd)
            self._tasks.pop(fd).cancel()

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()


def _error(error: RequestError, plain: bool, id_json: str = "") -> bytes:
    if plain:
        return protocol.plain_error(error)
    return protocol.encode(protocol.error_reply(error), id_json)


def _where(error: BaseException) -> str:
    """The kinds and places of an error and its causes, without their messages: these may quote a query."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(parts) < 8:
        parts.append("".join(traceback.format_tb(cause.__traceback__)) + type(cause).__qualname__)
        cause = cause.__cause__ or cause.__context__
    return "\nafter\n".join(parts)


def _peer_uid(client: socket.socket) -> int:
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(credentials)[1]
    return uid


def _turn_away(client: socket.socket) -> None:
    """Tells a client that there are too many, in its own form if it has said something already."""
    reason = Busy("too many connections; try again")
    try:
        said = client.recv(CHUNK)
    except OSError:
        said = b""
    try:
        client.send(_error(reason, bool(said) and protocol.is_plain(said)))
    except OSError:
        pass
    client.close()
