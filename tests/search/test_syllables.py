from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memewatchd import cedict
from memewatchd.search.syllables import MOST_READINGS, SYLLABLES, plain_letters, split, split_beginning


@pytest.mark.parametrize(
    ("word", "letters"),
    [
        ("shengqi", "shengqi"),
        ("shēngqì", "shengqi"),
        ("sheng1qi4", "shengqi"),
        ("nǚ", "nv"),
        ("nü3", "nv"),
        ("2024", ""),
        ("cat9", ""),
        ("top10", ""),
        ("生气", ""),
        ("кот", ""),
        ("a" * 61, ""),
        ("", ""),
    ],
)
def test_plain_letters(word: str, letters: str) -> None:
    assert plain_letters(word) == letters


@pytest.mark.parametrize(
    ("letters", "ways"),
    [
        ("shengqi", [("sheng", "qi")]),
        ("xian", [("xian",), ("xi", "an")]),
        ("fangan", [("fang", "an"), ("fan", "gan")]),
        ("lue", [("lve",), ("lu", "e")]),
        ("shengq", []),
        ("angry", []),
        ("dog", []),
        ("aaaa", [("a", "a", "a", "a")]),
    ],
)
def test_split(letters: str, ways: list[tuple[str, ...]]) -> None:
    assert split(letters) == ways


def test_the_last_syllable_may_be_begun() -> None:
    assert split_beginning(["shengq"]) == [(("sheng",), "q")]
    assert split_beginning(["sheng", "q"]) == [(("sheng",), "q")]
    assert split_beginning(["xi", "an"]) == [(("xi", "an"), ""), (("xi", "a"), "n")]
    assert split_beginning(["sh"]) == [((), "sh")]
    assert split_beginning(["shengq", "qi"]) == []
    assert split_beginning(["cat"]) == [(("ca",), "t")]
    assert split_beginning(["dog"]) == []


SPELLED = st.lists(st.sampled_from(sorted(SYLLABLES)), min_size=1, max_size=4)


@given(SPELLED)
def test_syllables_apart_are_read_as_they_are(syllables: list[str]) -> None:
    assert (tuple(syllables), "") in split_beginning(syllables)


@given(st.text("aeghinou", max_size=60))
def test_there_are_never_many_readings_and_each_is_one(letters: str) -> None:
    ways = split(letters)
    assert len(ways) <= MOST_READINGS
    for way in ways:
        assert SYLLABLES.issuperset(way)
        assert "".join(way).replace("lve", "lue").replace("nve", "nue") == letters


def test_the_dictionary_knows_few_others() -> None:
    spelled = {syllable for entry in cedict.entries() for syllable in entry.syllables}
    assert spelled - SYLLABLES == {"bia", "biang", "fiao", "ging", "m", "sei", "xx"}
