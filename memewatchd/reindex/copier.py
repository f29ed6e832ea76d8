"""`memewatch reindex --milvus`: the whole index into another Milvus, so that one setting moves there and nothing is
encoded again.

Runs in a thread of its own beside all else, which goes on with the Milvus in use. What changes meanwhile needs no care:
the first start on the copy compares it with the disk, as every start does. A copy that was interrupted goes on.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from memewatchd.errors import BadRequest, ConfigError, Degraded, MemewatchError, StoreError
from memewatchd.index.engine import Engine
from memewatchd.index.store import Store
from memewatchd.meme import PictureWords
from memewatchd.service.sandbox import require_network

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.config import Settings
    from memewatchd.index.catalog import Catalog
    from memewatchd.meme import Digest
    from memewatchd.reindex.in_use import ModelInUse

log = logging.getLogger(__name__)

GROUP = 500
"""Pictures at a time: some megabytes of vectors."""


class Source(Protocol):
    """What this needs of the store in use; any thread may ask it. May raise StoreError."""

    def frames(self, digests: Collection[Digest], /) -> list[tuple[Digest, int, NDArray[np.float32]]]: ...


class Copier:
    """See the module. Any thread may ask."""

    def __init__(self, *, settings: Settings, in_use: ModelInUse, source: Source, catalog: Catalog) -> None:
        self._settings = settings
        self._in_use = in_use
        self._source = source
        self._catalog = catalog
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._uri = ""
        self._state = ""
        self._done = self._total = 0
        self._error = ""

    def ask(self, uri: str) -> str:
        """Begin; what to tell people. Raises BadRequest, Degraded (the message has the remedy)."""
        parts = urlsplit(uri)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.password:
            raise BadRequest("milvus must be http(s)://host:port, without a password (milvus_token_file has it)")
        if uri == self._settings.milvus:
            return f"the index is at {uri} already: nothing is to be done"
        if not self._in_use.fingerprint:
            raise Degraded("the index isn't open yet; memewatch status says why")
        try:
            require_network(f"milvus = {uri}")
        except ConfigError as error:
            raise Degraded(str(error)) from error
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                if uri != self._uri:
                    raise Degraded(f"the index is being copied to {self._uri}; memewatch status says how far it is")
            else:
                self._uri, self._state, self._error, self._done, self._total = uri, "copying", "", 0, 0
                self._thread = threading.Thread(target=self._run, name="copy", daemon=True)
                self._thread.start()
        return f"the index is being copied to {uri}; memewatch status says how far it is, and what to do then"

    @property
    def status(self) -> dict[str, Any] | None:
        """How far it is, None where nothing was asked: ``milvus``, ``state``, ``done`` and ``total``, ``error``."""
        if not self._uri:
            return None
        return {
            "milvus": self._uri,
            "state": self._state,
            "done": self._done,
            "total": self._total,
            "error": self._error,
        }

    @property
    def line(self) -> str:
        """The same for people; "" where nothing was asked."""
        if self._error:
            return f"copying the index to {self._uri} failed: {self._error}; to go on, ask again"
        if self._state == "copied":
            return f'the index is copied to {self._uri}: set milvus = "{self._uri}", and restart'
        return f"copying the index to {self._uri}: {self._done:,} of {self._total:,} pictures" if self._uri else ""

    def close(self) -> None:
        """End after the call that runs."""
        self._closing.set()

    def _run(self) -> None:
        try:
            with Engine.open(self._uri, self._settings.milvus_token(), self._settings.state_dir) as engine:
                self._copy(Store(engine, self._settings.collection_prefix, self._settings.host))
        except MemewatchError as error:
            self._state, self._error = "failed", str(error)
            log.error("copying the index to %s failed: %s", self._uri, error)
        except Exception as error:
            log.exception("copying the index failed")
            self._state, self._error = "failed", f"{error!r} (a bug; the log has more)"
        else:
            self._state = "copied"
            log.info("the index is copied to %s", self._uri)

    def _copy(self, target: Store) -> None:
        """Pictures first, as the ledger writes: a file without its picture would be encoded again."""
        fingerprint, catalog = self._in_use.fingerprint, self._catalog
        wanted = sorted(catalog.vectors())
        self._total = len(wanted)
        target.open_files()
        target.open_pictures(fingerprint, self._in_use.dim)
        have = target.picture_digests()
        missing = [digest for digest in wanted if digest not in have]
        self._done = len(wanted) - len(missing)
        for start in range(0, len(missing), GROUP):
            chunk = missing[start : start + GROUP]
            frames = self._source.frames(chunk)
            if self._in_use.fingerprint != fingerprint:
                raise StoreError("another model has taken over meanwhile")
            target.insert_pictures(frames)
            self._done += len(chunk)
            self._end_if_closing()
        target.open_words()
        read = {(words.digest, words.reader) for words in target.read_words()}
        words = [
            PictureWords(digest, text, reader)
            for digest, text in catalog.words().items()
            if (reader := catalog.words_reader(digest)) is not None and (digest, reader) not in read
        ]
        target.insert_words(words)
        self._end_if_closing()
        there = {row.id for row in target.read_files()}
        target.insert_files([row for row in [*catalog.rows(), *catalog.tombstones()] if row.id not in there])

    def _end_if_closing(self) -> None:
        if self._closing.is_set():
            raise StoreError("memewatchd is stopping")
