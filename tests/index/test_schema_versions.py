"""Collections that aren't ours, or not of this version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymilvus import DataType

from memewatchd.errors import StoreError
from memewatchd.index import schema
from memewatchd.index.store import Store
from memewatchd.meme import Digest, FileRow, FileStat

if TYPE_CHECKING:
    from memewatchd.index.engine import Engine

ROW = FileRow(b"/a.png", FileStat(1, 2, 3, 4), Digest("ab" * 32), 5)


def make_collection(engine: Engine, name: str, description: str) -> None:
    """One with a single row, of no schema of ours."""
    client = engine.client
    fields = client.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    fields.add_field("pk", DataType.INT64, is_primary=True)
    fields.add_field("theirs", DataType.FLOAT_VECTOR, dim=3)
    index = client.prepare_index_params()
    index.add_index("theirs", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=fields, index_params=index, timeout=60)
    client.insert(name, [{"pk": 1, "theirs": [1.0, 2.0, 3.0]}], timeout=30)


def untouched(engine: Engine, name: str, description: str) -> bool:
    client = engine.client
    found = client.describe_collection(name, timeout=30)
    rows = client.query(name, filter="pk >= 0", output_fields=["pk"], limit=10, timeout=30, consistency_level="Strong")
    return found["description"] == description and [each["pk"] for each in rows] == [1]


def test_a_collection_that_is_not_ours_is_left_alone(engine: Engine, prefix: str) -> None:
    description = "not memewatchd files, schema 1"
    store = Store(engine, prefix)
    make_collection(engine, f"{prefix}files", description)
    make_collection(engine, f"{prefix}pictures_aa", description)
    with pytest.raises(StoreError, match=f"{prefix}files .*another prefix"):
        store.open_files()
    with pytest.raises(StoreError, match="another prefix"):
        store.open_pictures("aa", 3)
    with pytest.raises(StoreError, match="another prefix"):
        store.drop_pictures("aa")
    assert store.pictures_collections() == []
    assert untouched(engine, f"{prefix}files", description)
    assert untouched(engine, f"{prefix}pictures_aa", description)


def test_a_description_that_is_not_ours() -> None:
    assert schema.version_of(schema.describe("files"), "files") == schema.VERSIONS["files"]
    assert schema.version_of(schema.describe("files"), "pictures") is None
    for dim in (0, 2):
        words = schema.describe("words", dim)
        assert schema.version_of(words, "words") == schema.VERSIONS["words"]
        assert schema.has_bm25(words) == (dim == 0)
    for description in ("", "my own notes", "memewatchd files", "memewatchd files, schema x"):
        assert schema.version_of(description, "files") is None


def test_an_unknown_version_is_set_aside_and_built_anew(
    engine: Engine, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(engine, prefix)
    newer = schema.describe("files").replace(f"schema {schema.VERSIONS['files']}", "schema 99")
    make_collection(engine, f"{prefix}files", newer)
    store.open_files()
    assert f"{prefix}files has schema 99" in caplog.text
    assert list(store.read_files()) == []
    store.insert_files([ROW])
    again = Store(engine, prefix)
    again.open_files()
    assert list(again.read_files()) == [ROW]
    assert untouched(engine, f"{prefix}files", newer)


def test_pictures_of_an_unknown_version_are_set_aside_too(engine: Engine, prefix: str) -> None:
    store = Store(engine, prefix)
    newer = schema.describe("pictures").replace(f"schema {schema.VERSIONS['pictures']}", "schema 99")
    make_collection(engine, f"{prefix}pictures_aa", newer)
    assert store.pictures_collections() == []
    store.open_pictures("aa", 4)
    store.insert_pictures([(ROW.digest, 0, np.ones(4, np.float32))])
    assert store.picture_digests() == {ROW.digest}
    assert store.pictures_collections() == ["aa"]
    store.drop_pictures("aa")
    assert store.pictures_collections() == []
    assert untouched(engine, f"{prefix}pictures_aa", newer)


def test_a_start_that_ended_half_way_is_finished(engine: Engine, prefix: str) -> None:
    store = Store(engine, prefix)
    fields, _ = schema.make_schema(engine.client, "files", 2)
    engine.client.create_collection(f"{prefix}files", schema=fields, consistency_level="Strong", timeout=60)
    store.open_files()
    store.insert_files([ROW])
    assert list(store.read_files()) == [ROW]
