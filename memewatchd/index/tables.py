"""Our collections in one Milvus: found or made by name, read whole, inserted into and deleted from by key.

What stands in them is the business of :mod:`memewatchd.index.store` and :mod:`memewatchd.index.words`.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from memewatchd.errors import StoreError
from memewatchd.index import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from memewatchd.index.engine import Engine
    from memewatchd.meme import Digest

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
RELOAD_DELETED: Final = 20_000
"""Milvus Lite 2.5.1 keeps what was deleted in memory, some 1.5 KB for a row of ``files``, until its collection is
loaded anew. That takes 50 ms."""
READ_ROWS: Final = {"lite": 1000, "server": 4000}
"""Of a batch of an iterator. Each costs a server some 0.2 s; Lite reads more slowly in greater ones."""
BOUNDED: Final = "Bounded"
"""Of a read that waits for nothing: what was written in the last five seconds may be missing."""
MAX_HITS: Final = 16_384
"""Milvus' own cap on the limit of a search."""
FILTER_DIGESTS: Final = 2500
"""Digests in one search's expression; more are searched in parts."""


@dataclass(frozen=True)
class Table:
    """A collection that was opened. ``dim``: numbers in its vectors; 0 where Milvus makes them of a text."""

    name: str
    dim: int


class Tables:
    """The collections under one prefix. Methods raise as those of :class:`~memewatchd.index.store.Store`."""

    def __init__(self, engine: Engine, prefix: str) -> None:
        """``prefix``: as :func:`schema.own_prefix` gives it."""
        self.engine = engine
        self.prefix = prefix
        # Ids whose insert failed in a way that leaves open whether they are there, by collection.
        self._doubtful: dict[str, set[str]] = {}
        self._deleted: Counter[str] = Counter()

    def names(self, *, is_use: bool = True) -> list[str]:
        """Every collection that Milvus holds, anybody's. ``is_use``: see :meth:`Engine.call`."""
        return list(
            self.engine.call(
                "list the collections", lambda client: client.list_collections(timeout=READ_S), is_use=is_use
            )
        )

    def drop(self, name: str) -> None:
        """Drop a collection of ours."""
        self.call("drop a collection", lambda client: client.drop_collection(name, timeout=DDL_S))

    def open(self, kind: schema.Kind, base: str, dim: int) -> Table:
        """Find or make the collection ``base`` of this schema, with vectors of ``dim`` numbers, and load it."""
        name, exists = self.choose(kind, base, dim)
        if not exists:
            self.call("create a collection", lambda client: self._create(client, kind, name, dim))
            return Table(name, dim)

        def load(client: Any) -> int:
            description = client.describe_collection(name, timeout=READ_S)
            vector = next(field for field in description["fields"] if field["name"] in schema.VECTORS)
            if not client.list_indexes(name, timeout=READ_S):
                # The last start ended between making the collection and its index.
                params = schema.make_index(client, kind, vector["name"], self.engine.kind)
                client.create_index(name, params, timeout=DDL_S)
            client.load_collection(name, timeout=DDL_S)
            return int(vector["params"].get("dim", 0))

        found = self.call("load a collection", load)
        if found != dim:
            raise StoreError(
                f"collection {name} holds vectors of {found} dimensions, not of {dim}; drop it "
                "(memewatchd --reset drops all of ours)"
            )
        return Table(name, dim)

    def _create(self, client: Any, kind: schema.Kind, name: str, dim: int) -> None:
        fields, vector = schema.make_schema(client, kind, dim)
        client.create_collection(
            name,
            schema=fields,
            index_params=schema.make_index(client, kind, vector, self.engine.kind),
            consistency_level="Strong",
            timeout=DDL_S,
        )

    def choose(self, kind: schema.Kind, base: str, dim: int) -> tuple[str, bool]:
        """The name of this schema's collection, and whether it exists; see :mod:`memewatchd.index.schema`."""
        for number in count(1):
            name = base if number == 1 else f"{base}_{number}"
            description = self._description(name)
            if description is None:
                return name, False
            version = schema.version_of(description, kind)
            if version == schema.VERSIONS[kind]:
                if kind != "words" or schema.has_bm25(description) == (dim == 0):
                    return name, True
                _log.warning(
                    "collection %s is of an engine %s BM25: it is set aside as it is, and %s is used",
                    name,
                    "without" if dim == 0 else "with",
                    f"{base}_{number + 1}",
                )
            elif version is not None:
                _log.warning(
                    "collection %s has schema %d, and this program knows %d: it is set aside as it is, and %s is used",
                    name,
                    version,
                    schema.VERSIONS[kind],
                    f"{base}_{number + 1}",
                )
            elif number == 1:
                raise StoreError(
                    f"collection {name} at {self.engine.where} was not made by memewatchd and is left alone; "
                    "choose another prefix for ours"
                )
        raise AssertionError("count() has no end")

    def version(self, name: str, kind: schema.Kind) -> int | None:
        """The schema's version of a collection; None if there is no such, or it isn't ours."""
        description = self._description(name)
        return None if description is None else schema.version_of(description, kind)

    def _description(self, name: str) -> str | None:
        def look(client: Any) -> str | None:
            if not client.has_collection(name, timeout=READ_S):
                return None
            return str(client.describe_collection(name, timeout=READ_S)["description"])

        return self.call("look at a collection", look)

    def read(self, name: str, fields: Sequence[str], expression: str = "") -> Iterator[dict[str, Any]]:
        """Rows that match, each id once (Lite may hold an id twice), in the order of their ids.

        This is what pymilvus' query_iterator does; but that asks once without any timeout.
        """
        size = READ_ROWS[self.engine.kind]
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

            batch = self.call("read rows", ask)
            for row in batch:
                if row["id"] != last:
                    last = row["id"]
                    yield row
            if len(batch) < size:
                return
            if not schema.KEY.fullmatch(last):
                raise StoreError(f"collection {name} holds rows that memewatchd did not write; drop it")

    def insert(self, name: str, entities: Sequence[dict[str, Any]]) -> None:
        """Insert rows. May be called again with them after it has failed: what had arrived is replaced."""
        doubtful = self._doubtful.get(name, set()) & {entity["id"] for entity in entities}
        if doubtful:
            self.delete(name, doubtful)
            self._doubtful[name] -= doubtful
        for batch in _batches(entities):
            try:
                self.engine.insert(
                    "insert rows",
                    lambda client, batch=batch: client.insert(name, batch, timeout=WRITE_S),  # type: ignore[misc]
                )
            except StoreError:
                self._doubtful.setdefault(name, set()).update(entity["id"] for entity in entities)
                raise

    def delete(self, name: str, ids: Iterable[str]) -> None:
        """Delete rows by key, which the caller has checked to be one; keys that aren't there are no error."""
        for chunk in chunks(ids, DELETE_ROWS):
            self.call("delete rows", lambda client, chunk=chunk: client.delete(name, ids=chunk, timeout=WRITE_S))  # type: ignore[misc]

    def give_back(self, name: str, deleted: int) -> None:
        """Note that rows were deleted from a collection that nobody else reads now; after many, Milvus Lite is made to
        give their memory back."""
        if self.engine.kind != "lite":
            return
        self._deleted[name] += deleted
        if self._deleted[name] >= RELOAD_DELETED:
            self.call("release a collection", lambda client: client.release_collection(name, timeout=DDL_S))
            self.call("load a collection", lambda client: client.load_collection(name, timeout=DDL_S))
            self._deleted[name] = 0

    def call(self, doing: str, function: Callable[[Any], T]) -> T:
        """As :meth:`Engine.call <memewatchd.index.engine.Engine.call>`."""
        return self.engine.call(doing, function)


def opened(table: Table | None) -> Table:
    """``table``, where there is one."""
    if table is None:
        raise StoreError("the collection has not been opened")
    return table


def among(digests: Sequence[Digest]) -> str:
    """``digest in [...]``. Only hex gets in."""
    for digest in digests:
        if not schema.HASH.fullmatch(digest):
            raise StoreError(f"not a digest: {digest!r}")
    return 'digest in ["' + '", "'.join(digests) + '"]'


def _batches(entities: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Lists of entities, each within :data:`INSERT_ROWS` and, roughly, :data:`INSERT_BYTES`.

    Frames of one digest, which come together, stay together: a crash must not leave a part of them, for a digest that
    has vectors counts as done.
    """
    batch: list[dict[str, Any]] = []
    size = 0
    for entity in entities:
        weight = _weight(entity)
        full = len(batch) >= INSERT_ROWS or size + weight > INSERT_BYTES
        if batch and full and _digest(entity) != _digest(batch[-1]):
            yield batch
            batch, size = [], 0
        batch.append(entity)
        size += weight
    if batch:
        yield batch


def _digest(entity: dict[str, Any]) -> str:
    digest: str = entity["id"].partition("-")[0]
    return digest


def _weight(entity: dict[str, Any]) -> int:
    weight = 0
    for value in entity.values():
        weight += 4 * len(value) if isinstance(value, str) else getattr(value, "nbytes", 16)
    return weight


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most ``size`` items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
