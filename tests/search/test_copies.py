"""Files that show one picture: found, folded, listed; and what a change of the catalog does to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from memewatchd import looks
from memewatchd.index.catalog import Catalog
from memewatchd.looks import SIDE, STILL_BYTES, Looks
from memewatchd.meme import Digest, FileRow, FileStat, PictureWords
from memewatchd.search.copies import Copies
from memewatchd.search.ranking import Hit

BASE = 32


def look(seed: int, brighter: int = 0) -> str:
    """A picture of its own for each seed; ``brighter`` in steps: by one it is a copy, by two it is none."""
    random = np.random.default_rng(seed)
    cells = np.repeat(np.repeat(random.integers(8, 48, (12, 12)), SIDE // 12, 0), SIDE // 12, 1).ravel() + brighter
    return looks.pack(Looks(bytes(cells.tolist()) + bytes([BASE]) * (STILL_BYTES - SIDE**2)))


def row(name: str, look: str = "", *, digest: str = "", size: tuple[int, int] = (200, 100), at: int = 0) -> FileRow:
    stat = FileStat(1, at, at, hash(name) % 1000)
    return FileRow(f"/m/{name}".encode(), stat, Digest(digest or name), at, *size, 1, kind="png", look=look)


def house(*rows: FileRow) -> tuple[Catalog, Copies]:
    catalog = Catalog()
    for each in rows:
        catalog.put(each)
    return catalog, Copies(catalog)


def named(rows: list[FileRow]) -> list[str]:
    return [each.path.decode().removeprefix("/m/") for each in rows]


def groups(copies: Copies) -> list[list[str]]:
    return [named(rows) for rows in copies.groups()]


def hits(*names: str) -> list[Hit]:
    return [Hit(f"/m/{name}".encode(), 1 - number / 100) for number, name in enumerate(names)]


def folded(copies: Copies, *names: str, limit: int | None = None) -> dict[str, list[str]]:
    return {
        hit.path.decode().removeprefix("/m/"): [path.decode().removeprefix("/m/") for path in hit.copies]
        for hit in copies.fold(hits(*names), limit)
    }


def test_the_same_bytes_are_copies_and_so_is_the_same_look() -> None:
    _, copies = house(
        row("a", look(1), digest="x"),
        row("b", look(1), digest="x"),
        row("c", look(1, 1)),
        row("d", look(2)),
        row("no look"),
        row("no look 2"),
        row("nor one", digest="y"),
        row("nor two", digest="y"),
    )
    assert groups(copies) == [["a", "b", "c"], ["nor one", "nor two"]]


def test_another_caption_makes_another_meme() -> None:
    catalog, copies = house(row("a", look(1)), row("b", look(1)), row("c", look(1)), row("d", look(1)))
    catalog.put_words(PictureWords(Digest("a"), "ONE DOES NOT SIMPLY\nWALK INTO MORDOR", "r"))
    catalog.put_words(PictureWords(Digest("b"), "BRACE YOURSELVES", "r"))
    assert groups(copies) == [["a", "c", "d"]]
    catalog.put_words(PictureWords(Digest("c"), "0NE DOES N0T SlMPLY WALK INTO M0RDOR", "r"))
    assert groups(copies) == [["a", "c", "d"]], "misread, and d's words are not known"
    assert folded(copies, "b", "a") == {"b": ["d"], "a": ["c"]}


def test_the_largest_comes_first_then_the_oldest() -> None:
    _, copies = house(
        row("small", look(1), size=(100, 50)),
        row("young", look(1), at=9),
        row("old", look(1), at=3),
        row("large", look(1), size=(400, 200), at=20),
    )
    assert groups(copies) == [["large", "old", "young", "small"]]


def test_another_shape_is_another_picture() -> None:
    _, copies = house(row("a", look(1)), row("b", look(1), size=(200, 120)), row("c", look(1), size=(67, 33)))
    assert groups(copies) == [["a", "c"]], "200:100 may be rounded to 67:33"


def test_copies_of_copies_are_none() -> None:
    _, copies = house(
        row("a", look(1), size=(400, 200)),
        row("b", look(1, 1), size=(300, 150)),
        row("c", look(1, 2), size=(200, 100)),
        row("d", look(1, 3), size=(100, 50)),
    )
    assert groups(copies) == [["a", "b"], ["c", "d"]]
    assert folded(copies, "b", "a", "c", "d") == {"b": ["a", "c"], "d": []}
    assert folded(copies, "a", "b", "c", "d") == {"a": ["b"], "c": ["d"]}


def test_the_best_hit_stays_and_names_the_others_found_or_not() -> None:
    _, copies = house(row("a", look(1)), row("b", look(1)), row("c", look(1), size=(20, 10)), row("d", look(2)))
    assert folded(copies, "b", "d", "a") == {"b": ["a", "c"], "d": []}
    assert folded(copies, "b", "a", "d", limit=1) == {"b": ["a", "c"]}
    assert folded(copies, "b", "a", "d", limit=2) == {"b": ["a", "c"], "d": []}
    assert folded(copies, "unknown", "d") == {"unknown": [], "d": []}
    assert copies.distinct([b"/m/a", b"/m/b", b"/m/d"], 9) == 2
    assert copies.distinct([b"/m/a", b"/m/b", b"/m/d"], 1) == 1


def test_a_copy_that_does_not_pass_is_neither_named_nor_found() -> None:
    _, copies = house(row("a", look(1)), row("b", look(1)), row("c", look(1)))
    (hit,) = copies.fold(hits("a"), passes=lambda row: row.path != b"/m/b")
    assert hit.copies == (b"/m/c",)


def test_a_change_of_the_catalog_is_seen() -> None:
    catalog, copies = house(row("a", look(1)), row("b", look(2)))
    assert groups(copies) == []
    catalog.put(row("c", look(1, 1)))
    assert groups(copies) == [["a", "c"]]
    catalog.put(row("d", look(1)))
    catalog.remove(b"/m/a")
    assert groups(copies) == [["c", "d"]]
    catalog.put(row("c", look(3), digest="other"))
    assert groups(copies) == []
    catalog.put(row("e", look(3), digest="more"))
    assert groups(copies) == [["c", "e"]]
    catalog.clear()
    assert groups(copies) == []
    catalog.put(row("f", look(1), digest="a"))
    catalog.put(row("g", look(1)))
    assert groups(copies) == [["f", "g"]]


def test_failed_and_away_files_are_no_copies() -> None:
    catalog, copies = house(row("a", look(1)), replace(row("b", look(1)), error="broken"), row("c", look(1)))
    assert groups(copies) == [["a", "c"]]
    catalog.set_away([b"/m"])
    assert groups(copies) == []
    catalog.set_away([])
    assert groups(copies) == [["a", "c"]]


@pytest.mark.parametrize("count", [300])
def test_many_of_one_picture_among_many_others(count: int) -> None:
    rows = [row(f"{number:03}", look(number)) for number in range(count)]
    again = [row(f"{number:03} again", look(number, 1), at=1) for number in range(0, count, 3)]
    many = [row(f"same {number}", look(9999, number % 2), at=number) for number in range(count)]
    _, copies = house(*rows, *again, *many)
    found = groups(copies)
    assert found[:-1] == [[f"{number:03}", f"{number:03} again"] for number in range(0, count, 3)]
    assert len(found[-1]) == count


def test_nonsense_is_like_nothing() -> None:
    _, copies = house(row("a", "A" * 100), row("b", "A" * 100), row("c", look(1)), row("d", look(1)))
    assert groups(copies) == [["c", "d"]]
