"""Makes the thumbnails that are missing, where the desktop keeps them, in the background.

File managers, launchers and the picture wall share them (freedesktop.org's Thumbnail Managing Standard). One thread and
one child, only while nothing else is to be done.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from memewatchd import __version__
from memewatchd.cache_names import THUMBNAIL_SIDES, file_uri, is_fresh, thumbnail_name
from memewatchd.errors import MemewatchError, PictureError
from memewatchd.pictures.renderer import Renderer
from memewatchd.pictures.wire import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

SIZE = "large"
"""Which of the specification's sizes is made: launchers show some 100 pixels, twice that on a fine screen."""

LIMITS = Limits(cpu_s=10, deadline_s=60.0)
_SOON_S = 0.5
_NS = 1_000_000_000


class Thumbnailer:
    """Keeps the thumbnails of what can be found complete. Made in the main thread; its own thread does the work.

    ``files``: what should have one, as (path, mtime in nanoseconds). ``generation``: another value whenever that may
    have changed. ``is_idle``: whether there is time for it now. ``folder``: the desktop's.
    """

    def __init__(
        self,
        folder: str,
        *,
        files: Callable[[], Iterable[tuple[bytes, int]]],
        generation: Callable[[], object],
        is_idle: Callable[[], bool],
    ) -> None:
        self._folder = os.path.join(folder, SIZE)
        self._base = folder
        self._files = files
        self._generation = generation
        self._is_idle = is_idle
        self._renderer = Renderer(LIMITS)
        self._stop = threading.Event()
        self._woken = threading.Event()
        self._done: object = None  # the generation that is complete
        self._seen: dict[bytes, int] = {}
        """Path → the mtime of which a thumbnail is there, or can't be made."""
        self.problem = ""
        """Why none are made any more, "" while they are."""
        self._thread = threading.Thread(target=self._run, name="thumbnails", daemon=True)

    def start(self) -> None:
        """Begin; the first thumbnail comes once all is settled."""
        self._thread.start()

    def close(self) -> None:
        """End, even in the middle of a picture."""
        self._stop.set()
        self._woken.set()
        self._renderer.close()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def look_again(self) -> bool:
        """Any thread, now and then: goes on where something has changed. There is no timer once all are made.

        Says whether they are, or can't be.
        """
        is_done = self._generation() == self._done or not self._thread.is_alive()
        if not is_done:
            self._woken.set()
        return is_done

    def find(self, path: bytes) -> bytes | None:
        """The thumbnail of ``path``, a PNG, where there is one of the file as it stands. Any thread may ask."""
        try:
            mtime_s = int(os.stat(path).st_mtime_ns // _NS)
        except OSError:
            return None
        for size in (SIZE, "x-large", "normal"):
            file = os.path.join(self._base, size, thumbnail_name(path))
            if is_fresh(file, path, mtime_s):
                with contextlib.suppress(OSError):
                    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                    with os.fdopen(fd, "rb") as stream:
                        return stream.read()
        return None

    def _run(self) -> None:
        while True:
            self._woken.wait(_SOON_S if self._done is None else None)
            self._woken.clear()
            if self._stop.is_set():
                return
            generation = self._generation()
            if generation == self._done or not self._is_idle():
                continue
            try:
                if self._go_over():
                    self._done = generation
            except OSError as error:
                # A read-only home, a full disk: it would be the same for the next one.
                self.problem = f"no thumbnails can be kept in {self._base}: {error.strerror or error}"
            except MemewatchError as error:
                self.problem = f"no thumbnails can be made: {error}"
            if self.problem:
                log.info("%s; memes can be found all the same", self.problem)
                return

    def _go_over(self) -> bool:
        """Make what is missing; False where something more important came up. Raises OSError, MemewatchError."""
        files = dict(self._files())
        self._seen = {path: mtime for path, mtime in self._seen.items() if path in files}
        for path, mtime_ns in files.items():
            if self._stop.is_set() or not self._is_idle():
                return False
            mtime_s = mtime_ns // _NS
            if self._seen.get(path) == mtime_s or path.startswith(os.fsencode(self._base) + b"/"):
                continue
            target = os.path.join(self._folder, thumbnail_name(path))
            if not is_fresh(target, path, mtime_s):
                self._make(path, target)
            self._seen[path] = mtime_s
        return True

    def _make(self, path: bytes, target: str) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError:
            return  # gone, or locked: the mirror will say so
        try:
            status = os.fstat(fd)
            texts = {
                "Thumb::URI": file_uri(path),
                # Of the file that is drawn, which may be newer than the one that we were told of.
                "Thumb::MTime": str(status.st_mtime_ns // _NS),
                "Thumb::Size": str(status.st_size),
                "Thumb::Image::Width": "{width}",
                "Thumb::Image::Height": "{height}",
                "Software": f"memewatchd {__version__}",
            }
            data = self._renderer.png(fd, THUMBNAIL_SIDES[SIZE], texts).data
        except PictureError as error:
            log.debug("no thumbnail of %s: %s", os.fsdecode(path), error)
            return
        finally:
            os.close(fd)
        self._write(target, data)

    def _write(self, target: str, data: bytes) -> None:
        os.makedirs(self._base, 0o700, exist_ok=True)
        os.makedirs(self._folder, 0o700, exist_ok=True)
        part = f"{target}.{os.getpid()}-{time.monotonic_ns()}.part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
            os.rename(part, target)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
