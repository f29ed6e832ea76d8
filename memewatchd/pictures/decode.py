"""The decode child: ``python -m memewatchd.pictures.decode SOCKET_FD PARENT_PID LIMITS``.

Decoders are large C programs fed with whatever people download. So they run here, in a process
that may use only so much memory and time, and whose death is one line in ``memewatch failed``.
Pillow and numpy only. ``pool.py`` starts it and watches over it; ``wire.py`` is how they talk.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memewatchd.errors import PictureError
from memewatchd.pictures import formats, preprocess, structure, wire
from memewatchd.pictures.kinds import HEAD_BYTES, sniff

if TYPE_CHECKING:
    from PIL import ImageFile

    from memewatchd.meme import FrameSpec

# A picture of at most this many pixels is always decoded in full. JPEGs beyond it are decoded at
# 1/2, 1/4 or 1/8, but to no less than twice the size that the model sees.
_DRAFT_PIXELS = 4_000_000

# An animation's frames are sampled among those that fit into this many decoded pixels (3 s or so):
# to reach a frame, all before it must be decoded.
_ANIMATION_PIXELS = 500_000_000

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
    data = read(fd, limits)
    kind = sniff(data[:HEAD_BYTES])
    if kind is None:
        raise PictureError("not a picture inside")
    width, height = structure.declared_size(kind, data) or (0, 0)
    pixels = width * height
    try:
        im, n_frames = formats.open_picture(kind, data, limits.max_pixels)
        pixels = im.width * im.height
        frames, (width, height) = frames_of(im, kind, job, n_frames)
    except (PictureError, MemoryError):
        raise
    except Exception as error:
        if pixels * _HUNGRY.get(kind, 0) > limits.memory_bytes:
            raise MemoryError from error
        raise PictureError(formats.explain(kind, error)) from error
    reply = {"format": kind, "width": width, "height": height, "n_frames": n_frames, "frames": len(frames)}
    return reply, b"".join(frames)


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


def frames_of(im: ImageFile.ImageFile, kind: str, job: wire.Job, n_frames: int) -> tuple[list[bytes], tuple[int, int]]:
    """The sampled frames as raw RGB, and the picture's width and height when it stands upright."""
    stored = im.size
    if kind == "jpeg" and stored[0] * stored[1] > _DRAFT_PIXELS:
        width, height = preprocess.scaled_size(job.spec, stored)
        im.draft(None, (2 * width, 2 * height))
    drawn, turned = preprocess.upright(formats.load(im))
    # A draft is smaller than the picture; a TIFF is turned by its plugin.
    size = drawn.size if kind != "jpeg" else stored[::-1] if turned else stored
    frames = [_pixels(drawn, job.spec, size)]
    for index in sample(n_frames, job.max_frames, size)[1:]:
        try:
            im.seek(index)
        except EOFError:  # it claimed more frames than it has
            break
        frames.append(_pixels(preprocess.upright(formats.load(im))[0], job.spec, size))
    return frames, size


def sample(n_frames: int, max_frames: int, size: tuple[int, int]) -> list[int]:
    """Which frames to take: the first, and others evenly spread, as far as decoding them is affordable."""
    reachable = max(1, min(n_frames, _ANIMATION_PIXELS // (size[0] * size[1])))
    wanted = min(max_frames, reachable)
    return [i * reachable // wanted for i in range(wanted)]


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
