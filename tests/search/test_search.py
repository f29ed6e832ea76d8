"""The search with a fake model and a fake index: what is asked of whom, and what comes out in which order."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING

import numpy as np
import pytest

from memewatchd.errors import BadRequest, Degraded, StoreUnavailable, TimedOut
from memewatchd.index.catalog import Catalog
from memewatchd.meme import Digest, FileRow, FileStat, PictureHit
from memewatchd.search.search import Searcher
from memewatchd.words import name_words

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from memewatchd.search.search import Answer


class FakeModel:
    def __init__(self, ready: bool = True, failed: str = "") -> None:
        self.ready = ready
        self.failed = failed
        self.asked: list[str] = []

    def encode_text(self, text: str) -> Future[NDArray[np.float32]]:
        self.asked.append(text)
        future: Future[NDArray[np.float32]] = Future()
        future.set_result(np.zeros(4, np.float32))
        return future


class FakeIndex:
    def __init__(self, scores: dict[str, float]) -> None:
        self.hits = [PictureHit(Digest(d), 0, s) for d, s in sorted(scores.items(), key=lambda item: -item[1])]
        self.broken = False

    def search_pictures(
        self, vector: NDArray[np.float32], limit: int, digests: Collection[Digest] | None = None
    ) -> list[PictureHit]:
        if self.broken:
            raise StoreUnavailable("Milvus is away; start it")
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


def test_a_literal_name_comes_before_what_looks_more_alike() -> None:
    answer = ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(FILES)), "ANGRY")
    assert paths(answer) == ["angry_cat.png", "IMG_1.png", "copy of c.png", "happy_dog.png"]
    best = answer.hits[0]
    assert (best.name, best.image) == (1.0, 0.1)
    assert [hit.name for hit in answer.hits[1:]] == [None] * 3


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
    assert paths(answer) == ["IMG_1.png", "copy of c.png"]


def test_min_score() -> None:
    answer = ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(FILES)), "xyz", min_score=0.3)
    assert paths(answer) == ["IMG_1.png", "copy of c.png", "happy_dog.png"]


def test_without_words_the_newest_come_first() -> None:
    model = FakeModel()
    answer = ask(Searcher(model, FakeIndex(SCORES), catalog_of(FILES)), "  ", limit=2)
    assert paths(answer) == ["copy of c.png", "IMG_1.png"]
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
    with pytest.raises(BadRequest, match="ext:"):
        ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(FILES)), "cat ext:gif")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("cat -dog", "-dog"),
        ("-狗", "-狗"),
        ("cat －dog", "-dog"),
        ("ext:gif", "ext:"),
        ("is：animated", "is:"),
        ("-in:reactions/", "in:"),
        ("after:2025-01-31", "after:"),
        ("before:2025", "before:"),
        ("tag:fav", "tag:"),
        ("“exact words”", "exact words"),
    ],
)
def test_what_the_language_has_and_the_search_has_not_is_refused_by_name(query: str, name: str) -> None:
    model = FakeModel()
    with pytest.raises(BadRequest, match="not built yet") as caught:
        ask(Searcher(model, FakeIndex(SCORES), catalog_of(FILES)), query)
    assert name in str(caught.value)
    assert model.asked == []


def test_both_scripts_find_a_name() -> None:
    files = {"生氣.png": "a", "x.png": "b"}
    for query in ("生气", "生氣"):
        answer = ask(Searcher(FakeModel(), FakeIndex(SCORES), catalog_of(files)), query)
        assert paths(answer) == ["生氣.png", "x.png"]
