"""What was stored a moment ago is found at once, whatever the server shows yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from memewatchd.index import fresh, tables
from memewatchd.index.fresh import Fresh
from memewatchd.meme import Digest, PictureHit

if TYPE_CHECKING:
    from memewatchd.index.store import Store

A, B, C = (Digest(letter * 64) for letter in "abc")
EAST, NORTH = np.float32([1, 0]), np.float32([0, 1])


def test_it_is_kept_for_a_while() -> None:
    now = [0.0]
    kept = Fresh(lambda: now[0])
    kept.add([(A, 0, EAST), (B, 2, NORTH)])
    assert kept.near(EAST * 3) == [PictureHit(A, 0, 1.0), PictureHit(B, 2, 0.0)]
    assert kept.near(EAST, [B, C]) == [PictureHit(B, 2, 0.0)]
    kept.drop([A])
    assert kept.near(EAST) == [PictureHit(B, 2, 0.0)]
    assert kept.near(np.float32([0, 0])) == [PictureHit(B, 2, 0.0)]
    now[0] = fresh.KEEP_S
    assert kept.near(EAST) == []


def test_more_than_is_kept_is_the_servers_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "MOST", 3)
    now = [0.0]
    kept = Fresh(lambda: now[0])
    kept.add([(A, number, EAST) for number in range(4)])
    assert kept.near(EAST) is None
    now[0] = fresh.KEEP_S
    assert kept.near(EAST) == []
    kept.add([(A, number, EAST) for number in range(3)])
    assert kept.near(EAST) is not None


@pytest.mark.parametrize("most", [fresh.MOST, 0])
def test_what_was_just_stored_is_found_and_in_its_place(
    store: Store, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(fresh, "MOST", most)  # 0: the server is waited for
    axes = np.eye(16, dtype=np.float32)
    for number in range(12):
        digest = Digest(f"{number:064x}")
        store.insert_pictures([(digest, 0, axes[number]), (digest, 1, axes[15])])
        best, *others = store.search_pictures(axes[number], 30)
        assert best == PictureHit(digest, 0, pytest.approx(1.0))
        assert [hit.score for hit in others] == sorted((hit.score for hit in others), reverse=True)
        assert len({(hit.digest, hit.frame) for hit in others}) == len(others) == 2 * number + 1
        (only,) = store.search_pictures(axes[15], 1, [digest])
        assert only == PictureHit(digest, 1, pytest.approx(1.0))
    assert len(store.search_pictures(axes[15], 5)) == 5
    store.delete_pictures([Digest(f"{0:064x}")])
    if most:
        assert store._fresh.near(axes[0], [Digest(f"{0:064x}")]) == []


def test_no_search_waits_for_a_write(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    search = store._search

    def noted(*arguments: object) -> list[PictureHit]:
        asked.append(str(arguments[-1]))
        return search(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_search", noted)
    store.insert_pictures([(A, 0, np.eye(16, dtype=np.float32)[0])])
    began = time.perf_counter()
    store.search_pictures(np.eye(16, dtype=np.float32)[0], 1)
    assert time.perf_counter() - began < 5
    assert asked == [tables.BOUNDED]
