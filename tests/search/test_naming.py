"""What a picture is called by what it shows."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

import numpy as np
import pytest

from memewatchd.errors import Degraded, EncoderError
from memewatchd.ops import Example
from memewatchd.search.calibration import unfitting
from memewatchd.search.naming import Namer, phrases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

PICTURE = Example(data=b"some")


class Model:
    """Each text has an axis of its own; ``looks`` says which ones a picture is like, and how much."""

    def __init__(self) -> None:
        self.ready = True
        self.axes: dict[str, int] = {}
        self.asked = 0
        self.looks: dict[str, float] = {}
        self.on_picture: Callable[[], None] = lambda: None
        self.error: Exception | None = None

    def _axis(self, text: str) -> NDArray[np.float32]:
        vector = np.zeros(1000, np.float32)
        vector[self.axes.setdefault(text, len(self.axes))] = 1
        return vector

    def encode_text(self, text: str) -> Future[NDArray[np.float32]]:
        self.asked += 1
        future: Future[NDArray[np.float32]] = Future()
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(self._axis(text))
        return future

    def vectors(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        assert list(examples) == [PICTURE]
        self.on_picture()
        return [np.sum([share * self._axis(text) for text, share in self.looks.items()], axis=0)]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def namer(model: Model) -> Namer:
    return Namer(model, model.vectors)


def test_the_list() -> None:
    assert len(phrases()) > 300
    assert len({phrase.en for phrase in phrases()}) == len(phrases())
    assert len({phrase.zh for phrase in phrases()}) >= len(phrases()) - 12, "a cat's and a face's sleep is one"
    for phrase in phrases():
        assert phrase.en.isascii()
        assert any(ord(letter) > 0x2E7F for letter in phrase.zh)
        assert not set("/,") & {*phrase.en, *phrase.zh}, "it is a file's name"


def test_the_nearest_phrase_is_the_name(namer: Namer, model: Model) -> None:
    model.looks = {"angry cat": 0.5, "cat": 0.4}
    assert namer.name(PICTURE) == ("angry cat", "生气的猫")
    asked = model.asked
    model.looks = {"cat": 0.4}
    assert namer.name(PICTURE) == ("cat", "猫")
    assert model.asked == asked, "the phrases are encoded once"


def test_what_is_more_like_something_unfitting_has_no_name(namer: Namer, model: Model) -> None:
    model.looks = {"angry cat": 0.3, unfitting()[0]: 0.4}
    assert namer.name(PICTURE) is None


def test_without_a_model_it_says_so(namer: Namer, model: Model) -> None:
    model.ready = False
    with pytest.raises(Degraded, match="not ready"):
        namer.name(PICTURE)
    model.ready = True
    model.error = EncoderError("out of memory")
    with pytest.raises(Degraded, match="out of memory"):
        namer.name(PICTURE)
    model.error = None
    model.looks = {"cat": 1.0}
    assert namer.name(PICTURE) == ("cat", "猫"), "a failure is not remembered"


def test_another_model_that_comes_meanwhile_is_asked_anew(namer: Namer, model: Model) -> None:
    model.looks = {"cat": 1.0}

    def swap() -> None:
        model.on_picture = lambda: None
        model.axes.clear()
        model.axes.update({"": 0, "dog": 1})  # its vectors mean other things
        namer.forget()

    model.on_picture = swap
    assert namer.name(PICTURE) == ("cat", "猫")


def test_many_who_ask_at_once_have_the_phrases_encoded_once(namer: Namer, model: Model) -> None:
    model.looks = {"cat": 1.0}
    names: list[object] = []
    asking = [threading.Thread(target=lambda: names.append(namer.name(PICTURE))) for _ in range(5)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(30)
    assert names == [("cat", "猫")] * 5
    assert model.asked == len(phrases()) + len(unfitting())
