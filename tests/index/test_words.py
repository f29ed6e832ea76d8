"""The words read in pictures: what goes in comes out, on both engines, and BM25 finds it where there is one."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus import DataType

from memewatchd.errors import StoreError
from memewatchd.index import schema
from memewatchd.index.catalog import Catalog
from memewatchd.index.engine import Engine
from memewatchd.index.ledger import Ledger
from memewatchd.index.store import Store
from memewatchd.index.words import has_bm25, searched
from memewatchd.meme import Digest, FileRow, FileStat, PictureWords

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST, SECOND = "0a1b2c3d", "4e5f6a7b"
D1, D2, D3 = (Digest(letter * 64) for letter in "abc")


def digest() -> Digest:
    return Digest(secrets.token_hex(32))


def read(text: str, of: Digest | None = None, reader: str = FIRST) -> PictureWords:
    return PictureWords(of or digest(), text, reader)


def open_store(engine: Engine, prefix: str) -> Store:
    store = Store(engine, prefix)
    store.open_files()
    store.open_words()
    return store


@pytest.fixture
def words(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Store]:
    """A store with ``files`` and ``words`` open, and empty, on each engine."""
    name = "t_" if engine.kind == "lite" else request.getfixturevalue("shared_prefix")
    yield open_store(engine, name)
    if engine.kind == "server":
        for collection in (f"{name}files", f"{name}words"):
            engine.client.delete(collection, filter='id != ""', timeout=30)


@pytest.fixture
def found_by(lite: Engine) -> Store:
    """A store on the embedded engine, which has BM25."""
    return open_store(lite, "t_")


# --- what is kept, on both engines


def test_what_was_read_comes_back_as_it_was(words: Store, engine: Engine) -> None:
    texts = ["", "ONE DOES NOT\nsimply", "猫咪\n生氣", '" or id != "\'; {x} $meta %s \\ \t', "😾", "a" * 8192]
    stored = [read(text) for text in texts]
    assert words.insert_words(stored) == stored
    assert set(words.read_words()) == set(stored)
    words.delete_words([each.digest for each in stored[::2]])
    again = open_store(engine, words._prefix)
    assert set(again.read_words()) == set(stored[1::2])
    words.delete_words([])
    words.insert_words([])
    words.delete_words([digest()])


def test_a_text_of_20_kb_is_cut_at_a_characters_end(words: Store) -> None:
    """No server takes more than it was told of, and every such character is there once more, spaced, for BM25."""
    (han,) = words.insert_words([read("猫" * 7000)])
    (ligature,) = words.insert_words([read("\ufdfa" * 7000)])  # eighteen letters each, once folded
    assert han.text == "猫" * (schema.MAX_TEXT_BYTES // 3)
    assert set(words.read_words()) == {han, ligature}
    assert len(searched(ligature.text).encode()) <= schema.MAX_SEARCHED_BYTES


def test_thousands_of_long_ones(words: Store) -> None:
    stored = [read(f"{number} " + "x" * 5000) for number in range(2200)]
    words.insert_words(stored)
    assert {each.digest for each in words.read_words()} == {each.digest for each in stored}
    words.delete_words([each.digest for each in stored[10:]])
    assert set(words.read_words()) == set(stored[:10])


@pytest.mark.parametrize(("older", "newer"), [(FIRST, SECOND), (SECOND, FIRST)])
def test_of_two_readers_the_newer_comes_last(words: Store, older: str, newer: str) -> None:
    one, two, other = read("one", D1, older), read("two", D1, newer), read("else", D2, older)
    words.insert_words([one])
    words.insert_words([other, two])
    assert list(words.read_words()) == [one, two, other]
    words.delete_words([D1, D3], older)
    assert list(words.read_words()) == [two, other]
    words.insert_words([one])
    words.delete_words([D1])
    assert list(words.read_words()) == [other]


def test_what_cannot_be_stored_is_refused_before_anything_is(words: Store) -> None:
    bad = Digest('"] or id != "')
    with pytest.raises(StoreError, match="digest"):
        words.insert_words([read("good"), read("bad", bad)])
    with pytest.raises(StoreError, match="too long"):
        words.insert_words([read("good"), read("bad", reader="x" * 65)])
    for reader in (None, FIRST):
        with pytest.raises(StoreError, match="digest"):
            words.delete_words([bad], reader)
    assert list(words.read_words()) == []


def test_a_retry_after_an_unclear_failure_leaves_one_row(words: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    client = type(words._engine.client)
    insert = client.insert

    def arrives_but_fails(client: Any, *arguments: Any, **options: Any) -> None:
        insert(client, *arguments, **options)
        raise StoreError("the answer was lost")

    one = read("one")
    with monkeypatch.context() as patch:
        patch.setattr(client, "insert", arrives_but_fails)
        with pytest.raises(StoreError, match="lost"):
            words.insert_words([one])
    words.insert_words([one])
    assert len(rows_of(words)) == 1


def test_a_row_that_makes_no_sense_is_left_out_and_removed(words: Store, caplog: pytest.LogCaptureFixture) -> None:
    good = read("good")
    words.insert_words([good])
    entity = {"id": f"{D1}-00", "digest": D2, "reader": FIRST, "written_ns": 1, "text": "x"}
    entity |= {"searched": "x"} if words.has_bm25 else {schema.UNUSED_VECTOR: [1.0, 0.0]}
    words._engine.client.insert(f"{words._prefix}words", [entity], timeout=30)
    assert list(words.read_words()) == [good]
    assert "1 rows of words" in caplog.text
    assert len(rows_of(words)) == 1


def rows_of(store: Store) -> list[dict[str, Any]]:
    return list(
        store._engine.client.query(
            f"{store._prefix}words",
            filter='id != ""',
            output_fields=["id"],
            limit=100,
            timeout=30,
            consistency_level="Strong",
        )
    )


def test_words_dropped_underneath_are_noticed(engine: Engine, prefix: str) -> None:
    store = Store(engine, prefix)
    with pytest.raises(StoreError, match="not been opened"):
        list(store.read_words())
    store.open_words()
    store.check()
    assert store.collections() == [f"{prefix}words"]
    engine.client.drop_collection(f"{prefix}words", timeout=30)
    with pytest.raises(StoreError, match=f"{prefix}words has been dropped"):
        store.check()
    store.open_words()
    store.check()
    store.drop(store.collections())
    assert store.collections() == []


def test_where_there_is_no_bm25_nothing_is_found_and_nothing_fails(words: Store, engine: Engine) -> None:
    assert words.has_bm25 == (engine.kind == "lite")
    words.insert_words([read("one does not simply")])
    assert len(words.search_words("simply", 5)) == (engine.kind == "lite")


def test_words_of_an_unknown_version_are_set_aside(engine: Engine, prefix: str) -> None:
    newer = schema.describe("words").replace("schema 1", "schema 99")
    fields = engine.client.create_schema(auto_id=False, enable_dynamic_field=False, description=newer)
    fields.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    fields.add_field("theirs", DataType.FLOAT_VECTOR, dim=3)
    index = engine.client.prepare_index_params()
    index.add_index("theirs", index_type="FLAT", metric_type="L2")
    engine.client.create_collection(f"{prefix}words", schema=fields, index_params=index, timeout=60)
    store = Store(engine, prefix)
    store.open_words()
    one = read("one")
    store.insert_words([one])
    assert list(store.read_words()) == [one]
    assert store.collections() == [f"{prefix}words", f"{prefix}words_2"]
    assert engine.client.describe_collection(f"{prefix}words", timeout=30)["description"] == newer


def test_a_server_that_learns_bm25_gets_words_that_can_be_searched(
    engine: Engine, prefix: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the other way round. The words are read from the pictures anew; the old collection stays as it is."""
    store = Store(engine, prefix)
    with monkeypatch.context() as patch:
        patch.setattr("memewatchd.index.words.Words._engine_has_bm25", lambda _: False)
        store.open_words()
        assert not store.has_bm25
        old = read("old words")
        store.insert_words([old])
        assert store.search_words("old", 5) == []
        if engine.kind == "server":  # no such server is at hand
            return
    store.open_words()
    assert store.has_bm25
    assert f"{prefix}words is of an engine without BM25" in caplog.text
    assert list(store.read_words()) == []
    store.insert_words([read("new words")])
    assert len(store.search_words("new", 5)) == 1
    monkeypatch.setattr("memewatchd.index.words.Words._engine_has_bm25", lambda _: False)
    store.open_words()
    assert list(store.read_words()) == [old]


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ("v2.3.5-lite", False),
        ("2.4.99", False),
        ("v2.5.0", True),
        ("2.10.1-gpu", True),
        ("v3.0", True),
        ("Zilliz Cloud Vector Database(Compatible with Milvus 2.5)", True),
        ("master-20991231-abcdef", False),
        ("", False),
    ],
)
def test_which_servers_have_bm25(version: str, has: bool) -> None:
    assert has_bm25(version) == has


# --- what is found


def test_a_character_finds_the_word_that_it_is_part_of(found_by: Store) -> None:
    cat, dog = read("可爱的猫咪睡着了"), read("狗在叫")
    found_by.insert_words([cat, dog])
    assert [hit.digest for hit in found_by.search_words("猫", 5)] == [cat.digest]
    assert [hit.digest for hit in found_by.search_words("猫咪", 5)] == [cat.digest]


def test_scripts_cases_and_widths_find_each_other(found_by: Store) -> None:
    simple, traditional, wide = read("生气了"), read("不要生氣"), read("\uff2f\uff2e\uff25 Does\nNOT")  # ＯＮＥ
    found_by.insert_words([simple, traditional, wide])
    for query in ("生气", "生氣"):
        assert {hit.digest for hit in found_by.search_words(query, 5)} == {simple.digest, traditional.digest}
    for query in ("one does not", "ONE", "dOES"):
        assert [hit.digest for hit in found_by.search_words(query, 5)] == [wide.digest]


def test_the_best_comes_first(found_by: Store) -> None:
    """More of the words, rarer words, in a shorter text."""
    exact = read("one does not simply walk into mordor")
    long = read("one does not simply walk into mordor " + "and many other words")
    some = read("one does not")
    common = [read(f"one {number} thing") for number in range(20)]
    found_by.insert_words([long, *common, some, exact])
    hits = found_by.search_words("One does not SIMPLY walk into Mordor!", 100)
    assert [hit.digest for hit in hits[:3]] == [exact.digest, long.digest, some.digest]
    assert len(hits) == 23
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[-1].score > 0
    assert found_by.search_words("One does not SIMPLY walk into Mordor!", 2) == hits[:2]


@pytest.mark.parametrize(
    "query",
    ["two words", "nothing here", "", "  ", "\n", ", . !", '" or id != "', "😾", "x" * 100_000, "\udcff", "nobody's"],
)
def test_what_is_in_no_picture_finds_none(found_by: Store, query: str) -> None:
    """In particular the space between two words, which every text has, is not a word."""
    found_by.insert_words([read("one does not simply, ever. !"), read("可爱的猫咪 睡着了"), read("")])
    assert found_by.search_words(query, 5) == []


def test_nothing_is_found_in_nothing(found_by: Store) -> None:
    assert found_by.search_words("cat", 5) == []
    found_by.insert_words([read("cat")])
    assert found_by.search_words("cat", 0) == []
    assert len(found_by.search_words("cat", 1_000_000)) == 1


def test_what_was_deleted_or_read_anew_is_not_found_by_its_old_words(found_by: Store) -> None:
    found_by.insert_words([read("ohe does hot", D1), read("one does not", D2)])
    found_by.insert_words([read("one does not", D1, SECOND)])
    assert sorted(hit.digest for hit in found_by.search_words("one does hot", 5)) == [D1, D2]
    found_by.delete_words([D1], FIRST)
    assert found_by.search_words("ohe hot", 5) == []
    found_by.delete_words([D1])
    assert [hit.digest for hit in found_by.search_words("one", 5)] == [D2]


def test_words_are_found_after_reopening(state_dir: Path) -> None:
    uri = str(state_dir / "index.db")
    for killed in (False, True):
        with Engine.open(uri, "", state_dir) as engine:
            store = open_store(engine, "t_")
            store.delete_words([D1, D2])
            store.insert_words([read("可爱的猫咪", D1), read("one does not", D2)])
            if killed:
                engine.revive()
                assert [hit.digest for hit in store.search_words("does", 5)] == [D2]
        with Engine.open(uri, "", state_dir) as engine:
            store = open_store(engine, "t_")
            assert [hit.digest for hit in store.search_words("猫", 5)] == [D1]


def test_searches_while_words_are_written(found_by: Store) -> None:
    first = read("distracted boyfriend")
    found_by.insert_words([first])
    wrong: list[object] = []
    stop = threading.Event()

    def search() -> None:
        try:
            while not stop.is_set():
                if found_by.search_words("boyfriend", 3)[0].digest != first.digest:
                    wrong.append("another was better")
        except Exception as error:  # noqa: BLE001  whatever it is fails the test
            wrong.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            batch = [read("a boyfriend who is not distracted by anything at all") for _ in range(20)]
            found_by.insert_words(batch)
            found_by.delete_words([each.digest for each in batch[:10]])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []


@given(st.text(), st.text(alphabet="猫咪生氣 aB"))
def test_a_query_is_made_as_the_text_is(text: str, more: str) -> None:
    """All that is asked for stands in what was stored, or nothing at all is."""
    stored = searched(f"{text} {more}").split(" ")
    assert set(searched(more).split()) <= set(stored)
    assert "" not in stored or stored == [""]


# --- with the ledger, across a crash


def test_a_crash_between_the_new_and_the_old_is_mended(
    words: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog()
    ledger = Ledger(words, catalog, words=words)
    ledger.load()
    ledger.commit(rows=[FileRow(b"/a.png", FileStat(1, 2, 3, 4), D1, 5, 1, 1, 1)])
    assert catalog.unread(FIRST) == [D1]
    ledger.commit_words([read("ohe", D1), read("two", D2)])
    assert catalog.words() == {D1: "ohe", D2: "two"}
    assert catalog.unread(FIRST) == []
    assert catalog.unread(SECOND) == [D1]

    def dies(*_: object, **__: object) -> None:
        raise StoreError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(type(engine.client), "delete", dies)
        with pytest.raises(StoreError, match="killed"):
            ledger.commit_words([read("one", D1, SECOND)])
    both = [each for each in words.read_words() if each.digest == D1]
    assert both == [read("ohe", D1), read("one", D1, SECOND)]

    again = Catalog()
    restarted = open_store(engine, words._prefix)
    Ledger(restarted, again, words=restarted).load()
    assert again.words() == {D1: "one", D2: "two"}
    assert again.words_reader(D1) == SECOND
    assert set(restarted.read_words()) == {read("one", D1, SECOND), read("two", D2)}
    assert len(words.search_words("one", 5)) == words.has_bm25
    assert words.search_words("ohe", 5) == []
