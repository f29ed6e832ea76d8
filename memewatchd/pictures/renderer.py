"""The parent's side of the child that makes PNGs and GIFs (see ``render.py``): one child, one picture at a time."""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from memewatchd.errors import PictureError
from memewatchd.pictures import wire
from memewatchd.pictures.child import Child
from memewatchd.pictures.pool import IDLE_S, ChildPool

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


class Renderer(ChildPool[dict[str, Any], Rendered]):
    """Makes one after another. Its child starts at the first picture, and is let go when none has come for a while."""

    def __init__(self, limits: wire.Limits = LIMITS) -> None:
        super().__init__(1, lambda: RenderChild(limits), name="render", idle_s=IDLE_S)

    def look(self, fd: int) -> Rendered:
        """What the picture behind ``fd`` is, without decoding it. Raises PictureError, MemewatchError."""
        return self._ask(fd, {"how": "look"})

    def png(self, fd: int, max_px: int, texts: dict[str, str] | None = None) -> Rendered:
        """Its first frame, upright, at most ``max_px`` on the longer side. Raises as :meth:`look` does."""
        return self._ask(fd, {"how": "png", "max_px": max_px, "texts": texts or {}})

    def gif(self, fd: int, max_px: int) -> Rendered:
        """All its frames as a GIF. Raises as :meth:`look` does."""
        return self._ask(fd, {"how": "gif", "max_px": max_px})

    def _ask(self, fd: int, job: dict[str, Any]) -> Rendered:
        try:
            return self.ask(fd, job).result()
        except CancelledError:
            raise PictureError("memewatchd is stopping") from None


class RenderChild(Child):
    MODULE = "memewatchd.pictures.render"
    NAME = "picture maker"
    DOES = "convert"

    def answer(self, fd: int, job: dict[str, Any]) -> Rendered:
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
