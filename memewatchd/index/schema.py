"""The collections, and how a :class:`FileRow` becomes a row and back. Knows pymilvus only by its client.

``<prefix>files``                       one row a file; the same whatever the model
``<prefix>pictures_<fingerprint>``      one row a frame of a digest; one collection a model
``<prefix>words``                       one row a digest and reader of words; a BM25 field where the engine has that

On a server that several hosts share, each has its own prefix: :func:`own_prefix`.

A collection says in its description that it is ours, and its schema's version: :func:`describe`. Where a
name is taken by a version of ours that this program doesn't know, the next free name (``…_2``) is used and
the old collection is left as it is: that is how an index is set aside, on both engines, and why going back
to the older program finds it again.
"""

from __future__ import annotations

import base64
import dataclasses
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Literal

from memewatchd.errors import StoreError
from memewatchd.looks import MOST_CHARACTERS, is_packed
from memewatchd.meme import Digest, FileRow, FileStat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Kind = Literal["files", "pictures", "words"]

VERSIONS: Final[dict[Kind, int]] = {"files": 2, "pictures": 2, "words": 1}
"""Of the schemas. Raise one with every change of a field or of what a field means."""

# Byte lengths. Milvus Lite doesn't hold to its own limits, and a server refuses what is over: so they
# are ours to hold to.
MAX_PATH_BYTES: Final = 6144
"""Of a raw path: PATH_MAX (4,096) and room; 8,192 in base64."""
MAX_TEXT_BYTES: Final = 8192
MAX_ERROR_BYTES: Final = 2048
MAX_KIND_BYTES: Final = 16
MAX_TAGS_BYTES: Final = 8192
MAX_INNER_BYTES: Final = 2048
MAX_READER_BYTES: Final = 64
MAX_SEARCHED_BYTES: Final = 32_768
"""Of what BM25 reads: a text that is folded (which may lengthen it) and its Han characters once more, spaced."""

PREFIX: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
HOST: Final = re.compile(r"(?=.{1,32}\Z)[a-z0-9]+(-[a-z0-9]+)*")
_HOST_PREFIX: Final = re.compile(r"host_([a-z0-9]+(?:_[a-z0-9]+)*)__")
"""Behind the common prefix. Two underscores end it: a host's prefix is never the beginning of another's."""
FINGERPRINT: Final = re.compile(r"[0-9a-f]{1,64}")
HASH: Final = re.compile(r"[0-9a-f]{64}")
"""A row id of ``files``, and a digest."""
KEY: Final = re.compile(r"[0-9a-f]{64}(-[0-9a-f]{1,16})?")
"""A primary key. These two are the only values that enter an expression."""

_MARKER = re.compile(r"memewatchd (files|pictures|words), schema (\d+)\b")

UNUSED_VECTOR: Final = "unused"
"""A server's collection must have a vector field (2.3 refuses one without). Two numbers, the cheapest."""
BM25_VECTOR: Final = "bm25"
"""Milvus makes it of ``searched``."""
VECTORS: Final = frozenset({"v", UNUSED_VECTOR, BM25_VECTOR})

ANALYZER: Final = {"tokenizer": "jieba", "filter": ["lowercase", {"type": "stop", "stop_words": [" "]}]}
"""jieba takes a space for a word: without the filter, any two words would find every text that has a space."""
_NO_BM25 = "without BM25"

FILE_FIELDS: Final = (
    *("id", "path", "digest", "size", "mtime_ns", "ctime_ns", "ino"),
    *("first_seen", "kind", "width", "height", "frames", "error", "text", "tags", "inner", "look"),
)


def describe(kind: Kind, dim: int = 0) -> str:
    """The description that marks a collection as ours. Words with a vector of ``dim`` numbers have no BM25."""
    version = f"schema {VERSIONS[kind]}" + (f" {_NO_BM25}" if kind == "words" and dim else "")
    return f"memewatchd {kind}, {version}: made by memewatchd, which builds it anew if it is dropped"


def has_bm25(description: str) -> bool:
    """Whether this collection of words can be searched."""
    return _NO_BM25 not in description


def version_of(description: str, kind: Kind) -> int | None:
    """The schema's version, or None if the collection isn't ours."""
    match = _MARKER.match(description)
    return int(match[2]) if match is not None and match[1] == kind else None


def own_prefix(prefix: str, host: str) -> str:
    """The prefix of a host's own collections; "" is for who has the server alone. Raises :class:`StoreError`."""
    if not PREFIX.fullmatch(prefix):
        raise StoreError(f"collection prefix {prefix!r}: use at most 64 ASCII letters, digits and _, no digit first")
    if not host:
        return prefix
    if not HOST.fullmatch(host):
        raise StoreError(f"host {host!r}: use at most 32 small letters and digits, with single hyphens between")
    return f"{prefix}host_{host.replace('-', '_')}__"


def hosts_in(names: Iterable[str], prefix: str) -> set[str]:
    """The hosts that collections of these names belong to."""
    behind = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return {match[1].replace("_", "-") for rest in behind if (match := _HOST_PREFIX.match(rest))}


def make_schema(client: Any, kind: Kind, dim: int) -> tuple[Any, str]:
    """A collection's schema, and the name of its vector field. ``dim`` 0: vectors that Milvus makes of a text."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False, description=describe(kind, dim))
    if kind == "pictures":
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=80)
        schema.add_field("digest", DataType.VARCHAR, max_length=64)
        schema.add_field("frame", DataType.INT64)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=dim)
        return schema, "v"
    if kind == "words":
        return _add_words(schema, dim)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("path", DataType.VARCHAR, max_length=(MAX_PATH_BYTES + 2) // 3 * 4)
    schema.add_field("digest", DataType.VARCHAR, max_length=64)
    for name in ("size", "mtime_ns", "ctime_ns", "ino", "first_seen", "width", "height", "frames"):
        schema.add_field(name, DataType.INT64)
    schema.add_field("kind", DataType.VARCHAR, max_length=MAX_KIND_BYTES)
    schema.add_field("error", DataType.VARCHAR, max_length=MAX_ERROR_BYTES)
    schema.add_field("text", DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    schema.add_field("tags", DataType.VARCHAR, max_length=MAX_TAGS_BYTES)
    schema.add_field("inner", DataType.VARCHAR, max_length=MAX_INNER_BYTES)
    schema.add_field("look", DataType.VARCHAR, max_length=MOST_CHARACTERS)
    schema.add_field(UNUSED_VECTOR, DataType.FLOAT_VECTOR, dim=2)
    return schema, UNUSED_VECTOR


def _add_words(schema: Any, dim: int) -> tuple[Any, str]:
    from pymilvus import DataType, Function, FunctionType

    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=96)
    schema.add_field("digest", DataType.VARCHAR, max_length=64)
    schema.add_field("reader", DataType.VARCHAR, max_length=MAX_READER_BYTES)
    schema.add_field("written_ns", DataType.INT64)
    schema.add_field("text", DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    if dim:
        schema.add_field(UNUSED_VECTOR, DataType.FLOAT_VECTOR, dim=dim)
        return schema, UNUSED_VECTOR
    schema.add_field(
        "searched", DataType.VARCHAR, max_length=MAX_SEARCHED_BYTES, enable_analyzer=True, analyzer_params=ANALYZER
    )
    schema.add_field(BM25_VECTOR, DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        Function(
            name="bm25",
            function_type=FunctionType.BM25,
            input_field_names=["searched"],
            output_field_names=[BM25_VECTOR],
        )
    )
    return schema, BM25_VECTOR


def make_index(client: Any, kind: Kind, vector: str, engine: Literal["lite", "server"]) -> Any:
    """The index of the vector field: HNSW for a server's pictures, else FLAT (exact; Lite has no other dense one)."""
    params = client.prepare_index_params()
    if vector == BM25_VECTOR:
        params.add_index(vector, index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    elif kind == "pictures" and engine == "server":
        build = {"M": 16, "efConstruction": 200}
        params.add_index(vector, index_type="HNSW", metric_type="COSINE", params=build)
    else:
        params.add_index(vector, index_type="FLAT", metric_type="COSINE")
    return params


def fit(row: FileRow) -> FileRow:
    """``row`` as it can be stored: its texts cut to their byte limits, at a character's or a tag's end.

    A row's id is a hash over these too, so fit a row before its id is used.
    """
    error, text = cut(row.error, MAX_ERROR_BYTES), cut(row.text, MAX_TEXT_BYTES)
    inner, tags = cut(row.inner, MAX_INNER_BYTES), _cut_tags(row.tags)
    if (error, text, inner, tags) == (row.error, row.text, row.inner, row.tags):
        return row
    return dataclasses.replace(row, error=error, text=text, inner=inner, tags=tags)


def to_entity(row: FileRow) -> dict[str, Any]:
    """A row for Milvus. Raises :class:`StoreError` for a value that it can't hold."""
    if len(row.path) > MAX_PATH_BYTES:
        raise StoreError(f"a path of {len(row.path)} bytes is too long for the index ({MAX_PATH_BYTES} at most)")
    if row.digest and not HASH.fullmatch(row.digest):
        raise StoreError(f"not a digest: {row.digest!r}")
    if row.look and not is_packed(row.look):
        raise StoreError(f"not what a picture looks like: {row.look[:80]!r}")
    stat = row.stat
    return {
        "id": row.id,
        "path": base64.urlsafe_b64encode(row.path).decode("ascii"),
        "digest": row.digest,
        "size": stat.size,
        "mtime_ns": stat.mtime_ns,
        "ctime_ns": stat.ctime_ns,
        "ino": _signed(stat.ino),
        "first_seen": row.first_seen,
        "kind": row.kind,
        "width": row.width,
        "height": row.height,
        "frames": row.frames,
        "error": row.error,
        "text": row.text,
        "tags": "\n".join(row.tags),
        "inner": row.inner,
        "look": row.look,
        UNUSED_VECTOR: [1.0, 0.0],
    }


def from_entity(entity: Mapping[str, Any]) -> FileRow:
    """What :func:`to_entity` stored."""
    return FileRow(
        path=base64.urlsafe_b64decode(entity["path"]),
        stat=FileStat(
            size=entity["size"],
            mtime_ns=entity["mtime_ns"],
            ctime_ns=entity["ctime_ns"],
            ino=entity["ino"] % 2**64,
        ),
        digest=Digest(entity["digest"]),
        first_seen=entity["first_seen"],
        kind=entity["kind"],
        width=entity["width"],
        height=entity["height"],
        frames=entity["frames"],
        error=entity["error"],
        text=entity["text"],
        tags=tuple(entity["tags"].split("\n")) if entity["tags"] else (),
        inner=entity["inner"],
        look=entity["look"],
    )


def picture_id(digest: Digest, frame: int) -> str:
    """The primary key of a frame's vector."""
    if not HASH.fullmatch(digest) or not 0 <= frame < 10**9:
        raise StoreError(f"not a frame of a digest: {digest!r} {frame!r}")
    return f"{digest}-{frame}"


def split_picture_id(key: str) -> tuple[Digest, int]:
    """The digest and the frame's number of a primary key."""
    digest, _, frame = key.partition("-")
    return Digest(digest), int(frame)


def words_id(digest: Digest, reader: str) -> str:
    """The primary key of what ``reader`` has read in a picture. Not of the digest alone: what it is read as anew
    must be there before what it replaces goes, and one key can't stand for both."""
    if not HASH.fullmatch(digest):
        raise StoreError(f"not a digest: {digest!r}")
    return f"{digest}-{blake2b(reader.encode('utf-8', 'replace'), digest_size=8).hexdigest()}"


def cut(text: str, limit: int) -> str:
    """The start of ``text`` that fits into ``limit`` bytes."""
    if len(text) <= limit and text.isascii():
        return text
    data = text.encode("utf-8", "replace")  # lone surrogates can't be stored
    return data[:limit].decode("utf-8", "ignore")


def _cut_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """The first of them that fit, as they are stored: a line each."""
    kept: list[str] = []
    left = MAX_TAGS_BYTES
    for tag in (cut(tag, MAX_TAGS_BYTES) for tag in tags):
        left -= len(tag.encode()) + 1
        if left < 0:
            break
        if tag and "\n" not in tag:
            kept.append(tag)
    return tuple(kept)


def _signed(ino: int) -> int:
    # Inodes are 64 bits without a sign (network and union mounts use the highest), INT64 has one.
    return ino - 2**64 if ino >= 2**63 else ino
