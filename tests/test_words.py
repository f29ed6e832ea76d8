from __future__ import annotations

import os

import pytest

from memewatchd.words import fold, is_literal, name_words, words_of


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("distracted_boyfriend.jpg", "distracted boyfriend"),
        ("distractedBoyfriend.jpg", "distracted boyfriend"),
        ("生气的猫.gif", "生气的猫"),
        ("生气cat.gif", "生气 cat"),
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
        ("", "anything", False),
    ],
)
def test_literal(query: str, text: str, found: bool) -> None:
    assert is_literal(words_of(query), text) is found


def test_folding_is_stable() -> None:
    assert fold(fold("ＳＴＲＡẞＥ ﬁn")) == fold("ＳＴＲＡẞＥ ﬁn") == "strasse fin"
