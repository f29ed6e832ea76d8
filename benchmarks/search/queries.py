"""What is asked of the set, and which pictures are right: by look, by words well and badly remembered, by pinyin, by
name, by tag, and for what isn't there. Pure; the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from pypinyin import lazy_pinyin

from benchmarks.search.answers import holds, is_han, pieces, reads, spaced
from benchmarks.search.memes import (
    BUBBLE,
    CHINESE,
    ENGLISH,
    GIF,
    PLAIN,
    TRADITIONAL,
    Meme,
    chance,
    rows,
    things,
    traditional,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TUNE, TEST = "tune", "test"
LOOK = "look"
NOTHING = "nothing: "
"""What the kinds of unanswerable queries begin with."""

# What people's memory puts in the place of a word.
_WRONG_EN = ("really", "never", "people", "thing", "before", "about", "little", "always", "because", "today")
_WRONG_ZH = "好大人天了有没不来去点心事小都真"
_LEAST_EN, _LEAST_ZH = 4, 6
"""A quote of fewer words or characters isn't misremembered, but another one."""


@dataclass(frozen=True)
class Query:
    """``right``: the files that fit, none for the unanswerable. ``half``: for choosing constants or for reporting."""

    kind: str
    language: str
    text: str
    right: frozenset[str]
    half: str

    @property
    def answerable(self) -> bool:
        return bool(self.right)


def half_of(key: str) -> str:
    """Which half all queries for one picture, or one thing, belong to."""
    return (TUNE, TEST)[chance(key, "half") % 2]


def ask(memes: Sequence[Meme]) -> list[Query]:
    """All queries, each text once a kind, in a fixed order."""
    asked = chain(_by_look(memes), _by_quote(memes), _by_pinyin(memes), _by_name(memes), _by_tag(memes), _nothing())
    found: dict[tuple[str, str], Query] = {}
    for query in asked:
        found.setdefault((query.kind, query.text), query)
    return list(found.values())


def _holding(memes: Sequence[Meme], text: str, *, parts: bool = False) -> frozenset[str]:
    return frozenset(meme.file for meme in memes if holds(meme, text, parts=parts))


def _read_like(memes: Sequence[Meme], han: str, *, initials: bool = False) -> frozenset[str]:
    return frozenset(meme.file for meme in memes if reads(meme, han, initials=initials))


# ---- by look


def _by_look(memes: Sequence[Meme]) -> Iterator[Query]:
    """What is drawn, by each of its names. Where a text holds that name, a picture with that text is right as well."""
    for thing in things().values():
        for language, names in ((ENGLISH, thing.en), (CHINESE, thing.zh)):
            for name in names:
                same = {other.icon for other in things().values() if name in (*other.en, *other.zh)}
                said = any(holds(meme, name, parts=True) or (is_han(name[0]) and reads(meme, name)) for meme in memes)
                shown = frozenset(meme.file for meme in memes if meme.icon in same)
                kind = f"{LOOK}, also written" if said else LOOK
                yield Query(kind, language, name, shown | _holding(memes, name), half_of(thing.icon))


# ---- by quote


def _by_quote(memes: Sequence[Meme]) -> Iterator[Query]:
    for meme in memes:
        if not meme.said:
            continue
        language = ENGLISH if meme.language == ENGLISH else CHINESE
        pick, half = chance(meme.key, "quote"), half_of(meme.key)
        # Chinese is mostly typed without a space between the lines.
        whole = (" " if language == ENGLISH or pick % 3 == 0 else "").join(meme.said)

        def query(kind: str, text: str, language: str = language, half: str = half, mine: str = meme.file) -> Query:
            return Query(kind, language, text, _holding(memes, text) | {mine}, half)

        yield query("quote", whole)
        if meme.kind == GIF:
            yield query("quote, a GIF's second half", meme.lines[1])
        if meme.language == TRADITIONAL:
            yield query("quote, the other script", " ".join(pieces(whole)))
        elif language == CHINESE and pick % 4 == 0 and traditional(whole) != whole:
            yield query("quote, the other script", traditional(whole))
        if (part := _part(meme, pick)) and part != whole:
            yield query("quote, part of it", part)
        for kind, text in _misremembered(whole, language, pick):
            yield query(f"quote, {kind}", text)


def _part(meme: Meme, pick: int) -> str:
    """Some words in a row, or some characters of a line."""
    if meme.language == ENGLISH:
        words = " ".join(meme.said).split()
        count = min(3, len(words) - 1)
        at = pick // 7 % max(1, len(words) - count + 1)
        part = " ".join(words[at : at + count])
        return part if len(part) >= 8 else ""
    line = max((piece for piece in pieces(" ".join(meme.said)) if is_han(piece)), key=len)
    count = min(4, len(line) - 1)
    at = pick // 7 % max(1, len(line) - count + 1)
    return line[at : at + count] if count >= 3 else ""


def _misremembered(whole: str, language: str, pick: int) -> Iterator[tuple[str, str]]:
    """Each way in which a quote may be wrong, and the quote so."""
    units = whole.split() if language == ENGLISH else list(whole.replace(" ", ""))
    if len(units) < (_LEAST_EN if language == ENGLISH else _LEAST_ZH):
        return
    glue = " " if language == ENGLISH else ""
    at = pick // 11 % len(units)
    others = _WRONG_EN if language == ENGLISH else _WRONG_ZH
    other = next(word for word in (*others[pick % len(others) :], *others) if word not in units)
    unit = "word" if language == ENGLISH else "character"
    yield f"a {unit} wrong", glue.join([*units[:at], other, *units[at + 1 :]])
    yield f"a {unit} missing", glue.join([*units[:at], *units[at + 1 :]])
    at = min(at, len(units) - 2)
    if units[at].lower() != units[at + 1].lower():
        yield f"two {unit}s swapped", glue.join([*units[:at], units[at + 1], units[at], *units[at + 2 :]])
    if language == ENGLISH:
        longest = max(range(len(units)), key=lambda number: len(units[number]))
        word = units[longest]
        if len(word) >= 5:
            cut = 1 + pick // 13 % (len(word) - 3)
            if word[cut] != word[cut + 1]:
                slipped = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
                yield "a slip of the finger", " ".join([*units[:longest], slipped, *units[longest + 1 :]])


# ---- by pinyin


def _by_pinyin(memes: Sequence[Meme]) -> Iterator[Query]:
    for meme in memes:
        if meme.language == ENGLISH:
            continue
        texts = [("words", line) for line in meme.said if meme.kind != BUBBLE]
        texts += [("a name", meme.name)] if meme.name else []
        for what, text in texts:
            runs = [piece for piece in pieces(text) if is_han(piece)]
            if not runs or not 2 <= len(runs[0]) <= 6:
                continue
            han, pick, half = runs[0], chance(meme.key, f"pinyin {text}"), half_of(meme.key)
            read = lazy_pinyin(han)
            typed = ("" if pick % 3 else " ").join(read)
            yield Query(f"pinyin of {what}", CHINESE, typed, _read_like(memes, han), half)
            if len(han) <= 4:
                alike = _read_like(memes, han, initials=True)
                yield Query(f"initials of {what}", CHINESE, "".join(each[0] for each in read), alike, half)


# ---- by name and tag


def _by_name(memes: Sequence[Meme]) -> Iterator[Query]:
    for meme in memes:
        if not meme.name:
            continue
        han = any(map(is_han, pieces(meme.name)))
        language, half = CHINESE if han else ENGLISH, half_of(meme.key)

        def query(kind: str, text: str, language: str = language, half: str = half) -> Query:
            return Query(kind, language, text, _holding(memes, text, parts=True), half)

        yield query("name", spaced(meme.name))
        pick = chance(meme.key, "part of a name")
        if han:
            run = max((piece for piece in pieces(meme.name) if is_han(piece)), key=len)
            if len(run) > 2:
                yield query("name, part of it", run[pick % 2 :][:2])
            other = traditional(meme.name) if meme.language != TRADITIONAL else " ".join(pieces(meme.name))
            if other != meme.name:
                yield query("name, the other script", other)
        else:
            words = sorted(pieces(spaced(meme.name)), key=len)
            if len(words) > 1 and len(words[-1]) > 4:
                # As one types: the last letters aren't there yet.
                yield query("name, part of it", words[-1][: -1 if pick % 2 and len(words[-1]) > 5 else None])


def _by_tag(memes: Sequence[Meme]) -> Iterator[Query]:
    for tag in sorted({tag for meme in memes for tag in meme.tags}):
        language = CHINESE if is_han(tag) else ENGLISH
        yield Query("tag", language, tag, _holding(memes, tag), half_of(tag))


# ---- what isn't there


def _nothing() -> Iterator[Query]:
    for what, language, text in rows("unanswerable.tsv"):
        yield Query(f"{NOTHING}{what}", language, text, frozenset(), half_of(text))


def silent(memes: Sequence[Meme]) -> int:
    """How many pictures have neither words nor a person's name: only their look can find them."""
    return sum(meme.kind == PLAIN and not meme.name for meme in memes)
