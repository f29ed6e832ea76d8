"""What clients send, cut into lines within limits of size, time and memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from memewatchd import protocol
from memewatchd.errors import Busy, RequestError, TimedOut
from memewatchd.protocol import LIKE_LINE_BYTES, LINE_BYTES

if TYPE_CHECKING:
    import socket

CHUNK = 64 * 1024
"""Bytes that are read or written at once."""


class Refused(Exception):
    """A line that is answered without being looked at; ``fatal`` ends the connection."""

    def __init__(self, reason: RequestError, plain: bool, *, fatal: bool = False) -> None:
        self.reason = reason
        self.plain = plain
        self.fatal = fatal


class Gone(Exception):
    """The client has left, or doesn't take its answer."""


class LineReader:
    """Cuts what one client sends into lines, and refuses those that are too long, or too slow.

    ``line_s``: how long a line may take from its first byte to its newline. Idle clients may stay.
    ``budget``: for what lies above 64 KiB of a line, shared by all clients.
    """

    def __init__(self, client: socket.socket, line_s: float, budget: Budget) -> None:
        self._socket = client
        self._line_s = line_s
        self._budget = budget
        self._held = 0  # of the budget
        self._buffer = bytearray()
        self._ended = False
        self._loop = asyncio.get_running_loop()

    async def next(self) -> bytes | None:
        """The next line, without its newline; None at the end. Raises :class:`Refused`, :class:`Gone`."""
        buffer = self._buffer
        searched = 0
        deadline: float | None = None
        while True:
            end = buffer.find(b"\n", searched)
            if end < 0 and self._ended:
                end = len(buffer)  # the last line may lack its newline
                if end == 0:
                    return None
            if end >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 1]
                self._release()
                return line
            searched = len(buffer)
            if searched and deadline is None:
                deadline = self._loop.time() + self._line_s
            if searched > LINE_BYTES:
                if protocol.is_plain(buffer):
                    await self._skip(protocol.too_large(searched), True, deadline)
                if searched > LIKE_LINE_BYTES:
                    self._drop()
                    raise Refused(protocol.too_large(searched), False, fatal=True)
                if not self._hold(searched):
                    await self._skip(Busy("too many long requests at once; try again"), False, deadline)
            await self._receive(deadline, protocol.is_plain(buffer))

    async def _receive(self, deadline: float | None, plain: bool) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                data = await self._loop.sock_recv(self._socket, CHUNK)
        except OSError as error:
            if not isinstance(error, TimeoutError):
                raise Gone(error.strerror) from None
            self._drop()
            reason = TimedOut(f"the line was not complete within {self._line_s:g} s")
            raise Refused(reason, plain, fatal=True) from None
        if data:
            self._buffer += data
        else:
            self._ended = True

    async def _skip(self, reason: RequestError, plain: bool, deadline: float | None) -> NoReturn:
        """Reads on to the line's end without keeping it, and refuses it. Always raises."""
        skipped = 0
        while True:
            end = self._buffer.find(b"\n")
            skipped += len(self._buffer) if end < 0 else end
            if end >= 0:
                del self._buffer[: end + 1]
            else:
                self._buffer.clear()
            if skipped > LIKE_LINE_BYTES:
                self._drop()
                raise Refused(protocol.too_large(skipped), plain, fatal=True)
            if end >= 0 or self._ended:
                self._release()
                raise Refused(reason, plain)
            await self._receive(deadline, plain)

    def _hold(self, size: int) -> bool:
        if not self._budget.take(size - self._held):
            return False
        self._held = size
        return True

    def _release(self) -> None:
        self._budget.give(self._held)
        self._held = 0

    def _drop(self) -> None:
        self._buffer.clear()
        self._release()

    def close(self) -> None:
        self._drop()


class Budget:
    """Bytes that all connections share."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, size: int) -> bool:
        if size > self._left:
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        self._left += size
