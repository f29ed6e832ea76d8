"""How Han characters are read: pypinyin's characters and phrases, boiled down to a few megabytes."""

from __future__ import annotations

import functools
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from memewatchd.digested import Parts, digested
from memewatchd.search.syllables import SYLLABLES, plain_letters
from memewatchd.words import simplified

# Characters that people read in more than one way outside of fixed words, the usual reading first. Those that are
# read otherwise only in fixed words (觉 of 睡觉) are left to the phrases.
_SEVERAL = """
了 le liao|的 de di|地 de di|得 de dei|长 chang zhang|重 zhong chong|着 zhe zhao zhuo|还 hai huan|都 dou du|乐 le yue
行 xing hang|朝 chao zhao|觉 jue jiao|角 jiao jue|调 tiao diao|弹 tan dan|传 chuan zhuan|藏 cang zang|曾 ceng zeng
差 cha chai|称 cheng chen|盛 sheng cheng|度 du duo|和 he huo|系 xi ji|强 qiang jiang|降 jiang xiang|圈 quan juan
壳 ke qiao|落 luo la lao|露 lu lou|率 lv shuai|模 mo mu|没 mei mo|弄 nong long|便 bian pian|屏 ping bing|塞 sai se
色 se shai|厦 sha xia|省 sheng xing|似 si shi|说 shuo shui|尾 wei yi|吓 xia he|削 xiao xue|血 xue xie|扎 zha za
粘 zhan nian|谁 shei shui|那 na nei|哪 na nei|这 zhe zhei|呢 ne ni|哦 o e|薄 bao bo|剥 bo bao|熟 shu shou|柏 bai bo
嚼 jiao jue|勒 le lei|咳 ke hai|巷 xiang hang|臭 chou xiu|俩 lia liang|仔 zai zi|茄 qie jia|给 gei ji|会 hui kuai
堡 bao pu|番 fan pan|车 che ju|大 da dai|什 shen shi|单 dan chan shan|参 can shen cen|奇 qi ji|么 me ma|嗯 en
"""
_LONGEST_WORD = 8


@dataclass(frozen=True, slots=True)
class Readings:
    """``usual``: character → its reading; ``several``: those with more than one; ``words``: where neither is right.

    Syllables are without tones, ü as v. Everything is keyed by folded (simplified) text.
    """

    usual: dict[str, str]
    several: dict[str, tuple[str, ...]]
    words: dict[str, tuple[str, ...]]

    def of(self, run: str) -> list[tuple[str, ...]]:
        """The readings of each character of a run, the likeliest first; () for one that nobody knows how to read."""
        found: list[tuple[str, ...]] = []
        while len(found) < len(run):
            at = len(found)
            for end in range(min(len(run), at + _LONGEST_WORD), at + 1, -1):
                if (reading := self.words.get(run[at:end])) is not None:
                    found.extend((syllable,) for syllable in reading)
                    break
            else:
                character = run[at]
                if character == "々" and found:  # the one before, again
                    found.append(found[-1])
                elif (several := self.several.get(character)) is not None:
                    found.append(several)
                else:
                    usual = self.usual.get(character)
                    found.append((usual,) if usual else ())
        return found


# pypinyin's dictionaries change while it loads.
_one_reads = threading.Lock()


def readings() -> Readings:
    """Reads how all is read, once; of pypinyin itself the very first time on a machine. 20 MB stay."""
    with _one_reads:
        return _readings()


@functools.cache
def _readings() -> Readings:
    several = _several()
    here = Path(__file__)
    parts = digested("readings", _read, files=[here, here.with_name("syllables.py")], packages=("pypinyin", "opencc"))
    usual = {line[0]: sys.intern(line[1:]) for line in parts["usual"].decode().split("\n")}
    words = {
        word: tuple(map(sys.intern, syllables))
        for word, *syllables in (line.split(" ") for line in parts["words"].decode().split("\n"))
    }
    return Readings(usual, several, words)


def _several() -> dict[str, tuple[str, ...]]:
    several = {}
    for entry in _SEVERAL.replace("\n", "|").strip("|").split("|"):
        character, *syllables = entry.split()
        several[character] = tuple(map(sys.intern, syllables))
    return several


def _read() -> Parts:
    """``usual``: lines "生sheng"; ``words``: see :func:`_unlike`."""
    plain = functools.cache(plain_letters)  # of few syllables, very often
    usual = {
        chr(code): syllable
        for code, spelled in _pypinyin_characters().items()
        if (syllable := plain(spelled.split(",")[0])) in SYLLABLES
    }
    lines = "\n".join(character + syllable for character, syllable in usual.items())
    return {"usual": lines.encode(), "words": _unlike(usual, _several()).encode()}


def _pypinyin_characters() -> dict[int, str]:
    """Code point → its readings with tones, joined by commas."""
    # pypinyin would load its phrases and keep them, 45 MB for good; this is its own setting against that.
    asked = os.environ.get("PYPINYIN_NO_PHRASES")
    os.environ["PYPINYIN_NO_PHRASES"] = "1"
    try:
        from pypinyin.pinyin_dict import pinyin_dict
    finally:
        if asked is None:
            del os.environ["PYPINYIN_NO_PHRASES"]
    return pinyin_dict


def _unlike(usual: dict[str, str], several: dict[str, tuple[str, ...]]) -> str:
    """The phrases that aren't read as their characters are, or as one of several ways: "了解 liao jie", one a line.

    One string, since what is kept among pypinyin's million small values would keep their memory from being freed.
    """
    from pypinyin.phrases_dict import phrases_dict

    plain = functools.cache(plain_letters)
    found = []
    for phrase, spelled in phrases_dict.items():
        syllables = [plain(reading) for reading, *_ in spelled]
        word = simplified(phrase)
        if (
            len(word) == len(syllables) <= _LONGEST_WORD
            and SYLLABLES.issuperset(syllables)
            and any(
                syllable != usual.get(character) or len(several.get(character, ())) > 1
                for character, syllable in zip(word, syllables, strict=True)
            )
        ):
            found.append(f"{word} {' '.join(syllables)}")
    phrases_dict.clear()  # nobody else uses it, and the module would keep it
    return "\n".join(found)
