"""What a picture is called by what it shows: the phrase of a list that is most like it. Blocks; any thread may call.

A phrase is a name only where it is more like the picture than every text of unfitting.txt, which hardly a picture fits:
what a cosine says differs from model to model, and from picture to picture.
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from memewatchd.errors import Degraded, EncoderError
from memewatchd.search.calibration import unfitting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from memewatchd.ops import Example

_PHRASES = Path(__file__).with_name("phrases.txt")


class Phrase(NamedTuple):
    """A name in both languages."""

    en: str
    zh: str


class TextEncoder(Protocol):
    """What this needs of the encoders."""

    @property
    def ready(self) -> bool: ...
    def encode_text(self, text: str) -> Future[NDArray[np.float32]]: ...


@functools.cache
def phrases() -> tuple[Phrase, ...]:
    """What memes show, from phrases.txt."""
    lines = _PHRASES.read_text(encoding="utf-8").splitlines()
    return tuple(Phrase(*line.split("\t")) for line in lines if line and not line.startswith("#"))


class Namer:
    """The phrases' vectors are made at the first question: a third of a second for the bundled model, half a minute
    for a large one."""

    def __init__(self, encoder: TextEncoder, vectors: Callable[[Sequence[Example]], list[NDArray[np.float32]]]) -> None:
        """``vectors``: one unit-length vector (dim,) of each picture, as :meth:`Examples.vectors` gives them."""
        self._encoder = encoder
        self._vectors = vectors
        self._lock = threading.Lock()
        self._turn = 0
        self._texts: tuple[int, NDArray[np.float32]] = (-1, np.empty((0, 0), np.float32))

    def forget(self) -> None:
        """Another model is in use."""
        self._turn += 1

    def name(self, picture: Example) -> Phrase | None:
        """None where nothing in the list fits. Raises BadRequest for what can't be read, Degraded without a model."""
        if not self._encoder.ready:
            raise Degraded("the model is not ready, so nobody knows what a picture shows")
        try:
            while True:
                turn = self._turn
                texts = self._of_texts(turn)
                (vector,) = self._vectors([picture])
                if turn == self._turn:  # else they may be of two models
                    best = int((texts @ vector).argmax())
                    return phrases()[best] if best < len(phrases()) else None
        except EncoderError as error:
            raise Degraded(str(error)) from error

    def _of_texts(self, turn: int) -> NDArray[np.float32]:
        """float32 (n, dim): the phrases', then the unfitting texts'."""
        with self._lock:  # who asks meanwhile waits, and doesn't encode them again
            known, vectors = self._texts
            if known != turn:
                texts = [*(phrase.en for phrase in phrases()), *unfitting()]
                vectors = np.stack([self._encoder.encode_text(text).result() for text in texts])
                self._texts = (turn, vectors)
            return vectors
