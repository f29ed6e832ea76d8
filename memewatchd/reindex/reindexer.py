"""`memewatch reindex`: another model takes the place of the one in use, once all its vectors are there.

What is asked is remembered in the state, so that a restart in the middle goes on. The model is downloaded and loaded
in threads of its own; the sync thread, which drives this, builds its index beside (see ``builder``) whenever the
mirror has nothing else to do, and swaps the two at one moment. Until then the old one is served and kept up to date.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from memewatchd.encoders import models
from memewatchd.encoders.models import AUTO, KNOWN, Choice
from memewatchd.errors import BadRequest, ConfigError, Degraded, MemewatchError, StoreError
from memewatchd.reindex.builder import Builder
from memewatchd.reindex.candidate import Candidate
from memewatchd.service.sandbox import require_network

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from memewatchd.config import Settings
    from memewatchd.encoders.host import EncoderHost
    from memewatchd.index.state import StateKeeper
    from memewatchd.meme import Digest
    from memewatchd.reindex.builder import Beside, Decoder, Known
    from memewatchd.reindex.in_use import ModelInUse

log = logging.getLogger(__name__)

TRY_AGAIN_S = 600.0
LOOK_S = 10.0
"""How often it is looked whether what a candidate waits for has come, where nobody would tell (the power, say)."""


class Reindexer:
    """See the module. Owned by the sync thread but for :meth:`ask`, :attr:`status`, :attr:`line`, :meth:`close`."""

    def __init__(
        self,
        *,
        settings: Settings,
        environ: Mapping[str, str],
        keeper: StateKeeper,
        in_use: ModelInUse,
        store: Beside,
        decoder: Decoder,
        catalog: Known,
        wake: Callable[[], None],
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._keeper = keeper
        self._in_use = in_use
        self._store = store
        self._decoder = decoder
        self._catalog = catalog
        self._wake = wake
        self._say = say
        self._clock = clock
        self._lock = threading.Lock()  # of the wish; held while it is fulfilled, too
        self._wish = keeper.state.reindex_model
        self._asked = 0
        self._taken = 0
        self._current: Candidate | None = None
        self._closing = threading.Event()

    # ---- from other threads

    def ask(self, model: str) -> str:
        """Wish for another model; what to tell people. Blocks for a look at the disk.

        Raises BadRequest (there is no such model), Degraded (it can't be had here; the message has the remedy).
        """
        try:
            choice = models.choose(model, "", self._environ)
        except ConfigError as error:
            raise BadRequest(str(error).removeprefix("--model: ")) from error
        with self._lock:
            given_up, using = self._wish, self._in_use.name
            same = choice.name == using
            if not same:
                self._require_download(choice)
            try:
                self._keeper.change(reindex_model="" if same else choice.name, reindex_loads=0)
            except StoreError as error:
                raise Degraded(str(error)) from error
            self._wish = "" if same else choice.name
            self._asked += 1
        self._wake()
        if same:
            instead = f"; {given_up} is given up" if given_up else ": nothing is to be done"
            return f"the index is that of {using} already{instead}"
        about = f" (about {KNOWN[choice.name].size_mb / 1000:.1f} GB)" if choice.name in KNOWN else ""
        first = f"{choice.name} is downloaded first{about}; " if choice.folder is None else ""
        return (
            f"an index for {choice.name} is being built: {first}until it is complete, {using} answers; "
            f"memewatch status says how far it is{self._pinned(choice)}"
        )

    @property
    def status(self) -> dict[str, Any] | None:
        """How far it is, None where nothing is asked: ``model``, ``state``, ``done`` and ``total`` pictures, ``eta_s``,
        ``detail`` (the last line of a download, say), ``error``."""
        candidate, wish = self._current, self._wish
        if not wish:
            return None
        if candidate is None or candidate.name != wish:
            candidate = self._candidate(wish)
        builder = candidate.builder
        (done, total), eta = (builder.stored, builder.eta_s) if builder is not None else ((0, 0), None)
        return {
            "model": wish,
            "state": candidate.state,
            "done": done,
            "total": total,
            "eta_s": None if eta is None else round(eta, 1),
            "detail": candidate.detail,
            "error": candidate.error,
        }

    @property
    def line(self) -> str:
        """The same for people; "" where nothing is asked."""
        status = self.status
        if status is None:
            return ""
        if status["error"]:
            return f"reindexing with {status['model']} failed, and is tried again later: {status['error']}"
        text = f"reindexing with {status['model']}: {status['state']}"
        if status["total"]:
            text += f", {status['done']:,} of {status['total']:,} pictures"
        return text + (f" ({status['detail']})" if status["detail"] else "")

    def close(self) -> None:
        """Let nothing be loaded any more."""
        self._closing.set()
        candidate = self._current
        if candidate is not None and (host := candidate.host) is not None:
            host.close(0.5)

    def _require_download(self, choice: Choice) -> None:
        if choice.folder is not None:
            return
        try:
            require_network(f"the model {choice.name}, which is to be downloaded,")
        except ConfigError as error:
            raise Degraded(
                f"the model {choice.name} must be downloaded first, and this service's sandbox has no network. Run in "
                f"a terminal: memewatchd --download {choice.name}; and then this again"
            ) from error

    def _pinned(self, choice: Choice) -> str:
        """What to say where the settings name a model of their own, which the next start will open."""
        pinned = self._settings.model
        if pinned == AUTO or self._settings.sources["model"] == "default":
            return ""
        try:
            if models.choose(pinned, "", self._environ).name == choice.name:
                return ""
        except ConfigError:
            pass  # then it must be changed all the more
        return (
            f"; but the settings ({self._settings.sources['model']}) say model = {pinned}, which the next start opens: "
            f"change that to auto or {choice.name}"
        )

    # ---- the sync thread

    def step(self, *, idle: bool, why_not: str = "", may_write: bool = True) -> float:
        """Go on. ``idle``: the mirror has nothing to do; ``why_not``: nothing may be begun, and why.

        Returns the seconds until there is something to do, unless someone wakes us. Raises StoreError.
        """
        with self._lock:
            wish, asked = self._wish, self._asked
        if self._closing.is_set():
            return math.inf
        candidate = self._current
        # The same model asked for again is tried again at once, if it had failed.
        if candidate is not None and (candidate.name != wish or (candidate.error and asked != self._taken)):
            candidate.close()
            self._current = candidate = None
        self._taken = asked
        if not wish:
            return math.inf
        if candidate is None:
            self._current = candidate = self._candidate(wish)
        if candidate.error:
            if (left := candidate.retry_at - self._clock()) > 0:
                return left
            self._current = candidate = self._candidate(wish)
        try:
            return min(self._go_on(candidate, idle, why_not, may_write), LOOK_S)
        except StoreError:
            raise
        except MemewatchError as error:
            return self._fail(candidate, str(error))

    def reset(self) -> None:
        """Forget all that is under way in the index, which is opened again; the model stays."""
        if self._current is not None and self._current.builder is not None:
            self._current.builder.reset()

    def _go_on(self, candidate: Candidate, idle: bool, why_not: str, may_write: bool) -> float:
        host = candidate.host
        if host is None:
            # One model is loaded after the other: both at once would need the memory of both loads.
            if not self._in_use.settled:
                return math.inf
            choice = models.choose(candidate.name, "", self._environ)
            if choice.name == self._in_use.name:  # since a start with this --model
                self._fulfil(candidate)
            else:
                candidate.load(choice)
            return math.inf
        if host.failed:
            return self._fail(candidate, host.failed)
        if not host.ready:
            return math.inf
        assert candidate.choice is not None
        if host.wait(0).fingerprint == self._in_use.fingerprint:
            self._swap(candidate, candidate.choice, host, ())  # the same by another name
            return 0.0
        if candidate.builder is None:
            candidate.builder = self._new_builder(candidate, host)
        candidate.detail = why_not or ("" if idle else "waits for what is new in the folders")
        complete = candidate.builder.step(may_begin=idle and not why_not, may_write=may_write)
        if complete:
            self._swap(candidate, candidate.choice, host, candidate.builder.have)
            return 0.0
        return candidate.builder.until_due()

    def _candidate(self, name: str) -> Candidate:
        return Candidate(
            name,
            settings=self._settings,
            environ=self._environ,
            keeper=self._keeper,
            stopping=self._closing.is_set,
            wake=self._wake,
            say=self._say,
        )

    def _new_builder(self, candidate: Candidate, host: EncoderHost) -> Builder:
        encoder = host.wait(0)
        candidate.state = "building"
        log.info("%s is loaded; its index is built beside the one in use", candidate.name)
        return Builder(
            encoder=host,
            fingerprint=encoder.fingerprint,
            dim=encoder.dim,
            spec=encoder.spec,
            store=self._store,
            decoder=self._decoder,
            catalog=self._catalog,
            wake=self._wake,
            clock=self._clock,
        )

    def _swap(self, candidate: Candidate, choice: Choice, host: EncoderHost, digests: Collection[Digest]) -> None:
        candidate.state = "swapping"
        with self._lock:
            if self._wish != candidate.name:
                return  # something else was asked for at the last moment
            self._in_use.take_over(choice, host.wait(0), digests)
            self._wish = ""
        self._say(f"the index is that of {candidate.name} now")
        candidate.close()
        self._current = None
        self._in_use.drop_replaced()

    def _fulfil(self, candidate: Candidate) -> None:
        """There is nothing to be done."""
        with self._lock:
            if self._wish == candidate.name:
                self._keeper.change(reindex_model="")
                self._wish = ""
        self._current = None

    def _fail(self, candidate: Candidate, why: str) -> float:
        candidate.fail(why, self._clock() + TRY_AGAIN_S)
        log.error("reindexing with %s failed: %s", candidate.name, why)
        return TRY_AGAIN_S
