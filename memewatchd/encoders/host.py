"""Runs one model in threads of its own, so that a query never waits behind pictures.

The *text* thread loads the model and then encodes queries. The *image* threads, niced, encode
pictures in small batches. Callers get futures; nobody who imports this module imports torch.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections import OrderedDict, deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from memewatchd.encoders.cpu import physical_cores
from memewatchd.encoders.worker import Worker
from memewatchd.errors import EncoderError, MemewatchError
from memewatchd.priority import yield_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.meme import FrameSpec

log = logging.getLogger(__name__)

IMAGE_NICENESS = 10
BATCH = 4
"""Frames in one call of the picture tower: on a CPU bigger batches hardly help, and hold a core longer."""
IMAGE_THREADS = 2
"""Batches that are encoded at once, where there are as many cores: each with its share of these. A single one with all
of them waits for the slowest of its threads at each of a layer's steps, the longer where decoding takes a core."""
SEARCHED_WITHIN_S = 2.0
"""So long after a query, as another often follows, one batch is encoded at a time. Two of Python's threads that run a
model hold its lock twice as often, and a search takes it some ten times: its p95 would be twice as long."""
CACHED_TEXTS = 1024
STUCK_AFTER_S = 120.0
"""A thread that hasn't come back from one call for so long is stuck. The slowest machine needs seconds."""
PAUSE_AFTER_S = 30.0
"""What the last pictures left (free memory, threads) is given back when none has come for so long."""
REST_AFTER_S = 300.0
"""The picture tower's memory is given back when no picture has come for so long."""
LOAD_STUCK_AFTER_S = 900.0
"""Loading may read gigabytes from a slow disk."""


class Encoder(Protocol):
    """What the host needs of a model; :class:`memewatchd.encoders.two_towers.TwoTowers` is one."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def spec(self) -> FrameSpec: ...
    @property
    def is_english_only(self) -> bool: ...
    def encode_images(self, frames: Sequence[NDArray[np.uint8]], share: int = 1) -> NDArray[np.float32]: ...
    def encode_text(self, text: str) -> NDArray[np.float32]: ...
    def pause(self) -> None: ...
    def rest_pictures(self) -> int: ...


class EncoderHost:
    """One model, loaded in the background.

    ``load`` is called once, in the text thread; what it raises is kept and told to everyone who
    asks. ``on_change`` is called from that thread when loading has ended, either way. ``image_threads``: None is
    :data:`IMAGE_THREADS`, or one on a single core.
    """

    def __init__(
        self,
        load: Callable[[], Encoder],
        *,
        on_change: Callable[[], None] = lambda: None,
        rest_after_s: float = REST_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
        image_threads: int | None = None,
    ) -> None:
        self._rest_after_s = rest_after_s
        self._load = load
        self._on_change = on_change
        self._clock = clock
        self._encoder: Encoder | None = None
        self._failed = ""
        self._settled = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._asked_at = -math.inf
        self._passes = threading.Condition()
        self._passing = 0
        self._line: deque[object] = deque()
        self._text = Worker("memewatchd-text", self._run_text, clock)
        self._image_threads = image_threads or min(IMAGE_THREADS, physical_cores())
        self._image = Worker("memewatchd-image", self._run_images, clock, threads=self._image_threads)

    # ---- state -------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._encoder is not None

    @property
    def failed(self) -> str:
        """Why the model could not be loaded; "" while it may still be, and once it is."""
        return self._failed

    @property
    def is_english_only(self) -> bool | None:
        """Whether the model reads English only, so that Chinese must be translated; None until it is loaded."""
        return None if self._encoder is None else self._encoder.is_english_only

    def wait(self, timeout: float | None = None) -> Encoder:
        """The model, once it is loaded.

        Raises EncoderError: it can't be, the host closes, or ``timeout`` seconds passed.
        """
        if not self._settled.wait(timeout):
            raise EncoderError(f"the model is still loading after {timeout:g} s")
        if self._encoder is None:
            raise EncoderError(self._failed or "memewatchd is stopping")
        return self._encoder

    def beat(self, now: float) -> bool:
        """Whether all threads live and none is stuck in one call. ``now``: of the given clock."""
        if self._failed or self._closing.is_set():
            return True
        loading = not self._settled.is_set()
        return self._text.beats(now, LOAD_STUCK_AFTER_S if loading else STUCK_AFTER_S) and self._image.beats(
            now, STUCK_AFTER_S
        )

    def loading(self) -> None:
        """Note that the load still makes progress, however long it takes; ``load`` calls this as it goes."""
        if not self._settled.is_set():
            self._text.progressed()

    # ---- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to load, in the background."""
        self._text.start()
        self._image.start()

    def adopt(self, encoder: Encoder) -> None:
        """Run another model from now on, in the place of the one that was loaded or could not be.

        What is being encoded at this moment is still the old one's; ask again for what must not be.
        """
        with self._lock:
            self._encoder = encoder
            self._failed = ""
            self._cache.clear()

    def close(self, timeout: float = 1.0) -> None:
        """Stop: what waits fails; a call that runs gets ``timeout`` seconds. May be called twice."""
        self._closing.set()
        self._settled.set()
        deadline = time.monotonic() + timeout
        for worker in (self._text, self._image):
            worker.stop()
        for worker in (self._text, self._image):
            worker.join(max(0.0, deadline - time.monotonic()))

    # ---- work --------------------------------------------------------------------------------

    def encode_images(self, frames: Sequence[NDArray[np.uint8]]) -> Future[NDArray[np.float32]]:
        """Frames (crop, crop, 3) → a future of unit-length float32 (n, dim); begun in order of submission.

        It fails with EncoderError where the model can't be loaded or run.
        """
        return self._image.submit(list(frames))

    def encode_text(self, text: str) -> Future[NDArray[np.float32]]:
        """A text → a future of unit-length float32 (dim,); done at once for one that was asked lately."""
        self._asked_at = time.monotonic()
        with self._lock:
            cached = self._cache.get(text)
            if cached is not None:
                self._cache.move_to_end(text)
        if cached is not None:
            future: Future[NDArray[np.float32]] = Future()
            future.set_result(cached)
            return future
        return self._text.submit(text)

    # ---- the threads ---------------------------------------------------------------------

    def _run_text(self, worker: Worker) -> None:
        self._load_model()
        worker.serve(self._encode_text)

    def _run_images(self, worker: Worker) -> None:
        # Before torch makes this thread's helpers, which inherit it.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), IMAGE_NICENESS)
        yield_disk()  # weights that were given back are read again
        worker.rest()
        self._settled.wait()
        pause_after_s = min(PAUSE_AFTER_S, self._rest_after_s)
        worker.serve(self._encode_images, [(pause_after_s, self._pause), (self._rest_after_s, self._rest_pictures)])

    def _load_model(self) -> None:
        try:
            encoder = self._load()
        except MemewatchError as error:
            self._failed = str(error)
        except Exception as error:
            log.exception("the model can't be loaded")
            self._failed = f"the model can't be loaded: {str(error) or type(error).__name__}"
        else:
            if not self._closing.is_set():
                self._encoder = encoder
        if self._failed:
            log.error("%s", self._failed)
        self._settled.set()
        if not self._closing.is_set():
            self._on_change()

    def _encode_text(self, text: str) -> NDArray[np.float32]:
        encoder = self.wait(0)
        with self._lock:
            vector = self._cache.get(text) if encoder is self._encoder else None
        if vector is None:
            vector = encoder.encode_text(text)
            vector.flags.writeable = False
        with self._lock:
            if encoder is not self._encoder:
                return vector  # another model has taken over meanwhile, and the cache is its
            self._cache[text] = vector
            self._cache.move_to_end(text)
            while len(self._cache) > CACHED_TEXTS:
                self._cache.popitem(last=False)
        return vector

    def _pause(self) -> None:
        if self._encoder is not None:
            self._encoder.pause()

    def _rest_pictures(self) -> None:
        encoder = self._encoder
        if encoder is not None and self._image.took_last() and (given := encoder.rest_pictures()):
            log.debug("%d MB of the picture tower are given back until the next picture", given // 1_000_000)

    def _encode_images(self, frames: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        import numpy as np  # late: the main thread needn't wait for it

        encoder = self.wait(0)
        if not frames:
            return np.empty((0, encoder.dim), dtype=np.float32)
        batches = []
        for start in range(0, len(frames), BATCH):
            with self._one_pass() as share:
                if self._closing.is_set():
                    raise EncoderError("memewatchd is stopping")
                self._image.touch()
                batches.append(encoder.encode_images(frames[start : start + BATCH], share))
        return np.concatenate(batches)

    @contextlib.contextmanager
    def _one_pass(self) -> Iterator[int]:
        """Wait until the calling image thread may run the model; gives among how many the cores are shared."""
        turn = object()
        with self._passes:
            self._line.append(turn)
            while (self._passing or self._line[0] is not turn) and (left := self._searched_for_s()) > 0:
                self._passes.wait(left)
            self._line.remove(turn)
            alone = not self._passing and (self._searched_for_s() > 0 or not self._image.has_others_busy())
            self._passing += 1
        try:
            yield 1 if alone else self._image_threads
        finally:
            with self._passes:
                self._passing -= 1
                self._passes.notify_all()

    def _searched_for_s(self) -> float:
        """For how many seconds from now it counts as being searched, unless another query comes."""
        return self._asked_at + SEARCHED_WITHIN_S - time.monotonic()
