"""The model that is served and its pictures in the index: opened at the start, and replaced by another's at one moment.

Owned by the sync thread; any may read.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from memewatchd.encoders.host import Encoder, EncoderHost
    from memewatchd.encoders.models import Choice
    from memewatchd.index.catalog import Catalog
    from memewatchd.index.ledger import Ledger
    from memewatchd.index.state import StateKeeper
    from memewatchd.meme import Digest, FrameSpec

log = logging.getLogger(__name__)


class Pictures(Protocol):
    """What this needs of the store. May raise StoreError."""

    def use_beside(self) -> None: ...
    def drop_pictures(self, fingerprint: str, /) -> None: ...


class ModelInUse:
    """See the module. ``forget``: what was measured with the model before means nothing any more; ``taken``: another
    model is in use, and its index may lack what could not be read while it was built."""

    def __init__(
        self,
        choice: Choice,
        *,
        host: EncoderHost,
        keeper: StateKeeper,
        store: Pictures,
        ledger: Ledger,
        catalog: Catalog,
        forget: Callable[[], None] = lambda: None,
        taken: Callable[[Encoder], None] = lambda _: None,
    ) -> None:
        self._choice = choice
        self._host = host
        self._keeper = keeper
        self._store = store
        self._ledger = ledger
        self._catalog = catalog
        self._forget = forget
        self._taken = taken
        self.fingerprint = ""
        """Of the index that is open; "" before there is one."""
        self.dim = 0
        """Numbers in its vectors."""
        self.turn = 0
        """Odd while one model takes the place of another. A search that ends in another turn than it began in has
        perhaps compared vectors of two models, and must be asked again."""

    @property
    def name(self) -> str:
        """The model's, as the state remembers it."""
        return self._choice.name

    @property
    def settled(self) -> bool:
        """Whether it is loaded, or can't be."""
        return self._host.ready or bool(self._host.failed)

    def activate(self) -> FrameSpec:
        """Once the model is loaded: its pictures are the index from now on. May raise StoreError."""
        encoder = self._host.wait(0)
        self._ledger.use_model(encoder.fingerprint, encoder.dim)
        self._forget()
        before = self._keeper.state
        if before.fingerprint not in ("", encoder.fingerprint):
            log.info(
                "the index was built with %s; this is another, the old one is kept", before.model or "another model"
            )
        self._keeper.change(fingerprint=encoder.fingerprint, model=self.name)
        self.fingerprint, self.dim = encoder.fingerprint, encoder.dim
        self.drop_replaced()
        return encoder.spec

    def take_over(self, choice: Choice, encoder: Encoder, digests: Collection[Digest]) -> None:
        """Serve ``encoder`` from now on, and the index that the store has beside, which holds ``digests``.

        The state says so first: whatever ends us here, the next start opens one whole index or the other.
        Raises StoreError where that can't be written, and then nothing has changed.
        """
        before = self.fingerprint
        if encoder.fingerprint == before:  # the same by another name
            self._keeper.change(model=choice.name, reindex_model="")
            self._choice = choice
            return
        # Where the old model could not be loaded, nobody knows what its index is good for: it is left alone.
        self._keeper.change(fingerprint=encoder.fingerprint, model=choice.name, reindex_model="", replaced=before)
        self.turn += 1
        try:
            self._store.use_beside()
            self._host.adopt(encoder)
            self._catalog.set_vectors(digests)
            self._forget()
            self._choice, self.fingerprint, self.dim = choice, encoder.fingerprint, encoder.dim
        finally:
            self.turn += 1
        self._taken(encoder)

    def drop_replaced(self) -> None:
        """Drop the index whose place was taken, if there is one. May raise StoreError; then call it again."""
        replaced = self._keeper.state.replaced
        if not replaced:
            return
        if replaced != self.fingerprint:
            self._store.drop_pictures(replaced)
        self._keeper.change(replaced="")
