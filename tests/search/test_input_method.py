"""Pinyin → Chinese words, by the real dictionary."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memewatchd.search.input_method import _SAYINGS, lexicon, words_for_pinyin
from memewatchd.search.readings import readings
from memewatchd.search.syllables import SYLLABLES, split_beginning


@pytest.mark.parametrize(
    ("pinyin", "word"),
    [
        ("shengqi", "生气"),
        ("sheng qi", "生气"),
        ("sheng'qi", "生气"),
        ("shēngqì", "生气"),
        ("Sheng1qi4", "生气"),
        ("kaixin", "开心"),
        ("nanguo", "难过"),
        ("wuyu", "无语"),
        ("ganga", "尴尬"),
        ("bengkui", "崩溃"),
        ("liekai", "裂开"),
        ("shuijiao", "睡觉"),
        ("xiongmao", "熊猫"),
        ("mao", "猫"),
        ("gou", "狗"),
        ("ku", "哭"),
        ("nver", "女儿"),
        ("lueduo", "掠夺"),
        ("xi'an", "西安"),
        ("xiaoku", "笑哭"),
        ("haode", "好的"),
        ("buxiang shangban", "不想上班"),
        ("buxiangshangban", "不想上班"),
        ("wo bu xiang shang ban", "我不想上班"),
        ("wo yao chifan", "我要吃饭"),
        ("hen shengqi", "很生气"),
        ("shengqi de mao", "生气的猫"),
        ("neijuan", "内卷"),
    ],
)
def test_the_likeliest_comes_first(pinyin: str, word: str) -> None:
    assert words_for_pinyin(pinyin)[0] == word


def test_others_follow() -> None:
    found = words_for_pinyin("shengqi")
    assert "升起" in found
    assert len(found) == len(set(found)) <= 8
    assert words_for_pinyin("shengqi", limit=1) == ["生气"]


@pytest.mark.parametrize(
    "text",
    [
        *("angry cat", "dog", "shengq", "shengqi cat", "生气", "生气 mao", "", "!", "2024", "x" * 1000),
        # English as well
        *("panda", "banana", "women", "she", "can", "you", "dance", "change", "song", "meme", "she can"),
    ],
)
def test_what_is_not_read_as_pinyin(text: str) -> None:
    assert words_for_pinyin(text) == []


def test_every_saying_is_what_is_offered_first() -> None:
    for saying in _SAYINGS.split():
        typed = "".join(several[0] for several in readings().of(saying))
        assert words_for_pinyin(typed)[0] == saying


@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(SYLLABLES)), min_size=1, max_size=30))
def test_what_is_offered_is_read_as_it_was_typed(syllables: list[str]) -> None:
    # `luan` may be two as well, even with spaces around it.
    lengths = {len(way) for way, beginning in split_beginning(syllables) if not beginning}
    for word in words_for_pinyin(" ".join(syllables)):
        assert len(word) in lengths


def test_the_lexicon_finds_the_first_and_the_last_line() -> None:
    known = lexicon()
    lines = known.blob.decode().splitlines()
    for line in (lines[0], lines[-1]):
        key, _, words = line.partition("\t")
        assert [word for word, _ in known.words(key.split(" "))] == words.split(" ")[::2]
    assert list(known.words(["zzz"])) == list(known.words(["aaa"])) == []


def test_several_searches_at_once_read_the_dictionary_once() -> None:
    program = """
import threading
from memewatchd.search.input_method import words_for_pinyin
from memewatchd.search.pinyin import PinyinTexts
failed = []
threading.excepthook = failed.append
def ask():
    assert words_for_pinyin("shengqi")[0] == "\u751f\u6c14"
    PinyinTexts().use(["\u751f\u6c14"])
threads = [threading.Thread(target=ask) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
raise SystemExit(len(failed))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0
