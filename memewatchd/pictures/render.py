"""The child that makes pictures of pictures: ``python -m memewatchd.pictures.render SOCKET_FD PARENT_PID LIMITS``.

PNGs for the clipboard and for thumbnails, real GIFs of other animations. A child for the reasons that ``decode.py``
gives; it writes no files, its parent (``export.py``, ``thumbnails.py``) gets the bytes.
"""

from __future__ import annotations

import io
import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

from PIL import GifImagePlugin, Image, PngImagePlugin

from memewatchd.errors import PictureError
from memewatchd.pictures import decode, formats, preprocess, wire
from memewatchd.pictures.kinds import HEAD_BYTES, VIDEOS, sniff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import ImageFile

# All frames of a GIF in the making are held at once, four bytes a pixel: 400 MB at most.
_GIF_PIXELS = 100_000_000
_GIF_FRAMES = 600
# Browsers show what asks for less for 100 ms.
_LEAST_MS = 20
_USUAL_MS = 100
_OPAQUE_FROM = 128  # a GIF's pixels are there or not


def main() -> None:
    """Serves jobs until the parent hangs up."""
    descriptor, parent, limits = sys.argv[1:]
    decode.depend_on(int(parent))
    serve(socket.socket(fileno=int(descriptor)), wire.Limits(**json.loads(limits)))


def serve(sock: socket.socket, limits: wire.Limits) -> None:
    """Answers one job after another. After running out of memory the child asks to be replaced."""
    formats.prepare_pillow(limits.max_pixels)
    decode.bound(limits)
    wire.send(sock, {"ready": True})
    last = False
    while not last:
        try:
            job, fd = wire.receive_with_fd(sock)
        except wire.Closed:
            return
        decode.rearm_cpu(limits)
        reply: dict[str, Any]
        made = b""
        try:
            reply, made = answer(fd, job, limits)
        except PictureError as error:
            reply = {"error": str(error)}
        except MemoryError:
            last = True
            reply = {"error": f"needed more than {formats.spoken_bytes(limits.memory_bytes)} of memory", "last": True}
        finally:
            os.close(fd)
        try:
            wire.send(sock, reply, made)
        except wire.Closed:
            return


def answer(fd: int, job: dict[str, Any], limits: wire.Limits) -> tuple[dict[str, Any], bytes]:
    """Carries out one job. Returns the reply and what was made. Raises PictureError, MemoryError.

    The job: ``how`` is "look" (only say what it is), "png" (its first frame) or "gif"; ``max_px`` is the longer side
    at most; ``texts`` go into a PNG as they are. Of a film it is only said that it is one, and that it moves.
    """
    data = decode.read(fd, limits)
    kind = sniff(data[:HEAD_BYTES], videos=True)
    if kind is None:
        raise PictureError("not a picture inside")
    if kind in VIDEOS:
        if job["how"] != "look":
            raise PictureError("it is a film, which can be copied as it is only")
        return {"format": kind, "width": 1, "height": 1, "n_frames": 2, "bytes": 0}, b""
    try:
        im, n_frames = formats.open_picture(kind, data, limits.max_pixels)
        reply = {"format": kind, "width": im.width, "height": im.height, "n_frames": n_frames}
        if job["how"] == "look":
            made = b""
        elif job["how"] == "gif":
            made = as_gif(im, n_frames, job["max_px"])
        else:
            made = as_png(im, job["max_px"], job["texts"], reply)
    except (PictureError, MemoryError):
        raise
    except Exception as error:
        raise PictureError(formats.explain(kind, error)) from error
    return reply | {"bytes": len(made)}, made


def as_png(im: ImageFile.ImageFile, max_px: int, texts: dict[str, str], size: dict[str, Any]) -> bytes:
    """The first frame as a PNG, with its transparency. ``texts`` may use the names in ``size``, as ``{width}``."""
    if im.format == "JPEG":
        im.draft(None, (2 * max_px, 2 * max_px))
    small = _small(formats.load(im), max_px)
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text.format(**size) if key.startswith("Thumb::Image::") else text)
    out = io.BytesIO()
    small.save(out, "PNG", pnginfo=info)
    return out.getvalue()


def as_gif(im: ImageFile.ImageFile, n_frames: int, max_px: int) -> bytes:
    """A GIF of all frames, or of every so many where there are very many, that takes as long as the original."""
    # Pillow would keep the first frame's palette for all.
    GifImagePlugin.LOADING_STRATEGY = GifImagePlugin.LoadingStrategy.RGB_ALWAYS
    scale = min(1.0, max_px / max(im.size))
    area = max(1, round(im.width * scale) * round(im.height * scale))
    step = -(-n_frames // max(1, min(_GIF_FRAMES, _GIF_PIXELS // area)))
    frames = []
    durations: list[int] = []
    for number, (frame, ms) in enumerate(_frames(im, n_frames)):
        if number % step:
            durations[-1] += ms
            continue
        frames.append(_in_or_out(_small(frame, max_px)))
        durations.append(ms)
    out = io.BytesIO()
    loop = im.info.get("loop", 0)
    options: dict[str, Any] = {"loop": loop if isinstance(loop, int) else 0} if len(frames) > 1 else {}
    # 2: each frame begins on an empty canvas, or transparent ones would show those before.
    frames[0].save(
        out, "GIF", save_all=True, append_images=frames[1:], duration=durations, disposal=2, optimize=False, **options
    )
    return out.getvalue()


def _frames(im: ImageFile.ImageFile, n_frames: int) -> Iterator[tuple[Image.Image, int]]:
    for number in range(n_frames):
        try:
            im.seek(number)
        except EOFError:  # it claimed more frames than it has
            return
        drawn = formats.load(im).copy()
        ms = round(im.info.get("duration") or 0)
        # GIFs count in hundredths of a second.
        yield drawn, max(_LEAST_MS, round(ms, -1)) if ms > 10 else _USUAL_MS


def _small(im: Image.Image, max_px: int) -> Image.Image:
    """Upright, 8 bits a channel, RGB or RGBA, at most ``max_px`` on the longer side."""
    im, _ = preprocess.upright(im)
    if im.mode.startswith(("I", "F")) or not im.has_transparency_data:
        im = preprocess.to_rgb(im)
    elif im.mode == "La":
        im = im.convert("LA").convert("RGBA")
    elif im.mode != "RGBA":
        im = im.convert("RGBA")
    width, height = im.size
    scale = max_px / max(width, height)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        im = im.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return im


def _in_or_out(im: Image.Image) -> Image.Image:
    """RGBA with pixels that are wholly there or wholly not, all of these alike, so that they take one colour."""
    if im.mode != "RGBA":
        return im
    mask = im.getchannel("A").point(lambda alpha: 255 if alpha >= _OPAQUE_FROM else 0)
    if mask.getextrema() == (255, 255):
        return im.convert("RGB")
    out = Image.new("RGBA", im.size, (0, 0, 0, 0))
    out.paste(im.convert("RGB"), (0, 0), mask)
    return out


if __name__ == "__main__":
    main()
