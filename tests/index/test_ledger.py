"""The ledger: in which order it writes, what it buries and digs up, and what it makes of an interrupted write."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memewatchd.errors import StoreUnavailable
from memewatchd.index.catalog import Catalog
from memewatchd.index.ledger import KEEP_VECTORS_S, Ledger
from memewatchd.index.schema import MAX_TEXT_BYTES
from memewatchd.meme import Digest, FileRow, FileStat, PictureWords

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

D1, D2, D3 = (Digest(letter * 64) for letter in "abc")
NOWHERE = FileStat(0, 0, 0, 0)


class FakeRows:
    """Milvus in memory; says what was done, and fails at the call that ``fails_at`` names."""

    def __init__(self) -> None:
        self.files: dict[str, FileRow] = {}
        self.pictures: dict[tuple[Digest, int], Any] = {}
        self.words: dict[tuple[Digest, str], PictureWords] = {}
        self.done: list[tuple[str, list[Any]]] = []
        self.fails_at = ""

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.done]

    def read_files(self) -> Iterator[FileRow]:
        yield from list(self.files.values())

    def insert_files(self, rows: Sequence[FileRow]) -> None:
        self._do("insert_files", [row.path for row in rows])
        assert not self.files.keys() & {row.id for row in rows}, "an id that is there already"
        self.files |= {row.id: row for row in rows}

    def delete_files(self, ids: Collection[str]) -> None:
        self._do("delete_files", [self.files[key].path for key in ids if key in self.files])
        for key in ids:
            self.files.pop(key, None)

    def open_pictures(self, fingerprint: str, dim: int) -> None:
        pass

    def picture_digests(self) -> set[Digest]:
        return {digest for digest, _ in self.pictures}

    def insert_pictures(self, pictures: Sequence[tuple[Digest, int, NDArray[np.float32]]]) -> None:
        self._do("insert_pictures", [(digest, frame) for digest, frame, _ in pictures])
        self.pictures |= {(digest, frame): vector for digest, frame, vector in pictures}

    def delete_pictures(self, digests: Collection[Digest]) -> None:
        self._do("delete_pictures", list(digests))
        self.pictures = {key: vector for key, vector in self.pictures.items() if key[0] not in digests}

    def read_words(self) -> Iterator[PictureWords]:
        yield from list(self.words.values())

    def insert_words(self, words: Sequence[PictureWords]) -> list[PictureWords]:
        self._do("insert_words", [(each.digest, each.reader) for each in words])
        assert not self.words.keys() & {(each.digest, each.reader) for each in words}, "an id that is there already"
        stored = [replace(each, text=each.text[:100]) for each in words]
        self.words |= {(each.digest, each.reader): each for each in stored}
        return stored

    def delete_words(self, digests: Collection[Digest], reader: str | None = None) -> None:
        self._do("delete_words", list(digests))
        self.words = {
            key: each
            for key, each in self.words.items()
            if key[0] not in digests or (reader is not None and key[1] != reader)
        }

    def _do(self, name: str, what: list[Any]) -> None:
        if name == self.fails_at:
            raise StoreUnavailable("Milvus is away")
        self.done.append((name, sorted(what)))


class House:
    def __init__(self, store: FakeRows | None = None) -> None:
        self.now = 1_000_000.0
        self.store = store or FakeRows()
        self.catalog = Catalog()
        self.ledger = Ledger(self.store, self.catalog, words=self.store, wall=lambda: self.now)
        self.ledger.load()
        self.ledger.use_model("f", 2)

    def restarted(self) -> House:
        self.store.fails_at = ""
        return House(self.store)

    def assert_they_agree(self) -> None:
        rows = [*self.catalog.rows(), *self.catalog.tombstones()]
        assert {row.id: row for row in rows} == self.store.files
        assert self.catalog.vectors() == self.store.picture_digests()
        assert self.catalog.words() == {digest: each.text for (digest, _), each in self.store.words.items()}
        assert all(self.catalog.words_reader(digest) == reader for digest, reader in self.store.words)


def row(path: str, digest: Digest = D1, ino: int = 1, **more: Any) -> FileRow:
    size = {} if "error" in more else {"width": 3, "height": 2, "frames": 1}
    return FileRow(os.fsencode(path), FileStat(1, 1, 1, ino), digest, 5, **size, **more)


def picture(digest: Digest, frames: int = 1) -> tuple[Digest, dict[int, NDArray[np.float32]]]:
    """Of every third frame."""
    return digest, {3 * frame: np.ones(2, np.float32) for frame in range(frames)}


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def full(house: House) -> House:
    """Holds /a and its copy /copy (D1), and /b (D2)."""
    house.ledger.commit(
        pictures=[picture(D1), picture(D2)], rows=[row("/a"), row("/copy", ino=2), row("/b", D2, ino=3)]
    )
    house.store.done.clear()
    return house


def test_pictures_come_first_then_new_rows_then_what_they_replace(full: House) -> None:
    full.ledger.commit(pictures=[picture(D3, frames=2)], rows=[row("/a", D3, ino=9)], forget=[row("/b", D2, ino=3)])
    assert full.store.done == [
        ("insert_pictures", [(D3, 0), (D3, 3)]),
        ("insert_files", [b"", b"/a"]),  # "": D2 has lost its last file
        ("delete_files", [b"/a", b"/b"]),  # one delete: it costs what 500 cost
    ]
    full.assert_they_agree()


def test_a_picture_that_is_there_is_not_stored_again(full: House) -> None:
    full.ledger.commit(pictures=[picture(D1)], rows=[row("/another", ino=8)])
    assert full.store.names == ["insert_files"]
    full.assert_they_agree()


def test_a_row_that_is_there_is_not_written_again(full: House) -> None:
    full.ledger.commit(rows=[row("/a")])
    full.ledger.commit()
    assert full.store.done == []


def test_two_paths_swap_their_rows(full: House) -> None:
    full.ledger.commit(
        rows=[row("/b", D1, ino=1), row("/a", D2, ino=3)], forget=[row("/a", D1, ino=1), row("/b", D2, ino=3)]
    )
    full.assert_they_agree()
    assert full.catalog.tombstones() == []
    assert [(r.path, r.digest) for r in full.catalog.searchable_sorted()] == [(b"/a", D2), (b"/b", D1), (b"/copy", D1)]


def test_a_digest_is_buried_with_its_last_file(full: House) -> None:
    full.ledger.commit(forget=[row("/a")])
    assert full.catalog.tombstones() == []
    full.ledger.commit(forget=[row("/copy", ino=2)])
    (tombstone,) = full.catalog.tombstones()
    assert (tombstone.digest, tombstone.first_seen, tombstone.width) == (D1, 1_000_000, 3)
    full.assert_they_agree()
    full.restarted().assert_they_agree()


def test_files_that_fail_leave_no_tombstone(full: House) -> None:
    full.ledger.commit(rows=[row("/bad", D3, ino=7, error="truncated")])
    full.ledger.commit(forget=[row("/bad", D3, ino=7, error="truncated")])
    assert full.catalog.tombstones() == []
    full.assert_they_agree()


def test_a_file_that_is_replaced_by_a_broken_one_is_buried(full: House) -> None:
    full.ledger.commit(rows=[row("/b", D3, ino=3, error="truncated")])
    assert [tombstone.digest for tombstone in full.catalog.tombstones()] == [D2]
    full.assert_they_agree()


def test_a_file_that_comes_back_digs_its_digest_up(full: House) -> None:
    full.ledger.commit(forget=[row("/b", D2, ino=3)])
    full.ledger.commit(rows=[row("/back", D2, ino=4)])
    assert full.catalog.tombstones() == []
    full.assert_they_agree()
    full.now += 2 * KEEP_VECTORS_S
    assert full.ledger.sweep() == 0
    assert full.catalog.indexed == 3


def test_the_sweep_drops_vectors_after_a_month(full: House) -> None:
    full.ledger.commit(forget=[row("/b", D2, ino=3)])
    full.now += KEEP_VECTORS_S
    assert full.ledger.sweep() == 0
    full.now += 1
    full.store.done.clear()
    assert full.ledger.sweep() == 1
    assert full.store.done == [("delete_pictures", [D2]), ("delete_files", [b""])]
    full.assert_they_agree()
    assert full.catalog.vectors() == {D1}
    assert full.ledger.sweep() == 0


def test_vectors_without_a_file_are_kept_for_a_month_too(house: House) -> None:
    """A crash has left them. They are buried when they are found."""
    house.store.pictures[D1, 0] = None
    house = house.restarted()
    assert house.ledger.sweep() == 0
    house = house.restarted()
    house.assert_they_agree()
    house.now += KEEP_VECTORS_S - 1
    assert house.ledger.sweep() == 0
    house.now += 2
    assert house.ledger.sweep() == 1
    house.assert_they_agree()
    assert house.catalog.vectors() == set()


def test_a_sweep_that_fails_half_way_is_finished_by_the_next(full: House) -> None:
    full.ledger.commit(forget=[row("/b", D2, ino=3)])
    full.now += KEEP_VECTORS_S + 1
    full.store.fails_at = "delete_files"
    with pytest.raises(StoreUnavailable):
        full.ledger.sweep()
    after = full.restarted()
    after.now = full.now
    assert after.ledger.sweep() == 1
    after.assert_they_agree()
    assert after.catalog.tombstones() == []


@pytest.mark.parametrize("fails_at", ["insert_pictures", "insert_files", "delete_files"])
def test_the_catalog_does_not_say_what_milvus_has_not_taken(full: House, fails_at: str) -> None:
    before = full.catalog.rows()
    full.store.fails_at = fails_at
    with pytest.raises(StoreUnavailable):
        full.ledger.commit(pictures=[picture(D3)], rows=[row("/a", D3, ino=9)])
    assert full.catalog.rows() == before


def test_of_two_rows_of_a_path_the_one_that_fits_the_disk_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"new")
    new = FileRow(os.fsencode(path), FileStat.of(path.stat()), D2, 5, 1, 1, 1)
    old = replace(new, stat=replace(new.stat, mtime_ns=1), digest=D1)
    oldest = replace(new, stat=replace(new.stat, mtime_ns=2), digest=D3)
    for order in ([old, oldest, new], [new, old, oldest], [old, new, oldest]):
        store = FakeRows()
        store.files = {each.id: each for each in order}
        house = House(store)
        assert house.catalog.rows() == [new]
        house.assert_they_agree()


def test_of_two_rows_that_do_not_fit_one_is_left() -> None:
    store = FakeRows()
    store.files = {each.id: each for each in (row("/gone"), row("/gone", D2, ino=2))}
    house = House(store)
    assert len(house.catalog.rows()) == 1
    house.assert_they_agree()


def test_a_tombstone_left_beside_a_file_that_is_back_costs_it_nothing(full: House) -> None:
    """The crash came between the new row and the deletion of the tombstone."""
    full.ledger.commit(forget=[row("/b", D2, ino=3)])
    full.store.fails_at = "delete_files"
    with pytest.raises(StoreUnavailable):
        full.ledger.commit(rows=[row("/back", D2, ino=4)])
    after = full.restarted()
    after.assert_they_agree()
    assert after.catalog.tombstones() == []
    after.now += 2 * KEEP_VECTORS_S
    assert after.ledger.sweep() == 0
    assert after.catalog.has_vector(D2)


def test_rows_are_kept_as_milvus_holds_them(house: House) -> None:
    """One with too long a text would otherwise differ from itself after a restart."""
    house.ledger.commit(rows=[row("/a", text="猫" * MAX_TEXT_BYTES)])
    house.assert_they_agree()
    house.ledger.commit(rows=[row("/a", text="猫" * MAX_TEXT_BYTES)])
    assert house.store.names == ["insert_files"]


def words(digest: Digest, text: str = "one does not", reader: str = "r1") -> PictureWords:
    return PictureWords(digest, text, reader)


def test_words_read_anew_are_stored_before_the_older_ones_go(full: House) -> None:
    full.ledger.commit_words([words(D1), words(D2, "")])
    assert full.store.names == ["insert_words"]
    assert (full.catalog.words_of(D1), full.catalog.words_of(D2), full.catalog.words_of(D3)) == (
        "one does not",
        "",
        None,
    )
    full.store.done.clear()
    full.ledger.commit_words([words(D1, "two", "r2"), words(D2, reader="r1"), words(D3, "x" * 200, "r2")])
    assert full.store.done == [("insert_words", [(D1, "r2"), (D3, "r2")]), ("delete_words", [D1])]
    full.assert_they_agree()  # as they are stored, not as they were read
    assert full.catalog.words_of(D1) == "two"
    full.restarted().assert_they_agree()
    full.ledger.commit_words([])
    full.ledger.commit_words([words(D1, "another", "r2")])
    assert len(full.store.done) == 2


def test_a_crash_before_the_older_words_went_costs_no_reading(full: House) -> None:
    full.ledger.commit_words([words(D1), words(D2)])
    full.store.fails_at = "delete_words"
    with pytest.raises(StoreUnavailable):
        full.ledger.commit_words([words(D1, "two", "r2")])
    assert len(full.store.words) == 3
    after = full.restarted()
    after.assert_they_agree()
    assert (after.catalog.words_of(D1), after.catalog.words_reader(D1)) == ("two", "r2")
    assert after.store.done[-1] == ("delete_words", [D1])


def test_a_crash_before_words_were_stored_leaves_the_older_ones(full: House) -> None:
    full.ledger.commit_words([words(D1)])
    full.store.fails_at = "insert_words"
    with pytest.raises(StoreUnavailable):
        full.ledger.commit_words([words(D1, "two", "r2")])
    full.assert_they_agree()
    assert full.catalog.unread("r2") == [D1, D2]
    assert full.catalog.unread("r1") == [D2]
    full.restarted().assert_they_agree()


def test_the_sweep_drops_words_too(full: House) -> None:
    full.ledger.commit_words([words(D1), words(D2), words(D3)])  # D3: read, and gone before it was stored
    full.ledger.commit(forget=[row("/b", D2, ino=3)])
    assert full.ledger.sweep() == 0
    assert {each.digest for each in full.catalog.tombstones()} == {D2, D3}
    full.now += KEEP_VECTORS_S + 1
    full.store.fails_at = "delete_files"
    with pytest.raises(StoreUnavailable):
        full.ledger.sweep()
    after = full.restarted()
    after.now = full.now
    assert after.ledger.sweep() == 2
    after.assert_they_agree()
    assert after.catalog.words() == {D1: "one does not"}
    assert after.catalog.tombstones() == []


def test_words_come_back_with_their_file(full: House) -> None:
    full.ledger.commit_words([words(D2)])
    full.ledger.commit(forget=[row("/b", D2, ino=3)])
    full.ledger.commit(rows=[row("/back", D2, ino=4)])
    full.now += 2 * KEEP_VECTORS_S
    assert full.ledger.sweep() == 0
    assert full.catalog.unread("r1") == [D1]
    full.assert_they_agree()


def test_a_ledger_without_words_leaves_them_alone(full: House) -> None:
    full.ledger.commit_words([words(D1)])
    catalog = Catalog()
    ledger = Ledger(full.store, catalog)
    ledger.load()
    assert catalog.words() == {}
    ledger.sweep()
    assert len(full.store.words) == 1


PATHS = ["/a", "/b", "/c"]
files = st.dictionaries(
    st.sampled_from(PATHS), st.tuples(st.sampled_from([D1, D2, D3]), st.integers(1, 3), st.sampled_from(["", "broken"]))
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(files, st.booleans()), max_size=8))
def test_whatever_the_files_become_store_and_catalog_agree(states: list[tuple[dict[str, Any], bool]]) -> None:
    """From one state of the disk to the next; every picture is given each time, as if none were known."""
    house = House()
    before: dict[bytes, FileRow] = {}
    for state, restart in states:
        if restart:
            house = house.restarted()
        rows = [
            row(path, digest, ino, **({"error": error} if error else {}))
            for path, (digest, ino, error) in state.items()
        ]
        now = {each.path: each for each in rows}
        gone = [each for path, each in before.items() if path not in now]
        house.ledger.commit(pictures=[picture(each.digest) for each in rows if not each.error], rows=rows, forget=gone)
        before = now
        house.assert_they_agree()
        assert {each.path: each for each in house.catalog.rows()} == now
        good = [each.digest for each in rows if not each.error]
        assert (house.catalog.indexed, house.catalog.failed) == (len(good), len(rows) - len(good))
        # Every vector has a file or a tombstone, at the latest after a sweep, and what a good file needs has none.
        house.ledger.sweep()
        buried = {tombstone.digest for tombstone in house.catalog.tombstones()}
        assert not buried & set(good)
        assert house.catalog.vectors() <= buried | {each.digest for each in rows}
