"""A model that is to take the place of the one in use: downloaded where it must be, loaded in threads of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from memewatchd.encoders import hub, models
from memewatchd.encoders.host import EncoderHost
from memewatchd.encoders.models import Choice
from memewatchd.errors import MemewatchError
from memewatchd.service.sandbox import require_network

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from memewatchd.config import Settings
    from memewatchd.encoders.two_towers import TwoTowers
    from memewatchd.index.state import StateKeeper
    from memewatchd.reindex.builder import Builder

LOADS = 3
"""So many starts in a row may end while the model is being loaded; it is left alone then (too little memory?)."""


class Candidate:
    """One try. Owned by the sync thread; any thread may read ``state``, ``detail``, ``error`` and ``builder``.

    ``stopping``: the daemon is about to end; ``wake`` is called from another thread when :attr:`host` has loaded or
    failed; ``say`` gets the lines of a download.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        environ: Mapping[str, str],
        keeper: StateKeeper,
        stopping: Callable[[], bool],
        wake: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self.name = name
        self.choice: Choice | None = None
        self.host: EncoderHost | None = None
        self.builder: Builder | None = None
        self.state = "waiting"
        self.detail = ""
        self.error = ""
        self.retry_at = 0.0
        self._settings = settings
        self._environ = environ
        self._keeper = keeper
        self._stopping = stopping
        self._wake = wake
        self._say = say
        self._given_up = threading.Event()

    def load(self, choice: Choice) -> None:
        """Begin. Raises MemewatchError where that has ended too many starts."""
        if self._keeper.state.reindex_loads >= LOADS:
            raise MemewatchError(
                f"{LOADS} starts in a row ended while it was being loaded (too little memory, perhaps); to try again: "
                f"memewatch reindex --model {self.name}"
            )
        host = EncoderHost(lambda: self._load(choice, host), on_change=self._wake)
        self.choice, self.host = choice, host
        self.state = "downloading" if choice.folder is None else "loading"
        host.start()

    def fail(self, why: str, retry_at: float) -> None:
        """Give up until ``retry_at``."""
        self.close()
        self.state, self.detail, self.error, self.retry_at = "failed", "", why, retry_at

    def close(self, timeout: float = 0.0) -> None:
        """Forget all that is under way; a thread in the middle of a call ends after it, and is waited for so long."""
        self._given_up.set()
        if self.builder is not None:
            self.builder.reset()
        if self.host is not None:
            self.host.close(timeout)
        self.host = self.builder = None

    def _load(self, choice: Choice, host: EncoderHost) -> TwoTowers:
        """The host's text thread."""
        if choice.folder is None:
            require_network(f"the model {choice.name}, which is to be downloaded,")
            folder = hub.download(
                choice.repo,
                endpoint=self._settings.hub_endpoint,
                proxy=self._settings.proxy,
                environ=self._environ,
                say=self._tell,
                beat=host.loading,
                stopping=self._is_over,
            )
            choice = Choice(choice.name, folder, choice.repo)
        self.state, self.detail = "loading", ""
        self._keeper.change(reindex_loads=self._keeper.state.reindex_loads + 1)
        try:
            return models.load(
                choice,
                endpoint=self._settings.hub_endpoint,
                proxy=self._settings.proxy,
                environ=self._environ,
                say=self._tell,
                beat=host.loading,
                stopping=self._is_over,
            )
        finally:
            self._keeper.change(reindex_loads=0)

    def _tell(self, line: str) -> None:
        self.detail = line
        self._say(line)

    def _is_over(self) -> bool:
        return self._given_up.is_set() or self._stopping()
