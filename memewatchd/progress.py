"""How far the mirror is: state, counters, rate, who waits for what, and who listens.

Written by the sync thread, read by the main thread. Listeners live in the main thread's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from memewatchd.errors import MemewatchError

# The rate is that of the last seconds, so that an ETA follows a change of pace.
RATE_WINDOW_S = 20.0
WORDS_WINDOW_S = 60.0  # reading is slow
LISTENER_BACKLOG = 1_000


@dataclass(frozen=True, slots=True)
class Event:
    """A change that has become searchable: "added", "removed", "moved" (``origin`` set), "failed" or "lost"."""

    kind: str
    path: bytes = b""
    origin: bytes = b""


@dataclass(slots=True)
class Walk:
    """A full stat walk that someone waits for: ``done`` when all that it found is settled."""

    done: Future[None] = field(default_factory=Future)
    remaining: set[bytes] | None = None  # None until the walk has begun and ended


@dataclass(slots=True)
class WordsWait:
    """Someone waits until the words of all pictures that are unread now are known; ``remaining``: digests."""

    done: Future[None] = field(default_factory=Future)
    remaining: set[str] | None = None  # None until they have been counted


class Pace:
    """How fast something goes: the rate of the last ``window_s`` seconds. Thread-safe."""

    def __init__(self, window_s: float, clock: Callable[[], float]) -> None:
        self._window_s = window_s
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: deque[tuple[float, int]] = deque()

    def count(self, number: int) -> None:
        """``number`` more are done."""
        with self._lock:
            self._counts.append((self._clock(), number))
            self._forget_old()

    @property
    def rate(self) -> float:
        """So many a second; 0.0 where too few were counted to say."""
        with self._lock:
            self._forget_old()
            if len(self._counts) < 2:
                return 0.0
            # The first entry only opens the window: what it counts was done before it.
            span = self._clock() - self._counts[0][0]
            return sum(number for _, number in list(self._counts)[1:]) / span if span > 0 else 0.0

    def _forget_old(self) -> None:
        horizon = self._clock() - self._window_s
        while self._counts and self._counts[0][0] < horizon:
            self._counts.popleft()


class Progress:
    """Counters and waiters. ``encoded`` counts distinct digests that went through the picture tower."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.started = clock()
        self.paused = False
        self.pending = 0
        self.encoded = 0
        self.scanned = False
        """Whether the first full scan has been compared with the index."""
        self.problems: dict[str, str] = {}
        """What makes the state ``degraded``: who says so → a sentence with the remedy."""
        self.holding = ""
        """Why bulk indexing waits although it could go on; "" if it doesn't wait."""
        self.away: dict[bytes, str] = {}
        """Roots that are away, and why."""
        self.words_pending = 0
        """Pictures whose words are still to be read."""
        self.words_off = "nothing reads the words in pictures here"
        """Why no words are read, ever; "" if they are."""
        self.words_state = ""
        """How reading goes, in words: "reading", "done", or why not."""
        self._settling = Pace(RATE_WINDOW_S, clock)
        self._reading = Pace(WORDS_WINDOW_S, clock)
        self._walks: list[Walk] = []
        self._words_waits: list[WordsWait] = []
        self._listeners: set[Listener] = set()

    # ---- state

    @property
    def state(self) -> str:
        """The first that applies of starting, degraded, paused, indexing, settled."""
        if self.problems or self.away:
            return "degraded"
        if not self.scanned:
            return "paused" if self.paused else "starting"
        if self.paused:
            return "paused"
        return "indexing" if self.pending else "settled"

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self.started

    def count_settled(self, files: int) -> None:
        """``files`` more are settled; feeds the rate."""
        self._settling.count(files)

    @property
    def rate(self) -> float:
        """Files settled per second, lately; 0.0 when nothing is under way."""
        return self._settling.rate if self.pending else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds until all is settled at the present rate; None where that isn't known."""
        rate = self.rate
        return self.pending / rate if rate and self.pending else None

    def count_read(self, pictures: int) -> None:
        """The words of so many more pictures have been read."""
        self._reading.count(pictures)

    @property
    def words_rate(self) -> float:
        """Pictures whose words were read per second, lately; 0.0 when none is to be read."""
        return self._reading.rate if self.words_pending else 0.0

    @property
    def words_eta_s(self) -> float | None:
        """Seconds until all words are read at the present rate; None where that isn't known."""
        rate, pending = self.words_rate, self.words_pending
        return pending / rate if rate and pending else None

    # ---- waiters

    def new_walk(self) -> Walk:
        """A ticket for the next full walk to begin."""
        walk = Walk()
        with self._lock:
            self._walks.append(walk)
        return walk

    def waiting_walks(self) -> list[Walk]:
        """Tickets whose walk hasn't begun: the walk about to begin serves them all."""
        with self._lock:
            return [walk for walk in self._walks if walk.remaining is None]

    def walk_ended(self, walks: Iterable[Walk], found: Iterable[bytes]) -> None:
        """The walk for these tickets found these paths still to be settled."""
        paths = set(found)
        with self._lock:
            for walk in walks:
                walk.remaining = set(paths)
            self._finish()

    def path_settled(self, paths: Iterable[bytes]) -> None:
        """These paths are searchable, forgotten or failed: whoever waits for them waits no more."""
        with self._lock:
            if not self._walks:
                return
            for walk in self._walks:
                if walk.remaining:
                    walk.remaining.difference_update(paths)
            self._finish()

    def restart_walks(self) -> None:
        """All that was found is void (the index failed): a new walk must serve everyone who waits."""
        with self._lock:
            for walk in self._walks:
                walk.remaining = None

    def fail_walks(self, error: MemewatchError) -> None:
        """Nobody's wait would end; this is why."""
        with self._lock:
            for walk in self._walks:
                with contextlib.suppress(InvalidStateError):  # whoever waited has given up, this very moment perhaps
                    walk.done.set_exception(error)
            self._walks.clear()

    def drop_walk(self, walk: Walk) -> None:
        """Whoever waited has gone."""
        with self._lock:
            if walk in self._walks:
                self._walks.remove(walk)

    def new_words_wait(self) -> WordsWait:
        """A ticket for the words of all that is unread when it is next counted."""
        wait = WordsWait()
        with self._lock:
            self._words_waits.append(wait)
        return wait

    @property
    def someone_waits_for_words(self) -> bool:
        """Whether a ticket for words is out."""
        return bool(self._words_waits)

    def words_left(self, unread: set[str]) -> None:
        """Just counted: the words of these digests are still unknown. Whoever waits for others waits no more."""
        with self._lock:
            for wait in list(self._words_waits):
                wait.remaining = unread if wait.remaining is None else wait.remaining & unread
                if not wait.remaining:
                    self._words_waits.remove(wait)
                    with contextlib.suppress(InvalidStateError):
                        wait.done.set_result(None)

    def fail_words(self, error: MemewatchError) -> None:
        """Nobody's wait for words would end; this is why."""
        with self._lock:
            for wait in self._words_waits:
                with contextlib.suppress(InvalidStateError):
                    wait.done.set_exception(error)
            self._words_waits.clear()

    def drop_words_wait(self, wait: WordsWait) -> None:
        """Whoever waited has gone."""
        with self._lock:
            if wait in self._words_waits:
                self._words_waits.remove(wait)

    def _finish(self) -> None:
        for walk in [walk for walk in self._walks if walk.remaining == set()]:
            self._walks.remove(walk)
            with contextlib.suppress(InvalidStateError):
                walk.done.set_result(None)

    # ---- listeners

    def listen(self) -> Listener:
        """Subscribe to events; call from the event loop that will read them."""
        listener = Listener(asyncio.get_running_loop())
        with self._lock:
            self._listeners.add(listener)
        return listener

    def unlisten(self, listener: Listener) -> None:
        """The reader has gone."""
        with self._lock:
            self._listeners.discard(listener)

    def tell(self, events: Iterable[Event]) -> None:
        """Tell every listener; never waits for one."""
        with self._lock:
            listeners = list(self._listeners)
        if listeners and (batch := list(events)):
            for listener in listeners:
                listener.put(batch)


class Listener:
    """One reader of events, with a bounded backlog: a reader too slow gets one "lost" and goes on from there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._backlog: deque[Event] = deque()
        self._arrived = asyncio.Event()

    def put(self, events: list[Event]) -> None:
        """From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._add, events)
        except RuntimeError:
            pass  # the loop has closed; so has the reader

    def _add(self, events: list[Event]) -> None:
        for event in events:
            if len(self._backlog) >= LISTENER_BACKLOG:
                self._backlog.clear()
                self._backlog.append(Event("lost"))
            self._backlog.append(event)
        self._arrived.set()

    async def get(self) -> Event:
        """The next event; waits for it."""
        while not self._backlog:
            self._arrived.clear()
            await self._arrived.wait()
        return self._backlog.popleft()
