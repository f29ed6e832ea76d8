from __future__ import annotations

import io
import pickle

import pytest

from memewatchd import cedict
from memewatchd.cedict import Entry, syllables


def test_the_real_dictionary() -> None:
    found = {entry.simplified: entry for entry in cedict.entries() if entry.simplified in {"生气", "表情包", "绿"}}
    assert found["生气"].traditional == "生氣"
    assert found["生气"].syllables == ("sheng", "qi")
    assert "to get angry" in found["生气"].senses
    assert found["绿"].syllables == ("lv",)
    assert isinstance(found["表情包"], Entry)


def test_it_is_all_read() -> None:
    assert sum(1 for _ in cedict.entries()) > 110_000


@pytest.mark.parametrize(
    ("pinyin", "expected"),
    [
        ("sheng1 qi4", ("sheng", "qi")),
        ("Lu:4 r5", ("lv", "er")),
        ("A quan1 r5", ()),
        ("A1 li3 · Ba1 ba1", ()),
        ("", ()),
    ],
)
def test_syllables(pinyin: str, expected: tuple[str, ...]) -> None:
    assert syllables(pinyin) == expected


def test_a_pickle_of_anything_but_strings_is_refused() -> None:
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        cedict._StringsOnly(io.BytesIO(pickle.dumps(print))).load()
