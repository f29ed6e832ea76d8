"""The search with a fake model and a fake index: what is asked of whom, and what comes out in which order."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from memewatchd.errors import BadRequest, Degraded, StoreUnavailable, TimedOut
from memewatchd.index.catalog import Catalog
from memewatchd.meme import Digest, FileRow, FileStat, HostHit, PictureHit, PictureWords, WordsHit
from memewatchd.ops import Example
from memewatchd.search.calibration import Calibration
from memewatchd.search.input_method import lexicon
from memewatchd.search.search import Searcher
from memewatchd.words import name_words

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from memewatchd.search.calibrator import Calibrator
    from memewatchd.search.search import Answer


@pytest.fixture(scope="module", autouse=True)
def _dictionary() -> None:
    """Read before anything is timed out for it."""
    lexicon()


class FakeModel:
    def __init__(self, vectors: dict[str, list[int]] | None = None, ready: bool = True, failed: str = "") -> None:
        self.ready = ready
        self.failed = failed
        self.is_english_only = False
        self.asked: list[str] = []
        self._vectors = vectors or {}

    def encode_text(self, text: str) -> Future[NDArray[np.float32]]:
        self.asked.append(text)
        future: Future[NDArray[np.float32]] = Future()
        future.set_result(np.asarray(self._vectors.get(text, [0, 0, 0, 0]), np.float32))
        return future


class FakeIndex:
    def __init__(self, scores: dict[str, float]) -> None:
        self.hits = [PictureHit(Digest(d), 0, s) for d, s in sorted(scores.items(), key=lambda item: -item[1])]
        self.broken = False
        self.ranked: list[WordsHit] = []
        self.asked: list[list[float]] = []

    def search_words(self, text: str, limit: int) -> list[WordsHit]:
        return self.ranked

    def search_pictures(
        self, vector: NDArray[np.float32], limit: int, digests: Collection[Digest] | None = None
    ) -> list[PictureHit]:
        if self.broken:
            raise StoreUnavailable("Milvus is away; start it")
        self.asked.append(vector.tolist())
        return [hit for hit in self.hits if digests is None or hit.digest in digests][:limit]


def catalog_of(files: dict[str, str], vectors: Collection[str] | None = None) -> Catalog:
    catalog = Catalog()
    for number, (name, digest) in enumerate(files.items()):
        path = f"/m/{name}".encode()
        stat = FileStat(1, number, number, number)
        catalog.put(FileRow(path, stat, Digest(digest), number, 1, 1, 1, text=name_words(path)))
    catalog.set_vectors(Digest(digest) for digest in (files.values() if vectors is None else vectors))
    return catalog


def ask(searcher: Searcher, text: str, limit: int = 20, timeout: float = 5.0, min_score: float | None = None) -> Answer:
    async def main() -> Answer:
        return await searcher.search(text, limit, timeout, min_score)

    try:
        return asyncio.run(main())
    finally:
        searcher.close()


def paths(answer: Answer) -> list[str]:
    return [hit.path.decode().removeprefix("/m/") for hit in answer.hits]


FILES = {"angry_cat.png": "a", "happy_dog.png": "b", "IMG_1.png": "c", "copy of c.png": "c"}
SCORES = {"c": 0.4, "b": 0.3, "a": 0.1}


def elsewhere(*found: tuple[str, str, float]) -> list[HostHit]:
    return [
        HostHit("desk", FileRow(f"/d/{name}".encode(), FileStat(1, 1, 1, 1), Digest(digest), 1, 1, 1, 1), 0, score)
        for name, digest, score in found
    ]


def ask_all(searcher: Searcher, text: str, limit: int = 20, min_score: float | None = None) -> Answer:
    try:
        return asyncio.run(searcher.search(text, limit, 5.0, min_score, all_hosts=True))
    finally:
        searcher.close()


def test_other_hosts_files_are_found_where_they_are_asked_for() -> None:
    others = elsewhere(("x.png", "x", 0.35), ("both.png", "c", 0.4), ("y.gif", "y", 0.2))

    def searcher() -> Searcher:
        return Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(FILES), elsewhere=lambda _, limit: others[:limit])

    # The name first, then by look; what we have, too, is ours.
    answer = ask_all(searcher(), "angry")
    assert [(hit.host, hit.path) for hit in answer.hits] == [
        ("", b"/m/angry_cat.png"),
        ("", b"/m/IMG_1.png"),
        ("desk", b"/d/x.png"),
        ("", b"/m/happy_dog.png"),
        ("desk", b"/d/y.gif"),
    ]
    assert [hit.path for hit in ask_all(searcher(), "angry", limit=3).hits][-1] == b"/d/x.png"
    assert [hit.path for hit in ask_all(searcher(), "xyz", min_score=0.34).hits] == [b"/m/IMG_1.png", b"/d/x.png"]
    assert not any(hit.host for hit in ask_all(searcher(), "ext:jpg xyz").hits), "filters hold for all"
    assert not any(hit.host for hit in ask(searcher(), "angry").hits)
    with pytest.raises(BadRequest, match="host"):
        ask_all(Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(FILES)), "angry")


def test_a_literal_name_comes_before_what_looks_more_alike() -> None:
    answer = ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(FILES)), "ANGRY")
    assert paths(answer) == ["angry_cat.png", "IMG_1.png", "happy_dog.png"]
    best = answer.hits[0]
    assert (best.name, best.image) == (1.0, 0.1)
    assert [hit.name for hit in answer.hits[1:]] == [None] * 2


def test_among_literal_names_the_look_decides() -> None:
    files = {"cat1.png": "a", "cat2.png": "b", "other.png": "c"}
    answer = ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(files)), "cat")
    assert paths(answer) == ["cat2.png", "cat1.png", "other.png"]


def test_names_beyond_the_limit_of_similar_pictures_get_their_look_too() -> None:
    files = {f"x{n}.png": f"d{n}" for n in range(50)} | {"cat.png": "far"}
    scores = {f"d{n}": 0.9 - n / 100 for n in range(50)} | {"far": -0.5}
    answer = ask(Searcher(FakeModel(), FakeIndex(scores), catalog_of(files)), "cat", limit=3)
    assert paths(answer) == ["cat.png", "x0.png", "x1.png"]
    assert answer.hits[0].image == -0.5


def test_pictures_without_a_file_do_not_use_up_the_limit() -> None:
    scores = {f"gone{n}": 0.9 for n in range(100)} | SCORES
    answer = ask(Searcher(FakeModel(), FakeIndex(scores), catalog_of(FILES)), "xyz", limit=2)
    assert paths(answer) == ["IMG_1.png", "happy_dog.png"]


def test_min_score() -> None:
    answer = ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(FILES)), "xyz", min_score=0.3)
    assert paths(answer) == ["IMG_1.png", "happy_dog.png"]


def test_without_words_the_newest_come_first() -> None:
    model = FakeModel()
    answer = ask(Searcher(model, FakeIndex(SCORES), catalog_of(FILES)), "  ", limit=2)
    assert paths(answer) == ["copy of c.png", "happy_dog.png"]
    assert model.asked == []


def test_names_are_answered_before_the_model_is_loaded() -> None:
    answer = ask(Searcher(FakeModel(ready=False), FakeIndex(SCORES), catalog_of(FILES, vectors=())), "angry")
    assert answer.partial
    assert paths(answer) == ["angry_cat.png"]


def test_where_no_name_fits_the_search_waits_for_the_model() -> None:
    with pytest.raises(TimedOut, match="loading"):
        ask(Searcher(FakeModel(ready=False), FakeIndex(SCORES), catalog_of(FILES)), "xyz", timeout=0.1)


def test_a_model_that_failed_is_said_at_once() -> None:
    with pytest.raises(Degraded, match="no such model"):
        ask(Searcher(FakeModel(ready=False, failed="no such model"), FakeIndex(SCORES), catalog_of(FILES)), "xyz")


def test_an_index_that_failed_is_degraded_with_its_remedy() -> None:
    index, told = FakeIndex(SCORES), []
    index.broken = True
    with pytest.raises(Degraded, match="start it"):
        ask(Searcher(FakeModel(), index, catalog_of(FILES), on_failure=lambda: told.append("mend it")), "xyz")
    assert told == ["mend it"]


def test_roots_that_are_away_are_not_returned() -> None:
    catalog = catalog_of(FILES)
    catalog.set_away([b"/m"])
    assert paths(ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog), "angry")) == []


def test_a_wrong_query_is_refused_before_anything_is_asked() -> None:
    model = FakeModel()
    with pytest.raises(BadRequest, match="ext: takes avif"):
        ask(Searcher(model, FakeIndex(SCORES), catalog_of(FILES)), "cat ext:xyz")
    assert model.asked == []


def test_filters_hold_for_what_is_found_by_name_and_by_look() -> None:
    catalog = Catalog()
    for number, (name, kind, frames) in enumerate(
        [("cat.gif", "gif", 9), ("cat.png", "png", 1), ("deep/dog.png", "png", 1), ("deep/x.gif", "gif", 1)]
    ):
        path = f"/m/{name}".encode()
        row = FileRow(path, FileStat(1, number, number, number), Digest("abcd"[number]), number, 1, 1, frames)
        catalog.put(replace(row, text=name_words(path), kind=kind))
    catalog.set_vectors(Digest(digest) for digest in "abcd")

    def found(query: str) -> list[str]:
        scores = {"d": 0.4, "c": 0.3, "b": 0.2, "a": 0.1}
        return paths(ask(Searcher(FakeModel(), FakeIndex(scores), catalog, roots=[b"/m"]), query))

    assert found("cat") == ["cat.png", "cat.gif", "deep/x.gif", "deep/dog.png"]
    assert found("cat ext:gif") == ["cat.gif", "deep/x.gif"]
    assert found("cat -ext:gif") == ["cat.png", "deep/dog.png"]
    assert found("cat is:animated") == ["cat.gif"]
    assert found("cat in:deep/") == ["deep/x.gif", "deep/dog.png"]
    assert found("in:deep/") == ["deep/x.gif", "deep/dog.png"], "filters alone: the newest that pass"
    assert found("cat in:nowhere/") == []
    assert found("“cat”") == ["cat.png", "cat.gif"]


def test_an_unwanted_word_takes_away_its_look_and_its_names() -> None:
    model = FakeModel({"pet": [1, 0, 0, 0], "dog": [0, 1, 0, 0]})
    index = FakeIndex(SCORES)
    assert paths(ask(Searcher(model, index, catalog_of(FILES)), "pet -dog")) == ["IMG_1.png", "angry_cat.png"]
    assert model.asked == ["pet", "dog"]
    assert index.asked[0] == pytest.approx([1 / 1.25**0.5, -0.5 / 1.25**0.5, 0, 0])
    assert paths(ask(Searcher(model, index, catalog_of(FILES)), "-dog"))[0] == "IMG_1.png"
    assert index.asked[-1] == pytest.approx([0, -1, 0, 0])


def test_pinyin_finds_a_chinese_name_below_a_literal_one() -> None:
    files = {"shengqi.png": "a", "生气的猫.png": "b", "x.png": "c"}
    answer = ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(files)), "shengqi")
    assert paths(answer) == ["shengqi.png", "生气的猫.png", "x.png"]
    assert answer.searched == "", "something is literally called so"


def test_pinyin_that_no_name_has_is_asked_of_the_model_as_chinese() -> None:
    model = FakeModel()
    answer = ask(Searcher(model, FakeIndex(SCORES), catalog_of(FILES)), "shengqi")
    assert (answer.searched, model.asked) == ("生气", ["生气"])


def test_tags_are_filters_too() -> None:
    catalog = catalog_of({"a.png": "a"})
    row = FileRow(b"/m/b.png", FileStat(1, 9, 9, 9), Digest("b"), 9, 1, 1, 1, text="b work", tags=("fav", "work"))
    catalog.put(row)
    catalog.set_vectors([Digest("a"), Digest("b")])
    for query, expected in (("tag:work", ["b.png"]), ("is:fav", ["b.png"]), ("-tag:fav", ["a.png"])):
        assert paths(ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog), query)) == expected


def test_words_in_the_picture_are_found_like_words_in_the_name() -> None:
    catalog = catalog_of(FILES)
    catalog.put_words(PictureWords(Digest("b"), "ONE DOES NOT\nsimply walk", "reader"))

    def found(query: str) -> Answer:
        return ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog), query)

    answer = found("simply WALK")
    assert paths(answer)[0] == "happy_dog.png"
    assert (answer.hits[0].words, answer.hits[0].name, answer.hits[0].score) == (1.0, None, 1.0)
    nearly = found("one does not simply talk").hits[0]
    assert nearly.path == b"/m/happy_dog.png"
    assert nearly.words is not None
    assert 0.8 < nearly.words < 0.86
    assert paths(found('"not simply"')) == ["happy_dog.png"], "in quotes: nothing else"
    assert "happy_dog.png" not in paths(found("angry -simply"))


def test_what_milvus_ranks_first_is_compared_too() -> None:
    catalog, index = catalog_of(FILES), FakeIndex(SCORES)
    catalog.put_words(PictureWords(Digest("b"), "a b c d e f g", "reader"))
    assert ask(Searcher(FakeModel(), index, catalog), "a b c d e f h").hits[0].words is None, "no piece to find it by"
    index.ranked = [WordsHit(Digest("b"), 7.0), WordsHit(Digest("gone"), 6.0)]
    answer = ask(Searcher(FakeModel(), index, catalog), "a b c d e f h")
    assert paths(answer)[0] == "happy_dog.png"
    assert answer.hits[0].words is not None


def test_the_best_frame_of_an_animation_counts_and_is_named() -> None:
    index = FakeIndex({})
    index.hits = [PictureHit(Digest("a"), 5, 0.4), PictureHit(Digest("b"), 0, 0.3), PictureHit(Digest("a"), 0, 0.2)]
    answer = ask(Searcher(FakeModel(), index, catalog_of({"a.gif": "a", "b.png": "b"})), "xyz")
    assert [(hit.path, hit.frame, hit.score) for hit in answer.hits] == [(b"/m/a.gif", 5, 0.4), (b"/m/b.png", 0, 0.3)]


def test_examples_alone_and_with_words() -> None:
    model, index = FakeModel({"dog": [0, 1, 0, 0]}), FakeIndex(SCORES)

    def examples(asked: Sequence[Example]) -> list[NDArray[np.float32]]:
        assert [example.path for example in asked] == [b"/x.png"]
        return [np.asarray([1, 0, 0, 0], np.float32)]

    async def main(text: str) -> Answer:
        searcher = Searcher(model, index, catalog_of(FILES), examples=examples)
        try:
            return await searcher.search(text, 20, 5, like=[Example(b"/x.png")])
        finally:
            searcher.close()

    assert paths(asyncio.run(main("")))[0] == "IMG_1.png"
    assert index.asked[-1] == [1, 0, 0, 0]
    assert model.asked == []
    asyncio.run(main("dog"))
    assert index.asked[-1] == pytest.approx([0.5**0.5, 0.5**0.5, 0, 0])


def test_what_looks_like_nothing_is_no_hit() -> None:
    class Never:
        current = Calibration(np.zeros((2, 4), np.float32), least=1e9)

    def found(query: str, min_score: float | None = None) -> list[str]:
        searcher = Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(FILES), calibrator=cast("Calibrator", Never()))
        return paths(ask(searcher, query, min_score=min_score))

    assert found("xyz") == []
    assert found("angry")[0] == "angry_cat.png"
    assert len(found("angry")) == 3, "what looks like it comes after what is called so"
    assert found("xyz", min_score=0.35) == ["IMG_1.png"], "whoever gives a score decides alone"


def test_what_was_searched_is_said_even_where_nothing_is_found() -> None:
    class Never:
        current = Calibration(np.zeros((2, 4), np.float32), least=1e9)

    searcher = Searcher(
        FakeModel(),
        FakeIndex(SCORES),
        catalog_of(FILES),
        translate=lambda text, _: f"<{text}>",
        calibrator=cast("Calibrator", Never()),
    )
    answer = ask(searcher, "xyz")
    assert (answer.hits, answer.searched) == ([], "<xyz>")


def test_what_is_used_rises_among_near_equals_only() -> None:
    scores = {"a": 0.300, "b": 0.305, "c": 0.4}
    weights = {Digest("a"): 0.9}

    def found(query: str) -> list[str]:
        searcher = Searcher(
            FakeModel(), FakeIndex(scores), catalog_of(FILES), weight=lambda digest: weights.get(digest, 0.0)
        )
        return paths(ask(searcher, query))

    assert found("xyz") == ["IMG_1.png", "angry_cat.png", "happy_dog.png"]
    assert found("")[0] == "angry_cat.png"


def test_the_model_is_asked_in_a_language_that_it_reads() -> None:
    model = FakeModel()
    model.is_english_only = True
    searcher = Searcher(model, FakeIndex(SCORES), catalog_of(FILES), translate=lambda text, _: f"<{text}>")
    answer = ask(searcher, "猫")
    assert (model.asked, answer.searched) == (["<猫>"], "<猫>")


def test_the_look_is_searched_for_while_the_words_are() -> None:
    model, index = FakeModel(), FakeIndex(SCORES)
    seen: list[int] = []

    def search_words(text: str, limit: int) -> list[WordsHit]:
        deadline = time.monotonic() + 5
        while not index.asked and time.monotonic() < deadline:
            time.sleep(0.001)
        seen.append(len(index.asked))
        return []

    index.search_words = search_words  # type: ignore[method-assign]
    catalog = catalog_of(FILES)
    catalog.put_words(PictureWords(Digest("b"), "one does not simply walk", "reader"))
    answer = ask(Searcher(model, index, catalog), "angry cat")
    assert (seen, model.asked) == ([1], ["angry cat"])
    assert len(index.asked) == 1, "and not a second time"
    assert answer.hits


def test_milvus_is_not_asked_for_words_where_none_were_read() -> None:
    index = FakeIndex(SCORES)
    index.search_words = None  # type: ignore[assignment]
    assert ask(Searcher(FakeModel(), index, catalog_of(FILES)), "angry cat").hits


def test_what_is_searched_for_too_early_harms_nobody() -> None:
    """Translated after all; and Milvus had failed."""
    index = FakeIndex(SCORES)

    def searcher() -> Searcher:
        return Searcher(FakeModel(), index, catalog_of(FILES), translate=lambda text, _: f"<{text}>")

    assert ask(searcher(), "cat").searched == "<cat>"
    index.broken = True
    with pytest.raises(Degraded):
        ask(searcher(), "cat")


def test_both_scripts_find_a_name() -> None:
    files = {"生氣.png": "a", "x.png": "b"}
    for query in ("生气", "生氣"):
        answer = ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(files)), query)
        assert paths(answer) == ["生氣.png", "x.png"]


def test_copies_are_one_hit_that_names_the_others() -> None:
    files = {f"copy {number}.png": "c" for number in range(30)} | {"a.png": "a", "b.png": "b"}
    rows = [replace(row, kind="gif" if b"9" in row.path else "png") for row in catalog_of(files).rows()]
    catalog = catalog_of(files)
    for row in rows:
        catalog.put(row)

    def found(query: str, limit: int = 3) -> Answer:
        return ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog), query, limit)

    answer = found("xyz")
    assert paths(answer) == ["copy 0.png", "b.png", "a.png"], "the limit counts pictures"
    assert [len(hit.copies) for hit in answer.hits] == [29, 0, 0]
    assert answer.hits[0].copies[:2] == (b"/m/copy 1.png", b"/m/copy 2.png"), "the oldest first"
    assert paths(found("")) == ["b.png", "a.png", "copy 29.png"]
    best = found('"copy 7"').hits[0]
    assert (best.path, best.copies) == (b"/m/copy 7.png", ()), "in quotes: only files that hold the words"
    assert len(found("copy 7").hits[0].copies) == 29
    (moving,) = [hit for hit in found("xyz ext:gif").hits if b"copy" in hit.path]
    assert (moving.path, moving.copies) == (b"/m/copy 19.png", (b"/m/copy 9.png", b"/m/copy 29.png"))


def test_who_wants_every_file_gets_it() -> None:
    async def main() -> Answer:
        searcher = Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(FILES))
        try:
            return await searcher.search("", 20, 5, fold=False)
        finally:
            searcher.close()

    assert paths(asyncio.run(main())) == list(reversed(FILES))
