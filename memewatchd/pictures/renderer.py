"""The parent's side of the child that makes PNGs and GIFs (see ``render.py``): one child, one picture at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from memewatchd.errors import PictureError
from memewatchd.pictures import wire
from memewatchd.pictures.child import Child, CrashedError

LIMITS = wire.Limits(cpu_s=60, deadline_s=120.0)
"""Making a GIF of a long animation takes longer than looking at one."""

_MOST_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a picture is (``format`` "png", "gif", …, size in pixels as stored, frames), and what was made of it."""

    format: str
    width: int
    height: int
    n_frames: int
    data: bytes


class Renderer:
    """Starts its child at the first picture. Thread-safe; callers wait for each other."""

    def __init__(self, limits: wire.Limits = LIMITS) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._child: _RenderChild | None = None
        self._closed = False

    def look(self, fd: int) -> Rendered:
        """What the picture behind ``fd`` is, without decoding it. Raises PictureError, MemewatchError."""
        return self._ask(fd, {"how": "look"})

    def png(self, fd: int, max_px: int, texts: dict[str, str] | None = None) -> Rendered:
        """Its first frame, upright, at most ``max_px`` on the longer side. Raises as :meth:`look` does."""
        return self._ask(fd, {"how": "png", "max_px": max_px, "texts": texts or {}})

    def gif(self, fd: int, max_px: int) -> Rendered:
        """All its frames as a GIF. Raises as :meth:`look` does."""
        return self._ask(fd, {"how": "gif", "max_px": max_px})

    def close(self) -> None:
        """Ends the child, even in the middle of a picture. May be repeated; a later call fails."""
        self._closed = True
        child = self._child
        if child is not None:
            child.process.kill()  # whoever waits for it then lets go of the lock
        with self._lock:
            self._drop()

    def _ask(self, fd: int, job: dict[str, Any]) -> Rendered:
        with self._lock:
            # A child can die of something that isn't the picture's doing: only what kills two is to blame.
            for attempt in range(2):
                if self._closed:
                    raise PictureError("memewatchd is stopping")
                if self._child is None:
                    self._child = _RenderChild(self._limits)
                    self._child.await_ready()
                child = self._child
                try:
                    rendered = child.render(fd, job)
                except PictureError:
                    if child.spent:
                        self._drop()
                    raise
                except CrashedError as crash:
                    self._drop()
                    if attempt or crash.final:
                        raise PictureError(str(crash)) from None
                except BaseException:
                    self._drop()
                    raise
                else:
                    if child.spent:
                        self._drop()
                    return rendered
        raise AssertionError("unreachable")

    def _drop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()


class _RenderChild(Child):
    MODULE = "memewatchd.pictures.render"
    NAME = "picture maker"
    DOES = "convert"

    def render(self, fd: int, job: dict[str, Any]) -> Rendered:
        """Raises PictureError for what the child says of the picture, CrashedError for what became of it."""
        with self.asking(fd, job) as (reply, deadline):
            count = reply["bytes"]
            if type(count) is not int or not 0 <= count <= _MOST_BYTES:
                raise ValueError(f"it would send {count} bytes")
            data = bytes(wire.receive_bytes(self._sock, count, deadline))
            size = [reply[key] for key in ("width", "height", "n_frames")]
            if not all(type(number) is int and number > 0 for number in size):
                raise ValueError(f"its size is {size}")
            return Rendered(str(reply["format"]), size[0], size[1], size[2], data)
