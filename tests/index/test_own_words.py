"""Tags and descriptions in a row: what is stored is what comes back, and what does not fit is cut."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from memewatchd.index import schema
from memewatchd.meme import Digest, FileRow, FileStat

ROW = FileRow(b"/m/a.png", FileStat(1, 2, 3, 4), Digest("0" * 64), 5, 6, 7, 1, text="a", kind="png")


def test_they_make_another_row() -> None:
    rows = [ROW, replace(ROW, tags=("a", "b")), replace(ROW, tags=("a",)), replace(ROW, inner="a")]
    assert len({row.id for row in rows}) == len(rows)


@given(st.lists(st.text(max_size=20), max_size=6), st.text(max_size=40))
def test_a_fitted_row_comes_back(tags: list[str], inner: str) -> None:
    row = schema.fit(replace(ROW, tags=tuple(tags), inner=inner))
    assert schema.fit(row) == row
    entity = schema.to_entity(row)
    back = schema.from_entity(entity)
    assert (back, back.id) == (row, entity["id"])


def test_what_is_too_long_is_cut_at_a_tags_end() -> None:
    row = schema.fit(replace(ROW, tags=tuple(f"猫{number}" for number in range(5000)), inner="猫" * 5000))
    assert row.tags == tuple(f"猫{number}" for number in range(len(row.tags)))
    assert schema.MAX_TAGS_BYTES - 10 < len("\n".join(row.tags).encode()) <= schema.MAX_TAGS_BYTES
    assert row.inner == "猫" * (schema.MAX_INNER_BYTES // 3)
    assert schema.fit(replace(ROW, tags=("x" * 9000,))).tags == ()
