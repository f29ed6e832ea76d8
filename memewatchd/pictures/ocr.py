"""Reading the words in pictures, as the daemon sees it: a file descriptor in, a future of text out.

The parent imports neither the reader nor what it runs on; see ``ocr_child.py``.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from memewatchd.pictures.child import Child
from memewatchd.pictures.pool import IDLE_S, ChildPool
from memewatchd.pictures.wire import Limits

if TYPE_CHECKING:
    from concurrent.futures import Future

INSTALL = "pip install 'memewatchd[ocr]'"

# By the clock on the wall far more than by the processor's: it gets the processor when nobody else wants it.
LIMITS = Limits(cpu_s=120, deadline_s=600.0)
STILL_S = 0.5
"""For so long after a search nothing is read: the pause between two keystrokes is shorter."""
LONGEST_S, THEN_S = 30.0, 3.0
"""Where searches never end, a tenth of the time is for reading."""
# Another number whenever the same picture would be read otherwise: all are then read anew.
_RULES = 1


def is_installed() -> bool:
    """Whether there is anything to read with."""
    return all(find_spec(name) is not None for name in ("rapidocr", "onnxruntime"))


def reader_id() -> str:
    """A short fingerprint of what reads: the same as long as it would read the same. "" if nothing is installed."""
    spec = find_spec("rapidocr")
    if spec is None or not spec.submodule_search_locations:
        return ""
    try:
        version = metadata.version("rapidocr")
    except metadata.PackageNotFoundError:
        version = "?"
    models = [
        (model.name, model.stat().st_size)
        for folder in spec.submodule_search_locations
        for model in sorted(Path(folder).glob("models/*.onnx"))
    ]
    mark = hashlib.blake2b(repr((version, models, _RULES)).encode(), digest_size=4).hexdigest()
    return f"rapidocr-{version}-{mark}"


class WordReader(ChildPool[None, str]):
    """Reads one picture after another, at idle priority. Thread-safe; its child starts at the first picture.

    When there has been nothing to read for ``idle_s`` seconds the child, and the memory of its models, is let go.
    ``still_s``, ``longest_s`` and ``then_s``: see :meth:`make_way`.
    """

    def __init__(
        self,
        limits: Limits = LIMITS,
        *,
        idle_s: float = IDLE_S,
        still_s: float = STILL_S,
        longest_s: float = LONGEST_S,
        then_s: float = THEN_S,
    ) -> None:
        super().__init__(1, lambda: ReadingChild(limits), name="words", idle_s=idle_s)
        self._still_s, self._longest_s, self._then_s = still_s, longest_s, then_s
        self._way = threading.Lock()
        self._is_still = False
        self._still_until = 0.0
        self._longest_until = 0.0
        self._reads_until = 0.0

    def submit(self, fd: int) -> Future[str]:
        """:meth:`ask` for the words: lines in reading order with newlines between, "" where there are none."""
        return self.ask(fd, None)

    def make_way(self) -> None:
        """Somebody searches: the child stands still for ``still_s`` seconds from now on, but after ``longest_s`` in a
        row it reads for ``then_s``. At idle priority it leaves others the processor, but neither its caches nor the
        way to the memory, and a search takes half as long again.
        """
        if not self.pids:
            return
        now = time.monotonic()
        with self._way:
            self._still_until = now + self._still_s
            if self._is_still or now < self._reads_until:
                return
            self._is_still = True
            self._longest_until = now + self._longest_s
            self.signal(signal.SIGSTOP)
        threading.Thread(target=self._go_on, name="words-still", daemon=True).start()

    def _go_on(self) -> None:
        """When it is time."""
        while True:
            with self._way:
                now = time.monotonic()
                left = min(self._still_until, self._longest_until) - now
                if left <= 0:
                    if self._longest_until <= now:
                        self._reads_until = now + self._then_s
                    self._is_still = False
                    self.signal(signal.SIGCONT)
                    return
            time.sleep(left)


class ReadingChild(Child):
    """Gives the words in a picture."""

    MODULE = "memewatchd.pictures.ocr_child"
    NAME = "reader of words"
    DOES = "read"
    START_S = 300.0

    def answer(self, fd: int, _: None) -> str:
        """Raises PictureError for what the child says of the picture, CrashedError for what became of it."""
        with self.asking(fd, {}) as (reply, _deadline):
            texts = [text for text, _score in reply["lines"]]
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("lines that are no text")
            return "\n".join(" ".join(text.split()) for text in texts)
