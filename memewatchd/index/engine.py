"""Milvus, opened: an embedded ``.db`` file or a server by URI, behind one client.

Threads: :meth:`Engine.call` may be used by any number of threads at once (pymilvus' client keeps no
state of a call, and a gRPC channel is thread-safe). ``revive`` and ``close`` exclude each other; calls
in flight meanwhile end with :class:`StoreUnavailable`.
"""

from __future__ import annotations

import logging
import os
import threading
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar
from urllib.parse import urlsplit

from memewatchd.errors import StoreDamaged, StoreError, StoreUnavailable
from memewatchd.index import space
from memewatchd.index.lite import LiteServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

CONNECT_S: Final = 10.0
"""How long connecting may take, seconds."""

_log = logging.getLogger(__name__)

_import_lock = threading.Lock()


class Engine:
    """An open Milvus. ``kind`` is "lite" or "server"; ``description`` is a line for ``status``."""

    def __init__(self, uri: str, token: str, state_dir: Path) -> None:
        """Use :meth:`open`."""
        self._uri = uri
        self._token = token.strip()
        self._lock = threading.RLock()
        self._client: Any = None
        self._closed = False
        self._lite: LiteServer | None = None
        self.kind: Literal["lite", "server"]
        self._about = ""
        if uri.endswith(".db"):
            self.kind = "lite"
            file = Path(uri).expanduser().absolute()
            self._lite = LiteServer(file, state_dir)
            self.where = str(file)
            self._about = self.description = f"Milvus Lite {_version('milvus-lite')}, {file}"
        elif uri.startswith(("http://", "https://")) and urlsplit(uri).hostname:
            self.kind = "server"
            self.where = _without_credentials(uri)
            self.description = f"Milvus server, {self.where}"
        else:
            raise StoreError(f"--milvus {uri!r}: give a file that ends in .db, or http(s)://host:port")

    @classmethod
    def open(cls, uri: str, token: str, state_dir: Path) -> Self:
        """Open ``uri``. Starts the embedded engine's child or connects, within :data:`CONNECT_S`.

        ``state_dir`` is private and exists; the embedded engine keeps its socket and logs in it while it
        is open. Raises :class:`StoreUnavailable` if a server doesn't answer, :class:`StoreError` for all
        that trying again won't mend: a wrong token, a file that isn't Milvus Lite's or is in use.
        """
        engine = cls(uri, token, state_dir)
        engine.revive()
        return engine

    @property
    def client(self) -> Any:
        """pymilvus' ``MilvusClient``. Prefer :meth:`call`, which translates errors."""
        client = self._client
        if client is None:
            raise StoreUnavailable(f"Milvus ({self.where}) is not open")
        return client

    @property
    def pid(self) -> int | None:
        """The embedded engine's process id; None for a server."""
        return self._lite.pid if self._lite is not None else None

    def alive(self) -> bool:
        """Whether there is an engine to talk to: open, and the embedded one's child running."""
        return self._client is not None and (self._lite is None or self._lite.alive())

    def call(self, doing: str, function: Callable[[Any], T]) -> T:
        """``function(client)``, with pymilvus' errors translated; ``doing`` completes "Milvus failed to …"."""
        client = self.client
        if self._lite is not None and not self._lite.alive():
            raise StoreUnavailable("the embedded Milvus has ended")
        try:
            return function(client)
        except StoreError:
            raise
        except Exception as error:
            if self._lite is not None:
                self._lite.trim_log()
            translated = self._translate(doing, error)
            if translated is None:
                if client is self._client:
                    raise
                # The channel was closed under the call: pymilvus has no error of its own for that.
                translated = StoreUnavailable(f"Milvus was closed while it was to {doing}")
            raise translated from error

    def insert(self, doing: str, function: Callable[[Any], T]) -> T:
        """A :meth:`call` that inserts at least a row: it has failed, too, where that has not reached the disk.

        Milvus Lite says that all is well when SQLite couldn't write (a full disk, a folder that is read-only).
        """
        before = self._lite.commits() if self._lite is not None else 0
        result = self.call(doing, function)
        if self._lite is not None and self._lite.commits() in (before, -1):
            raise StoreError(
                f"Milvus Lite could not write to {self.where}; free space, and make it and its folder writable"
            )
        return result

    def shortage(self) -> str:
        """Why nothing should be written just now (the embedded engine's disk is nearly full), "" where it may."""
        return space.shortage(self._lite.file.parent) if self._lite is not None else ""

    def revive(self, token: str | None = None) -> None:
        """Connect anew (with another ``token``, where one is given); for the embedded engine, start its child anew.

        Data and collections stay as they were, but for a damaged file in the state folder: that is set aside,
        and a new one begun. Raises as :meth:`open` does. The caller decides when, and how often.
        """
        with self._lock:
            if self._closed:
                raise StoreError("the index is closed")
            if token is not None:
                self._token = token.strip()
            self._disconnect()
            address = self._uri
            if self._lite is not None:
                self._lite.stop()
                address = self._start(self._lite)
            try:
                self._client = self._connect(address)
            except BaseException:
                if self._lite is not None:
                    self._lite.stop()
                raise

    def close(self) -> None:
        """Disconnect; for the embedded engine, end its child and remove its socket and logs. Idempotent."""
        with self._lock:
            self._closed = True
            self._disconnect()
            if self._lite is not None:
                self._lite.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, lite: LiteServer) -> str:
        try:
            return lite.start()
        except StoreDamaged:
            if not lite.is_ours:
                raise
        aside = lite.set_aside()
        _log.error("%s is damaged: it is kept as %s, and the index is built anew from the pictures", lite.file, aside)
        self.description = f"{self._about} (a damaged one was set aside: {aside.name})"
        return lite.start()

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connect(self, address: str) -> Any:
        pymilvus = _import_pymilvus()
        # A LAN's Milvus is rarely meant to be asked through the web's proxy, whose variables gRPC follows.
        options = {} if "grpc_proxy" in os.environ else {"grpc.enable_http_proxy": 0}
        try:
            # dedicated: a shared connection would stay open after close().
            client = pymilvus.MilvusClient(
                address, token=self._token, timeout=CONNECT_S, dedicated=True, grpc_options=options
            )
            # Not pymilvus but the daemon decides when to try again: an insert that is repeated after an
            # ambiguous failure would leave two rows, and a thread would hang for the whole timeout.
            client._handler._on_rpc_error = _give_up  # noqa: SLF001  it has no public name
            client.list_collections(timeout=CONNECT_S)
        except Exception as error:
            translated = self._translate("connect", error)
            if translated is None:
                raise
            raise translated from error
        return client

    def _translate(self, doing: str, error: Exception) -> StoreError | None:
        import grpc
        from pymilvus.exceptions import ErrorCode, MilvusException

        codes = {link.code() for link in _chain(error) if isinstance(link, grpc.RpcError) and hasattr(link, "code")}
        if isinstance(error, MilvusException) and isinstance(error.code, grpc.StatusCode):
            codes.add(error.code)
        status = grpc.StatusCode
        if codes & {status.UNAUTHENTICATED, status.PERMISSION_DENIED}:
            return StoreError(
                f"Milvus ({self.where}) refuses the token; put user:password or an API key into the file "
                "that --milvus-token-file names"
            )
        if codes & {status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.CANCELLED} or any(
            isinstance(link, grpc.FutureTimeoutError) for link in _chain(error)
        ):
            return self._unavailable(doing)
        if isinstance(error, MilvusException):
            reason = str(error.message).strip().partition("\n")[0][:300]
            if error.code == ErrorCode.RATE_LIMIT or "not ready" in reason or "service unavailable" in reason:
                return StoreUnavailable(f"Milvus ({self.where}) is not ready to {doing}: {reason}")
            if codes:
                reason = f"{reason} ({', '.join(sorted(code.name for code in codes))})"
            return StoreError(f"Milvus ({self.where}) failed to {doing}: {reason}")
        if codes:
            return StoreError(f"Milvus ({self.where}) failed to {doing}: {', '.join(sorted(c.name for c in codes))}")
        return None

    def _unavailable(self, doing: str) -> StoreUnavailable:
        if self.kind == "lite":
            return StoreUnavailable(f"the embedded Milvus did not answer (to {doing})")
        return StoreUnavailable(
            f"Milvus at {self.where} did not answer (to {doing}); start it, or check the address given with --milvus"
        )


def _give_up(error: Exception) -> bool:
    """pymilvus asks this whether to try again: a failed RPC ends the call, any other error isn't repeated."""
    import grpc

    if isinstance(error, grpc.RpcError):
        raise error
    return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes. pymilvus says ``raise e from e``, so the chain may bite its own tail."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__context__ if link.__cause__ in (None, link) else link.__cause__


def _import_pymilvus() -> Any:
    """pymilvus, kept from what it does on import: reading a ``.env`` somewhere above it, refusing a
    ``MILVUS_URI`` that isn't a server's, and logging by itself."""
    with _import_lock:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")
        for name in ("MILVUS_URI", "MILVUS_DEFAULT_CONNECTION"):
            os.environ.pop(name, None)
        import pymilvus

        # It logs each failed call with a traceback; failures reach our log as errors, translated.
        for name in ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        return pymilvus


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _without_credentials(uri: str) -> str:
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
