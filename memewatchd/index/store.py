"""What the mirror and the search say to Milvus. Rows are only ever inserted and deleted, by primary key.

Threads: writes and bulk reads belong to the ``sync`` thread; :meth:`Store.search_pictures` may be called
from any, also meanwhile.

Consistency (a server's matter; Lite has but one): a search waits until our own last *insert* is visible
(``Session``: a few ms, up to a time tick of 0.2 s right after a write). Deletes may take that long to be
seen even so (checked on 2.3.5), so a search can still name a digest that has just been deleted. Bulk reads
are ``Strong``, by the collection's own default, the only one that an iterator heeds.
"""

from __future__ import annotations

import heapq
import logging
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from memewatchd.errors import StoreError
from memewatchd.index import schema
from memewatchd.meme import Digest, FileRow, PictureHit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.index.engine import Engine

T = TypeVar("T")

_log = logging.getLogger(__name__)

DDL_S: Final = 60.0
"""Limit for creating, loading or dropping a collection, seconds (a server takes some 3 s to create one)."""
WRITE_S: Final = 30.0
READ_S: Final = 30.0
SEARCH_S: Final = 10.0

INSERT_ROWS: Final = 500
INSERT_BYTES: Final = 4 * 2**20
"""Of a batch: a server takes messages of 64 MiB, Pulsar's of 5 MiB."""
DELETE_ROWS: Final = 5000
"""Ids in one delete: 340 KB of expression; 0.1 s on Lite, where deleting 1 row costs 15 ms."""
READ_ROWS: Final = {"lite": 1000, "server": 4000}
"""Of a batch of an iterator. Each costs a server some 0.2 s; Lite reads more slowly in greater ones."""
MAX_HITS: Final = 16_384
"""Milvus' own cap on the limit of a search."""
FILTER_DIGESTS: Final = 2500
"""Digests in one search's expression; more are searched in parts."""


@dataclass(frozen=True)
class _Collection:
    name: str
    dim: int


class Store:
    """The index in one open :class:`Engine`. Every method raises :class:`StoreError`, and
    :class:`StoreUnavailable` where another try may help (after ``engine.revive()``): nothing needs to be
    opened again then."""

    def __init__(self, engine: Engine, prefix: str = "memewatchd_") -> None:
        if not schema.PREFIX.fullmatch(prefix):
            raise StoreError(
                f"collection prefix {prefix!r}: use at most 64 ASCII letters, digits and _, no digit first"
            )
        self._engine = engine
        self._prefix = prefix
        self._files: _Collection | None = None
        self._pictures: _Collection | None = None
        # Ids whose insert failed in a way that leaves open whether they are there, by collection.
        self._doubtful: dict[str, set[str]] = {}

    def check(self) -> None:
        """Raise :class:`StoreError` unless Milvus answers and still holds the collections that were opened."""
        names = self._call("list the collections", lambda client: client.list_collections(timeout=READ_S))
        for collection in (self._files, self._pictures):
            if collection is not None and collection.name not in names:
                raise StoreError(f"collection {collection.name} has been dropped; it is built anew from the pictures")

    # --- files ---

    def open_files(self) -> None:
        """Find or make the ``files`` collection."""
        self._files = self._open("files", f"{self._prefix}files", dim=2)

    def read_files(self) -> Iterator[FileRow]:
        """Every row, each id once, in no particular order. Two rows may be of one path (after a crash).

        A row whose id isn't that of its values (damaged, or of another way to compute ids) is deleted and
        left out: the next scan reads its file again.
        """
        name = _opened(self._files).name
        strays: list[str] = []
        for entity in self._read(name, list(schema.FILE_FIELDS)):
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
            self._delete(name, [key for key in strays if schema.HASH.fullmatch(key)])

    def insert_files(self, rows: Iterable[FileRow]) -> list[FileRow]:
        """Insert rows whose ids are not there yet; returns them as stored (see :func:`schema.fit`).

        May be called again with the same rows after it has failed: what had arrived is replaced.
        """
        stored = {row.id: row for row in map(schema.fit, rows)}
        self._insert(_opened(self._files).name, [schema.to_entity(row) for row in stored.values()])
        return list(stored.values())

    def delete_files(self, ids: Collection[str]) -> None:
        """Delete rows by :attr:`FileRow.id`; ids that aren't there are no error."""
        for key in ids:
            if not schema.HASH.fullmatch(key):
                raise StoreError(f"not a row's id: {key!r}")
        self._delete(_opened(self._files).name, ids)

    # --- pictures ---

    def open_pictures(self, fingerprint: str, dim: int) -> None:
        """Find or make the collection of the model ``fingerprint``; the other methods then mean this one."""
        self._pictures = self._open("pictures", self._pictures_name(fingerprint), dim)

    def picture_digests(self) -> set[Digest]:
        """The digests that have at least one vector."""
        return {Digest(row["digest"]) for row in self._read(_opened(self._pictures).name, ["id", "digest"])}

    def insert_pictures(self, pictures: Iterable[tuple[Digest, int, NDArray[np.float32]]]) -> None:
        """Insert (digest, frame, unit vector of shape (dim,)); may be called again after it has failed."""
        collection = _opened(self._pictures)
        entities: dict[str, dict[str, Any]] = {}
        for digest, frame, vector in pictures:
            key = schema.picture_id(digest, frame)
            entities[key] = {"id": key, "digest": digest, "frame": frame, "v": _checked(vector, collection.dim)}
        self._insert(collection.name, list(entities.values()))

    def delete_pictures(self, digests: Collection[Digest]) -> None:
        """Delete every frame of these digests."""
        name = _opened(self._pictures).name
        keys: list[str] = []
        for chunk in _chunks(digests, FILTER_DIGESTS):
            keys.extend(row["id"] for row in self._read(name, ["id"], _among(chunk)))
        self._delete(name, keys)

    def search_pictures(
        self, vector: NDArray[np.float32], limit: int, digests: Collection[Digest] | None = None
    ) -> list[PictureHit]:
        """The frames nearest to ``vector`` (shape (dim,)), best first, at most ``limit`` and :data:`MAX_HITS`.

        ``digests`` restricts it to these (none given, none found).
        """
        collection = _opened(self._pictures)
        query = _checked(vector, collection.dim)
        limit = min(limit, MAX_HITS)
        if limit < 1:
            return []
        if digests is None:
            return self._search(collection.name, query, limit, "")
        parts = [
            self._search(collection.name, query, limit, _among(chunk)) for chunk in _chunks(digests, FILTER_DIGESTS)
        ]
        merged = heapq.merge(*parts, key=lambda hit: -hit.score)
        return list(islice(merged, limit))

    def pictures_collections(self) -> list[str]:
        """The fingerprints of the models that have a collection here, sorted."""
        start = f"{self._prefix}pictures_"
        names = self._call("list the collections", lambda client: client.list_collections(timeout=READ_S))
        found = set()
        for name in names:
            fingerprint = name.removeprefix(start).partition("_")[0]
            named_so = name.startswith(start) and schema.FINGERPRINT.fullmatch(fingerprint)
            if named_so and self._version(name, "pictures") == schema.VERSION:
                found.add(fingerprint)
        return sorted(found)

    def collections(self) -> list[str]:
        """Every collection that memewatchd made under this prefix, whatever its model and schema, sorted."""
        names = self._call("list the collections", lambda client: client.list_collections(timeout=READ_S))
        kinds: tuple[schema.Kind, ...] = ("files", "pictures")
        return sorted(
            name
            for name in names
            for kind in kinds
            if name.startswith(f"{self._prefix}{kind}") and (self._version(name, kind) or -1) > 0
        )

    def drop(self, names: Iterable[str]) -> None:
        """Drop collections that :meth:`collections` gave."""
        for name in names:
            self._call("drop a collection", lambda client, name=name: client.drop_collection(name, timeout=DDL_S))  # type: ignore[misc]

    def drop_pictures(self, fingerprint: str) -> None:
        """Drop a model's collection, if it is ours and of this schema. Not while it is searched."""
        name, exists = self._choose_name("pictures", self._pictures_name(fingerprint))
        if not exists:
            return
        if self._pictures is not None and self._pictures.name == name:
            self._pictures = None
        self._call("drop a collection", lambda client: client.drop_collection(name, timeout=DDL_S))

    # --- how ---

    def _pictures_name(self, fingerprint: str) -> str:
        if not schema.FINGERPRINT.fullmatch(fingerprint):
            raise StoreError(f"not a model's fingerprint: {fingerprint!r}")
        return f"{self._prefix}pictures_{fingerprint}"

    def _open(self, kind: schema.Kind, base: str, dim: int) -> _Collection:
        name, exists = self._choose_name(kind, base)
        if not exists:
            self._call("create a collection", lambda client: self._create(client, kind, name, dim))
            return _Collection(name, dim)

        def load(client: Any) -> int:
            description = client.describe_collection(name, timeout=READ_S)
            vector = next(field for field in description["fields"] if "dim" in field["params"])
            if not client.list_indexes(name, timeout=READ_S):
                # The last start ended between making the collection and its index.
                params = schema.make_index(client, kind, vector["name"], self._engine.kind)
                client.create_index(name, params, timeout=DDL_S)
            client.load_collection(name, timeout=DDL_S)
            return int(vector["params"]["dim"])

        found = self._call("load a collection", load)
        if found != dim:
            raise StoreError(
                f"collection {name} holds vectors of {found} dimensions, not of {dim}; drop it "
                "(memewatchd --reset drops all of ours)"
            )
        return _Collection(name, dim)

    def _create(self, client: Any, kind: schema.Kind, name: str, dim: int) -> None:
        fields, vector = schema.make_schema(client, kind, dim)
        client.create_collection(
            name,
            schema=fields,
            index_params=schema.make_index(client, kind, vector, self._engine.kind),
            consistency_level="Strong",
            timeout=DDL_S,
        )

    def _choose_name(self, kind: schema.Kind, base: str) -> tuple[str, bool]:
        """The name of this schema's collection, and whether it exists; see :mod:`memewatchd.index.schema`."""
        for number in count(1):
            name = base if number == 1 else f"{base}_{number}"
            version = self._version(name, kind)
            if version is None:
                return name, False
            if version == schema.VERSION:
                return name, True
            if version >= 0:
                _log.warning(
                    "collection %s has schema %d, and this program knows %d: it is set aside as it is, and %s is used",
                    name,
                    version,
                    schema.VERSION,
                    f"{base}_{number + 1}",
                )
            elif number == 1:
                raise StoreError(
                    f"collection {name} at {self._engine.where} was not made by memewatchd and is left alone; "
                    "choose another prefix for ours"
                )
        raise AssertionError("count() has no end")

    def _version(self, name: str, kind: schema.Kind) -> int | None:
        """The schema's version of a collection: None if there is no such, -1 if it isn't ours."""

        def look(client: Any) -> int | None:
            if not client.has_collection(name, timeout=READ_S):
                return None
            description = client.describe_collection(name, timeout=READ_S)["description"]
            version = schema.version_of(description, kind)
            return -1 if version is None else version

        return self._call("look at a collection", look)

    def _read(self, name: str, fields: Sequence[str], expression: str = "") -> Iterator[dict[str, Any]]:
        """Rows that match, each id once (Lite may hold an id twice), in the order of their ids.

        This is what pymilvus' query_iterator does; but that asks once without any timeout.
        """
        size = READ_ROWS[self._engine.kind]
        last = ""
        while True:
            after = f'id > "{last}"' + (f" and {expression}" if expression else "")

            def ask(client: Any, after: str = after) -> list[dict[str, Any]]:
                found = client.query(
                    name,
                    filter=after,
                    output_fields=list(fields),
                    limit=size,
                    timeout=READ_S,
                    iterator="True",  # the rows with the least ids, in their order
                    reduce_stop_for_best="True",
                )
                return list(found)

            batch = self._call("read rows", ask)
            for row in batch:
                if row["id"] != last:
                    last = row["id"]
                    yield row
            if len(batch) < size:
                return
            if not schema.KEY.fullmatch(last):
                raise StoreError(f"collection {name} holds rows that memewatchd did not write; drop it")

    def _insert(self, name: str, entities: Sequence[dict[str, Any]]) -> None:
        doubtful = self._doubtful.get(name, set()) & {entity["id"] for entity in entities}
        if doubtful:
            self._delete(name, doubtful)
            self._doubtful[name] -= doubtful
        for batch in _batches(entities):
            try:
                self._engine.insert(
                    "insert rows",
                    lambda client, batch=batch: client.insert(name, batch, timeout=WRITE_S),  # type: ignore[misc]
                )
            except StoreError:
                self._doubtful.setdefault(name, set()).update(entity["id"] for entity in entities)
                raise

    def _delete(self, name: str, ids: Iterable[str]) -> None:
        for chunk in _chunks(ids, DELETE_ROWS):
            self._call("delete rows", lambda client, chunk=chunk: client.delete(name, ids=chunk, timeout=WRITE_S))  # type: ignore[misc]

    def _search(self, name: str, vector: NDArray[np.float32], limit: int, expression: str) -> list[PictureHit]:
        hnsw = self._engine.kind == "server"
        params = {"metric_type": "COSINE", "params": {"ef": max(limit, 128)} if hnsw else {}}
        found = self._call(
            "search",
            lambda client: client.search(
                name,
                data=[vector],
                anns_field="v",
                limit=limit,
                filter=expression,
                search_params=params,
                consistency_level="Session",
                timeout=SEARCH_S,
            ),
        )
        hits: dict[str, PictureHit] = {}
        for hit in found[0]:
            if hit["id"] not in hits:
                digest, frame = schema.split_picture_id(hit["id"])
                hits[hit["id"]] = PictureHit(digest, frame, float(hit["distance"]))
        return list(hits.values())

    def _call(self, doing: str, function: Callable[[Any], T]) -> T:
        return self._engine.call(doing, function)


def _opened(collection: _Collection | None) -> _Collection:
    if collection is None:
        raise StoreError("the collection has not been opened")
    return collection


def _checked(vector: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    import numpy as np  # late: the main thread needn't wait for it

    vector = np.asarray(vector, dtype=np.float32)
    if vector.shape != (dim,):
        raise StoreError(f"a vector of shape {vector.shape} does not go with a model of {dim} dimensions")
    if not np.isfinite(vector).all():
        raise StoreError("a vector holds numbers that are not finite")
    return vector


def _among(digests: Sequence[Digest]) -> str:
    """``digest in [...]``. Only hex gets in."""
    for digest in digests:
        if not schema.HASH.fullmatch(digest):
            raise StoreError(f"not a digest: {digest!r}")
    return 'digest in ["' + '", "'.join(digests) + '"]'


def _batches(entities: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Lists of entities, each within :data:`INSERT_ROWS` and, roughly, :data:`INSERT_BYTES`."""
    batch: list[dict[str, Any]] = []
    size = 0
    for entity in entities:
        weight = sum(_weight(value) for value in entity.values())
        if batch and (len(batch) == INSERT_ROWS or size + weight > INSERT_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entity)
        size += weight
    if batch:
        yield batch


def _weight(value: object) -> int:
    if isinstance(value, str):
        return 4 * len(value)
    return int(getattr(value, "nbytes", 16))


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
