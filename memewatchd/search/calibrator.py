"""Keeps a calibration that fits the index: measured anew when the index has grown or shrunk by a quarter."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import numpy as np

from memewatchd.errors import MemewatchError
from memewatchd.search.calibration import LEAST_PICTURES, SAMPLE, Calibration, unfitting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from memewatchd.meme import Digest, PictureHit

log = logging.getLogger(__name__)

CHANGED = 0.25
"""The share of pictures that may come or go before a calibration is stale."""


class _PutOff(Exception):
    """Something else comes first."""


class TextEncoder(Protocol):
    """What this needs of the encoders."""

    def encode_text(self, text: str) -> Future[NDArray[np.float32]]: ...


class PictureIndex(Protocol):
    """What this needs of the index."""

    def vectors(self, digests: Collection[Digest]) -> dict[Digest, NDArray[np.float32]]: ...
    def search_pictures(self, vector: NDArray[np.float32], limit: int) -> list[PictureHit]: ...


class Files(Protocol):
    """What this needs of the catalog."""

    @property
    def generation(self) -> int: ...
    @property
    def indexed(self) -> int: ...
    def vectors(self) -> set[Digest]: ...


class Calibrator:
    """One thread measures, any may read :attr:`current`.

    ``may_go_on``: whether there is time for one more text.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        index: PictureIndex,
        files: Files,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self._encoder = encoder
        self._index = index
        self._files = files
        self._may_go_on = may_go_on
        self._measured: set[Digest] = set()
        self._fitting: tuple[int, int] | None = None  # how the files were when the measure was seen to fit
        self._turn = 0
        self.current: Calibration | None = None
        """None while nothing is measured, or too little is there."""

    @property
    def pictures(self) -> int:
        """How many there were when it was measured; 0 before."""
        return len(self._measured)

    @property
    def is_stale(self) -> bool:
        """Whether the pictures have changed too much since (another model's are other pictures' vectors too)."""
        files = (self._files.generation, self._files.indexed)
        if files == self._fitting:
            return False
        now, measured = self._files.vectors(), self._measured
        most = max(len(now), len(measured))
        if most > 0 and len(now ^ measured) > CHANGED * most:
            return True
        self._fitting = files
        return False

    def forget(self) -> None:
        """Another model is in use: what is being measured just now means nothing either."""
        self._turn += 1
        self._fitting = None
        self._measured, self.current = set(), None

    def measure(self) -> bool:
        """Blocks for as long as encoding some 70 texts takes. False where the model or Milvus failed, or changed, or
        where it may not go on: called again, it begins with texts that the encoder still knows."""
        turn = self._turn
        digests = self._files.vectors()
        try:
            current = self._measure(digests) if len(digests) >= LEAST_PICTURES else None
        except _PutOff:
            return False
        except MemewatchError as error:
            log.info("what fits nothing could not be measured: %s", error)
            return False
        if turn != self._turn:
            return False
        self.current, self._measured = current, digests
        log.debug("calibrated on %d pictures: %s", len(digests), current and current.least)
        return True

    def _measure(self, digests: Collection[Digest]) -> Calibration | None:
        # Digests are as good as random; each n-th gives the same sample of the same pictures.
        chosen = sorted(digests)[:: max(1, len(digests) // SAMPLE)][:SAMPLE]
        sample = [frames[0] for frames in self._index.vectors(chosen).values()]
        queries = []
        for text in unfitting():
            if not self._may_go_on():
                raise _PutOff
            queries.append(self._encoder.encode_text(text).result())
        best = [self._index.search_pictures(query, 1) for query in queries]
        if not sample or not all(best):
            return None  # everything has been deleted meanwhile
        return Calibration.measure(np.stack(sample), np.stack(queries), [hits[0].score for hits in best])
