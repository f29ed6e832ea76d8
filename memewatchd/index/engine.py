"""Milvus, opened: an embedded ``.db`` file or a server by URI, behind one client.

Threads: :meth:`Engine.call` may be used by any number of threads at once (pymilvus' client keeps no
state of a call, and a gRPC channel is thread-safe). ``revive``, ``rest`` and ``close`` exclude each other;
calls in flight while it is revived or closed end with :class:`StoreUnavailable`.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar
from urllib.parse import urlsplit

from memewatchd.errors import StoreDamaged, StoreError, StoreUnavailable
from memewatchd.index import lite_file, pymilvus_client, space
from memewatchd.index.lite import LiteServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

REST_S: Final = 30.0
"""How long nothing has been asked of the embedded engine when :meth:`Engine.rest` lets go of it, seconds."""

BEGIN_S: Final = 5.0
"""How long the embedded engine may refuse calls because it has just begun, seconds."""

_log = logging.getLogger(__name__)


class Engine:
    """An open Milvus. ``kind`` is "lite" or "server"; ``description`` is a line for ``status``."""

    def __init__(self, uri: str, token: str, state_dir: Path) -> None:
        """Use :meth:`open`."""
        self._uri = uri
        self._token = token.strip()
        self._lock = threading.RLock()
        self._client: Any = None
        self._address = ""
        self._closed = False
        self._use_lock = threading.Lock()  # guards the three below, and is held for moments only
        self._in_use = 0
        self._used_at = 0.0
        self._resting = False
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
        """Open ``uri``. Starts the embedded engine's child or connects, within :data:`pymilvus_client.CONNECT_S`.

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
        return (self._client is not None or self._resting) and (self._lite is None or self._lite.alive())

    @property
    def is_resting(self) -> bool:
        """Whether the embedded engine's child runs and we are not connected to it; the next :meth:`call` connects."""
        return self._resting

    def rest(self) -> None:
        """Disconnect from the embedded engine where nothing was asked for :data:`REST_S`, and let it stand still.

        As long as there is a connection gRPC's threads wake some ten times a second, in us and in it, and without one
        still once a second in it; no setting stops that. To go on and connect again takes 5 ms.
        """
        if self._lite is None:
            return
        with self._lock, self._use_lock:
            if self._client is not None and not self._in_use and time.monotonic() >= self._used_at + REST_S:
                self._disconnect()
                self._lite.pause()
                self._resting = True

    def call(self, doing: str, function: Callable[[Any], T], *, is_use: bool = True) -> T:
        """``function(client)``, with pymilvus' errors translated; ``doing`` completes "Milvus failed to …".

        ``is_use`` False: who only looks whether all is well doesn't put off :meth:`rest`.
        """
        with self._using(is_use=is_use) as client:
            try:
                return self._patiently(function, client)
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

    def _patiently(self, function: Callable[[Any], T], client: Any) -> T:
        # For a moment after its start, on a slow machine, the embedded engine takes calls that it can't do yet.
        patient_until = time.monotonic() + BEGIN_S
        while True:
            try:
                return function(client)
            except Exception as error:
                hopeless = time.monotonic() >= patient_until or not pymilvus_client.is_beginning(error)
                if self._lite is None or hopeless:
                    raise
            time.sleep(0.02)

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
        return space.shortage(self._lite.folder) if self._lite is not None else ""

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
            self._address = self._uri
            if self._lite is not None:
                self._lite.stop()
                self._address = self._start(self._lite)
            try:
                self._client = self._connect()
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
        aside = lite_file.set_aside(lite.file)
        _log.error("%s is damaged: it is kept as %s, and the index is built anew from the pictures", lite.file, aside)
        self.description = f"{self._about} (a damaged one was set aside: {aside.name})"
        return lite.start()

    @contextmanager
    def _using(self, *, is_use: bool) -> Iterator[Any]:
        """The client, which nobody lets go of meanwhile. Raises StoreError."""
        while True:
            if self._resting:
                self._wake()
            with self._use_lock:
                if not self._resting:
                    client = self.client
                    self._in_use += 1
                    break
        try:
            if self._lite is not None and not self._lite.alive():
                raise StoreUnavailable("the embedded Milvus has ended")
            yield client
        finally:
            with self._use_lock:
                self._in_use -= 1
                if is_use:
                    self._used_at = time.monotonic()

    def _wake(self) -> None:
        with self._lock:
            if not self._resting:
                return  # another call has connected, or the engine was opened anew or closed
            if self._lite is not None:
                if not self._lite.alive():
                    raise StoreUnavailable("the embedded Milvus has ended")
                self._lite.resume()
            self._client = self._connect()
            self._used_at = time.monotonic()
            self._resting = False

    def _disconnect(self) -> None:
        self._resting = False
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connect(self) -> Any:
        try:
            return pymilvus_client.connect(self._address, self._token)
        except Exception as error:
            translated = self._translate("connect", error)
            if translated is None:
                raise
            raise translated from error

    def _translate(self, doing: str, error: Exception) -> StoreError | None:
        return pymilvus_client.translate(error, doing, self.where, is_embedded=self._lite is not None)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _without_credentials(uri: str) -> str:
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
