"""Several hosts in one Milvus server: each keeps collections of its own, and looks into those of the others.

A host writes, sweeps and drops under its own prefix alone (``schema.own_prefix``), so none can take another's rows
away: not by forgetting a file, not by another model, not with ``--reset``. The price is that a picture which several
have is stored once for each, and that a search over all asks each host's collection. Other hosts' names and words are
not in our memory: their pictures are found by their look alone, and by the same model only.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from memewatchd.errors import StoreError, StoreUnavailable
from memewatchd.index import schema
from memewatchd.index.tables import BOUNDED, FILTER_DIGESTS, MAX_HITS, READ_S, Tables, among, chunks
from memewatchd.meme import HostHit

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.index.engine import Engine
    from memewatchd.meme import Digest, FileRow, PictureHit

    Search = Callable[[str, NDArray[np.float32], int], list[PictureHit]]

_log = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 30.0
"""A new host is seen after so long at the latest. Looking costs a server a few ms a collection."""


class Hosts:
    """The other hosts; :class:`~memewatchd.index.store.Store` owns it. Any thread may search."""

    def __init__(self, engine: Engine, prefix: str, host: str, search: Search) -> None:
        """``search``: the pictures of a collection nearest to a vector, best first."""
        self._engine = engine
        self._prefix = prefix
        self._host = host
        self._search = search
        self._seen: tuple[str, float, dict[str, tuple[str, str]]] = ("", 0.0, {})

    def search(self, fingerprint: str, vector: NDArray[np.float32], limit: int) -> list[HostHit]:
        """The files of all other hosts that look most like ``vector``, best first, a host's copies once."""
        found: list[HostHit] = []
        for host, (files, pictures) in self._others(fingerprint).items():
            try:
                found += self._of_host(host, files, pictures, vector, limit)
            except StoreUnavailable:
                raise
            except StoreError as error:  # it has been dropped, say; the next look tells
                _log.info("the memes of host %s were not searched: %s", host, error)
                self._seen = ("", 0.0, {})
        return sorted(found, key=lambda hit: (-hit.score, hit.host, hit.row.path))[:limit]

    def _of_host(self, host: str, files: str, pictures: str, vector: NDArray[np.float32], limit: int) -> list[HostHit]:
        best: dict[Digest, PictureHit] = {}
        for picture in self._search(pictures, vector, limit):
            best.setdefault(picture.digest, picture)
        rows: dict[Digest, FileRow] = {}
        for chunk in chunks(best, FILTER_DIGESTS):
            for entity in self._rows(files, among(chunk)):
                row = schema.from_entity(entity)
                if row.path and not row.error and (row.digest not in rows or row.path < rows[row.digest].path):
                    rows[row.digest] = row
        return [
            HostHit(host, rows[digest], picture.frame, picture.score)
            for digest, picture in best.items()
            if digest in rows  # else deleted there, and kept a while
        ]

    def _rows(self, files: str, expression: str) -> list[dict[str, Any]]:
        return self._engine.call(
            "read another host's rows",
            lambda client: list(
                client.query(
                    files,
                    filter=expression,
                    output_fields=list(schema.FILE_FIELDS),
                    limit=MAX_HITS,
                    consistency_level=BOUNDED,
                    timeout=READ_S,
                )
            ),
        )

    def _others(self, fingerprint: str) -> dict[str, tuple[str, str]]:
        """Host → its collections of files and of this model's pictures."""
        known_of, looked, hosts = self._seen
        if known_of == fingerprint and time.monotonic() < looked + LOOK_AGAIN_S:
            return hosts
        hosts = {}
        names = Tables(self._engine, self._prefix).names()
        for host in schema.hosts_in(names, self._prefix) - {self._host}:
            own = schema.own_prefix(self._prefix, host)
            tables = Tables(self._engine, own)
            files, pictures = f"{own}files", f"{own}pictures_{fingerprint}"
            # Of our schema: what an older or newer program made has another name, or is left alone.
            chosen = [tables.choose("files", files, 2), tables.choose("pictures", pictures, 0)]
            if all(exists for _, exists in chosen):
                hosts[host] = (chosen[0][0], chosen[1][0])
        self._seen = (fingerprint, time.monotonic(), hosts)
        return hosts
