"""The mirror: makes Milvus say exactly what the disk says. The only writer of the index; one thread, ``sync``.

Watch first, then scan, then follow. Events say where to look; a look compares disk and index; a plan says what has
moved, what to forget and what to read; what is read goes through the intake and comes back as rows; the ledger
writes. When in doubt: look again, compare, repair.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

from memewatchd.agenda import QUIET_S, Agenda
from memewatchd.errors import Degraded, EncoderError, MemewatchError, Paused
from memewatchd.folder.plan import Plan
from memewatchd.health import CHECK_S
from memewatchd.outbox import Outbox
from memewatchd.priority import yielding_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from memewatchd.folder.dirty import DirtySet
    from memewatchd.folder.scan import Look
    from memewatchd.health import HealthCheck
    from memewatchd.index.catalog import Catalog
    from memewatchd.index.ledger import Ledger
    from memewatchd.intake import Intake
    from memewatchd.looking import Looker
    from memewatchd.meme import FrameSpec
    from memewatchd.progress import Progress
    from memewatchd.service.power import Battery

log = logging.getLogger(__name__)

# A burst is looked at when it has been quiet for a moment, and at the latest after a while.
BURST_S = 0.5
SWEEP_S = 3600.0
FEED_S = 0.2
RECONNECT_S = (0.5, 30.0)
# Stands for the model's pictures among what a walk waits for; no path, for those are absolute.
THE_MODEL = b"the model"


class Watches(Protocol):
    """What the mirror needs of the watcher."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Model(Protocol):
    """What the mirror needs of the encoders."""

    @property
    def ready(self) -> bool: ...
    @property
    def failed(self) -> str: ...


class Words(Protocol):
    """What the mirror needs of the second pass, which reads the words in pictures, and of the reindexer."""

    def step(self, *, idle: bool, why_not: str = "", may_write: bool = True) -> float: ...
    def reset(self) -> None: ...


class Mirror:
    """See the module. Everything is owned by the sync thread but :meth:`ask`, :meth:`pause`, :meth:`stop`."""

    def __init__(
        self,
        *,
        looker: Looker,
        dirty: DirtySet,
        watcher: Watches,
        open_index: Callable[[], None],
        health: HealthCheck,
        shortage: Callable[[], str] = lambda: "",
        ledger: Ledger,
        catalog: Catalog,
        intake: Intake,
        model: Model,
        activate: Callable[[], FrameSpec],
        progress: Progress,
        settle_s: float,
        words: Words | None = None,
        reindexer: Words | None = None,
        battery: Battery | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._looker = looker
        self._dirty = dirty
        self._watcher = watcher
        self._open_index = open_index
        self._health = health
        self._shortage = shortage
        self._ledger = ledger
        self._catalog = catalog
        self._intake = intake
        self._model = model
        self._activate = activate
        self._progress = progress
        self._words = words
        self._reindexer = reindexer
        self._battery = battery
        self._clock = clock

        self._stop = threading.Event()
        self._agenda = Agenda(settle_s)
        self._outbox = Outbox(dirty, looker, ledger, catalog, intake, progress)
        self._sweep_at = 0.0
        self._did_well = False  # whether anything was written, or all was settled, since the index was opened
        self._said = ""
        self.is_open = False
        """Whether the index has been read: from then on names are known."""
        self.is_active = False
        """Whether the model's pictures are open: from then on they can be searched, and files be read."""
        self.beaten_at = clock()
        """When the thread last came round; the watchdog looks at it."""

    # ---- asked for by other threads

    def wake(self) -> None:
        """There is something to do."""
        self._dirty.wake()

    def stop(self) -> None:
        """End soon; what is half done is not written."""
        self._stop.set()
        self.wake()

    def check_soon(self) -> None:
        """Somebody found the index failing: see for yourself, and open it again."""
        self._health.check_soon()
        self.wake()

    def rescan(self, forget_missing: bool = False) -> None:
        """Look at everything; with ``forget_missing`` also forget the files of roots that are away."""
        if forget_missing:
            self._looker.forget_missing()
        self._dirty.mark_all()

    def set_paused(self, paused: bool) -> None:
        """Pause or resume; while paused nothing is looked at and nothing read."""
        self._progress.paused = paused
        if paused:
            self._progress.fail_walks(Paused("indexing was paused meanwhile; run memewatch resume"))
        self.wake()

    # ---- the thread

    def run(self) -> None:
        """Mirror until stopped. A failing index is opened again, with growing patience."""
        patience = RECONNECT_S[0]
        first = True
        try:
            while not self._stop.is_set():
                self._did_well = False
                try:
                    self._open(first)
                    first = False
                    self._follow()
                except Exception as error:  # noqa: BLE001 - whatever it was: drop all, look again, repair
                    if self._stop.is_set():
                        return  # what it works with may have been closed under it
                    if self._did_well:
                        patience = RECONNECT_S[0]
                    self._lose(error)
                    self._nap(patience)
                    patience = min(patience * 2, RECONNECT_S[1])
        finally:
            self._watcher.stop()
            self._health.close()
            self._intake.reset()
            for later in (self._words, self._reindexer):
                if later is not None:
                    later.reset()

    def _open(self, first: bool) -> None:
        self._open_index()
        self._ledger.load()
        self.is_active = False
        self.is_open = True
        self._activate_if_ready()
        self._progress.problems.pop("index", None)
        log.info("the index holds %d files", len(self._catalog.rows()))
        if first:
            self._watcher.start()
        self._dirty.mark_all()

    def _lose(self, error: Exception) -> None:
        """Something failed in mid-work: forget what was under way, and say so. The disk is still the truth."""
        if isinstance(error, MemewatchError):
            what = "the model failed: " if isinstance(error, EncoderError) else ""
            if self._did_well or self._said != str(error):  # not at every try
                log.error("%s%s", what or "indexing failed: ", error)
            self._said = str(error)
            self._progress.problems["index"] = f"{what}{error}"
        else:
            log.error("the mirror failed; it starts anew", exc_info=error)
            self._progress.problems["index"] = f"the mirror failed and starts anew: {error!r} (a bug; the log has more)"
        self._intake.reset()
        for later in (self._words, self._reindexer):
            if later is not None:
                later.reset()
        self._outbox.clear()
        self._agenda.clear()
        self._progress.restart_walks()

    def _nap(self, seconds: float) -> None:
        until = self._clock() + seconds
        while not self._stop.is_set() and (left := until - self._clock()) > 0:
            self._beat()
            self._stop.wait(min(left, 1.0))

    def _follow(self) -> None:
        while not self._stop.is_set():
            self._beat()
            short = self._is_short()
            if self._progress.paused or short:
                self._health.check_index_if_due()
                self._activate_if_ready()
                self._collect()
                if not short:
                    self._flush()
                self._count_pending()
                why_not = "too little space" if short else "paused"
                self._read_words(why_not, may_write=not short)
                self._reindex(why_not, may_write=not short)
                self._dirty.wait_woken(CHECK_S)
                continue
            self._health.check_if_due()
            self._activate_if_ready()
            self._look_if_due()
            self._feed()
            self._collect()
            self._flush_if_due()
            self._count_pending()
            self._sweep_if_settled()
            later = min(self._read_words(), self._reindex(self._held()))
            if later == math.inf and self._is_at_rest():
                self._health.stand_still(self._beat)
            else:
                self._dirty.wait_woken(min(later, self._until_due()))

    def _beat(self) -> None:
        self.beaten_at = self._clock()

    def _is_at_rest(self) -> bool:
        """Whether nothing will be to do unless someone wakes us, or a health check finds something."""
        progress = self._progress
        at_work = progress.pending or progress.away or progress.waiting_walks() or self._dirty.first_mark is not None
        return self.is_active and progress.scanned and not at_work

    def _read_words(self, why_not: str = "", *, may_write: bool = True) -> float:
        """The second pass, when the first has nothing to do but to wait for writers."""
        if self._words is None:
            return math.inf
        looked = self._progress.scanned and (self.is_active or bool(self._model.failed))
        idle = looked and not self._agenda.readable and not len(self._intake) and not self._outbox
        return self._words.step(idle=idle, why_not=why_not, may_write=may_write)

    def _reindex(self, why_not: str = "", *, may_write: bool = True) -> float:
        """Another model's index, when this one's is complete; or when it can't be, since its model can't be loaded."""
        if self._reindexer is None:
            return math.inf
        read = not self.is_active or not self._agenda.readable
        usable = self.is_active or bool(self._model.failed)
        idle = self._progress.scanned and usable and read and not len(self._intake) and not self._outbox
        return self._reindexer.step(idle=idle, why_not=why_not, may_write=may_write)

    def _until_due(self) -> float:
        """Seconds until there is something to do, unless someone wakes us."""
        now = self._clock()
        due = [self._health.due_at]
        if self._progress.waiting_walks():
            return 0.0
        if (last := self._dirty.last_mark) is not None and (first := self._dirty.first_mark) is not None:
            due.append(min(last + QUIET_S, first + BURST_S))
        agenda = self._agenda
        if self._intake.has_room and agenda.readable and (agenda.has_fresh or not self._held()):
            return 0.0
        if self._intake.has_room:
            due.append(agenda.next_due())
        if self._outbox:
            due.append(self._outbox.due_at)
        return max(0.0, min(due) - now)

    def _is_short(self) -> bool:
        """Whether the disk is too full for the index to grow: nothing is written then, and searching goes on."""
        said, before = self._shortage(), self._progress.problems.get("space", "")
        if said:
            self._progress.problems["space"] = said
            self._progress.fail_walks(Degraded(said))
        else:
            self._progress.problems.pop("space", None)
        if bool(said) != bool(before):
            log.warning("%s", said or "there is space again; indexing goes on")
        return bool(said)

    # ---- looking

    def _look_if_due(self) -> None:
        walks = self._progress.waiting_walks()
        now = self._clock()
        last, first = self._dirty.last_mark, self._dirty.first_mark
        is_due = last is not None and first is not None and (now >= last + QUIET_S or now >= first + BURST_S)
        if not walks and not is_due:
            return
        self._flush()
        if walks or not self._progress.scanned:
            self._dirty.mark_all()
        look = self._looker.look(self._dirty)
        if look is None:
            self._progress.restart_walks()
            return
        plan = self._looker.compare(look, first=not self._progress.scanned, vectors=self.is_active)
        self._drop_vanished(look)
        self._enqueue(plan, now)
        if not self._progress.scanned:
            self._progress.scanned = True
        self._count_pending()
        found = self._unsettled()
        self._progress.walk_ended(walks, [*found, THE_MODEL] if self._unopened() else found)
        self._fail_hopeless_walks()

    def _drop_vanished(self, look: Look) -> None:
        """What is on its way and no longer on the disk must not be written."""
        gone = [path for path in self._unsettled() if path not in look.files and look.scope.covers(path)]
        for path in gone:
            self._intake.drop(path)
        self._agenda.remove(gone)
        self._progress.path_settled(gone)

    def _enqueue(self, plan: Plan, now: float) -> None:
        new = [path for path in plan.read if self._intake.taking(path) is None]
        files = {}
        for path, stat in plan.read.items():
            if self._intake.taking(path) == stat:
                self._intake.keep(path)
            else:
                files[path] = stat
        self._agenda.enter(files, now, new=new, saving=bool(self._held()))

    # ---- reading

    def _activate_if_ready(self) -> None:
        """The model has been loaded (or has failed): open its pictures, and read what it lacks."""
        if self._model.failed:
            self._progress.problems["model"] = self._model.failed
            self._fail_hopeless_walks()
            return
        if self.is_active or not self._model.ready:
            return
        self.adopt(self._activate())

    def adopt(self, spec: FrameSpec) -> None:
        """The sync thread: a model's pictures are the index from now on; what they lack is read."""
        self._intake.use(spec)
        self._progress.problems.pop("model", None)
        if not self.is_active:
            self.is_active = True
            self._progress.restart_walks()  # what waited for the model now waits for what the model lacks
        lacking = [row for row in self._catalog.rows() if not row.error and not self._catalog.has_vector(row.digest)]
        if lacking and self._progress.scanned:
            log.info("%d files are still to be encoded with this model", len(lacking))
            self._enqueue(Plan(read={row.path: row.stat for row in lacking}), self._clock())

    def _fail_hopeless_walks(self) -> None:
        if self._model.failed and (self._unsettled() or self._unopened()):
            self._progress.fail_walks(Degraded(self._model.failed))

    def _feed(self) -> None:
        now = self._clock()
        saving = bool(self._held())
        self._agenda.wake(now, saving=saving)
        with yielding_disk() if self._agenda.has_backlog else nullcontext():
            self._take_next(now, saving=saving)

    def _take_next(self, now: float, *, saving: bool) -> None:
        # Copies of known pictures take no room: the clock bounds them, so that news are looked at in between.
        while self._intake.has_room and self._clock() < now + FEED_S and not self._stop.is_set():
            taken = self._agenda.take(saving=saving)
            if taken is None:
                return
            path, todo = taken
            if self._intake.taking(path) is not None:
                self._agenda.put_off(path, todo, todo.stat, now)
            elif (unstable := self._intake.take(path, todo.stat, todo.since)) is not None:
                self._agenda.put_off(path, todo, unstable.stat, now)

    def _held(self) -> str:
        """Why what can wait waits; "" if it doesn't."""
        return "" if self._battery is None else self._battery.holds()

    def _collect(self) -> None:
        try:
            finished = self._intake.collect()
        except EncoderError:
            if not self._stop.is_set():
                raise
            return
        now = self._clock()
        for path, stat in self._intake.changed().items():
            self._agenda.read_again(path, stat, now)
        self._outbox.add(finished, now)

    def _flush_if_due(self) -> None:
        idle = not self._agenda.readable and not len(self._intake)
        if self._outbox.is_due(self._clock(), idle=idle):
            self._flush()

    def _flush(self) -> None:
        """Write all that is finished."""
        if self._outbox:
            written = self._outbox.write()
            self._did_well = True
            self._settle(written)

    # ---- telling

    def _settle(self, paths: Iterable[bytes]) -> None:
        self._progress.path_settled([path for path in paths if path not in self._agenda])

    def _unsettled(self) -> list[bytes]:
        return [*self._agenda.paths, *self._intake.paths, *self._outbox.paths]

    def _unopened(self) -> int:
        """Good files that no search by look can find yet, since the model's pictures aren't open."""
        if self.is_active:
            return 0
        rows = (row for row in self._catalog.rows() if not row.error and row.path not in self._agenda)
        return sum(not self._catalog.is_away(row.path) for row in rows)

    def _count_pending(self) -> None:
        under_way = len(self._agenda) + len(self._intake) + len(self._outbox)
        self._progress.pending = under_way + self._unopened()
        self._progress.holding = self._held() if self._agenda.readable and not self._progress.paused else ""
        self._did_well |= self._progress.pending == 0 and self._dirty.first_mark is None

    def _sweep_if_settled(self) -> None:
        if self.is_active and not self._progress.pending and self._progress.scanned and self._clock() >= self._sweep_at:
            self._sweep_at = self._clock() + SWEEP_S
            swept = self._ledger.sweep()
            if swept:
                log.info("%d pictures that no file has had for a month are dropped", swept)
