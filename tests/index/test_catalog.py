"""The catalog against the plainest model of it: whatever is put and removed, all that it says stays exact."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from memewatchd.index.catalog import Catalog
from memewatchd.meme import Digest, FileRow, FileStat, PictureWords

PATHS = [b"/a/1", b"/a/2", b"/a/b/1", b"/a/b/c/1", b"/ab/1", b"/d/\xff"]
ROOTS = [b"/a", b"/a/b", b"/ab/", b"/d", b"/e"]
DIGESTS = [Digest(letter) for letter in "xyz"]

digests = st.sampled_from(DIGESTS)
some_digests = st.sets(digests)
rows = st.builds(
    lambda path, ino, digest, error: FileRow(path, FileStat(1, 1, 1, ino), digest, ino, error=error, text=str(ino)),
    st.sampled_from(PATHS),
    st.integers(0, 2),
    st.sampled_from([*DIGESTS, Digest("")]),
    st.sampled_from(["", "", "broken"]),
).filter(lambda row: bool(row.digest or row.error))  # a good row has a digest
tombstones = st.builds(lambda digest: FileRow(b"", FileStat(0, 0, 0, 0), digest, 0), digests)
steps = st.one_of(
    st.tuples(st.just("put"), st.one_of(rows, rows, rows, tombstones)),
    st.tuples(st.just("remove"), st.sampled_from(PATHS)),
    st.tuples(st.just("remove_tombstone"), digests),
    st.tuples(st.just("set_vectors"), some_digests),
    st.tuples(st.just("add_vector"), digests),
    st.tuples(st.just("remove_vectors"), some_digests),
    st.tuples(st.just("set_away"), st.sets(st.sampled_from(ROOTS), max_size=2)),
    st.tuples(
        st.just("put_words"), st.builds(PictureWords, digests, st.sampled_from(["", "one"]), st.sampled_from("rs"))
    ),
    st.tuples(st.just("drop_words"), digests),
    st.tuples(st.just("clear"), st.none()),
)


class Naive:
    def __init__(self) -> None:
        self.rows: dict[bytes, FileRow] = {}
        self.tombstones: dict[Digest, FileRow] = {}
        self.vectors: set[Digest] = set()
        self.away: set[bytes] = set()
        self.words: dict[Digest, PictureWords] = {}

    def put(self, row: FileRow) -> None:
        if row.path:
            self.rows[row.path] = row
        else:
            self.tombstones[row.digest] = row

    def remove(self, path: bytes) -> None:
        self.rows.pop(path, None)

    def remove_tombstone(self, digest: Digest) -> None:
        self.tombstones.pop(digest, None)

    def set_vectors(self, digests: set[Digest]) -> None:
        self.vectors = set(digests)

    def add_vector(self, digest: Digest) -> None:
        self.vectors.add(digest)

    def remove_vectors(self, digests: set[Digest]) -> None:
        self.vectors -= digests

    def set_away(self, roots: set[bytes]) -> None:
        self.away = roots

    def put_words(self, words: PictureWords) -> None:
        self.words[words.digest] = words

    def drop_words(self, digest: Digest) -> None:
        self.words.pop(digest, None)

    def unread(self, reader: str) -> list[Digest]:
        seen: dict[Digest, int] = {}
        for row in self.rows.values():
            if not row.error and not self.is_away(row.path):
                seen[row.digest] = max(row.first_seen, seen.get(row.digest, 0))
        read = {words.digest for words in self.words.values() if words.reader == reader}
        return sorted(seen.keys() - read, key=lambda digest: (-seen[digest], digest))

    def clear(self, _: None) -> None:
        self.rows, self.tombstones, self.vectors, self.words = {}, {}, set(), {}

    def is_away(self, path: bytes) -> bool:
        return any(lies_in(path, root) for root in self.away)


def lies_in(path: bytes, root: bytes) -> bool:
    return path.startswith(root.rstrip(b"/") + b"/")


def by_path(found: Any) -> list[FileRow]:
    return sorted(found, key=lambda row: row.path)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=25))
def test_it_says_what_the_naive_model_says(done: list[tuple[str, Any]]) -> None:
    catalog, naive = Catalog(), Naive()
    for name, argument in done:
        getattr(naive, name)(argument)
        if name == "clear":
            catalog.clear()
        else:
            getattr(catalog, name)(argument)
        # At every step, as what is given between two changes is kept.
        assert catalog.words() == {digest: words.text for digest, words in naive.words.items()}
        for reader in "rs":
            assert catalog.unread(reader) == naive.unread(reader)
        good = [row for row in naive.rows.values() if not row.error]
        found = [row for row in good if row.digest in naive.vectors]
        assert catalog.indexed == len(found)
        assert catalog.failed == len(naive.rows) - len(good)

    assert by_path(catalog.rows()) == by_path(naive.rows.values())
    here = [row for row in found if not naive.is_away(row.path)] if done else []
    assert catalog.searchable_sorted() == by_path(here)
    bad = [row for row in naive.rows.values() if row.error and not naive.is_away(row.path)]
    assert catalog.failed_sorted() == by_path(bad)
    named = [row for row in naive.rows.values() if not row.error and row.text == "1" and not naive.is_away(row.path)]
    assert by_path(catalog.named(lambda text: text == "1")) == by_path(named)
    assert catalog.vectors() == naive.vectors
    assert {row.digest: row for row in catalog.tombstones()} == naive.tombstones
    for path in PATHS:
        assert catalog.get(path) == naive.rows.get(path)
        assert catalog.is_away(path) == naive.is_away(path)
    for root in ROOTS:
        under = [row for row in naive.rows.values() if lies_in(row.path, root)]
        assert by_path(catalog.under(root)) == by_path(under)
        assert catalog.holds(root) == bool(under)
        assert by_path(catalog.rows_where(lambda path, root=root: lies_in(path, root))) == by_path(under)
    for digest in DIGESTS:
        with_it = [row for row in naive.rows.values() if row.digest == digest]
        assert sorted(catalog.all_paths_of(digest)) == sorted(row.path for row in with_it)
        shown = [row.path for row in with_it if not row.error and not naive.is_away(row.path)]
        assert catalog.paths_of(digest) == sorted(shown)
        assert catalog.is_used(digest) == bool(with_it)
        assert catalog.has_vector(digest) == (digest in naive.vectors)
        assert catalog.tombstone(digest) == naive.tombstones.get(digest)
        read = naive.words.get(digest)
        assert catalog.words_of(digest) == (None if read is None else read.text)
        assert catalog.words_reader(digest) == (None if read is None else read.reader)
        assert catalog.with_digest(digest) in (with_it or [naive.tombstones.get(digest)])
    for ino in range(3):
        with_it = [row for row in naive.rows.values() if row.stat.ino == ino]
        assert by_path(catalog.with_content((ino, 1, 1))) == by_path(with_it)


def test_what_is_handed_out_does_not_change_later() -> None:
    catalog = Catalog()
    row = FileRow(b"/a/1", FileStat(1, 1, 1, 1), DIGESTS[0], 0)
    catalog.put(row)
    catalog.add_vector(DIGESTS[0])
    handed_out = [catalog.rows(), catalog.searchable(), list(catalog.rows_where(lambda _: True)), catalog.vectors()]
    catalog.remove(b"/a/1")
    catalog.remove_vectors(DIGESTS)
    assert handed_out == [[row], [row], [row], {DIGESTS[0]}]


def test_words_have_a_generation_of_their_own() -> None:
    catalog = Catalog()
    generations = [catalog.words_generation]

    def after() -> bool:
        generations.append(catalog.words_generation)
        return generations[-1] != generations[-2]

    catalog.put_words(PictureWords(DIGESTS[0], "one", "r"))
    assert after()
    held = catalog.words()
    catalog.put(FileRow(b"/a/1", FileStat(1, 1, 1, 1), DIGESTS[0], 0))
    catalog.drop_words(DIGESTS[1])
    assert not after()
    catalog.drop_words(DIGESTS[0])
    assert after()
    catalog.clear()
    assert after()
    assert held == {DIGESTS[0]: "one"}
    unread = catalog.unread("r")
    unread.append(DIGESTS[2])
    assert catalog.unread("r") == []


def test_what_is_away_as_before_is_no_change() -> None:
    catalog = Catalog()
    before = catalog.generation
    catalog.set_away([])  # the ten-second look says so again and again
    assert catalog.generation == before
    catalog.set_away([b"/a"])
    assert catalog.generation != before
    before = catalog.generation
    catalog.set_away([b"/a/"])
    assert catalog.generation == before
    catalog.set_away([])
    assert catalog.generation != before
