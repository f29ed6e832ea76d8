"""When it is measured what fits nothing, and when what was measured holds no longer."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

import numpy as np
import pytest

from memewatchd.errors import StoreUnavailable
from memewatchd.meme import Digest, PictureHit
from memewatchd.search.calibration import LEAST_PICTURES, unfitting
from memewatchd.search.calibrator import Calibrator

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray


class Parts:
    """The model, the index and the catalog in one: pictures are random, texts too."""

    def __init__(self, pictures: int) -> None:
        self._random = np.random.default_rng(1)
        self.pictures = {Digest(f"{number:064x}"): self._unit() for number in range(pictures)}
        self.failing = False
        self.on_text: Callable[[], None] = lambda: None

    @property
    def generation(self) -> int:
        return hash(frozenset(self.pictures))

    @property
    def indexed(self) -> int:
        return len(self.pictures)

    def _unit(self) -> NDArray[np.float32]:
        vector = self._random.normal(size=16)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def encode_text(self, text: str) -> Future[NDArray[np.float32]]:
        self.on_text()
        future: Future[NDArray[np.float32]] = Future()
        future.set_result(self._unit())
        return future

    def search_pictures(self, vector: NDArray[np.float32], limit: int) -> list[PictureHit]:
        if self.failing:
            raise StoreUnavailable("Milvus is away")
        scores = {digest: float(picture @ vector) for digest, picture in self.pictures.items()}
        return [PictureHit(digest, 0, score) for digest, score in sorted(scores.items(), key=lambda s: -s[1])[:limit]]

    def vectors(self, digests: Collection[Digest] | None = None) -> set[Digest] | dict[Digest, NDArray[np.float32]]:
        if digests is None:
            return set(self.pictures)
        return {digest: self.pictures[digest][None] for digest in digests}


def made(parts: Parts) -> Calibrator:
    return Calibrator(parts, parts, parts)  # type: ignore[arg-type]


def test_it_is_stale_until_measured_and_when_a_quarter_has_changed() -> None:
    parts = Parts(200)
    calibrator = made(parts)
    assert calibrator.is_stale
    assert calibrator.measure()
    assert (calibrator.is_stale, calibrator.pictures) == (False, 200)
    assert calibrator.current is not None
    for digest in list(parts.pictures)[:40]:
        del parts.pictures[digest]
    assert not calibrator.is_stale
    for digest in list(parts.pictures)[:20]:
        del parts.pictures[digest]
    assert calibrator.is_stale


def test_few_pictures_are_measured_as_too_few() -> None:
    calibrator = made(Parts(LEAST_PICTURES - 1))
    assert calibrator.measure()
    assert calibrator.current is None
    assert not calibrator.is_stale


def test_a_failing_index_leaves_it_stale() -> None:
    parts = Parts(200)
    calibrator = made(parts)
    parts.failing = True
    assert not calibrator.measure()
    assert calibrator.is_stale


def test_it_stops_between_two_texts_and_goes_on_later() -> None:
    parts = Parts(200)
    left = 3

    def may_go_on() -> bool:
        nonlocal left
        left -= 1
        return left >= 0

    asked = 0

    def on_text() -> None:
        nonlocal asked
        asked += 1

    parts.on_text = on_text
    calibrator = Calibrator(parts, parts, parts, may_go_on)  # type: ignore[arg-type]
    assert not calibrator.measure()
    assert (asked, calibrator.is_stale) == (3, True)
    left = len(unfitting())
    assert calibrator.measure()
    assert not calibrator.is_stale


@pytest.mark.parametrize("at", [1, len(unfitting())])
def test_what_is_measured_while_the_model_changes_is_dropped(at: int) -> None:
    parts = Parts(200)
    calibrator = made(parts)
    asked = 0

    def count() -> None:
        nonlocal asked
        asked += 1
        if asked == at:
            calibrator.forget()

    parts.on_text = count
    assert not calibrator.measure()
    assert calibrator.current is None
    assert calibrator.is_stale
