"""The decode child: ``python -m memewatchd.pictures.decode SOCKET_FD PARENT_PID LIMITS``.

Decoders are large C programs fed with whatever people download. So they run here, in a process
that may use only so much memory and time, and whose death is one line in ``memewatch failed``.
Pillow, numpy and for films PyAV only. ``pool.py`` starts it and watches over it; ``wire.py`` is how they talk.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
import signal
import socket
import stat
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memewatchd.errors import PictureError
from memewatchd.pictures import fingerprint, formats, preprocess, structure, wire
from memewatchd.pictures.descriptions import description_of
from memewatchd.pictures.kinds import HEAD_BYTES, VIDEOS, sniff
from memewatchd.priority import yield_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image, ImageFile

    from memewatchd.meme import FrameSpec
    from memewatchd.pictures.frames import Shown

# JPEGs are decoded at 1/2, 1/4 or 1/8, but to no less than so many times the size that the model sees. At four times
# no vector shows it; at twice some move by as much as another JPEG quality would move them (cosines down to .995 with
# the bundled model, whose eye for flat colours is the sharpest), so that is for pictures of more than so many pixels.
_DRAFT_TIMES = 4
_HASTY_DRAFT_TIMES = 2
_HASTY_PIXELS = 4_000_000

# An animation's frames are sampled among those that fit into this many decoded pixels (3 s or so), or else into a
# share of the job's processor time: to reach a frame, all before it must be decoded. However small, a frame costs as
# much as so many pixels.
_ANIMATION_PIXELS = 300_000_000
_FRAME_PIXELS = 30_000
_CPU_SHARE = 0.5

# What is to be shown for no longer than this, browsers show for longer.
_LEAST_MS = 10
_SHORT_MS = 100

# Decoders that report a failed allocation as if the file were damaged, and the bytes per pixel from
# which on that is the likelier reason.
_HUNGRY = {"jpeg": 8, "webp": 12, "avif": 16, "heic": 16}

_OPEN_FILES = 32
_STDERR_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    """Serves jobs until the parent hangs up."""
    descriptor, parent, limits = sys.argv[1:]
    depend_on(int(parent))
    serve(socket.socket(fileno=int(descriptor)), wire.Limits(**json.loads(limits)))


def serve(sock: socket.socket, limits: wire.Limits) -> None:
    """Answers one job after another. After running out of memory the child asks to be replaced."""
    formats.prepare_pillow(limits.max_pixels)
    bound(limits)
    yield_disk()
    wire.send(sock, {"ready": True})
    while True:
        try:
            fields, fd = wire.receive_with_fd(sock)
        except wire.Closed:
            return
        rearm_cpu(limits)
        reply: dict[str, Any]
        pixels = b""
        try:
            reply, pixels = answer(fd, wire.Job.from_json(fields), limits)
        except PictureError as error:
            reply = {"error": str(error)}
        except MemoryError:
            # What is left of the address space is in pieces.
            size = formats.spoken_bytes(limits.memory_bytes)
            reply = {"error": f"needed more than {size} of memory to decode", "last": True}
        finally:
            os.close(fd)
        try:
            wire.send(sock, reply, pixels)
        except wire.Closed:
            return
        if "last" in reply:
            return


def answer(fd: int, job: wire.Job, limits: wire.Limits) -> tuple[dict[str, Any], bytes]:
    """Decodes one file. Returns the reply and its frames' pixels. Raises PictureError, MemoryError."""
    until = time.process_time() + _CPU_SHARE * limits.cpu_s
    data = read(fd, limits)
    kind = sniff(data[:HEAD_BYTES], videos=True)
    if kind is None:
        raise PictureError("not a picture inside")
    if kind in VIDEOS:
        return answer_video(kind, data, job, limits, until)
    width, height = structure.declared_size(kind, data) or (0, 0)
    pixels = width * height
    try:
        im, n_frames = formats.open_picture(kind, data, limits.max_pixels)
        pixels = im.width * im.height
        chosen, (width, height), description, look = frames_of(im, kind, job, n_frames, until)
    except (PictureError, MemoryError):
        raise
    except Exception as error:
        if pixels * _HUNGRY.get(kind, 0) > limits.memory_bytes:
            raise MemoryError from error
        raise PictureError(formats.explain(kind, error)) from error
    return _reply(kind, (width, height), n_frames, chosen, description, look)


def answer_video(
    kind: str, data: bytes, job: wire.Job, limits: wire.Limits, until: float
) -> tuple[dict[str, Any], bytes]:
    """As :func:`answer` does. After ``until`` (processor time, seconds) no more frames are decoded."""
    from memewatchd.pictures import frames, video

    motion = fingerprint.Motion()

    def choose(stream: Iterator[Shown[bytes]], most: int) -> list[tuple[int, bytes]]:
        return frames.choose(motion.watch(stream), most)

    try:
        formats.check_whole(kind, data)
        film = video.read(kind, data, job, limits, until, choose)
        look = motion.of_moving(film.first, film.size, film.n_frames)
    except (PictureError, MemoryError):
        raise
    except Exception as error:
        raise PictureError(formats.explain(kind, error)) from error
    return _reply(kind, film.size, film.n_frames, film.chosen, look=look)


def _reply(
    kind: str,
    size: tuple[int, int],
    n_frames: int,
    chosen: list[tuple[int, bytes]],
    description: str = "",
    look: str = "",
) -> tuple[dict[str, Any], bytes]:
    numbers = [number for number, _ in chosen]
    reply = {"format": kind, "width": size[0], "height": size[1], "n_frames": n_frames, "frames": len(chosen)}
    reply |= {"numbers": numbers, "description": description, "look": look}
    return reply, b"".join(pixels for _, pixels in chosen)


def read(fd: int, limits: wire.Limits) -> bytes:
    """Reads the whole file, without moving the position that the descriptor shares with the parent."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise PictureError("not a regular file")
    if status.st_size > limits.max_bytes:
        big, limit = formats.spoken_bytes(status.st_size), formats.spoken_bytes(limits.max_bytes)
        raise PictureError(f"too large: a file of {big} (limit {limit})")
    parts = []
    at = 0
    try:
        while at < limits.max_bytes and (part := os.pread(fd, min(1 << 24, limits.max_bytes - at), at)):
            parts.append(part)
            at += len(part)
    except OSError as error:
        raise PictureError(f"can't be read: {error.strerror}") from error
    if not at:
        raise PictureError("empty file")
    return b"".join(parts)


def frames_of(
    im: ImageFile.ImageFile, kind: str, job: wire.Job, n_frames: int, until: float
) -> tuple[list[tuple[int, bytes]], tuple[int, int], str, str]:
    """The sampled frames (number, raw RGB), the picture's width and height when it stands upright, its description,
    what it looks like."""
    stored = im.size
    if kind == "jpeg":
        width, height = preprocess.scaled_size(job.spec, stored)
        times = _HASTY_DRAFT_TIMES if stored[0] * stored[1] > _HASTY_PIXELS else _DRAFT_TIMES
        im.draft(None, (times * width, times * height))
    drawn, turned = preprocess.upright(formats.load(im))
    # A draft is smaller than the picture; a TIFF is turned by its plugin.
    size = drawn.size if kind != "jpeg" else stored[::-1] if turned else stored
    description = description_of(im)
    if n_frames == 1 or job.max_frames == 1:
        look = fingerprint.of_still(drawn, size) if n_frames == 1 else ""
        return [(0, _pixels(drawn, job.spec, size))], size, description, look
    from memewatchd.pictures import frames  # late: numpy, which a still picture needs not

    first, motion = drawn.copy(), fingerprint.Motion()  # a copy: seeking may draw over it
    stream = frames.stop_late(motion.watch(shown(im, drawn, n_frames, job.spec, size)), until)
    chosen = frames.choose(stream, job.max_frames)
    return chosen, size, description, motion.of_moving(first, size, n_frames)


def shown(
    im: ImageFile.ImageFile, first: Image.Image, n_frames: int, spec: FrameSpec, size: tuple[int, int]
) -> Iterator[Shown[bytes]]:
    """An animation's frames one after another, as far as decoding them is affordable. ``first``: the first, upright."""
    from memewatchd.pictures.frames import LOOK, Shown

    affordable = max(1, _ANIMATION_PIXELS // (size[0] * size[1] + _FRAME_PIXELS))
    drawn = first
    for number in range(min(n_frames, affordable)):
        if number:
            try:
                im.seek(number)
            except EOFError:  # it claimed more frames than it has
                return
            drawn, _ = preprocess.upright(formats.load(im))
        ms = im.info.get("duration") or 0
        look, blank = preprocess.thumbnail(drawn, LOOK)
        yield Shown(number, ms if ms > _LEAST_MS else _SHORT_MS, look, blank, partial(_pixels, drawn, spec, size))


def depend_on(parent: int) -> None:
    """Ties the child's life to its parent's, and keeps the terminal's signals and priority from it."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the parent ends us by hanging up, or by force
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)  # it died before we asked
    os.nice(10)
    try:  # should memory run out, we go first
        Path("/proc/self/oom_score_adj").write_text("800")
    except OSError:
        pass


def bound(limits: wire.Limits) -> None:
    """Sets the limits that the kernel enforces. Called when everything is imported."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + limits.memory_bytes)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _lower(resource.RLIMIT_FSIZE, _STDERR_BYTES)  # nothing is written but complaints on stderr
    _lower(resource.RLIMIT_CORE, 0)


def rearm_cpu(limits: wire.Limits) -> None:
    """Gives the next job its own ``cpu_s``; beyond it the kernel ends the child with SIGXCPU."""
    _hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(time.process_time()) + limits.cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (soft if _hard == resource.RLIM_INFINITY else min(soft, _hard), _hard))


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _pixels(im: Any, spec: FrameSpec, size: tuple[int, int]) -> bytes:
    return preprocess.fit(preprocess.to_rgb(im), spec, size).tobytes()


if __name__ == "__main__":
    main()
