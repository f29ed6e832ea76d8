"""Fills one model's index beside the one that is searched: known pictures → its vectors. For ``reindexing``.

Driven by the sync thread, which owns it. Files that the index knows are opened, decoded and encoded, and stored by
digest; what is stored already is never encoded again, so that a restart in the middle goes on where it was.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from memewatchd.errors import PictureError
from memewatchd.meme import MAX_FRAMES
from memewatchd.opened import open_known
from memewatchd.pictures.child import LateError
from memewatchd.progress import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.meme import Decoded, Digest, FileRow, FrameSpec
    from memewatchd.opened import Opened

log = logging.getLogger(__name__)

WINDOW = 8
"""Pictures under way: enough to keep the tower busy, and few enough for new files to be decoded soon."""
BATCH = 4
BATCHES_UNDER_WAY = 4
FLUSH_PICTURES = 64
FLUSH_S = 2.0
TRIES = 3
TRY_AGAIN_S = 10.0
RATE_WINDOW_S = 60.0


class Decoder(Protocol):
    """What this needs of the decode children."""

    def submit(self, fd: int, spec: FrameSpec, max_frames: int = 1, /) -> Future[Decoded]: ...


class ImageEncoder(Protocol):
    """What this needs of the model that is to take over."""

    def encode_images(self, frames: list[NDArray[np.uint8]], /) -> Future[NDArray[np.float32]]: ...


class Beside(Protocol):
    """What this needs of the store. May raise StoreError."""

    def open_beside(self, fingerprint: str, dim: int, /) -> set[Digest]: ...
    def insert_beside(self, pictures: Sequence[tuple[Digest, int, NDArray[np.float32]]], /) -> None: ...


class Known(Protocol):
    """What this needs of the catalog."""

    @property
    def generation(self) -> int: ...
    @property
    def indexed(self) -> int: ...
    def searchable(self) -> list[FileRow]: ...
    def paths_of(self, digest: Digest, /) -> list[bytes]: ...
    def get(self, path: bytes, /) -> FileRow | None: ...


@dataclass(slots=True)
class _Job:
    """A picture under way; ``file`` is open until it is decoded."""

    digest: Digest
    file: Opened
    decoding: Future[Decoded]
    numbers: list[int] = field(default_factory=list)
    vectors: dict[int, NDArray[np.float32]] = field(default_factory=dict)


_Frame = tuple[_Job, int, "NDArray[np.uint8]"]


class Builder:
    """See the module. ``wake`` is called from other threads when something can be collected."""

    def __init__(
        self,
        *,
        encoder: ImageEncoder,
        fingerprint: str,
        dim: int,
        spec: FrameSpec,
        store: Beside,
        decoder: Decoder,
        catalog: Known,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._encoder = encoder
        self._fingerprint = fingerprint
        self._dim = dim
        self._spec = spec
        self._store = store
        self._decoder = decoder
        self._catalog = catalog
        self._wake = wake
        self._clock = clock

        self._have: set[Digest] | None = None
        self._queue: list[Digest] = []  # the newest last
        self._jobs: dict[Digest, _Job] = {}
        self._frames: deque[_Frame] = deque()
        self._batches: deque[tuple[list[_Frame], Future[NDArray[np.float32]]]] = deque()
        self._done: list[_Job] = []
        self._flush_at = 0.0
        self._counted: tuple[int, int] | None = None
        self._tries: Counter[Digest] = Counter()
        self._later: dict[Digest, float] = {}
        self._pace = Pace(RATE_WINDOW_S, clock)
        self._stored = (0, 0)

    @property
    def have(self) -> Collection[Digest]:
        """What the collection holds."""
        return self._have or ()

    @property
    def stored(self) -> tuple[int, int]:
        """Pictures that are stored, and all that can be searched now. Any thread may ask."""
        return self._stored

    @property
    def left(self) -> int:
        """Those that are still to be stored, but for what is given up."""
        return len(self._queue) + len(self._jobs) + len(self._done) + len(self._later)

    @property
    def eta_s(self) -> float | None:
        """Seconds until all are, at the present rate; None where that isn't known."""
        rate = self._pace.rate
        return self.left / rate if rate and self.left else None

    def step(self, *, may_begin: bool, may_write: bool) -> bool:
        """Go on. ``may_begin``: nobody else needs the decoders and the disk now; ``may_write``: the index may grow.

        Returns whether the collection is complete, as far as that can be. Raises StoreError, EncoderError, and
        MemewatchError where no picture can be decoded at all.
        """
        if self._have is None:
            if not may_write:
                return False
            self._have = self._store.open_beside(self._fingerprint, self._dim)
        self._collect_decoded()
        self._collect_encoded()
        if may_begin:
            self._count()
            self._begin()
            self._send_batches()
        if may_write:
            self._flush_if_due()
        return may_begin and may_write and not self.left

    def reset(self) -> None:
        """Forget all that is under way; the collection is opened and read again."""
        for job in self._jobs.values():
            job.decoding.cancel()
            job.file.close()
        self._jobs.clear()
        self._frames.clear()
        self._batches.clear()
        self._done.clear()
        self._queue.clear()
        self._later.clear()
        self._counted = None
        self._have = None

    def until_due(self) -> float:
        """Seconds until there is something to do, unless someone wakes us."""
        due = [*self._later.values(), *([self._flush_at] if self._done else [])]
        return max(0.0, min(due) - self._clock()) if due else math.inf

    # ---- what is to be done

    def _count(self) -> None:
        """See what lacks. Costs a look at every row, so only after a change."""
        now = (self._catalog.generation, self._catalog.indexed)
        again = [digest for digest, due in self._later.items() if self._clock() >= due]
        for digest in again:
            del self._later[digest]
        if now == self._counted and not again:
            return
        self._counted = now
        wanted: dict[Digest, int] = {}
        for row in self._catalog.searchable():
            wanted[row.digest] = max(row.first_seen, wanted.get(row.digest, 0))
        self._stored = (sum(digest in self.have for digest in wanted), len(wanted))
        self._later = {digest: due for digest, due in self._later.items() if digest in wanted}
        gone = {digest for digest, tries in self._tries.items() if tries >= TRIES}
        taken = self._jobs.keys() | {job.digest for job in self._done} | self._later.keys() | gone
        lacking = [digest for digest in wanted if digest not in self.have and digest not in taken]
        self._queue = sorted(lacking, key=wanted.__getitem__)

    def _begin(self) -> None:
        while self._queue and len(self._jobs) < WINDOW:
            digest = self._queue.pop()
            file = open_known(self._catalog, digest)
            if file is None:
                self._put_off(digest, "none of its files can be opened as it was")
                continue
            try:
                decoding = self._decoder.submit(file.fd, self._spec, MAX_FRAMES)
            except BaseException:
                file.close()
                raise
            self._jobs[digest] = _Job(digest, file, decoding)
            decoding.add_done_callback(lambda _: self._wake())

    def _put_off(self, digest: Digest, why: str) -> None:
        """Try again later, a few times: the mirror may not have seen yet what became of the file."""
        self._tries[digest] += 1
        if self._tries[digest] < TRIES:
            self._later[digest] = self._clock() + TRY_AGAIN_S
        else:
            log.info("%s is left out of the new index: %s", digest[:12], why)

    # ---- on its way

    def _collect_decoded(self) -> None:
        for job in [job for job in self._jobs.values() if job.file.is_open and job.decoding.done()]:
            if not job.file.close():
                # What the child saw says nothing of this digest.
                del self._jobs[job.digest]
                self._put_off(job.digest, "its file changed")
                continue
            try:
                decoded = job.decoding.result()
            except PictureError as error:
                del self._jobs[job.digest]
                # Where only the time ran out, the machine may have been busy. Anything else: once in the new index,
                # the mirror reads it again and lists it as failed.
                self._tries[job.digest] += 0 if isinstance(error, LateError) else TRIES
                self._put_off(job.digest, str(error))
                continue
            except BaseException:
                del self._jobs[job.digest]
                raise
            job.numbers = list(decoded.numbers)
            self._frames.extend((job, *one) for one in zip(decoded.numbers, decoded.frames, strict=True))

    def _send_batches(self) -> None:
        while self._frames and len(self._batches) < BATCHES_UNDER_WAY:
            # A batch that isn't full goes only when nothing is coming to fill it, or the tower would idle.
            if len(self._frames) < BATCH and self._batches:
                return
            frames = [self._frames.popleft() for _ in range(min(BATCH, len(self._frames)))]
            encoding = self._encoder.encode_images([pixels for _, _, pixels in frames])
            self._batches.append((frames, encoding))
            encoding.add_done_callback(lambda _: self._wake())

    def _collect_encoded(self) -> None:
        while self._batches and self._batches[0][1].done():
            frames, encoding = self._batches.popleft()
            for (job, number, _), vector in zip(frames, encoding.result(), strict=True):
                job.vectors[number] = vector
                if len(job.vectors) == len(job.numbers):
                    del self._jobs[job.digest]
                    if not self._done:
                        self._flush_at = self._clock() + FLUSH_S
                    self._done.append(job)

    def _flush_if_due(self) -> None:
        last = not self._jobs and not self._queue
        if not self._done or not (last or len(self._done) >= FLUSH_PICTURES or self._clock() >= self._flush_at):
            return
        # Still among those that are left until they are stored: whoever is told that they are done may rely on it.
        self._store.insert_beside(
            [(job.digest, frame, vector) for job in self._done for frame, vector in job.vectors.items()]
        )
        assert self._have is not None
        self._have.update(job.digest for job in self._done)
        self._pace.count(len(self._done))
        self._stored = (self._stored[0] + len(self._done), self._stored[1])
        self._done = []
