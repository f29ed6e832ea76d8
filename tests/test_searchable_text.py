"""All that a file can be found by besides its look, as one text."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memewatchd.search.filters import exact, predicate
from memewatchd.words import is_literal, name_words, searchable_text, tag_key, tag_keys, words_of


@pytest.mark.parametrize(
    ("name", "tags", "comment", "inner", "expected"),
    [
        ("angry_cat.png", (), "", "", "angry cat"),
        ("IMG_1234.png", (), "", "", ""),
        ("IMG_1234.png", ("Fav", "生氣"), "", "", "fav / 生气"),
        ("angry cat.png", ("Angry", "Cat", "dog"), "", "", "angry cat / dog"),
        ("a.png", ("x",), "My boss, on Monday", "When it is\nMonday", "a / x / my boss on monday / when it is monday"),
        ("a.png", ("★", ""), "", "", "a"),
    ],
)
def test_searchable_text(name: str, tags: tuple[str, ...], comment: str, inner: str, expected: str) -> None:
    assert searchable_text(os.fsencode(f"/m/{name}"), tags, comment, inner) == expected


def test_no_phrase_reaches_from_one_part_into_the_next() -> None:
    text = searchable_text(b"/m/angry cat.png", ("dog", "ok boomer"), "no way")
    for phrase, holds in (("angry cat", True), ("ok boomer", True), ("cat dog", False), ("boomer no", False)):
        one = exact(phrase, False, phrase)
        assert one is not None

        class Row:
            path, kind, frames, tags = b"/m/angry cat.png", "png", 1, ()

        Row.text = text  # type: ignore[attr-defined]
        assert predicate([one], [])(Row()) is holds  # type: ignore[arg-type]


def test_tag_keys() -> None:
    assert tag_keys(["Cat", "cat ", "生氣", "ＣＡＴ", "生气", "★", " ", "Good_one"]) == ("cat", "生气", "★", "good one")


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=4), st.text(max_size=40), st.text(max_size=40))
def test_every_word_of_every_part_is_found(name: str, tags: list[str], comment: str, inner: str) -> None:
    path = b"/m/" + name.replace("/", "").replace("\0", "").encode("utf-8", "replace") + b".png"
    text = searchable_text(path, tags, comment, inner)
    for part in (name_words(path), *tags, comment, inner):
        words = words_of(part)
        assert not words or is_literal(words, text)
    assert text == " ".join(text.split())
    assert all(key == tag_key(key) for key in tag_keys(tags))
