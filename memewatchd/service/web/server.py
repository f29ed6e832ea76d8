"""Listens and serves the wall on the daemon's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING

import uvicorn

from memewatchd.errors import ConfigError
from memewatchd.service.sandbox import require_network
from memewatchd.service.web.wall import make_app

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from memewatchd.service.web.inside import Inside


CONNECTIONS = 200
_STOP_S = 1


class _Server(uvicorn.Server):
    """Signals are the daemon's; says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class WebServer:
    """One listening socket. ``token``: "" where none is asked for. Main thread only."""

    def __init__(self, inside: Inside, environ: Mapping[str, str], *, host: str, port: int, token: str) -> None:
        self._inside = inside
        self._environ = environ
        self._host = host
        self._port = port
        self._token = token
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it is, for people; after :meth:`open`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/"

    async def open(self) -> None:
        """Listen; returns once it answers. Raises ConfigError."""
        require_network(f"http = {self._host}:{self._port}")
        listener = self._bound()
        self._port = listener.getsockname()[1]
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self._server = _Server(
            uvicorn.Config(
                make_app(self._inside, self._environ, host=self._host, token=self._token),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=_STOP_S,
            )
        )
        self._task = asyncio.create_task(self._server.serve([listener]))
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait((self._task, listening), return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            listening.cancel()
            await self._task

    async def close(self) -> None:
        """Stop listening; what is under way has a second."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.gather(self._task, return_exceptions=True)

    def _bound(self) -> socket.socket:
        try:
            (family, kind, _, _, address), *_ = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            listener = socket.socket(family, kind)
        except OSError as error:
            raise ConfigError(f"http: {self._host}:{self._port} is no address of this machine: {error}") from error
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.setblocking(False)
            os.set_inheritable(listener.fileno(), False)
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"http: can't listen at {self._host}:{self._port} ({error.strerror}); name another port"
            ) from error
        return listener
