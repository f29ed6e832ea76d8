"""Pinyin as people type it: with or without tones, apostrophes and spaces → syllables. Pure."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import chain, islice, product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SPELLED = """
    a ai an ang ao ba bai ban bang bao bei ben beng bi bian biao bie bin bing biu bo bu ca cai can cang cao ce cei cen
    ceng cha chai chan chang chao che chen cheng chi chong chou chu chua chuai chuan chuang chui chun chuo ci cong cou
    cu cuan cui cun cuo da dai dan dang dao de dei den deng di dia dian diao die ding diu dong dou du duan dui dun duo
    e ei en eng er fa fan fang fei fen feng fo fou fu ga gai gan gang gao ge gei gen geng gong gou gu gua guai guan
    guang gui gun guo ha hai han hang hao he hei hen heng hong hou hu hua huai huan huang hui hun huo ji jia jian
    jiang jiao jie jin jing jiong jiu ju juan jue jun ka kai kan kang kao ke kei ken keng kong kou ku kua kuai kuan
    kuang kui kun kuo la lai lan lang lao le lei leng li lia lian liang liao lie lin ling liu lo long lou lu luan lun
    luo lv lve ma mai man mang mao me mei men meng mi mian miao mie min ming miu mo mou mu na nai nan nang nao ne nei
    nen neng ni nian niang niao nie nin ning niu nong nou nu nuan nun nuo nv nve o ou pa pai pan pang pao pei pen peng
    pi pian piao pie pin ping po pou pu qi qia qian qiang qiao qie qin qing qiong qiu qu quan que qun ran rang rao re
    ren reng ri rong rou ru rua ruan rui run ruo sa sai san sang sao se sen seng sha shai shan shang shao she shei
    shen sheng shi shou shu shua shuai shuan shuang shui shun shuo si song sou su suan sui sun suo ta tai tan tang tao
    te tei teng ti tian tiao tie ting tong tou tu tuan tui tun tuo wa wai wan wang wei wen weng wo wu xi xia xian
    xiang xiao xie xin xing xiong xiu xu xuan xue xun ya yan yang yao ye yi yin ying yo yong you yu yuan yue yun za
    zai zan zang zao ze zei zen zeng zha zhai zhan zhang zhao zhe zhen zheng zhi zhong zhou zhu zhua zhuai zhuan
    zhuang zhui zhun zhuo zi zong zou zu zuan zui zun zuo
"""
SYLLABLES = frozenset(_SPELLED.split())
"""Every syllable of Mandarin as it is typed, ü as v."""

_LONGEST = max(map(len, SYLLABLES))
_BEGINNINGS = frozenset(syllable[:end] for syllable in SYLLABLES for end in range(1, len(syllable)))
# They can only mean lüe and nüe, and the dots are hard to type.
_WITHOUT_DOTS = {"lue": "lve", "nue": "nve"}
_TONE = re.compile(r"(?<=[a-z])[1-5](?![0-9])")
_LETTERS = re.compile(r"[a-z]+")
# Longer ones are no words, and the number of readings grows with every letter.
MOST_LETTERS = 60
# Of an ambiguous spelling. `xian` has two readings; each place that can be cut in two ways doubles them.
MOST_READINGS = 64


def plain_letters(word: str) -> str:
    """A folded word without tones: "shēng", "sheng1" → "sheng"; "nǚ" → "nv"; "" for what isn't pinyin's letters."""
    if word.isascii() and word.isalpha():
        return word if len(word) <= MOST_LETTERS else ""
    bare = "".join(
        "v" if character in "üǖǘǚǜ" else unicodedata.normalize("NFD", character)[0]
        for character in unicodedata.normalize("NFC", word)
        if not unicodedata.combining(character)
    )
    bare = _TONE.sub("", bare)
    return bare if len(bare) <= MOST_LETTERS and _LETTERS.fullmatch(bare) else ""


def split(letters: str) -> list[tuple[str, ...]]:
    """The ways to read letters as whole syllables, longest syllables first: "xian" → (xian), (xi, an)."""
    return [whole for whole, rest in _read(letters) if not rest]


def split_beginning(parts: Sequence[str]) -> list[tuple[tuple[str, ...], str]]:
    """The ways to read ``parts`` while they are typed: whole syllables, then the beginning of one, or "".

    Syllables don't cross from part to part; only the last part may end within one. ``"shengq"`` → ((sheng), "q").
    """
    *before, last = parts
    found = []
    for heads in islice(product(*map(split, before)), MOST_READINGS):
        head = tuple(chain.from_iterable(heads))
        found += [(head + whole, rest) for whole, rest in _read(last)]
    return found[:MOST_READINGS]


@lru_cache(256)
def _read(letters: str) -> list[tuple[tuple[str, ...], str]]:
    """Whole syllables, and what is left at the end: "" or the beginning of a syllable that isn't one itself."""
    return list(islice(_readings(letters, {}), MOST_READINGS))


def _readings(letters: str, dead: dict[str, bool]) -> Iterator[tuple[tuple[str, ...], str]]:
    if not letters:
        yield (), ""
        return
    if letters in dead:
        return
    found = False
    for end in range(min(_LONGEST, len(letters)), 0, -1):
        syllable = _WITHOUT_DOTS.get(letters[:end], letters[:end])
        if syllable in SYLLABLES:
            for rest, beginning in _readings(letters[end:], dead):
                found = True
                yield (syllable, *rest), beginning
    if letters in _BEGINNINGS and letters not in SYLLABLES:
        found = True
        yield (), letters
    if not found:
        dead[letters] = True
