"""A short film's bytes → its sampled frames. Runs in the decode child; the only module that knows PyAV (FFmpeg).

FFmpeg gets the bytes and the container's name, never a path: it opens nothing else and asks no network.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from memewatchd.errors import PictureError
from memewatchd.pictures import formats, preprocess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from memewatchd.meme import FrameSpec
    from memewatchd.pictures.frames import Shown
    from memewatchd.pictures.wire import Job, Limits

# A film of at most so many pixels is decoded whole (60 s of 480p, 10 s of 1080p). Of a greater one, its key frames
# are taken, which encoders set where the scene changes, and so much of its beginning.
_FILM_PIXELS = 600_000_000
_FRAME_PIXELS = 20_000  # however small, a frame costs as much as so many pixels

_USUAL_RATE = 25.0
_KEY_MS = 1000.0  # key frames stand for some seconds each

# FFmpeg's own decoders of these leave transparency out.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@dataclass(frozen=True, slots=True)
class Film:
    """``chosen``: (the frame's number, raw RGB as the model wants it); ``size``: width and height, upright; ``first``:
    the first frame, whole.

    Of a film that isn't decoded whole, the numbers are what its times say, and ``n_frames`` is about right.
    """

    chosen: list[tuple[int, bytes]]
    size: tuple[int, int]
    n_frames: int
    first: Image.Image


def read(
    kind: str,
    data: bytes,
    job: Job,
    limits: Limits,
    until: float,
    choose: Callable[[Iterator[Shown[bytes]], int], list[tuple[int, bytes]]] | None = None,
) -> Film:
    """Samples a film, until the process has used ``until`` seconds of processor time.

    ``choose`` chooses among its frames, :func:`.frames.choose` where none is given.
    Raises PictureError where it is too long or too large, ValueError where it is damaged.
    """
    try:
        import av
    except ImportError:
        raise PictureError("films need the av package (pip install av)") from None
    from memewatchd.pictures import frames

    av.logging.set_level(None)
    try:
        film = _Film(av, kind, data, limits)
        stream: Iterator[Shown[bytes]] = film.shown(job.spec)
        if job.max_frames == 1:
            stream = islice(stream, 1)
        elif film.expected > film.affordable:
            stream = chain(film.shown(job.spec, key_only=True), stream)
        chosen = dict((choose or frames.choose)(frames.stop_late(stream, until), job.max_frames))
    except av.error.MemoryError as error:
        raise MemoryError from error
    except av.error.FFmpegError as error:
        raise ValueError(error.strerror or type(error).__name__) from error
    if not chosen or film.first is None:
        raise PictureError("a film without a picture")
    n_frames = film.n_frames or max(film.expected, 1 + max(chosen))
    return Film(sorted(chosen.items()), film.upright, n_frames, film.first)


class _Film:
    """What the film's head says, and its frames. Opened anew for each pass: that is cheap, and seeking not exact."""

    def __init__(self, av: Any, kind: str, data: bytes, limits: Limits) -> None:
        self._av = av
        self._kind = kind
        self._data = data
        self._limits = limits
        with self._open() as container:
            stream = _pictures(container)
            size = (stream.codec_context.width, stream.codec_context.height)
            formats.check_size(size, limits.max_pixels)
            self._rate = float(stream.average_rate or stream.guessed_rate or _USUAL_RATE)
            length = _seconds(stream.duration, stream.time_base) or _seconds(container.duration, 1e-6)
            self._check_length(length)
            self.expected = stream.frames or round(length * self._rate)
        self.affordable = max(1, _FILM_PIXELS // (size[0] * size[1] + _FRAME_PIXELS))
        self.upright = size
        self.first: Image.Image | None = None
        self.n_frames = 0
        """How many there are, once all have been seen."""

    def shown(self, spec: FrameSpec, *, key_only: bool = False) -> Iterator[Shown[bytes]]:
        """The film's frames, or its key frames, as far as they are affordable."""
        from memewatchd.pictures.frames import LOOK, Shown

        with self._open() as container:
            stream = _pictures(container)
            decoder = self._decoder(stream)
            if key_only:
                decoder.skip_frame = "NONKEY"
            start = _seconds(stream.start_time, stream.time_base)
            count = 0
            for frame in (frame for packet in container.demux(stream) for frame in decoder.decode(packet)):
                if count == self.affordable:
                    return
                formats.check_size((frame.width, frame.height), self._limits.max_pixels)
                at = count / self._rate if frame.time is None else max(0.0, frame.time - start)
                self._check_length(at)
                if count == 0:
                    self.first = _upright(frame)
                    self.upright = self.first.size
                number = round(at * self._rate) if key_only else count
                ms = _KEY_MS if key_only else 1000 / self._rate
                look, blank = _look(frame, LOOK)
                yield Shown(number, ms, look, blank, partial(_pixels, frame, spec))
                count += 1
            if not key_only:
                self.n_frames = count

    def _open(self) -> Any:
        return self._av.open(io.BytesIO(self._data), format=self._kind, metadata_errors="ignore")

    def _decoder(self, stream: Any) -> Any:
        decoder = stream.codec_context
        name = _WITH_ALPHA.get(decoder.name)
        if name and stream.metadata.get("alpha_mode") == "1":
            decoder = self._av.CodecContext.create(name, "r")
        # Threads would each take memory for frames of their own, and processor time that the job hasn't got.
        decoder.thread_count = 1
        return decoder

    def _check_length(self, seconds: float) -> None:
        limit = self._limits.video_s
        if seconds > limit + 0.5:
            raise PictureError(f"too long: a film of {max(seconds, limit + 1):.0f} s or more (limit {limit} s)")


def _pictures(container: Any) -> Any:
    """The stream that holds the film. Raises PictureError where there is only sound, with or without a cover."""
    for stream in container.streams.video:
        if not stream.disposition & stream.disposition.__class__.attached_pic:
            return stream
    raise PictureError("a film without a picture")


def _seconds(count: int | None, unit: Any) -> float:
    return float(count * unit) if count is not None and unit else 0.0


def _look(frame: Any, side: int) -> tuple[NDArray[np.uint8], bool]:
    import numpy as np

    if _has_alpha(frame):
        return preprocess.thumbnail(_upright(frame), side)
    look = frame.reformat(width=side, height=side, format="rgb24", interpolation="AREA").to_ndarray()
    return np.rot90(look, round(frame.rotation / 90)), False


def _upright(frame: Any) -> Image.Image:
    # A phone's film lies on its side and says by how many degrees; both count anticlockwise.
    angle = frame.rotation
    return _image(frame).rotate(angle, expand=True) if angle else _image(frame)


def _pixels(frame: Any, spec: FrameSpec) -> bytes:
    return preprocess.fit(preprocess.to_rgb(_upright(frame)), spec).tobytes()


def _image(frame: Any) -> Image.Image:
    from PIL import Image

    return Image.fromarray(frame.to_ndarray(format="rgba" if _has_alpha(frame) else "rgb24"))


def _has_alpha(frame: Any) -> bool:
    return bool(frame.format.name.startswith("yuva"))
