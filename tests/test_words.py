from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memewatchd.words import fold, is_literal, name_words, simplified, tag_key, words_of


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("distracted_boyfriend.jpg", "distracted boyfriend"),
        ("distractedBoyfriend.jpg", "distracted boyfriend"),
        ("生气的猫.gif", "生气的猫"),
        ("生气cat.gif", "生气 cat"),
        ("生氣的貓.gif", "生气的猫"),
        ("ＣＡＴ.png", "cat"),
        ("Straße.png", "strasse"),
        ("no extension", "no extension"),
        ("Dr. Who at home", "dr who at home"),
        ("top 10 cats (2).png", "top 10 cats 2"),
        ("photo_of_my_cat.jpg", "photo of my cat"),
        ("😀 party.png", "party"),
        # what machines call their files says nothing
        ("1699999999999.jpg", ""),
        ("mmexport1699999999999.jpg", ""),
        ("微信图片_20231114102233.jpg", ""),
        ("IMG_1234.JPG", ""),
        ("IMG_20231114_102233.jpg", ""),
        ("IMG-20231114-WA0003.jpg", ""),
        ("photo_2023-11-14_10-22-33.jpg", ""),
        ("Screenshot_20231114-102233_Chrome.png", ""),
        ("Screenshot from 2023-11-14 10-22-33.png", ""),
        ("Screenshot 2023-11-14 at 10.22.33.png", ""),
        ("屏幕截图 2023-11-14 102233.png", ""),
        ("螢幕擷取畫面 2023-11-14 102233.png", ""),
        ("d41d8cd98f00b204e9800998ecf8427e.gif", ""),
        ("123e4567-e89b-12d3-a456-426614174000.webp", ""),
        ("download (3).png", ""),
        ("image.png", ""),
    ],
)
def test_name_words(name: str, words: str) -> None:
    assert name_words(os.fsencode("/memes/cats/" + name)) == words


def test_broken_utf8_still_gives_the_words_around_it() -> None:
    assert name_words(b"/m/angry\xff\xfecat.png") == "angry cat"


@pytest.mark.parametrize(
    ("query", "text", "found"),
    [
        ("distrac", "distracted boyfriend", True),
        ("boyfriend distracted", "distracted boyfriend", True),
        ("boyfriend cat", "distracted boyfriend", False),
        ("BOYFRIEND", "distracted boyfriend", True),
        ("bo", "distracted boyfriend", False),
        ("my", "my cat", True),
        ("猫", "生气的猫咪", True),
        ("生气", "生气的猫咪", True),
        ("气猫", "生气的猫咪", False),
        ("裂開", "我裂开了", True),
        ("乾", "干隆", True),
        ("", "anything", False),
    ],
)
def test_literal(query: str, text: str, found: bool) -> None:
    assert is_literal(words_of(query), text) is found


def test_folding_is_stable() -> None:
    assert fold(fold("ＳＴＲＡẞＥ ﬁn")) == fold("ＳＴＲＡẞＥ ﬁn") == "strasse fin"


@pytest.mark.parametrize(
    ("traditional", "expected"),
    [
        ("生氣", "生气"),
        ("裡裏", "里里"),
        ("麵條", "面条"),
        ("頭髮", "头发"),
        ("薴", "苎"),
        ("猫 cat ねこ", "猫 cat ねこ"),
    ],
)
def test_script_folding(traditional: str, expected: str) -> None:
    assert simplified(traditional) == expected


@pytest.mark.parametrize(
    ("tag", "key"),
    [("Work", "work"), ("good_one!", "good one"), ("生氣", "生气"), ("★", "★"), (" ❤  ★ ", "❤ ★"), ("", "")],
)
def test_tag_key(tag: str, key: str) -> None:
    assert tag_key(tag) == key


HAN = st.text(st.characters(min_codepoint=0x3400, max_codepoint=0x9FFF) | st.sampled_from("乾隆著瞭裏貓氣"), max_size=6)


@given(HAN, HAN, HAN)
def test_a_part_of_a_word_stays_a_part_when_both_are_folded(before: str, part: str, after: str) -> None:
    assert fold(part) in fold(before + part + after)


@given(st.text() | HAN)
def test_folded_once_is_folded_for_good(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(HAN)
def test_every_part_of_a_name_is_found_in_it(name: str) -> None:
    words = name_words(f"/m/{name}猫.png".encode())
    for word in words_of(name):
        assert is_literal([word], words)
