"""The child that reads: ``python -m memewatchd.pictures.ocr_child SOCKET_FD PARENT_PID LIMITS``.

A child for the reasons that ``decode.py`` gives, and for three of its own: the models take hundreds of megabytes
that are given back when there is nothing to read; it runs only when nobody else wants the processor; and it can't
reach the network, which onnxruntime would report to its makers over, and RapidOCR would load models from.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from PIL import Image

from memewatchd.errors import PictureError
from memewatchd.meme import MAX_FRAMES, FrameSpec
from memewatchd.pictures import captions, decode, formats, lines, preprocess, wire
from memewatchd.pictures.frames import Shown, stop_late
from memewatchd.pictures.kinds import HEAD_BYTES, VIDEOS, sniff

Read = Callable[[Image.Image], list["lines.Line"]]

# What is larger is scaled down to this edge: at it, writing of 20 pixels on a 1920 x 1080 screen is still read, and a
# picture takes half a second of one core.
_EDGE = 1280
# Smaller pictures are scaled up for finding writing, until the shorter side is this long.
_FIND_SIDE = 480
# A strip (a comic, a long screenshot) is read in pieces that overlap by more than a line of writing.
_STRIP = 2.0  # times as long as wide
_OVERLAP = 96
_MOST_PIECES = 8
_A_LITTLE_MORE = 1.25  # than a piece is still read in one
_SLIM = 4.0
_NO_WRITING = 8  # pixels

_FILM = FrameSpec("pad", 960, 960, 1)
"""How a film's frames are wanted: whole."""

_WHITE, _DARK = (255, 255, 255), (24, 24, 24)

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
# machine → (its number for seccomp, its number of the call socket()).
_SOCKET_CALLS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198), "riscv64": (0xC00000F3, 198)}


def main() -> None:
    """Serves jobs until the parent hangs up."""
    descriptor, parent, text = sys.argv[1:]
    limits = wire.Limits(**json.loads(text))
    decode.depend_on(int(parent))
    forbid_network()
    os.nice(19)
    formats.prepare_pillow(limits.max_pixels)
    read = load_reader()
    decode.bound(limits)
    # Only now, for loading could else take minutes on a busy machine. The disk's scheduler goes by it too.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    serve(socket.socket(fileno=int(descriptor)), read, limits)


def serve(sock: socket.socket, read: Read, limits: wire.Limits) -> None:
    """Answers one job after another. After running out of memory the child asks to be replaced."""
    wire.send(sock, {"ready": True})
    reply: dict[str, Any] = {}
    while "last" not in reply:
        try:
            _, fd = wire.receive_with_fd(sock)
        except wire.Closed:
            return
        decode.rearm_cpu(limits)
        try:
            reply = {"lines": answer(fd, read, limits)}
        except PictureError as error:
            reply = {"error": str(error)}
        except MemoryError:
            size = formats.spoken_bytes(limits.memory_bytes)
            reply = {"error": f"needed more than {size} of memory to read", "last": True}
        finally:
            os.close(fd)
        try:
            wire.send(sock, reply)
        except wire.Closed:
            return


def answer(fd: int, read: Read, limits: wire.Limits) -> list[tuple[str, float]]:
    """The lines in one file, each once, in reading order, with scores. Raises PictureError, MemoryError."""
    until = time.process_time() + limits.cpu_s / 4  # for decoding; reading takes the most
    data = decode.read(fd, limits)
    kind = sniff(data[:HEAD_BYTES], videos=True)
    if kind is None:
        raise PictureError("not a picture inside")
    kept = lines.Kept()
    try:
        for frame in frames_of_film(kind, data, limits, until) if kind in VIDEOS else frames(kind, data, limits, until):
            for ground in (_WHITE, _DARK) if frame.has_transparency_data else (_WHITE,):
                # White writing on a transparent picture is there on a dark ground only.
                if kept.add(read_frame(preprocess.to_rgb(frame, ground), read)):
                    break
    except (PictureError, MemoryError):
        raise
    except Exception as error:
        raise PictureError(formats.explain(kind, error)) from error
    return kept.result()


def frames(kind: str, data: bytes, limits: wire.Limits, until: float) -> Iterator[Image.Image]:
    """The frames of a picture that are worth reading, upright, as large as they are to be read."""
    im, n_frames = formats.open_picture(kind, data, limits.max_pixels)
    if kind == "jpeg":
        width, height = fitting(im.size)
        im.draft(None, (2 * width, 2 * height))
    first = preprocess.upright(formats.load(im))[0]
    if n_frames == 1:
        yield scaled(first)
        return

    def drawn(shown: Shown[bytes]) -> Shown[Image.Image]:
        # ``im`` stands at this frame now, and has decoded it.
        prepare = partial(scaled, preprocess.upright(formats.load(im))[0])
        return Shown(shown.number, shown.ms, shown.look, shown.blank, prepare)

    stream = map(drawn, decode.shown(im, first, n_frames, _FILM, first.size))
    for _, frame in captions.choose(stop_late(stream, until), MAX_FRAMES, lambda frame: frame):
        yield frame


def frames_of_film(kind: str, data: bytes, limits: wire.Limits, until: float) -> Iterator[Image.Image]:
    """The same of a film."""
    from memewatchd.pictures import video

    def drawn(pixels: bytes) -> Image.Image:
        return Image.frombytes("RGB", (_FILM.crop, _FILM.crop), pixels)

    formats.check_whole(kind, data)
    job = wire.Job(_FILM, MAX_FRAMES)
    for _, pixels in video.read(kind, data, job, limits, until, partial(captions.choose, draw=drawn)).chosen:
        yield drawn(pixels)


def fitting(size: tuple[int, int]) -> tuple[int, int]:
    """The width and height at which a picture of ``size`` is read. Never larger than it is."""
    short, long = sorted(size)
    # Of a strip the shorter side counts: it is cut into pieces.
    edge = min(long, _STRIP * short)
    scale = min(1.0, _EDGE / edge)
    # What would make too many pieces is scaled down further.
    scale = min(scale, _MOST_PIECES * _EDGE / long)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def scaled(im: Image.Image) -> Image.Image:
    """Any picture at the size at which it is read; its own memory, so that the next frame may replace it."""
    size = fitting(im.size)
    if size == im.size:
        return im.copy()
    if im.mode not in ("L", "LA", "RGB", "RGBA"):
        im = im.convert("RGBA") if im.has_transparency_data else preprocess.to_rgb(im)
    return im.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def read_frame(im: Image.Image, read: Read) -> list[lines.Line]:
    """The lines of one RGB picture, in pieces where it is a strip."""
    short, long = sorted(im.size)
    if short < _NO_WRITING:
        return []
    piece = max(_EDGE, round(_STRIP * short))
    if long <= _A_LITTLE_MORE * piece:
        return read(widened(im))
    found: list[lines.Line] = []
    start = 0
    while True:
        end = min(start + piece, long)
        upright = im.height >= im.width
        part = im.crop((0, start, im.width, end) if upright else (start, 0, end, im.height))
        for line in read(widened(part)):
            low, high = (line.top, line.bottom) if upright else (line.left, line.right)
            # What is cut through here is whole in the next piece, or was in the last.
            if (low > 2 or start == 0) and (high < end - start - 2 or end == long):
                found.append(line)
        if end == long:
            return found
        start = end - _OVERLAP


def widened(im: Image.Image) -> Image.Image:
    """A banner with room beside it: the reader would scale it up until its shorter side is long enough."""
    least = round(max(im.size) / _SLIM)
    if min(im.size) >= least:
        return im
    out = Image.new("RGB", (max(im.width, least), max(im.height, least)), im.getpixel((0, 0)))
    out.paste(im, (0, 0))
    return out


def load_reader() -> Read:
    """Loads the models. What it returns takes an RGB picture. Raises whatever is raised where they are damaged."""
    # Read once, when it is imported: whether to report to its makers, with a number for this machine kept in ~.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import cv2
    import numpy as np
    from rapidocr import RapidOCR

    cv2.setNumThreads(1)
    settings = {
        "Global.log_level": "critical",
        # A second thread makes it hardly faster, and spins while it waits.
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "Det.limit_side_len": _FIND_SIDE,
    }
    engine = RapidOCR(params=settings)

    def read(im: Image.Image) -> list[lines.Line]:
        found: Any = engine(np.ascontiguousarray(np.asarray(im)[:, :, ::-1]))
        # What is of another kind holds boxes without words, or nothing.
        if not getattr(found, "txts", None) or getattr(found, "boxes", None) is None:
            return []
        return [
            lines.Line(text, float(score), *box.min(0).tolist(), *box.max(0).tolist())
            for box, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
        ]

    # It loads each model when it is first needed, so let it need them before memory is bounded.
    read(lines.sample())
    return read


def forbid_network() -> None:
    """From now on no thread of this process gets a socket. What it has already, it keeps.

    On other machines than those that are known, or where the kernel can't, nothing happens: there is
    ORT_DISABLE_TELEMETRY, too, and the models are there.
    """
    if platform.machine() not in _SOCKET_CALLS:
        return
    machine, call = _SOCKET_CALLS[platform.machine()]
    refuse, allow = 0x00050000 | 13, 0x7FFF0000  # with EACCES
    # (instruction, where to go on if so, and if not, counted from the next, operand)
    program = [
        (0x20, 0, 0, 4),  # load the machine
        (0x15, 0, 3, machine),
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 0, 1, call),
        (0x06, 0, 0, refuse),
        (0x06, 0, 0, allow),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    # May be asked for without rights since depend_on() has given up gaining any.
    ctypes.CDLL(None).prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(head)), 0, 0)


if __name__ == "__main__":
    main()
