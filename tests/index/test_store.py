"""What goes into Milvus comes out of it, on both engines."""

from __future__ import annotations

import os
import secrets
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from memewatchd.errors import StoreError
from memewatchd.index import schema
from memewatchd.index.store import Store
from memewatchd.meme import Digest, FileRow, FileStat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from memewatchd.index.engine import Engine

STRANGE_PATHS = [
    b"/memes/plain.png",
    b"/memes/\xff\xfe not UTF-8 \x80.gif",
    b"/memes/new\nline\r\ttab.png",
    b'/memes/it\'s "quoted" \\ back.png',
    b'/memes/" or id != "" or path like "%.png',
    b"/memes/' in ['x'] || 1 == 1; {id} $meta %s.png",
    "/表情包/生气的猫😾.webp".encode(),
    b"/memes/" + b"\xe7" * 4089,
    b"/",
    b"/memes/\x01\x7f.png",
]


def digest() -> Digest:
    return Digest(secrets.token_hex(32))


def row(path: bytes = b"/memes/a.png", **changes: Any) -> FileRow:
    values: dict[str, Any] = {
        "path": path,
        "stat": FileStat(size=123, mtime_ns=1_700_000_000_123_456_789, ctime_ns=1_700_000_001_000_000_001, ino=42),
        "digest": digest(),
        "first_seen": 1_700_000_002,
        "width": 640,
        "height": 480,
        "frames": 3,
        "text": "angry cat",
    }
    return FileRow(**(values | changes))


def vectors(n: int, dim: int = 16) -> NDArray[np.float32]:
    made = np.random.default_rng(7).standard_normal((n, dim)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_rows_come_back_as_they_were(store: Store) -> None:
    rows = [row(path) for path in STRANGE_PATHS]
    rows += [
        row(
            b"/memes/failed.png", digest=Digest(""), width=0, height=0, frames=0, error='empty: "0" bytes\'\n', text=""
        ),
        row(b"/memes/big numbers", stat=FileStat(2**62, 2**63 - 1, -1, 2**64 - 1)),
        row(b"/memes/words", text="猫 \"] or 1 == 1\n\\ '; — 😾"),
    ]
    store.insert_files(rows)
    assert set(store.read_files()) == set(rows)
    store.delete_files([each.id for each in rows[::2]])
    assert set(store.read_files()) == set(rows[1::2])


def test_two_rows_of_one_path_are_both_read(store: Store) -> None:
    old, new = row(text="old"), row(text="new")
    store.insert_files([old])
    store.insert_files([new])
    assert set(store.read_files()) == {old, new}


def test_thousands_of_rows(store: Store, engine: Engine) -> None:
    rows = [row(f"/memes/{i}.png".encode()) for i in range(6000)]
    store.insert_files(rows)
    assert {each.path for each in store.read_files()} == {each.path for each in rows}
    store.delete_files([each.id for each in rows[:5500]])
    again = Store(engine, store._prefix)
    again.open_files()
    assert set(again.read_files()) == set(rows[5500:])


def test_nothing_to_do_is_no_error(store: Store) -> None:
    store.insert_files([])
    store.insert_pictures([])
    store.delete_files([])
    store.delete_files(["0" * 64])
    store.delete_pictures([])
    store.delete_pictures([digest()])
    assert list(store.read_files()) == []
    assert store.picture_digests() == set()
    assert store.search_pictures(np.ones(16, np.float32), 5) == []
    assert store.search_pictures(np.ones(16, np.float32), 0) == []


def test_long_texts_are_cut_at_a_characters_end(store: Store) -> None:
    (stored,) = store.insert_files([row(text="猫" * 5000, error="é" * 5000)])
    assert stored.text == "猫" * (schema.MAX_TEXT_BYTES // 3)
    assert stored.error == "é" * (schema.MAX_ERROR_BYTES // 2)
    assert list(store.read_files()) == [stored]
    store.delete_files([stored.id])
    assert list(store.read_files()) == []


def test_times_beyond_what_milvus_holds_are_held_at_the_end(store: Store) -> None:
    result = os.stat_result(range(10), {"st_mtime_ns": 253_370_764_800 * 10**9, "st_ctime_ns": -(2**70)})
    assert FileStat.of(result) == FileStat(6, 2**63 - 1, -(2**63), 1)
    (stored,) = store.insert_files([row(stat=FileStat.of(result))])
    assert list(store.read_files()) == [stored]


def test_big_rows_fit_into_messages(store: Store) -> None:
    rows = [row(b"/" + os.urandom(6143), text="x" * schema.MAX_TEXT_BYTES) for _ in range(700)]
    store.insert_files(rows)
    assert {each.id for each in store.read_files()} == {each.id for each in rows}


def test_what_cannot_be_stored_is_refused_before_anything_is(store: Store) -> None:
    vector = np.ones(16, np.float32)
    with pytest.raises(StoreError, match="too long"):
        store.insert_files([row(), row(b"/" + b"x" * schema.MAX_PATH_BYTES)])
    with pytest.raises(StoreError, match="digest"):
        store.insert_files([row(), row(digest=Digest('" or id != "'))])
    with pytest.raises(StoreError, match="row's id"):
        store.delete_files(["0" * 64, '" or id != "'])
    with pytest.raises(StoreError, match="digest"):
        store.search_pictures(vector, 5, [digest(), Digest('"] or id != "')])
    with pytest.raises(StoreError, match="digest"):
        store.delete_pictures([Digest('"] or id != "')])
    with pytest.raises(StoreError, match="16 dimensions"):
        store.insert_pictures([(digest(), 0, vector), (digest(), 0, np.ones(5, np.float32))])
    with pytest.raises(StoreError, match="16 dimensions"):
        store.search_pictures(np.ones(5, np.float32), 5)
    with pytest.raises(StoreError, match="finite"):
        store.insert_pictures([(digest(), 0, np.full(16, np.nan, np.float32))])
    assert list(store.read_files()) == []
    assert store.picture_digests() == set()


def test_a_retry_after_an_unclear_failure_leaves_one_row(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(f"/{i}".encode()) for i in range(3)]
    insert = type(store._engine.client).insert

    def arrives_but_fails(client: Any, *arguments: Any, **options: Any) -> None:
        insert(client, *arguments, **options)
        raise StoreError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(type(store._engine.client), "insert", arrives_but_fails)
        with pytest.raises(StoreError, match="lost"):
            store.insert_files(rows)
    store.insert_files(rows)
    name = f"{store._prefix}files"
    held = store._engine.client.query(
        name, filter='id != ""', output_fields=["id"], limit=100, timeout=30, consistency_level="Strong"
    )
    assert sorted(each["id"] for each in held) == sorted(each.id for each in rows)


def test_a_row_that_is_there_twice_is_read_once_and_deleted_whole(store: Store) -> None:
    one = row()
    store.insert_files([one])
    store.insert_files([one])
    assert list(store.read_files()) == [one]
    store.delete_files([one.id])
    assert list(store.read_files()) == []


def test_a_row_that_makes_no_sense_is_left_out_and_removed(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    good, wrong, worse = row(), schema.to_entity(row(b"/wrong")), schema.to_entity(row(b"/worse"))
    wrong["size"] += 1
    worse["path"] = "%"
    store.insert_files([good])
    store._engine.client.insert(f"{store._prefix}files", [wrong, worse], timeout=30)
    assert list(store.read_files()) == [good]
    assert "2 rows" in caplog.text
    caplog.clear()
    assert list(store.read_files()) == [good]
    assert caplog.text == ""


def test_a_collection_that_was_dropped_underneath_is_noticed(engine: Engine, prefix: str) -> None:
    store = Store(engine, prefix)
    store.open_files()
    store.check()
    engine.client.drop_collection(f"{prefix}files", timeout=30)
    with pytest.raises(StoreError, match=f"{prefix}files has been dropped"):
        store.check()
    if engine.kind == "server":  # which others reach too
        with pytest.raises(StoreError, match=f"{prefix}files has been dropped"):
            store.check(quick=True)


def test_search_finds_the_nearest_first(store: Store) -> None:
    made = vectors(600)
    digests = [digest() for _ in range(300)]
    store.insert_pictures([(digests[i // 2], i % 2, made[i]) for i in range(600)])
    query = made[101] * 3
    expected = made @ made[101]
    hits = store.search_pictures(query, 10)
    assert (hits[0].digest, hits[0].frame) == (digests[50], 1)
    assert [hit.score for hit in hits] == pytest.approx(sorted(expected, reverse=True)[:10], abs=1e-5)
    assert len(store.search_pictures(query, 100_000)) == 600
    some = set(digests[100:110])
    hits = store.search_pictures(query, 15, some)
    assert len(hits) == 15
    assert {hit.digest for hit in hits} <= some
    assert [hit.score for hit in hits] == pytest.approx(sorted(expected[200:220], reverse=True)[:15], abs=1e-5)
    assert store.search_pictures(query, 15, set()) == []
    assert store.picture_digests() == set(digests)


def test_a_search_among_very_many_digests(store: Store) -> None:
    made = vectors(20)
    digests = [digest() for _ in range(20)]
    store.insert_pictures([(digests[i], 0, made[i]) for i in range(20)])
    others = [digest() for _ in range(6000)]
    among = [*digests[:5], *others[:3000], *digests[5:10], *others[3000:]]
    hits = store.search_pictures(made[7], 100, among)
    assert {hit.digest for hit in hits} == set(digests[:10])
    assert hits[0].digest == digests[7]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_deleting_a_digest_deletes_its_frames(store: Store) -> None:
    made = vectors(12)
    digests = [digest() for _ in range(4)]
    store.insert_pictures([(digests[i // 3], i % 3, made[i]) for i in range(12)])
    store.delete_pictures(digests[:2])
    assert store.picture_digests() == set(digests[2:])
    # What comes back after a deletion is found again.
    store.insert_pictures([(digests[0], 0, made[0])])
    assert store.search_pictures(made[0], 1)[0].digest == digests[0]


def test_each_model_has_a_collection_of_its_own(engine: Engine, prefix: str) -> None:
    store = Store(engine, prefix)
    store.open_pictures("aa", 4)
    kept = digest()
    store.insert_pictures([(kept, 0, np.ones(4, np.float32))])
    store.open_pictures("bb", 8)
    assert store.picture_digests() == set()
    assert store.pictures_collections() == ["aa", "bb"]
    store.drop_pictures("bb")
    store.drop_pictures("cc")
    assert store.pictures_collections() == ["aa"]
    with pytest.raises(StoreError, match="not been opened"):
        store.picture_digests()
    store.open_pictures("aa", 4)
    assert store.picture_digests() == {kept}
    with pytest.raises(StoreError, match="4 dimensions, not of 8"):
        store.open_pictures("aa", 8)


def test_another_model_is_filled_beside_and_takes_over(engine: Engine, prefix: str) -> None:
    store = Store(engine, prefix)
    store.open_pictures("aa", 4)
    old, new = digest(), digest()
    store.insert_pictures([(old, 0, np.ones(4, np.float32))])
    assert store.open_beside("bb", 8) == set()
    store.insert_beside([(new, 0, np.ones(8, np.float32)), (old, 3, -np.ones(8, np.float32))])
    assert [hit.digest for hit in store.search_pictures(np.ones(4, np.float32), 9)] == [old]
    assert store.picture_digests() == {old}
    assert store.open_beside("bb", 8) == {old, new}, "as after a restart"
    store.use_beside()
    assert [hit.digest for hit in store.search_pictures(np.ones(8, np.float32), 9)] == [new, old]
    store.drop_pictures("aa")
    assert store.pictures_collections() == ["bb"]
    assert store.picture_digests() == {old, new}
    store.check()
    with pytest.raises(StoreError, match="not been opened"):
        store.use_beside()


def test_searches_while_rows_are_written(store: Store) -> None:
    made = vectors(1000)
    first = digest()
    store.insert_pictures([(first, 0, made[0])])
    wrong: list[object] = []
    stop = threading.Event()

    def search() -> None:
        try:
            while not stop.is_set():
                if store.search_pictures(made[0], 3)[0].digest != first:
                    wrong.append("another was nearer")
        except Exception as error:  # noqa: BLE001  whatever it is fails the test
            wrong.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for start in range(1, 1000, 100):
            batch = [(digest(), 0, vector) for vector in made[start : start + 100]]
            store.insert_pictures(batch)
            store.insert_files([row(f"/{start}".encode())])
            store.delete_pictures([each for each, _, _ in batch[:10]])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len(list(store.read_files())) == 10


@pytest.mark.parametrize("bad", ["", "1st_", "me-me_", "a.b", "x" * 65, 'a"b', "é_"])
def test_a_prefix_that_milvus_would_refuse_is_refused(lite: Engine, bad: str) -> None:
    with pytest.raises(StoreError, match="prefix"):
        Store(lite, bad)


def test_a_fingerprint_is_hex(lite: Engine) -> None:
    store = Store(lite)
    with pytest.raises(StoreError, match="fingerprint"):
        store.open_pictures("../x", 4)


def test_after_many_deletes_memory_is_given_back_and_nothing_else(
    lite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memewatchd.index.tables.RELOAD_DELETED", 10)
    store = Store(lite)
    store.open_files()
    name = f"{store._prefix}files"
    loaded: list[str] = []
    load = lite.client.load_collection
    monkeypatch.setattr(
        lite.client, "load_collection", lambda *given, **more: (loaded.append(given[0]), load(*given, **more))
    )
    rows = [row(b"/memes/%d.png" % number) for number in range(40)]
    store.insert_files(rows)
    for start in range(0, 30, 5):
        store.delete_files([each.id for each in rows[start : start + 5]])
    assert loaded == [name] * 3, "after 10, 20 and 30"
    assert sorted(store.read_files(), key=lambda each: each.path) == sorted(rows[30:], key=lambda each: each.path)
    store.insert_files(rows[:1])
    assert len(list(store.read_files())) == 11
