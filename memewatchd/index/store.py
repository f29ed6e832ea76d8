"""What the mirror and the search say to Milvus. Rows are only ever inserted and deleted, by primary key.

Threads: writes and bulk reads belong to the ``sync`` thread; the searches may be called from any, also meanwhile.

Consistency (a server's matter; Lite has but one): a search finds our own last *insert* without waiting for
the server to show it (see :mod:`memewatchd.index.fresh`). Deletes may take some 0.2 s to be seen (checked on
2.3.5), so a search can still name a digest that has just been deleted. Bulk reads are ``Strong``, by the
collection's own default, the only one that an iterator heeds.
"""

from __future__ import annotations

import heapq
import logging
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from memewatchd.errors import StoreError, StoreUnavailable
from memewatchd.index import schema
from memewatchd.index.fresh import Fresh
from memewatchd.index.hosts import Hosts
from memewatchd.index.tables import BOUNDED, FILTER_DIGESTS, MAX_HITS, SEARCH_S, Table, Tables, among, chunks, opened
from memewatchd.index.words import Words
from memewatchd.meme import Digest, FileRow, PictureHit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.index.engine import Engine
    from memewatchd.meme import HostHit, PictureWords, WordsHit

_log = logging.getLogger(__name__)


class Store:
    """The index in one open :class:`Engine`. Every method raises :class:`StoreError`, and
    :class:`StoreUnavailable` where another try may help (after ``engine.revive()``): nothing needs to be
    opened again then."""

    def __init__(self, engine: Engine, prefix: str = "memewatchd_", host: str = "") -> None:
        """``host``: our name among those that share a server, "" for who has it alone; see ``index/hosts.py``. An
        embedded engine is nobody else's, and knows none: so an index moves to a server under any name."""
        host = host if engine.kind == "server" else ""
        self._engine = engine
        self._prefix = schema.own_prefix(prefix, host)
        self._tables = Tables(engine, self._prefix)
        self._fingerprint = self._beside_fingerprint = ""
        self._fresh = self._fresh_beside = Fresh()
        self._hosts = Hosts(engine, prefix, host, self._search_bounded)
        self._files: Table | None = None
        self._pictures: Table | None = None
        self._beside: Table | None = None
        self._words = Words(self._tables)

    def check(self, *, quick: bool = False) -> None:
        """Raise :class:`StoreError` unless Milvus answers and still holds the collections that were opened.

        ``quick``: of an embedded engine, which nobody else can reach, only whether its child runs, and where nobody
        has asked it for a while that is let be (see :meth:`Engine.rest`).
        """
        if self._engine.kind == "lite" and (quick or self._engine.is_resting):
            if not self._engine.alive():
                raise StoreUnavailable("the embedded Milvus has ended")
            self._engine.rest()
            return
        names = self._tables.names(is_use=False)
        for table in (self._files, self._pictures, self._words.table):
            if table is not None and table.name not in names:
                raise StoreError(f"collection {table.name} has been dropped; it is built anew from the pictures")

    # --- files ---

    def open_files(self) -> None:
        """Find or make the ``files`` collection."""
        self._files = self._tables.open("files", f"{self._prefix}files", dim=2)

    def read_files(self) -> Iterator[FileRow]:
        """Every row, each id once, in no particular order. Two rows may be of one path (after a crash).

        A row whose id isn't that of its values (damaged, or of another way to compute ids) is deleted and
        left out: the next scan reads its file again.
        """
        name = opened(self._files).name
        strays: list[str] = []
        for entity in self._tables.read(name, list(schema.FILE_FIELDS)):
            try:
                row = schema.from_entity(entity)
            except (ValueError, KeyError, TypeError):
                strays.append(entity["id"])
                continue
            if row.id == entity["id"]:
                yield row
            else:
                strays.append(entity["id"])
        if strays:
            _log.warning("%d rows of the index do not make sense; their files are read again", len(strays))
            self._tables.delete(name, [key for key in strays if schema.HASH.fullmatch(key)])

    def insert_files(self, rows: Iterable[FileRow]) -> list[FileRow]:
        """Insert rows whose ids are not there yet; returns them as stored (see :func:`schema.fit`).

        May be called again with the same rows after it has failed: what had arrived is replaced.
        """
        stored = [schema.fit(row) for row in rows]
        entities = {entity["id"]: entity for entity in map(schema.to_entity, stored)}
        self._tables.insert(opened(self._files).name, list(entities.values()))
        return stored

    def delete_files(self, ids: Collection[str]) -> None:
        """Delete rows by :attr:`FileRow.id`; ids that aren't there are no error."""
        for key in ids:
            if not schema.HASH.fullmatch(key):
                raise StoreError(f"not a row's id: {key!r}")
        name = opened(self._files).name
        self._tables.delete(name, ids)
        self._tables.give_back(name, len(ids))

    # --- pictures ---

    def open_pictures(self, fingerprint: str, dim: int) -> None:
        """Find or make the collection of the model ``fingerprint``; the other methods then mean this one."""
        self._pictures = self._tables.open("pictures", self._pictures_name(fingerprint), dim)
        self._fingerprint = fingerprint
        self._fresh = Fresh()

    def picture_digests(self) -> set[Digest]:
        """The digests that have at least one vector."""
        return self._digests_in(opened(self._pictures))

    def insert_pictures(self, pictures: Iterable[tuple[Digest, int, NDArray[np.float32]]]) -> None:
        """Insert (digest, frame, unit vector of shape (dim,)); may be called again after it has failed."""
        self._insert_into(opened(self._pictures), pictures, self._fresh)

    def delete_pictures(self, digests: Collection[Digest]) -> None:
        """Delete every frame of these digests."""
        self._fresh.drop(digests)
        name = opened(self._pictures).name
        keys: list[str] = []
        for chunk in chunks(digests, FILTER_DIGESTS):
            keys.extend(row["id"] for row in self._tables.read(name, ["id"], among(chunk)))
        self._tables.delete(name, keys)

    def search_pictures(
        self, vector: NDArray[np.float32], limit: int, digests: Collection[Digest] | None = None
    ) -> list[PictureHit]:
        """The frames nearest to ``vector`` (shape (dim,)), best first, at most ``limit`` and :data:`MAX_HITS`.

        ``digests`` restricts it to these (none given, none found).
        """
        collection = opened(self._pictures)
        query = _checked(vector, collection.dim)
        limit = min(limit, MAX_HITS)
        if limit < 1:
            return []
        fresh = self._fresh.near(query, digests)
        level = "Session" if fresh is None else BOUNDED
        filters = [""] if digests is None else [among(chunk) for chunk in chunks(digests, FILTER_DIGESTS)]
        parts = [self._search(collection.name, query, limit, one, level) for one in filters]
        if fresh:
            shown = {(hit.digest, hit.frame) for part in parts for hit in part}
            new = [hit for hit in fresh if (hit.digest, hit.frame) not in shown]
            parts.append(sorted(new, key=lambda hit: -hit.score))
        return list(islice(heapq.merge(*parts, key=lambda hit: -hit.score), limit))

    def search_elsewhere(self, vector: NDArray[np.float32], limit: int) -> list[HostHit]:
        """The other hosts' files that are nearest to ``vector``, best first; what they did in the last seconds may be
        missing."""
        query = _checked(vector, opened(self._pictures).dim)
        return self._hosts.search(self._fingerprint, query, min(limit, MAX_HITS)) if limit > 0 else []

    def vectors(self, digests: Collection[Digest]) -> dict[Digest, NDArray[np.float32]]:
        """The stored vectors of these digests, frames in order: float32 (frames, dim). Unknown ones are left out."""
        import numpy as np

        found: dict[Digest, list[tuple[int, NDArray[np.float32]]]] = defaultdict(list)
        for digest, frame, vector in self.frames(digests):
            found[digest].append((frame, vector))
        return {
            digest: np.stack([vector for _, vector in sorted(frames, key=lambda frame: frame[0])])
            for digest, frames in found.items()
        }

    def frames(self, digests: Collection[Digest]) -> list[tuple[Digest, int, NDArray[np.float32]]]:
        """The same one by one, as :meth:`insert_pictures` takes them."""
        import numpy as np

        name = opened(self._pictures).name
        return [
            (Digest(row["digest"]), int(row["frame"]), np.asarray(row["v"], np.float32))
            for chunk in chunks(digests, FILTER_DIGESTS)
            for row in self._tables.read(name, ["id", "digest", "frame", "v"], among(chunk))
        ]

    # --- pictures of a model that is to take over ---

    def open_beside(self, fingerprint: str, dim: int) -> set[Digest]:
        """Find or make another model's collection, which is filled while the first is searched; what it holds."""
        self._beside = self._tables.open("pictures", self._pictures_name(fingerprint), dim)
        self._beside_fingerprint, self._fresh_beside = fingerprint, Fresh()
        return self._digests_in(self._beside)

    def insert_beside(self, pictures: Iterable[tuple[Digest, int, NDArray[np.float32]]]) -> None:
        """As :meth:`insert_pictures`, into that collection."""
        self._insert_into(opened(self._beside), pictures, self._fresh_beside)

    def use_beside(self) -> None:
        """From now on the other methods mean that collection. Asks Milvus nothing."""
        self._pictures, self._beside = opened(self._beside), None
        self._fresh = self._fresh_beside
        self._fingerprint = self._beside_fingerprint

    # --- words ---

    @property
    def has_bm25(self) -> bool:
        """Whether :meth:`search_words` can find anything. Known once the words are open; until then it can't."""
        return self._words.has_bm25

    def open_words(self) -> None:
        """Find or make the ``words`` collection."""
        self._words.open()

    def read_words(self) -> Iterator[PictureWords]:
        """All that was read, in the order of the digests. Where two have read one picture (a crash came before
        the older was deleted), the newer one comes last."""
        return self._words.read()

    def insert_words(self, words: Iterable[PictureWords]) -> list[PictureWords]:
        """Insert what was read; returns it as stored, texts cut to :data:`schema.MAX_TEXT_BYTES`.

        May be called again with the same after it has failed. What another reader has read of a picture stays.
        """
        return self._words.insert(words)

    def delete_words(self, digests: Collection[Digest], reader: str | None = None) -> None:
        """Delete what was read in these pictures: by anybody, or by ``reader``."""
        self._words.delete(digests, reader)

    def search_words(self, text: str, limit: int) -> list[WordsHit]:
        """The pictures whose words go best with ``text`` by BM25, best first; none where Milvus has no BM25."""
        return self._words.search(text, limit)

    # --- collections ---

    def pictures_collections(self) -> list[str]:
        """The fingerprints of the models that have a collection here, sorted."""
        start = f"{self._prefix}pictures_"
        found = set()
        for name in self._tables.names():
            fingerprint = name.removeprefix(start).partition("_")[0]
            named_so = name.startswith(start) and schema.FINGERPRINT.fullmatch(fingerprint)
            if named_so and self._tables.version(name, "pictures") == schema.VERSIONS["pictures"]:
                found.add(fingerprint)
        return sorted(found)

    def collections(self) -> list[str]:
        """Every collection that memewatchd made under this prefix, whatever its model and schema, sorted."""
        return sorted(
            name
            for name in self._tables.names()
            for kind in schema.VERSIONS
            if name.startswith(f"{self._prefix}{kind}") and (self._tables.version(name, kind) or 0) > 0
        )

    def drop(self, names: Iterable[str]) -> None:
        """Drop collections that :meth:`collections` gave."""
        for name in names:
            self._tables.drop(name)

    def drop_pictures(self, fingerprint: str) -> None:
        """Drop a model's collection, if it is ours and of this schema. Not while it is searched."""
        name, exists = self._tables.choose("pictures", self._pictures_name(fingerprint), 0)
        if not exists:
            return
        if self._pictures is not None and self._pictures.name == name:
            self._pictures = None
        if self._beside is not None and self._beside.name == name:
            self._beside = None
        self._tables.drop(name)

    # --- how ---

    def _digests_in(self, table: Table) -> set[Digest]:
        return {Digest(row["digest"]) for row in self._tables.read(table.name, ["id", "digest"])}

    def _insert_into(
        self, table: Table, pictures: Iterable[tuple[Digest, int, NDArray[np.float32]]], fresh: Fresh
    ) -> None:
        entities: dict[str, dict[str, Any]] = {}
        for digest, frame, vector in pictures:
            key = schema.picture_id(digest, frame)
            entities[key] = {"id": key, "digest": digest, "frame": frame, "v": _checked(vector, table.dim)}
        self._tables.insert(table.name, list(entities.values()))
        if self._engine.kind == "server":
            fresh.add((entity["digest"], entity["frame"], entity["v"]) for entity in entities.values())

    def _pictures_name(self, fingerprint: str) -> str:
        if not schema.FINGERPRINT.fullmatch(fingerprint):
            raise StoreError(f"not a model's fingerprint: {fingerprint!r}")
        return f"{self._prefix}pictures_{fingerprint}"

    def _search_bounded(self, name: str, vector: NDArray[np.float32], limit: int) -> list[PictureHit]:
        return self._search(name, vector, limit, "", BOUNDED)

    def _search(
        self, name: str, vector: NDArray[np.float32], limit: int, expression: str, consistency: str = "Session"
    ) -> list[PictureHit]:
        hnsw = self._engine.kind == "server"
        params = {"metric_type": "COSINE", "params": {"ef": max(limit, 128)} if hnsw else {}}
        found = self._tables.call(
            "search",
            lambda client: client.search(
                name,
                data=[vector],
                anns_field="v",
                limit=limit,
                filter=expression,
                search_params=params,
                consistency_level=consistency,
                timeout=SEARCH_S,
            ),
        )
        hits: dict[str, PictureHit] = {}
        for hit in found[0]:
            if hit["id"] not in hits:
                digest, frame = schema.split_picture_id(hit["id"])
                hits[hit["id"]] = PictureHit(digest, frame, float(hit["distance"]))
        return list(hits.values())


def _checked(vector: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    import numpy as np  # late: the main thread needn't wait for it

    vector = np.asarray(vector, dtype=np.float32)
    if vector.shape != (dim,):
        raise StoreError(f"a vector of shape {vector.shape} does not go with a model of {dim} dimensions")
    if not np.isfinite(vector).all():
        raise StoreError("a vector holds numbers that are not finite")
    return vector
