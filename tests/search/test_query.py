"""The query language: what is words, what is not meant, and what is a filter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memewatchd.errors import BadRequest
from memewatchd.search.filters import FILTERS, Filter
from memewatchd.search.query import Query, parse
from memewatchd.words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("angry cat", ("angry", "cat")),
        ("  ANGRY\tcat \n", ("angry", "cat")),
        ("生气cat", ("生气", "cat")),
        ("生氣", ("生气",)),
        ("ｃａｔ　狗", ("cat", "狗")),
        ("-_-", ()),
        ("-ω-", ("ω",)),
        ("->", ()),
        ("--", ()),
        ("-", ()),
        ("--dog", ("dog",)),
        ("well-known", ("well", "known")),
        ('6" long', ("6", "long")),
        ('"not closed', ("not", "closed")),
        ("ext: gif", ("ext", "gif")),
        ("exit:gif", ("exit", "gif")),
        ("", ()),
    ],
)
def test_words(text: str, words: tuple[str, ...]) -> None:
    query = parse(text)
    assert (query.words, query.minus, query.filters) == (words, (), ())


@pytest.mark.parametrize("text", ["re:zero", "http://x/y", "16:9", "at:work", "text:gif", "ext:", "猫：狗"])
def test_only_the_known_prefixes_are_filters(text: str) -> None:
    assert parse(text) == Query(text, tuple(words_of(text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ext:gif", Filter("ext", "gif")),
        ("EXT:.JPG", Filter("ext", "jpeg")),
        ("-ext:gif", Filter("ext", "gif", negated=True)),
        ("is:animated", Filter("is", "animated")),
        ("is：ｓｔｉｌｌ", Filter("is", "still")),
        ("－is：animated", Filter("is", "animated", negated=True)),
        ("is:fav", Filter("is", "fav")),
        ("in:reactions/", Filter("in", "reactions/")),
        ("in:Reactions", Filter("in", "reactions/")),
        ('in:"my cats/old"', Filter("in", "my cats/old/")),
        ("in:“表情包/裂開”", Filter("in", "表情包/裂开/")),
        ("-in:/old//.", Filter("in", "/old/", negated=True)),
        ("after:2025-01-31", Filter("after", "2025-01-31")),
        ("before:2025-2", Filter("before", "2025-02-01")),
        ("before:２０２５", Filter("before", "2025-01-01")),
        ("tag:Work", Filter("tag", "work")),
        ("tag:生氣", Filter("tag", "生气")),
        ("tag:★", Filter("tag", "★")),
        ('tag:"Good_one"', Filter("tag", "good one")),
        ("-tag:x", Filter("tag", "x", negated=True)),
        ('"Exact Words"', Filter("exact", "exact words")),
        ("“裂開”", Filter("exact", "裂开")),
        ("「裂開」", Filter("exact", "裂开")),
        ('-"exact words"', Filter("exact", "exact words", negated=True)),
    ],
)
def test_filters(text: str, expected: Filter) -> None:
    for placed in (text, f"cat　{text}", f" {text}\n", f"cat {text}\tex:gif"):
        query = parse(placed)
        assert query.filters == (expected,)
        assert query.minus == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ext:docx", ["ext:docx", "gif", "jpeg", "jpg", "webp"]),
        ("is:big", ["is:big", "is:animated", "is:still", "is:fav"]),
        ("after:yesterday", ["after:yesterday", "after:2025-01-31"]),
        ("before:2025-02-30", ["before:2025-02-30", "before:2025-01-31"]),
        ("-before:0000", ["before:2025-01-31"]),
        ("after:2025-01-31T10:00", ["after:2025-01-31"]),
        ("in:/", ["in:/", "in:reactions/"]),
        ('tag:""', ["tag:"]),
        ("cat -is:cat", ["is:animated"]),
        ("after:31.01.2025", ["after:2025-01-31"]),
    ],
)
def test_a_wrong_filter_is_told_the_right_ones(text: str, named: list[str]) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(text)
    assert [name for name in named if name not in str(caught.value)] == []


def test_a_value_whose_quotes_are_not_closed_goes_on_to_the_end() -> None:
    assert parse('cat tag:"not closed') == Query("cat", ("cat",), filters=(Filter("tag", "not closed"),))


def test_filters_without_end_are_refused() -> None:
    with pytest.raises(BadRequest, match="64"):
        parse("tag:x " * 65)


def test_a_long_wrong_word_is_not_sent_back_whole() -> None:
    with pytest.raises(BadRequest) as caught:
        parse("ext:" + "x" * 10_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "minus"),
    [
        ("cat -dog", ("dog",)),
        ("-狗", ("狗",)),
        ("cat －dog −Cat", ("dog", "Cat")),
        ("-re:zero", ("re:zero",)),
        ("-well-known", ("well-known",)),
        ("-😀", ("😀",)),
        ("-1", ("1",)),
    ],
)
def test_what_is_not_meant(text: str, minus: tuple[str, ...]) -> None:
    query = parse(text)
    assert query.minus == minus
    assert query.filters == ()
    assert query.text in ("cat", "")


def test_the_model_is_asked_what_was_typed_without_the_filters() -> None:
    assert parse("  Angry \x00 Cat ").text == "Angry Cat"
    query = parse("Ａngry：cat ext:gif -dog “Very　Good” -“bad one” in:x 生氣")
    assert query.text == "Ａngry：cat Very Good 生氣"
    assert query.words == ("angry", "cat", "very", "good", "生气")
    assert query.phrases == ("very good",)


def test_chinese_needs_no_space_before_a_quote() -> None:
    query = parse("猫“裂开”狗")
    assert (query.text, query.phrases) == ("猫 裂开 狗", ("裂开",))


def test_quotes_without_words_filter_nothing() -> None:
    assert parse('"!?" ""') == Query("!?", ())


def test_what_is_empty() -> None:
    assert parse(" 　").is_empty
    assert not any(parse(text).is_empty for text in ("-dog", "ext:gif", "cat", "!"))


PIECES = st.one_of(
    st.sampled_from([*(f"{name}:" for name in FILTERS), "-", '"', "“", "：", " ", "\u3000", "gif", "2025-01-31", "猫"]),
    st.text(max_size=4),
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        query = parse(text)
    except BadRequest:
        return
    assert query.words == tuple(words_of(query.text))
    assert query.text == " ".join(query.text.split())
    # What was read can be written down and read again.
    for one in (one for one in query.filters if '"' not in one.value):
        value = f'"{one.value}"'
        spelled = value if one.name == "exact" else f"{one.name}:{value}"
        assert parse("-" * one.negated + spelled).filters == (one,)


@given(st.text(st.characters(exclude_characters='-"“”„‟＂「」『』－−﹣:：﹕', exclude_categories=["Cs"])))
def test_without_signs_all_is_words(text: str) -> None:
    query = parse(text)
    assert (query.minus, query.filters) == ((), ())
    assert query.words == tuple(words_of(query.text))
