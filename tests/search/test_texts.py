"""Texts by words: word for word, by how they are read, and nearly."""

from __future__ import annotations

import pytest

from memewatchd.search.ranking import NEAR_FROM
from memewatchd.search.texts import Texts, is_whole, nearness
from memewatchd.words import words_of

TEXTS = [
    "one does not simply walk into mordor",
    "distracted boyfriend",
    "不想 上班",
    "今天 也 不想 上班 啊",
    "生气 cat",
    "why you no",
    "the cake is a lie",
]


@pytest.fixture
def texts() -> Texts:
    made = Texts()
    made.use(TEXTS)
    return made


def best(texts: Texts, query: str) -> tuple[str, float]:
    near = texts.alike(words_of(query))
    return max(near.items(), key=lambda item: item[1]) if near else ("", 0.0)


def test_literal_is_every_word_in_any_order(texts: Texts) -> None:
    assert texts.literal(words_of("BOYFRIEND distrac")) == ["distracted boyfriend"]
    assert texts.literal(words_of("cat 生氣")) == ["生气 cat"]
    assert texts.literal(words_of("cat dog")) == []
    assert texts.literal([]) == []
    assert texts.literal(words_of("a lie")) == ["the cake is a lie"]
    assert texts.literal(words_of("ie")) == [], "two letters stand alone"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("one does not simply walk into town", TEXTS[0]),
        ("one not simply walk into mordor", TEXTS[0]),
        ("distracted boyfrend", TEXTS[1]),
        ("distractd b0yfriend", TEXTS[1]),
        ("onedoes notsimply walkinto mordor", TEXTS[0]),
        ("walk into mordor simply", TEXTS[0]),
        ("今天也不像上班", TEXTS[3]),
    ],
)
def test_what_is_remembered_wrongly_is_near(texts: Texts, query: str, text: str) -> None:
    found, near = best(texts, query)
    assert found == text
    assert near > 0.75


@pytest.mark.parametrize("query", ["cat", "why", "上班", "quarterly tax return", "一个完全不同的句子"])
def test_what_is_short_or_something_else_is_not(texts: Texts, query: str) -> None:
    assert best(texts, query)[1] < 0.75


def test_a_short_text_is_no_quote_of_a_long_query() -> None:
    assert nearness(words_of("why would anybody ask you that, of all people, no less"), "why you no") == 0


def test_initials_give_way_to_an_english_word() -> None:
    made = Texts()
    made.use(["生气", "打工"])
    assert made.read_like(["sq"]) == {"生气": 0.5}
    assert made.read_like(["dog"]) == {}
    assert made.read_like(["dg"]) == {"打工": 0.5}


def test_the_texts_can_change(texts: Texts) -> None:
    texts.use(["something else"])
    assert texts.literal(["cake"]) == []
    assert texts.literal(["something"]) == ["something else"]
    texts.use([])
    assert texts.literal(["something"]) == []


def test_odd_queries(texts: Texts) -> None:
    for query in ("x" * 60_000, "\udcff\udcfe", "zz " * 5_000, "猫" * 20_000):
        words = words_of(query)
        assert texts.literal(words) == []
        texts.alike(words)


def test_a_short_word_inside_another_is_no_slip() -> None:
    assert nearness(["spider"], "things to consider") < NEAR_FROM
    assert nearness(["spider"], "a spder on the wall") > NEAR_FROM
    assert nearness(["monday"], "mondey again") > NEAR_FROM
    assert nearness(["spiderman"], "spidermen everywhere") > NEAR_FROM


def test_whole_words_and_parts_of_words() -> None:
    assert is_whole(["oops"], "oops i did it")
    assert not is_whole(["oops"], "whoops")
    assert is_whole(["one", "simply"], "one does not simply")
    assert is_whole(["裂开"], "我要裂开了"), "Chinese has no gaps"
