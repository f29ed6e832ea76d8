"""What passes a filter, over rows that have what the index will hold."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from memewatchd.pictures.kinds import EXTENSIONS
from memewatchd.search.filters import KINDS, predicate
from memewatchd.search.query import parse
from memewatchd.words import tag_key, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOTS = (b"/home/u/Memes", b"/home/u/More/")


@dataclass(frozen=True)
class Stat:
    mtime_ns: int = 0


@dataclass(frozen=True)
class Row:
    path: bytes = b"/home/u/Memes/x.png"
    stat: Stat = Stat()
    kind: str = "png"
    frames: int = 1
    tags: tuple[str, ...] = ()
    text: str = ""


def passes(query: str, row: Row) -> bool:
    return predicate(parse(query).filters, ROOTS)(row)


def at(*when: int) -> Row:
    return Row(stat=Stat(int(datetime(*when).timestamp()) * 10**9))  # type: ignore[arg-type]


@pytest.fixture(params=["UTC", "Asia/Shanghai", "America/Los_Angeles"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("query", "row", "expected"),
    [
        ("ext:gif", Row(kind="gif"), True),
        ("ext:gif", Row(path=b"/home/u/Memes/x.gif", kind="png"), False),  # the real type, not the name
        ("ext:jpg", Row(kind="jpeg"), True),
        ("-ext:gif", Row(kind="gif"), False),
        ("ext:gif ext:webp", Row(kind="webp"), True),
        ("ext:gif -ext:gif", Row(kind="gif"), False),
        ("is:animated", Row(frames=2), True),
        ("is:animated", Row(frames=1), False),
        ("is:still", Row(frames=1), True),
        ("-is:animated", Row(frames=1), True),
        ("is:animated is:still", Row(frames=1), False),
        ("is:fav", Row(tags=("fav",)), True),
        ("is:fav", Row(tags=("favour",)), False),
        ("tag:work", Row(tags=("fun", "work")), True),
        ("tag:wor", Row(tags=("work",)), False),
        ("tag:a tag:b", Row(tags=("a",)), False),
        ("-tag:a", Row(tags=("a",)), False),
        ("tag:生氣", Row(tags=(tag_key("生气"),)), True),
        ('"exact words"', Row(text="some exact words here"), True),
        ('"exact words"', Row(text="words exact"), False),
        ('"cat"', Row(text="category"), False),
        ('"cat"', Row(text="生气 cat"), True),
        ("“裂開”", Row(text="我裂开了"), True),
        ('-"exact words"', Row(text="exact words"), False),
        ('"猫 cat"', Row(text="大猫 cat"), True),
        ('"猫 cat"', Row(text="大猫 cats"), False),
    ],
)
def test_a_file_passes(query: str, row: Row, expected: bool) -> None:
    assert passes(query, row) is expected


@pytest.mark.parametrize(
    ("query", "path", "expected"),
    [
        ("in:reactions/", "Memes/reactions/x.png", True),
        ("in:reactions", "Memes/reactions/x.png", True),
        ("in:REACTIONS/", "Memes/2024/Reactions/deep/x.png", True),
        ("in:reactions/", "Memes/reactions.png", False),
        ("in:react", "Memes/reactions/x.png", False),
        ("in:actions/", "Memes/reactions/x.png", False),
        ("in:a/b", "Memes/a/b/x.png", True),
        ("in:a/b", "Memes/a/x/b/x.png", False),
        ("in:/b", "Memes/b/x.png", True),
        ("in:/b", "Memes/a/b/x.png", False),
        ("in:b", "More/b/x.png", True),
        ("in:/home/u/More", "More/b/x.png", True),
        ("in:/home/u/Mor", "More/b/x.png", False),
        ("in:u", "Memes/x.png", False),  # above the root is nobody's folder
        ("in:a in:b", "Memes/b/x.png", True),
        ("-in:old/", "Memes/old/x.png", False),
        ("-in:old/", "Memes/older/x.png", True),
        ("in:裂開", "Memes/裂开/x.png", True),
    ],
)
def test_folders(query: str, path: str, expected: bool) -> None:
    assert passes(query, Row(path=b"/home/u/" + path.encode())) is expected


def test_a_folder_that_is_not_utf8() -> None:
    assert passes("in:b", Row(path=b"/home/u/Memes/\xff/b/x.png"))


@pytest.mark.usefixtures("_zone")
def test_days_are_the_days_here() -> None:
    assert passes("after:2025-01-31", at(2025, 1, 31, 0, 0))
    assert not passes("after:2025-01-31", at(2025, 1, 30, 23, 59))
    assert passes("before:2025-01-31", at(2025, 1, 30, 23, 59))
    assert not passes("before:2025-01-31", at(2025, 1, 31, 0, 0))
    assert passes("after:2025 before:2025-02", at(2025, 1, 31, 12, 0))
    assert not passes("-after:2025-01-31", at(2025, 1, 31, 12, 0))


def test_without_filters_everything_passes() -> None:
    assert passes("angry cat", Row())


def test_every_extension_of_a_picture_is_a_known_type() -> None:
    for extension in EXTENSIONS:
        (one,) = parse(f"ext:{extension.decode()}").filters
        assert one.value in KINDS


def test_text_that_words_made_is_found_by_the_same_words_in_quotes() -> None:
    for typed in ("don't panic!", "生气cat", "Straße 5"):
        assert passes(f'"{typed}"', Row(text=f"a {' '.join(words_of(typed))} b"))


def test_a_root_within_the_file_system_root() -> None:
    assert predicate(parse("in:/a").filters, [b"/"])(Row(path=os.fsencode("/a/x.png")))
