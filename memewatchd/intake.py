"""A picture's way from path to vectors: read → decode → encode, several at once, in bounded numbers.

Owned by the sync thread, which feeds it and collects; decode children and the image threads do the work and wake
the sync thread when they are done.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from memewatchd.errors import PictureError
from memewatchd.meme import MAX_FRAMES, Decoded, Digest, FileRow, FileStat, FrameSpec
from memewatchd.opened import Opened
from memewatchd.pictures.tags import NO_WORDS, OwnWords, read_tags
from memewatchd.reader import Broken, NoMeme, Outcome, Picture, Reader, Unstable
from memewatchd.words import name_words, searchable_text, tag_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.index.catalog import Catalog

BATCH = 4
"""Frames a call of the picture tower: small, so that a query never waits long for the CPU."""
BATCHES_UNDER_WAY = 4
"""Two that are encoded and two that wait, so that the tower never does."""


class Decoder(Protocol):
    """What the intake needs of the decode children."""

    def submit(self, fd: int, spec: FrameSpec, max_frames: int = 1) -> Future[Decoded]: ...


class ImageEncoder(Protocol):
    """What the intake needs of the encoders."""

    def encode_images(self, frames: list[NDArray[np.uint8]]) -> Future[NDArray[np.float32]]: ...


@dataclass(frozen=True, slots=True)
class Finished:
    """What has become of one path. ``row`` is None where it is no meme (any more).

    ``picture``: a digest and its vectors, the number of a frame in the file → float32 (dim,); given once, with the
    first of its paths. Where every path vanished meanwhile, ``path`` is empty: the vectors are kept all the same, for
    it may come back.
    """

    path: bytes
    row: FileRow | None
    picture: tuple[Digest, dict[int, NDArray[np.float32]]] | None = None
    no_meme: FileStat | None = None


@dataclass(slots=True)
class _Job:
    """One digest on its way, for one path or for several copies, each with its own words.

    ``file``: what is decoded, open till then.
    """

    digest: Digest
    paths: dict[bytes, FileStat]
    own: dict[bytes, OwnWords]
    file: Opened
    decoding: Future[Decoded]
    decoded: Decoded | None = None
    vectors: dict[int, NDArray[np.float32]] = field(default_factory=dict)


_Frame = tuple[_Job, int, "NDArray[np.uint8]"]
"""A decoded frame that waits for its vector: whose, which of the file's, and its pixels."""


@dataclass(slots=True)
class _Batch:
    frames: list[_Frame]
    encoding: Future[NDArray[np.float32]]


@dataclass(slots=True)
class _Under:
    """All that is under way."""

    jobs: dict[Digest, _Job] = field(default_factory=dict)
    paths: dict[bytes, Digest] = field(default_factory=dict)
    dropped: set[bytes] = field(default_factory=set)
    frames: deque[_Frame] = field(default_factory=deque)
    batches: deque[_Batch] = field(default_factory=deque)


class Intake:
    """See the module. ``wake`` is called from other threads when something can be collected."""

    def __init__(
        self,
        reader: Reader,
        decoder: Decoder,
        encoder: ImageEncoder,
        catalog: Catalog,
        *,
        window: int,
        wake: Callable[[], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._reader = reader
        self._decoder = decoder
        self._encoder = encoder
        self._catalog = catalog
        self._window = window
        self._wake = wake
        self._wall = wall
        self._spec: FrameSpec | None = None
        self._under = _Under()
        self._finished: list[Finished] = []
        self._changed: dict[bytes, FileStat] = {}
        self._unstored: dict[Digest, Decoded] = {}

    def __len__(self) -> int:
        """Paths under way."""
        return len(self._under.paths) - len(self._under.dropped)

    @property
    def paths(self) -> list[bytes]:
        """Paths under way that are still wanted."""
        return [path for path in self._under.paths if path not in self._under.dropped]

    @property
    def has_room(self) -> bool:
        """Whether another path may be taken; it may not before :meth:`use`."""
        return self._spec is not None and len(self._under.jobs) < self._window

    def use(self, spec: FrameSpec) -> None:
        """Frames are wanted like this from now on."""
        self._spec = spec

    def reset(self) -> None:
        """Forget all that is under way."""
        for job in self._under.jobs.values():
            job.decoding.cancel()
            job.file.close()
        self._under = _Under()
        self._finished = []
        self._changed = {}
        self._unstored = {}

    def stored(self) -> None:
        """All that was collected is in the catalog now."""
        self._unstored.clear()

    def taking(self, path: bytes) -> FileStat | None:
        """How the file stood that is under way for this path, wanted or not: it can't be taken a second time now."""
        digest = self._under.paths.get(path)
        return None if digest is None else self._under.jobs[digest].paths[path]

    def drop(self, path: bytes) -> None:
        """The path has vanished: what is under way for it says nothing any more."""
        if path in self._under.paths:
            self._under.dropped.add(path)

    def keep(self, path: bytes) -> None:
        """The path is back, as it was: what is under way for it is wanted again."""
        self._under.dropped.discard(path)

    def changed(self) -> dict[bytes, FileStat]:
        """Paths that must be read again, since the last call: their file changed while it was decoded."""
        changed, self._changed = self._changed, {}
        return changed

    def take(self, path: bytes, seen: FileStat, since: float) -> Unstable | None:
        """Read the file and send it on its way; Unstable where it must be tried again later."""
        outcome: Outcome = self._reader.read(path, seen, since)
        match outcome:
            case Unstable():
                return outcome
            case Broken(stat, digest, reason):
                self._finish(path, self._row(path, stat, digest, error=reason))
            case NoMeme(stat):
                self._finished.append(Finished(path, None, no_meme=stat))
            case Picture(stat, digest, fd):
                try:
                    self._take_picture(path, stat, digest, fd)
                finally:
                    os.close(fd)
            case _:
                self._finished.append(Finished(path, None))
        return None

    def _take_picture(self, path: bytes, stat: FileStat, digest: Digest, fd: int) -> None:
        # After ``stat`` was taken: whoever tags the file from here on leaves another ctime, which a look finds.
        own = read_tags(fd)
        known = self._catalog.with_digest(digest)
        if known is not None and (known.error or (known.frames and self._catalog.has_vector(digest))):
            self._finish(path, self._row(path, stat, digest, known, own=own))
        elif (decoded := self._unstored.get(digest)) is not None:
            self._finish(path, self._row(path, stat, digest, decoded, own=own))
        elif (job := self._under.jobs.get(digest)) is not None:
            job.paths[path], job.own[path] = stat, own
            self._under.paths[path] = digest
        else:
            assert self._spec is not None
            decoding = self._decoder.submit(fd, self._spec, MAX_FRAMES)
            job = _Job(digest, {path: stat}, {path: own}, Opened(os.dup(fd), stat.content_key), decoding)
            self._under.jobs[digest] = job
            self._under.paths[path] = digest
            decoding.add_done_callback(lambda _: self._wake())

    def collect(self) -> list[Finished]:
        """All that has been finished since the last call. Raises EncoderError where the model failed."""
        self._collect_decoded()
        self._collect_encoded()
        self._send_batches()
        finished, self._finished = self._finished, []
        return finished

    def _collect_decoded(self) -> None:
        for job in [job for job in self._under.jobs.values() if job.decoded is None and job.decoding.done()]:
            if not job.file.close():
                # What the child saw, good or bad, says nothing of this digest.
                self._abandon(job)
                continue
            try:
                decoded = job.decoding.result()
            except PictureError as error:
                self._close(job, error=str(error))
                continue
            # The pixels go as soon as they are encoded; the rest stays until it is stored.
            job.decoded = replace(decoded, frames=[])
            if self._catalog.has_vector(job.digest):
                self._close(job)  # only its size had been forgotten
            else:
                numbered = zip(decoded.numbers, decoded.frames, strict=True)
                self._under.frames.extend((job, number, frame) for number, frame in numbered)

    def _send_batches(self) -> None:
        under = self._under
        while under.frames and len(under.batches) < BATCHES_UNDER_WAY:
            # A batch that isn't full goes only when nothing is coming to fill it, or the tower would idle.
            if len(under.frames) < BATCH and under.batches:
                return
            frames = [under.frames.popleft() for _ in range(min(BATCH, len(under.frames)))]
            encoding = self._encoder.encode_images([pixels for _, _, pixels in frames])
            under.batches.append(_Batch(frames, encoding))
            encoding.add_done_callback(lambda _: self._wake())

    def _collect_encoded(self) -> None:
        while self._under.batches and self._under.batches[0].encoding.done():
            batch = self._under.batches.popleft()
            for (job, number, _), vector in zip(batch.frames, batch.encoding.result(), strict=True):
                job.vectors[number] = vector
                if job.decoded is not None and len(job.vectors) == len(job.decoded.numbers):
                    self._close(job, encoded=True)

    def _abandon(self, job: _Job) -> None:
        del self._under.jobs[job.digest]
        for path, stat in job.paths.items():
            del self._under.paths[path]
            if path in self._under.dropped:
                self._under.dropped.discard(path)
            else:
                self._changed[path] = stat

    def _close(self, job: _Job, *, encoded: bool = False, error: str = "") -> None:
        del self._under.jobs[job.digest]
        picture = (job.digest, job.vectors) if encoded else None
        if picture is not None and job.decoded is not None:
            self._unstored[job.digest] = job.decoded
        for path, stat in job.paths.items():
            del self._under.paths[path]
            if path in self._under.dropped:
                self._under.dropped.discard(path)
                continue
            row = self._row(path, stat, job.digest, job.decoded, own=job.own[path], error=error)
            self._finished.append(Finished(path, row, picture))
            picture = None
        if picture is not None:
            self._finished.append(Finished(b"", None, picture))

    def _finish(self, path: bytes, row: FileRow) -> None:
        self._finished.append(Finished(path, row))

    def _row(
        self,
        path: bytes,
        stat: FileStat,
        digest: Digest,
        picture: FileRow | Decoded | None = None,
        *,
        own: OwnWords = NO_WORDS,
        error: str = "",
    ) -> FileRow:
        """``picture``: what is known of this content, by a row of it or by decoding it just now."""
        before = self._catalog.get(path)
        first_seen = before.first_seen if before is not None else int(self._wall())
        error = error or getattr(picture, "error", "")
        if error or picture is None:
            return FileRow(path, stat, digest, first_seen, error=error, text=name_words(path))
        if isinstance(picture, Decoded):
            kind, frames, inner = picture.format, picture.n_frames, picture.description
        else:
            kind, frames, inner = picture.kind, picture.frames, picture.inner
        return FileRow(
            path,
            stat,
            digest,
            first_seen,
            picture.width,
            picture.height,
            frames,
            text=searchable_text(path, own.tags, own.comment, inner),
            kind=kind,
            tags=tag_keys(own.tags),
            inner=inner,
            look=picture.look,
        )
