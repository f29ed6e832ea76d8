"""The words in pictures: each picture is read once, after it can be found by look, and when nothing else is to do.

Driven by the sync thread, which owns it; the reader's child does the work, at idle priority, and wakes the sync thread
when it is done. What it reads is committed in small groups.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from memewatchd.errors import Degraded, MemewatchError, Paused, PictureError
from memewatchd.meme import PictureWords
from memewatchd.opened import open_known
from memewatchd.pictures.child import LateError
from memewatchd.service.power import on_battery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from memewatchd.meme import Digest, FileRow
    from memewatchd.opened import Opened
    from memewatchd.progress import Progress

log = logging.getLogger(__name__)

# One that is read, and one that waits, so that the reader never does.
UNDER_WAY = 2
# Rows are written when so many are read or the oldest has waited so long, and at once when nothing else is to read.
GROUP = 8
GROUP_S = 5.0
POWER_S = 30.0
# While the first pass is at it, the count need not be that fresh.
COUNT_S = 2.0
TRY_AGAIN_S = 600.0
OFF = "off"
SUPPLIES = Path("/sys/class/power_supply")


class Reader(Protocol):
    """What the second pass needs of the reader."""

    def submit(self, fd: int) -> Future[str]: ...


class Known(Protocol):
    """What it needs of the catalog."""

    @property
    def generation(self) -> int: ...
    @property
    def indexed(self) -> int: ...
    def unread(self, reader: str, /) -> list[Digest]:
        """Newest first, without those of roots that are away."""
        ...

    def paths_of(self, digest: Digest, /) -> list[bytes]: ...
    def get(self, path: bytes, /) -> FileRow | None: ...


class WordsLedger(Protocol):
    """What it needs of the ledger. May raise StoreError."""

    def commit_words(self, words: Sequence[PictureWords], /) -> None: ...


@dataclass(slots=True)
class _Job:
    """A picture that is read; its file is open until then."""

    digest: Digest
    file: Opened
    reading: Future[str]


class SecondPass:
    """See the module. ``reader_id`` says which reader's words are wanted; ``off``: why nothing is read, "" if
    it is, :data:`OFF` where the settings say so.

    ``wake`` is called from other threads when something can be collected.
    """

    def __init__(
        self,
        *,
        reader: Reader,
        reader_id: str,
        catalog: Known,
        ledger: WordsLedger,
        progress: Progress,
        wake: Callable[[], None],
        off: str = "",
        read_on_battery: bool = False,
        supplies: Path = SUPPLIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._reader_id = reader_id
        self._catalog = catalog
        self._ledger = ledger
        self._progress = progress
        self._wake = wake
        self._read_on_battery = read_on_battery
        self._supplies = supplies
        self._clock = clock

        self._queue: list[Digest] = []  # the newest last
        self._jobs: dict[Digest, _Job] = {}
        self._done: list[PictureWords] = []
        self._flush_at = 0.0
        self._counted: tuple[int, int] | None = None
        self._count_at = 0.0
        self._gave_up: set[Digest] = set()
        self._power_at = 0.0
        self._discharging = False
        self._broken = ""
        self._broken_until = 0.0
        progress.words_off = "switched off by words = false in the settings" if off == OFF else off
        progress.words_state = off or "reading"

    @property
    def is_off(self) -> bool:
        """Whether nothing is ever read."""
        return bool(self._progress.words_off)

    def step(self, *, idle: bool, why_not: str = "", may_write: bool = True) -> float:
        """Go on. ``idle``: the first pass has nothing to do; ``why_not``: nothing may be begun, and why.

        Returns the seconds until there is something to do, unless someone wakes us.
        """
        if self.is_off:
            return math.inf
        self._collect()
        if idle or self._progress.someone_waits_for_words or self._clock() >= self._count_at:
            self._count()
        held = why_not or self._held()
        if idle and not held:
            self._begin()
        if may_write:
            self._flush_if_due(held=bool(held) or not idle)
        self._tell(held, idle)
        return self._until_due()

    def reset(self) -> None:
        """Forget all that is under way."""
        for job in self._jobs.values():
            job.reading.cancel()
            job.file.close()
        self._jobs.clear()
        self._done.clear()
        self._queue.clear()
        self._counted = None

    def flush(self) -> None:
        """Write what has been read."""
        done, self._done = self._done, []
        if done:
            self._ledger.commit_words(done)

    # ---- what is to be read

    def _count(self) -> None:
        """See what is unread. Costs a look at every digest, so only after a change."""
        now = (self._catalog.generation, self._catalog.indexed)
        if now == self._counted:
            return
        self._counted = now
        self._count_at = self._clock() + COUNT_S
        taken = self._jobs.keys() | {words.digest for words in self._done} | self._gave_up
        unread = self._catalog.unread(self._reader_id)
        self._queue = [digest for digest in reversed(unread) if digest not in taken]

    def _held(self) -> str:
        """Why reading waits although there is nothing else to do; "" if it doesn't."""
        now = self._clock()
        if now >= self._power_at:
            self._power_at = now + POWER_S
            self._discharging = not self._read_on_battery and on_battery(self._supplies)
        if self._discharging:
            return "on battery"
        if self._broken and now < self._broken_until:
            return self._broken
        self._broken = ""
        return ""

    # ---- reading

    def _begin(self) -> None:
        while self._queue and len(self._jobs) < UNDER_WAY:
            digest = self._queue.pop()
            file = open_known(self._catalog, digest)
            if file is None:
                # Its file has just changed or gone; the first pass will see to that, and then it is counted anew.
                continue
            try:
                reading = self._reader.submit(file.fd)
            except BaseException:
                file.close()
                raise
            self._jobs[digest] = _Job(digest, file, reading)
            reading.add_done_callback(lambda _: self._wake())

    def _collect(self) -> None:
        for job in [job for job in self._jobs.values() if job.reading.done()]:
            del self._jobs[job.digest]
            unchanged = job.file.close()
            try:
                text = job.reading.result()
            except LateError as error:
                # Perhaps the machine was busy for that long: it is tried again after the next start.
                log.info("the words of %s were given up: %s", job.digest[:12], error)
                self._gave_up.add(job.digest)
                continue
            except PictureError as error:
                # It can be decoded, and found by look; no word of it is known, and none will be.
                log.info("the words of %s can't be read: %s", job.digest[:12], error)
                text = ""
            except MemewatchError as error:
                self._break(str(error))
                continue
            if not unchanged:
                self._counted = None
                continue
            if not self._done:
                self._flush_at = self._clock() + GROUP_S
            self._done.append(PictureWords(job.digest, text, self._reader_id))
            self._progress.count_read(1)

    def _break(self, why: str) -> None:
        """The reader itself can't run; that is no picture's fault."""
        if why != self._broken:
            log.error("%s", why)
        self._broken = why
        self._broken_until = self._clock() + TRY_AGAIN_S
        self._counted = None

    def _flush_if_due(self, *, held: bool) -> None:
        last = not self._jobs and (held or not self._queue)
        if self._done and (last or len(self._done) >= GROUP or self._clock() >= self._flush_at):
            self.flush()

    # ---- telling

    def _tell(self, held: str, idle: bool) -> None:
        progress = self._progress
        progress.words_pending = len(self._queue) + len(self._jobs) + len(self._done)
        if progress.someone_waits_for_words:
            progress.words_left({*self._queue, *self._jobs, *(words.digest for words in self._done)})
        if not progress.words_pending:
            progress.words_state = "done"
        elif held:
            progress.words_state = held
        else:
            progress.words_state = "reading" if idle or self._jobs else "waiting until all can be found by look"
        if progress.words_pending and held:
            error = Degraded if held == self._broken else Paused
            progress.fail_words(error(f"the words in pictures aren't read now: {held}"))

    def _until_due(self) -> float:
        due = [self._flush_at] if self._done else []
        if self._discharging:
            due.append(self._power_at)
        if self._broken:
            due.append(self._broken_until)
        return max(0.0, min(due) - self._clock()) if due else math.inf
