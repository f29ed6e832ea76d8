"""The ``words`` collection: what was read in the pictures, one row a picture and reader, searched by BM25.

A server before 2.5 has no BM25: there the words are kept all the same, and nothing is found by them here.
"""

from __future__ import annotations

import logging
import re
import time
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from memewatchd.errors import StoreError
from memewatchd.index import schema
from memewatchd.index.tables import BOUNDED, FILTER_DIGESTS, MAX_HITS, READ_S, SEARCH_S, Table, among, chunks, opened
from memewatchd.meme import Digest, PictureWords, WordsHit
from memewatchd.words import HAN, words_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from memewatchd.index.tables import Tables

_log = logging.getLogger(__name__)

_FIELDS: Final = ("id", "digest", "reader", "written_ns", "text")
_FIRST_WITH_BM25: Final = (2, 5)
_OF_NO_ROWS: Final = "NaN or Inf value"
"""Milvus Lite divides by the number of rows before it looks whether there are any."""
_OF_TWO_MOMENTS: Final = "Invalid sparse row: negative value"
"""Milvus Lite counts rows, and rows with a word, at two moments; rows were written in between, and there were more of
the latter. Another try finds both as they are."""
_TRIES: Final = 3
_ONE_HAN = re.compile(rf"[{HAN}]")


class Words:
    """The words in one Milvus; :class:`~memewatchd.index.store.Store` owns it, and says what its methods do."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.table: Table | None = None

    @property
    def has_bm25(self) -> bool:
        return self.table is not None and self.table.dim == 0

    def open(self) -> None:
        dim = 0 if self._engine_has_bm25() else 2
        self.table = self._tables.open("words", f"{self._tables.prefix}words", dim)

    def read(self) -> Iterator[PictureWords]:
        name = opened(self.table).name
        strays: list[str] = []

        def good_rows() -> Iterator[dict[str, Any]]:
            for row in self._tables.read(name, _FIELDS):
                if schema.HASH.fullmatch(row["digest"]) and row["id"] == schema.words_id(row["digest"], row["reader"]):
                    yield row
                else:
                    strays.append(row["id"])

        # They come in the order of their ids, and an id begins with the digest.
        for digest, rows in groupby(good_rows(), key=lambda row: str(row["digest"])):
            for row in sorted(rows, key=lambda row: int(row["written_ns"])):
                yield PictureWords(Digest(digest), row["text"], row["reader"])
        if strays:
            _log.warning("%d rows of words do not make sense; their pictures are read again", len(strays))
            self._tables.delete(name, [key for key in strays if schema.KEY.fullmatch(key)])

    def insert(self, words: Iterable[PictureWords]) -> list[PictureWords]:
        table = opened(self.table)
        stored: dict[str, PictureWords] = {}
        for each in words:
            if len(each.reader.encode()) > schema.MAX_READER_BYTES:
                raise StoreError(f"the name of a reader of words is too long: {each.reader!r}")
            text = schema.cut(each.text, schema.MAX_TEXT_BYTES)
            stored[schema.words_id(each.digest, each.reader)] = PictureWords(each.digest, text, each.reader)
        now = time.time_ns()
        entities: list[dict[str, Any]] = []
        for key, each in stored.items():
            entity = {"id": key, "digest": each.digest, "reader": each.reader, "written_ns": now, "text": each.text}
            if table.dim:
                entity[schema.UNUSED_VECTOR] = [1.0, 0.0]
            else:
                entity["searched"] = searched(each.text)
            entities.append(entity)
        self._tables.insert(table.name, entities)
        return list(stored.values())

    def delete(self, digests: Collection[Digest], reader: str | None = None) -> None:
        name = opened(self.table).name
        keys: list[str] = []
        if reader is not None:
            keys = [schema.words_id(digest, reader) for digest in digests]
        else:
            for chunk in chunks(digests, FILTER_DIGESTS):
                keys.extend(row["id"] for row in self._tables.read(name, ["id"], among(chunk)))
        self._tables.delete(name, keys)

    def search(self, text: str, limit: int) -> list[WordsHit]:
        table = opened(self.table)
        query = searched(schema.cut(text, schema.MAX_TEXT_BYTES))
        limit = min(limit, MAX_HITS)
        if table.dim or limit < 1 or not query:
            return []
        for number in range(_TRIES):
            try:
                found = self._tables.call(
                    "search the words",
                    lambda client: client.search(
                        table.name,
                        data=[query],
                        anns_field=schema.BM25_VECTOR,
                        limit=limit,
                        search_params={"metric_type": "BM25", "params": {}},
                        consistency_level=BOUNDED,  # the newest words are in memory, where they are looked for, too
                        timeout=SEARCH_S,
                    ),
                )
            except StoreError as error:
                if _OF_NO_ROWS in str(error):
                    return []
                if _OF_TWO_MOMENTS not in str(error) or number == _TRIES - 1:
                    raise
            else:
                break
        hits: dict[Digest, WordsHit] = {}
        for hit in found[0]:
            digest = Digest(hit["id"].partition("-")[0])
            hits.setdefault(digest, WordsHit(digest, float(hit["distance"])))
        return list(hits.values())

    def _engine_has_bm25(self) -> bool:
        if self._tables.engine.kind == "lite":
            return True
        version = self._tables.call("tell its version", lambda client: client.get_server_version(timeout=READ_S))
        return has_bm25(str(version))


def has_bm25(version: str) -> bool:
    """Whether a server of this version has BM25. One that doesn't say is taken for one without: all else works then."""
    number = re.search(r"(\d+)\.(\d+)", version)
    return number is not None and (int(number[1]), int(number[2])) >= _FIRST_WITH_BM25


def searched(text: str) -> str:
    """What BM25 is given of a text, stored or typed: its folded words, then each Han character by itself.

    jieba keeps 猫咪 whole, and 猫 would not find it.
    """
    words = " ".join(words_of(text))
    return schema.cut(" ".join([words, *_ONE_HAN.findall(words)]), schema.MAX_SEARCHED_BYTES)
