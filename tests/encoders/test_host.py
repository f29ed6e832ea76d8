"""The host's two threads, with a small encoder of plain numpy, and once with a real model."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from memewatchd.encoders.host import (
    BATCH,
    CACHED_TEXTS,
    IMAGE_NICENESS,
    LOAD_STUCK_AFTER_S,
    STUCK_AFTER_S,
    EncoderHost,
)
from memewatchd.errors import EncoderError
from memewatchd.meme import FrameSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

REPO = Path(__file__).parents[2]
PATIENCE_S = 30


class Numbers:
    """An encoder whose vectors say what it was given, and which notes who asked what."""

    name = "numbers"
    fingerprint = "0" * 16
    dim = 2
    spec = FrameSpec("exact", 1, 1)
    is_english_only = True

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.shares: list[int] = []
        self.running = self.most_running = 0
        self.takes_s = 0.0
        self.texts: list[str] = []
        self.pauses: list[str] = []
        self.rests: list[str] = []
        self.niceness: dict[str, int] = {}
        self.images_may_run = threading.Event()
        self.images_may_run.set()
        self.in_images = threading.Event()

    def _note(self, what: str) -> None:
        self.niceness[what] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def encode_images(self, frames: Sequence[NDArray[np.uint8]], share: int = 1) -> NDArray[np.float32]:
        self._note("image")
        self.shares.append(share)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.in_images.set()
        assert self.images_may_run.wait(PATIENCE_S)
        time.sleep(self.takes_s)
        self.running -= 1
        self.batches.append(len(frames))
        return np.array([[frame.item(), 0] for frame in frames], dtype=np.float32)

    def encode_text(self, text: str) -> NDArray[np.float32]:
        self._note("text")
        self.texts.append(text)
        if text == "broken":
            raise RuntimeError("no such word")
        return np.array([len(text), 1], dtype=np.float32)

    def pause(self) -> None:
        self.pauses.append(threading.current_thread().name)

    def rest_pictures(self) -> int:
        self.rests.append(threading.current_thread().name)
        return 0


def frames(*values: int) -> list[NDArray[np.uint8]]:
    return [np.full((1, 1), value, dtype=np.uint8) for value in values]


@pytest.fixture
def hosts() -> Iterator[Callable[..., EncoderHost]]:
    made: list[EncoderHost] = []

    def host(load: Callable[[], Any], **settings: Any) -> EncoderHost:
        made.append(EncoderHost(load, **settings))
        return made[-1]

    yield host
    for one in made:
        one.close()


def until(met: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def result(future: Future[NDArray[np.float32]]) -> list[Any]:
    return future.result(PATIENCE_S).tolist()


def test_work_that_came_before_the_model_is_done_once_it_is_loaded(hosts: Callable[..., EncoderHost]) -> None:
    may_load = threading.Event()
    encoder = Numbers()

    def load() -> Numbers:
        assert may_load.wait(PATIENCE_S)
        return encoder

    changes: list[bool] = []
    host = hosts(load, on_change=lambda: changes.append(host.ready))
    host.start()
    text, images = host.encode_text("cat"), host.encode_images(frames(7))
    with pytest.raises(EncoderError, match="still loading"):
        host.wait(0.01)
    assert not host.ready
    assert not text.done()
    may_load.set()

    assert result(text) == [3, 1]
    assert result(images) == [[7, 0]]
    assert host.wait(0) is encoder
    assert host.ready
    assert host.failed == ""
    assert changes == [True]


def test_pictures_go_in_small_batches_and_come_back_in_order(hosts: Callable[..., EncoderHost]) -> None:
    encoder = Numbers()
    host = hosts(lambda: encoder)
    host.start()
    assert result(host.encode_images(frames(*range(10)))) == [[value, 0] for value in range(10)]
    assert encoder.batches == [BATCH, BATCH, 10 - 2 * BATCH]
    assert host.encode_images([]).result(PATIENCE_S).shape == (0, encoder.dim)


def test_a_query_does_not_wait_for_pictures(hosts: Callable[..., EncoderHost]) -> None:
    encoder = Numbers()
    encoder.images_may_run.clear()
    host = hosts(lambda: encoder)
    host.start()
    pictures = [host.encode_images(frames(1)) for _ in range(3)]
    assert encoder.in_images.wait(PATIENCE_S)
    assert result(host.encode_text("dog")) == [3, 1]
    assert not any(future.done() for future in pictures)
    encoder.images_may_run.set()
    assert [result(future) for future in pictures] == [[[1, 0]]] * 3


def test_two_batches_are_encoded_at_once_and_share_the_cores(hosts: Callable[..., EncoderHost]) -> None:
    encoder = Numbers()
    encoder.images_may_run.clear()
    host = hosts(lambda: encoder, image_threads=2)
    host.start()
    pictures = [host.encode_images(frames(number)) for number in range(4)]
    until(lambda: len(encoder.shares) == 2)
    encoder.images_may_run.set()
    assert [result(future) for future in pictures] == [[[number, 0]] for number in range(4)]
    assert 2 in encoder.shares
    assert result(host.encode_images(frames(7))) == [[7, 0]]
    assert encoder.shares[-1] == 1, "a picture that comes alone has all of them"


@pytest.mark.parametrize("searched", [True, False])
def test_while_somebody_searches_one_batch_at_a_time_is_encoded(
    searched: bool, hosts: Callable[..., EncoderHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memewatchd.encoders.host.SEARCHED_WITHIN_S", 60.0)
    encoder = Numbers()
    encoder.takes_s = 0.02
    host = hosts(lambda: encoder, image_threads=2)
    host.start()
    if searched:
        result(host.encode_text("cat"))
    pictures = [host.encode_images(frames(*range(number))) for number in range(1, 9)]
    for future in pictures:
        result(future)
    assert sum(encoder.batches) == sum(range(1, 9))
    if searched:
        assert encoder.most_running == 1
        assert set(encoder.shares) == {1}
    else:
        assert encoder.most_running == 2


def test_pictures_have_both_threads_again_once_nobody_searches(
    hosts: Callable[..., EncoderHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memewatchd.encoders.host.SEARCHED_WITHIN_S", 0.3)
    encoder = Numbers()
    encoder.images_may_run.clear()
    host = hosts(lambda: encoder, image_threads=2)
    host.start()
    result(host.encode_text("cat"))
    pictures = [host.encode_images(frames(number)) for number in range(2)]
    until(lambda: encoder.most_running == 2)
    encoder.images_may_run.set()
    assert [result(future) for future in pictures] == [[[0, 0]], [[1, 0]]]


def test_of_two_picture_threads_the_one_that_had_the_last_picture_lets_the_tower_rest(
    hosts: Callable[..., EncoderHost],
) -> None:
    encoder = Numbers()
    encoder.images_may_run.clear()
    host = hosts(lambda: encoder, rest_after_s=0.3, image_threads=2)
    host.start()
    pictures = [host.encode_images(frames(number)) for number in range(2)]
    until(lambda: len(encoder.shares) == 2)
    encoder.images_may_run.set()
    for future in pictures:
        result(future)
    until(lambda: len(encoder.pauses) == 2)
    until(lambda: encoder.rests)
    threading.Event().wait(0.4)
    assert len(encoder.rests) == 1


def test_only_the_picture_threads_are_niced(hosts: Callable[..., EncoderHost]) -> None:
    encoder = Numbers()
    host = hosts(lambda: encoder)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    host.start()
    result(host.encode_images(frames(1)))
    result(host.encode_text("cat"))
    assert encoder.niceness == {"image": max(own, IMAGE_NICENESS), "text": own}


def test_a_text_is_encoded_once_and_the_cache_forgets_the_oldest(hosts: Callable[..., EncoderHost]) -> None:
    encoder = Numbers()
    host = hosts(lambda: encoder)
    host.start()
    first = host.encode_text("cat").result(PATIENCE_S)
    again = host.encode_text("cat")
    assert again.done()
    assert again.result() is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 5
    for number in range(CACHED_TEXTS):
        host.encode_text(f"filler {number}").result(PATIENCE_S)
    host.encode_text("cat").result(PATIENCE_S)
    assert encoder.texts.count("cat") == 2
    assert encoder.texts.count("filler 1") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [(EncoderError("model.safetensors is missing"), "model.safetensors is missing"), (OSError("disk"), "disk")],
)
def test_a_load_that_fails_is_told_to_everyone(
    error: Exception, said: str, hosts: Callable[..., EncoderHost], caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> Numbers:
        raise error

    changes: list[str] = []
    host = hosts(load, on_change=lambda: changes.append(host.failed))
    before = host.encode_images(frames(1))
    host.start()
    for future in (before, host.encode_text("cat"), host.encode_images(frames(1))):
        with pytest.raises(EncoderError, match=said):
            future.result(PATIENCE_S)
    with pytest.raises(EncoderError, match=said):
        host.wait(0)
    assert said in host.failed
    assert changes == [host.failed]
    assert not host.ready
    # It is told in ``status``; the watchdog needn't restart a daemon that still answers by name.
    assert host.beat(time.monotonic() + 1e6)
    assert said in caplog.text


def test_a_call_that_fails_leaves_the_next_one_alone(
    hosts: Callable[..., EncoderHost], caplog: pytest.LogCaptureFixture
) -> None:
    host = hosts(Numbers)
    host.start()
    with pytest.raises(EncoderError, match="the model failed: no such word"):
        host.encode_text("broken").result(PATIENCE_S)
    assert result(host.encode_text("cat")) == [3, 1]
    assert "the model failed" in caplog.text
    assert "broken" not in caplog.text  # what people search for is not logged


def test_beat_tells_a_stuck_thread(hosts: Callable[..., EncoderHost]) -> None:
    now = [1000.0]
    encoder = Numbers()
    encoder.images_may_run.clear()
    host = hosts(lambda: encoder, clock=lambda: now[0])
    assert not host.beat(now[0])  # not started
    host.start()
    result(host.encode_text("cat"))
    assert host.beat(now[0])
    future = host.encode_images(frames(1))
    assert encoder.in_images.wait(PATIENCE_S)
    assert host.beat(now[0] + STUCK_AFTER_S - 1)
    assert not host.beat(now[0] + STUCK_AFTER_S + 1)
    encoder.images_may_run.set()
    result(future)
    # Idle for however long is not stuck. The thread notes that it is idle just after the result is out.
    deadline = time.monotonic() + PATIENCE_S
    while not host.beat(now[0] + 1e6) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert host.beat(now[0] + 1e6)


def test_a_load_that_makes_progress_is_not_stuck(hosts: Callable[..., EncoderHost]) -> None:
    now = [1000.0]
    may_load = threading.Event()

    def load() -> Numbers:
        assert may_load.wait(PATIENCE_S)
        return Numbers()

    host = hosts(load, clock=lambda: now[0])
    host.start()
    deadline = time.monotonic() + PATIENCE_S
    # The image thread waits for the model, however long: that is no work of its own.
    while not host.beat(now[0] + LOAD_STUCK_AFTER_S - 1) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert host.beat(now[0] + LOAD_STUCK_AFTER_S - 1)
    now[0] += LOAD_STUCK_AFTER_S + 1
    assert not host.beat(now[0])
    host.loading()
    assert host.beat(now[0])
    assert not host.beat(now[0] + LOAD_STUCK_AFTER_S + 1)
    may_load.set()
    host.wait(PATIENCE_S)
    result(host.encode_text("cat"))
    deadline = time.monotonic() + PATIENCE_S
    while not host.beat(now[0] + 1e6) and time.monotonic() < deadline:
        time.sleep(0.001)
    host.loading()  # late: an idle thread must not look busy for it
    assert host.beat(now[0] + 1e6)


def test_closing_fails_what_waits(hosts: Callable[..., EncoderHost]) -> None:
    encoder = Numbers()
    encoder.images_may_run.clear()
    host = hosts(lambda: encoder, image_threads=1)
    host.start()
    running = host.encode_images(frames(*range(2 * BATCH)))
    assert encoder.in_images.wait(PATIENCE_S)
    waiting = host.encode_images(frames(2))
    closer = threading.Thread(target=host.close)
    closer.start()
    with pytest.raises(EncoderError, match="stopping"):
        waiting.result(PATIENCE_S)
    encoder.images_may_run.set()
    closer.join(PATIENCE_S)
    with pytest.raises(EncoderError, match="stopping"):  # after the batch that ran, no other begins
        running.result(PATIENCE_S)
    assert encoder.batches == [BATCH]
    with pytest.raises(EncoderError, match="stopping"):
        host.encode_text("dog").result(PATIENCE_S)
    host.close()


def test_a_batch_that_waits_for_its_turn_does_not_begin_once_it_closes(hosts: Callable[..., EncoderHost]) -> None:
    encoder = Numbers()
    encoder.images_may_run.clear()
    host = hosts(lambda: encoder, image_threads=2)
    host.start()
    result(host.encode_text("cat"))
    first, second = host.encode_images(frames(1)), host.encode_images(frames(2, 3))
    assert encoder.in_images.wait(PATIENCE_S)
    until(lambda: len(host._line) == 1)
    host.close(timeout=0.01)
    encoder.images_may_run.set()
    assert result(first) == [[1, 0]]
    with pytest.raises(EncoderError, match="stopping"):
        second.result(PATIENCE_S)
    assert encoder.batches == [1]


def test_closing_does_not_wait_for_a_model_that_still_loads(hosts: Callable[..., EncoderHost]) -> None:
    never = threading.Event()
    loading = threading.Event()

    def load() -> Numbers:
        loading.set()
        never.wait(PATIENCE_S)
        return Numbers()

    host = hosts(load)
    host.start()
    text, images = host.encode_text("cat"), host.encode_images(frames(1))
    assert loading.wait(PATIENCE_S)
    host.close(timeout=0.05)
    for future in (text, images):
        with pytest.raises(EncoderError, match="stopping"):
            future.result(PATIENCE_S)
    with pytest.raises(EncoderError, match="stopping"):
        host.wait(0)
    never.set()


def test_a_cancelled_request_is_skipped(hosts: Callable[..., EncoderHost]) -> None:
    encoder = Numbers()
    encoder.images_may_run.clear()
    host = hosts(lambda: encoder, image_threads=1)
    host.start()
    first, second = host.encode_images(frames(1)), host.encode_images(frames(1, 2))
    assert encoder.in_images.wait(PATIENCE_S)
    assert second.cancel()
    encoder.images_may_run.set()
    result(first)
    result(host.encode_images(frames(1, 2, 3)))
    assert encoder.batches == [1, 3]


def test_the_picture_tower_rests_once_when_no_picture_comes(hosts: Callable[..., EncoderHost]) -> None:
    encoder = Numbers()
    host = hosts(lambda: encoder, rest_after_s=0.01, image_threads=1)
    host.start()
    until(lambda: encoder.rests)
    assert result(host.encode_text("cat")) == [3, 1]
    assert result(host.encode_images(frames(7))) == [[7, 0]]
    until(lambda: len(encoder.rests) > 1)
    threading.Event().wait(0.1)
    assert encoder.rests == ["memewatchd-image"] * 2
    assert encoder.pauses == encoder.rests


REAL = """
import sys, threading
from pathlib import Path
from memewatchd.encoders import checkpoint, host, hub, models
assert "torch" not in sys.modules and "transformers" not in sys.modules and "huggingface_hub" not in sys.modules
import numpy as np

def load():
    assert threading.current_thread() is not threading.main_thread()
    from memewatchd.encoders.clip import ClipEncoder
    return ClipEncoder.load(Path(sys.argv[1]), "tiny", device="cpu", threads=1)

one = host.EncoderHost(load)
one.start()
if sys.argv[2] == "midway":
    while "torch" not in sys.modules:
        threading.Event().wait(0.01)
    one.close()
    sys.exit(0)
encoder = one.wait(60)
frame = np.zeros((encoder.spec.crop, encoder.spec.crop, 3), np.uint8)
images, text = one.encode_images([frame] * 6), one.encode_text("cat")
assert images.result(60).shape == (6, encoder.dim) and text.result(60).shape == (encoder.dim,)
one.encode_images([frame] * 50000)
one.close()
print("done")
"""


@pytest.mark.parametrize("when", ["busy", "midway"])
def test_a_real_model_never_loads_in_the_main_thread_and_the_process_ends_cleanly(
    when: str, tiny: Callable[[str], Path]
) -> None:
    """Ending while a daemon thread is within torch must not crash the interpreter either."""
    done = subprocess.run(
        [sys.executable, "-c", REAL, str(tiny("clip")), when],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "" if when == "midway" else "done\n"), done.stderr
