"""What the search's evaluation counts, and that what it asks has an answer. Nothing is drawn or indexed here."""

from __future__ import annotations

import math
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from benchmarks.search import fusion, memes, report  # noqa: E402 - the clone itself isn't a package
from benchmarks.search.answers import holds, reads, spaced, texts_of  # noqa: E402
from benchmarks.search.figures import Asked, Run, by_leg, count, emptiness, measure, ordered, rank_of  # noqa: E402
from benchmarks.search.fusion import Constants, Floors  # noqa: E402
from benchmarks.search.memes import Meme  # noqa: E402
from benchmarks.search.queries import NOTHING, TEST, TUNE, Query, ask, half_of  # noqa: E402


@cache
def planned() -> list[Meme]:
    return memes.plan()


@cache
def queries() -> list[Query]:
    return ask(planned())


def asked(
    right: list[int],
    image: dict[int, float] | None = None,
    words: dict[int, float] | None = None,
    name: dict[int, float] | None = None,
    *,
    kind: str = "look",
    half: str = TEST,
    order: list[int] | None = None,
) -> Asked:
    image, words, name = image or {}, words or {}, name or {}
    whole = ordered({one: image.get(one, 0) + words.get(one, 0) + name.get(one, 0) for one in {*image, *words, *name}})
    return Asked(kind, "en", "?", half, right, whole if order is None else order, image, words, name, whole)


# ---- the set


def test_the_set_is_the_same_every_time() -> None:
    again = memes.plan()
    assert [(meme.key, meme.file, meme.name, meme.tags) for meme in again] == [
        (meme.key, meme.file, meme.name, meme.tags) for meme in planned()
    ]
    assert ask(again) == queries()


def test_another_seed_is_another_set_of_the_same_pictures() -> None:
    other = memes.plan(7)
    assert {(meme.kind, meme.icon, meme.lines) for meme in other} == {
        (meme.kind, meme.icon, meme.lines) for meme in planned()
    }
    assert {meme.file for meme in other} != {meme.file for meme in planned()}


def test_the_set_is_what_a_folder_of_memes_is() -> None:
    kinds = Counter(meme.kind for meme in planned())
    assert len(planned()) >= 400
    assert len({meme.file.casefold() for meme in planned()}) == len(planned())
    assert all(kinds[kind] >= 30 for kind in (memes.MEME, memes.STICKER, memes.BUBBLE, memes.GIF, memes.PLAIN))
    assert 0.28 < sum(bool(meme.name) for meme in planned()) / len(planned()) < 0.40
    assert all("/" not in meme.file and not meme.file.startswith(("-", ".")) for meme in planned())
    spoken = Counter(meme.language for meme in planned() if meme.said)
    assert min(spoken["en"], spoken["zh"]) >= 100
    assert spoken["zh-hant"] >= 10


def test_what_is_drawn_is_known() -> None:
    for meme in planned():
        assert meme.icon in memes.things() or (meme.kind == memes.BUBBLE and not meme.icon), meme.key
        assert len(meme.lines) == {memes.STICKER: 1, memes.PLAIN: 0}.get(meme.kind, 2), meme.key


# ---- the queries


def test_every_answerable_query_has_an_answer_that_is_there() -> None:
    files = {meme.file for meme in planned()}
    for query in queries():
        assert query.right <= files
        assert query.answerable != query.kind.startswith(NOTHING), query


def test_no_picture_answers_the_unanswerable() -> None:
    for query in queries():
        if not query.answerable:
            found = [meme.file for meme in planned() if holds(meme, query.text, parts=True)]
            assert not found, (query.text, found)
    names = {name for thing in memes.things().values() for name in (*thing.en, *thing.zh)}
    assert not names & {query.text for query in queries() if not query.answerable}


def test_there_is_enough_of_every_kind() -> None:
    per_language = Counter(query.language for query in queries() if not query.answerable)
    assert min(per_language["en"], per_language["zh"]) >= 80
    kinds = Counter((query.kind, query.language) for query in queries() if query.answerable)
    for kind, language in (
        ("look", "en"), ("look", "zh"), ("quote", "en"), ("quote", "zh"), ("quote, part of it", "en"),
        ("quote, part of it", "zh"), ("quote, a word wrong", "en"), ("quote, a word missing", "en"),
        ("quote, a character wrong", "zh"), ("quote, a character missing", "zh"), ("pinyin of words", "zh"),
        ("initials of words", "zh"), ("name", "en"), ("name", "zh"),
    ):  # fmt: skip
        assert kinds[kind, language] >= 50, (kind, language)


def test_a_picture_is_asked_for_in_one_half_only() -> None:
    own = {meme.file: half_of(meme.key) for meme in planned()}
    shares = Counter(query.half for query in queries())
    assert 0.4 < shares[TUNE] / len(queries()) < 0.6
    for query in queries():
        if query.kind.startswith(("quote", "name")) and len(query.right) == 1:
            assert {own[file] for file in query.right} == {query.half}


def test_texts_are_asked_once_a_kind() -> None:
    seen = Counter((query.kind, query.text) for query in queries())
    assert max(seen.values()) == 1


# ---- the judge


def meme(*lines: str, name: str = "", language: str = "zh", tags: tuple[str, ...] = ()) -> Meme:
    return Meme(memes.MEME, language, "", lines, "x.png", name, tags)


@pytest.mark.parametrize(
    ("query", "text", "parts", "right"),
    [
        ("小丑竟是我自己", "小丑竟是|我自己", False, True),
        ("學霸", "学霸", False, True),
        ("学霸", "學霸", False, True),
        ("己自", "我自己", False, False),
        ("car", "carrot", False, False),
        ("car", "carrot", True, True),
        ("ca", "carrot", True, False),
        ("FINE this", "this is fine", False, True),
        ("this fine thing", "this is fine", False, False),
        ("", "this is fine", False, False),
    ],
)
def test_what_holds_a_query(query: str, text: str, parts: bool, right: bool) -> None:
    language = "en" if text.isascii() else "zh"
    assert holds(meme(*text.split("|"), language=language), query, parts=parts) is right


def test_names_and_tags_are_texts_of_their_own() -> None:
    one = meme("无语", name="send_to_mum", tags=("怀旧",))
    assert texts_of(one) == (("无语",), ("send", "to", "mum"), ("怀旧",))
    assert not holds(one, "无语 mum")
    assert spaced("ReactionToSpoilers") == "Reaction To Spoilers"


def test_what_reads_like_a_word() -> None:
    assert reads(meme("生气了"), "生气")
    assert reads(meme("升起"), "生气")
    assert not reads(meme("生的气"), "生气")
    assert reads(meme("说起"), "生气", initials=True)


# ---- the figures


def test_the_rank_is_of_the_first_right_one() -> None:
    assert rank_of([4, 2, 9], {2, 9}) == 2
    assert rank_of([4, 2], {7}) == math.inf
    assert rank_of([], {7}) == math.inf


def test_figures() -> None:
    figures = count([1, 2, 6, 21, math.inf])
    assert (figures.count, figures.at_1, figures.at_5) == (5, 0.2, 0.4)
    assert figures.mrr == pytest.approx((1 + 1 / 2 + 1 / 6) / 5)  # the 21st isn't shown


def test_each_leg_is_ranked_by_itself() -> None:
    one = asked([1], {0: 0.9, 1: 0.5}, {1: 1.0}, {0: 1.0})
    legs = by_leg([one])
    assert [legs[leg].at_1 for leg in ("image", "words", "name")] == [0, 1, 0]
    assert [legs[leg].mrr for leg in ("image", "words", "name")] == [0.5, 1, 0]
    assert measure([one], lambda each: each.order).mrr == 0.5


def test_ties_hang_on_nothing_that_was_asked() -> None:
    assert ordered({5: 1.0, 3: 1.0, 4: 2.0}) == [4, 3, 5]


def test_emptiness_counts_what_is_rejected_and_what_that_costs() -> None:
    some = [
        asked([], {0: 0.1}, order=[]),
        asked([], {0: 0.1}),
        asked([0], {0: 0.9, 1: 0.8}, order=[0]),
        asked([1], {0: 0.9, 1: 0.8}, order=[0]),  # the right one is left out
        asked([9], {0: 0.9, 1: 0.8}, order=[]),  # it wasn't there, but now nothing is
    ]
    found = emptiness(some, lambda each: each.order)
    assert (found.unanswerable, found.nothing, found.answerable) == (2, 0.5, 3)
    assert found.lost == pytest.approx(2 / 3)


# ---- other constants


def test_weights_decide_which_leg_leads() -> None:
    one = asked([1], {0: 0.9, 1: 0.5}, {1: 0.3}, {2: 1.0})
    assert fusion.fused(one, Constants(0, 1, 0, 1)) == [0, 1, 2]
    assert fusion.fused(one, Constants(2, 1, 0, 1)) == [1, 0, 2]
    assert fusion.fused(one, Constants(2, 1, 5, 1)) == [2, 1, 0]
    assert fusion.fused(one, Constants(2, 4, 0, 1)) == [0, 1, 2]


def test_the_sweep_finds_weights_that_serve_every_kind() -> None:
    # Weak words mislead those who describe a look; strong ones are what those who quote mean.
    looks = [asked([0], {0: 0.5, 1: 0.3}, {1: 0.2}) for _ in range(4)]
    quotes = [asked([1], {0: 0.5, 1: 0.0}, {1: 1.0}, kind="quote") for _ in range(4)]
    best, behind, mean = fusion.sweep([*looks, *quotes])[0]
    assert (behind, mean) == (0, 1)
    assert {each.at_1 for each in fusion.figures_of([*looks, *quotes], best).values()} == {1}


def test_the_sweep_ranks_as_the_fusion_does() -> None:
    one = asked([2, 3], {0: 0.5, 1: 0.4, 2: 0.3, 3: 0.1}, {1: 0.5, 3: 0.2}, {0: 0.3, 3: 0.9})
    for words, name in ((0.1, 0.1), (0.4, 0.2), (1.6, 1.6)):
        constants = Constants(words, 2, name, 1)
        place = rank_of(fusion.fused(one, constants), {2, 3})
        assert fusion._place(one, constants) == place


def test_floors_keep_what_one_leg_is_sure_of() -> None:
    some = [
        asked([], {0: 0.2, 1: 0.1}),
        asked([], {0: 0.25}, {0: 0.1}),
        asked([0], {0: 0.6}),
        asked([0], {0: 0.1}, {0: 1.0}),
        asked([0], {0: 0.1}, {}, {0: 1.0}),
    ]
    found = fusion.emptied(some, Floors(False, 0.5, 0.5, 0.5))
    assert (found.nothing, found.lost) == (1, 0)
    assert fusion.emptied(some, Floors(False, 0.7, 0.5, 0.5)).lost == pytest.approx(1 / 3)
    floors, best = fusion.sweep_floors(some, stands_out=False)
    assert (best.nothing, best.lost) == (1, 0)
    assert fusion.emptied(some, floors) == best


# ---- the page


def run_of(*some: Asked, words: bool = True) -> Run:
    about = {"commit": "c", "weights": "w", "machine": "m", "day": "d", "model": "bundled", "engine": "e"}
    return Run(about | {"words": words, "tags": True, "merged": 0}, ["a", "b", "c"], list(some))


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    run = run_of(asked([1], {0: 0.9, 1: 0.5}, {1: 1.0}), asked([], {0: 0.1}, kind=f"{NOTHING}name"))
    run.write(tmp_path / "run.json")
    assert Run.read(tmp_path / "run.json") == run


def test_the_page_reports_the_test_half_alone() -> None:
    good, bad = asked([0], {0: 0.9, 1: 0.5}), asked([1], {0: 0.9, 1: 0.5}, half=TUNE)
    nothing = asked([], {0: 0.1}, kind=f"{NOTHING}name", order=[])
    page = report.markdown(run_of(good, bad, nothing))
    assert "| look | English | 1 | 1.00 / 1.00 / 1.00 | – | – | **1.00 / 1.00 / 1.00** | 1.00 / 1.00 / 1.00 |" in page
    assert "| name | English | 1 | 100% |" in page
    assert "no worse than the picture alone | R@1 1.000 and 1.000, MRR 1.000 and 1.000 | kept |" in page


def test_a_promise_that_hangs_on_words_is_open_without_them() -> None:
    quote = asked([1], {0: 0.9, 1: 0.5}, kind="quote")
    wanted = "quotes: R@1 at least 0.95 | 0.000 (English; quote: 0.000 of 1) | **not kept** |"
    assert wanted in report.markdown(run_of(quote))
    assert "quotes: R@1 at least 0.95 | – | not measured |" in report.markdown(run_of(quote, words=False))


def test_misses_are_of_the_other_half() -> None:
    found = report.misses(run_of(asked([1], {0: 0.9, 1: 0.5}), asked([1], {0: 0.9, 1: 0.5}, half=TUNE)), "look")
    assert found == "look\t?\tat 2 of 2\tb"
