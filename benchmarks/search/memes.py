"""The meme set: which pictures there are, what they show and say, and what their files are called. Pure.

What is drawn and written stands in the tables beside this file; what is left to chance hangs on the seed and on the
picture alone, so that the set is the same on every machine and a new picture changes no other.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import opencc

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
SEED = 20261126

ENGLISH, CHINESE, TRADITIONAL = "en", "zh", "zh-hant"
MEME, STICKER, BUBBLE, GIF, PLAIN = "meme", "sticker", "bubble", "gif", "plain"

# What people put on their files themselves; none of it is said or shown in a picture.
TAGS = {
    ENGLISH: (
        "sarcasm",
        "nostalgia",
        "passive aggressive",
        "wholesome",
        "cursed",
        "reaction pics",
        "for work",
        "spicy",
    ),
    CHINESE: ("阴阳", "怀旧", "治愈", "沙雕", "撩妹", "发疯", "工作群", "父母勿看"),
}


@dataclass(frozen=True)
class Thing:
    """What is drawn: ``icon`` is openmoji's name; the first of ``en`` and ``zh`` is the usual word."""

    icon: str
    en: tuple[str, ...]
    zh: tuple[str, ...]


@dataclass(frozen=True, eq=False)  # by identity: many caches are asked for each
class Meme:
    """One picture. ``lines`` is what it says: top and bottom, a GIF's halves, one bubble after the other; "" is none.

    ``file`` is its name; ``name`` what a person called it, "" where a machine did. ``icon``: what it shows, "" for text
    alone. ``tags`` lie on the file itself.
    """

    kind: str
    language: str
    icon: str
    lines: tuple[str, ...]
    file: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What it is, whatever its file is called."""
        return "|".join((self.kind, self.language, self.icon, *self.lines))

    @property
    def said(self) -> tuple[str, ...]:
        """The lines that aren't empty."""
        return tuple(line for line in self.lines if line)


def chance(key: str, what: str, seed: int = SEED) -> int:
    """A number that hangs on these alone."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {what} {key}".encode(), digest_size=8).digest(), "big")


def rows(file: str) -> Iterator[list[str]]:
    """The fields of each line of a table."""
    for line in (HERE / file).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


@cache
def things() -> dict[str, Thing]:
    """By openmoji's name."""
    return {icon: Thing(icon, tuple(en.split(", ")), tuple(zh.split(", "))) for icon, en, zh in rows("things.tsv")}


@cache
def _to_traditional() -> opencc.OpenCC:
    return opencc.OpenCC("s2tw")


def traditional(text: str) -> str:
    """Simplified Chinese in traditional characters."""
    return str(_to_traditional().convert(text))


def plan(seed: int = SEED) -> list[Meme]:
    """Every picture of the set, with its file's name; always the same for the same seed."""
    memes = [
        Meme(kind, language, icon, tuple(words.split("|"))) for kind, language, icon, words in rows("captions.tsv")
    ]
    memes += [Meme(PLAIN, (ENGLISH, CHINESE)[chance(icon, "language", seed) % 2], icon, ()) for icon in things()]
    occasions = defaultdict(list)
    for language, name in rows("names.tsv"):
        occasions[language].append(name)
    for names in occasions.values():
        names.sort(key=lambda name: chance(name, "occasion", seed))
    taken: set[str] = set()
    named = []
    # In an order of chance, so that the occasions go to pictures of all kinds.
    for meme in sorted(memes, key=lambda meme: chance(meme.key, "order", seed)):
        pick = chance(meme.key, "human", seed)
        name = _human(meme, pick // 3, occasions) if pick % 3 == 0 else ""
        stem = name or _machine(meme, chance(meme.key, "machine", seed))
        file = f"{stem}{_extension(meme, chance(meme.key, 'extension', seed))}"
        assert file.casefold() not in taken, file
        taken.add(file.casefold())
        named.append(replace(meme, file=file, name=name, tags=_tags(meme, chance(meme.key, "tags", seed))))
    return sorted(named, key=lambda meme: meme.file)


def _human(meme: Meme, pick: int, occasions: dict[str, list[str]]) -> str:
    """What a person calls it: by the occasion, by what it says, or by what it shows."""
    if pick % 2 == 0 and occasions[meme.language]:
        return occasions[meme.language].pop()
    if meme.said and pick % 3:
        words = meme.said[0].strip("?!.").split("，")[0]
        return words.replace(" ", "-") if pick % 5 == 0 else words
    if not meme.icon:
        return ""
    thing = things()[meme.icon]
    if meme.language == ENGLISH:
        return f"{thing.en[0]}{'' if meme.kind == PLAIN else f' {pick % 90 + 10}'}"
    label = traditional(thing.zh[0]) if meme.language == TRADITIONAL or pick % 4 == 1 else thing.zh[0]
    return f"{label}{'' if meme.kind == PLAIN else pick % 90 + 10}"


def _machine(meme: Meme, pick: int) -> str:
    """What a camera, a phone or a chat program calls it."""
    day = f"2024{pick % 12 + 1:02}{pick // 12 % 28 + 1:02}"
    time = f"{pick // 500 % 24:02}{pick // 12_000 % 60:02}{pick // 720_000 % 60:02}"
    forms = [
        f"IMG_{day}_{time}",
        f"mmexport17{pick // 7 % 10**11:011}",
        f"{pick:016x}",
        hashlib.md5(meme.key.encode(), usedforsecurity=False).hexdigest(),
        f"IMG-{day}-WA{pick // 99 % 10_000:04}",
        f"Screenshot_{day}-{time}",
    ]
    if meme.language != ENGLISH:
        forms += [f"微信图片_{day}{time}", f"mmexport17{pick // 11 % 10**11:011}"]
    return forms[pick // 7 % len(forms)]


def _extension(meme: Meme, pick: int) -> str:
    if meme.kind == GIF:
        return ".gif"
    if meme.kind == STICKER:
        return (".png", ".webp", ".png")[pick % 3]
    if meme.kind == BUBBLE:
        return (".png", ".jpg")[pick % 2]
    return (".jpg", ".jpg", ".png", ".webp")[pick % 4]


def _tags(meme: Meme, pick: int) -> tuple[str, ...]:
    if pick % 7:
        return ()
    known = TAGS[ENGLISH if meme.language == ENGLISH else CHINESE]
    return (known[pick // 7 % len(known)],)
