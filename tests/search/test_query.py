from __future__ import annotations

import pytest

from memewatchd.errors import BadRequest
from memewatchd.search.query import parse


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("angry cat", ("angry", "cat")),
        ("  ANGRY\tcat \n", ("angry", "cat")),
        ("生气cat", ("生气", "cat")),
        ("ｃａｔ　狗", ("cat", "狗")),
        ("re:zero", ("re", "zero")),
        ("http://x", ("http", "x")),
        ("-_-", ()),
        ("--", ()),
        ("well-known", ("well", "known")),
        ('6" long', ("6", "long")),
        ("ext: gif", ("ext", "gif")),
        ("", ()),
    ],
)
def test_words(text: str, words: tuple[str, ...]) -> None:
    assert parse(text).words == words


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat -dog", "-dog"),
        ("-狗", "-狗"),
        ("cat －dog", "-dog"),
        ("ext:gif", "ext:"),
        ("EXT:gif", "ext:"),
        ("is：animated", "is:"),
        ("in:reactions/", "in:"),
        ("after:2025-01-31", "after:"),
        ("before:2025", "before:"),
        ("tag:fav", "tag:"),
        ('"exact words"', "exact words"),
        ("“exact words”", "exact words"),
    ],
)
def test_what_is_not_built_yet_is_refused_by_name(text: str, name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(text)
    assert name in str(caught.value)


def test_the_model_is_asked_what_was_typed() -> None:
    assert parse("  Angry \x00 Cat ").text == "Angry Cat"
