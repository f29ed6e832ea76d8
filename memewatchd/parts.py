"""All parts of the daemon and how they hang together: made here, started and ended by ``daemon``."""

from __future__ import annotations

import functools
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from memewatchd import cache_names
from memewatchd.commands import Commands
from memewatchd.encoders import models
from memewatchd.encoders.host import EncoderHost
from memewatchd.encoders.tencent import Tencent
from memewatchd.encoders.translate import OFF, TENCENT, Translator
from memewatchd.errors import ConfigError, StoreError
from memewatchd.folder.dirty import DirtySet
from memewatchd.folder.ignore import Ignore
from memewatchd.folder.roots import RootState
from memewatchd.folder.scan import Disk
from memewatchd.folder.watcher import Watcher
from memewatchd.glance import Glance
from memewatchd.health import HealthCheck
from memewatchd.index.catalog import Catalog
from memewatchd.index.engine import Engine
from memewatchd.index.ledger import Ledger
from memewatchd.index.size import beyond
from memewatchd.index.state import StateKeeper
from memewatchd.index.store import Store
from memewatchd.intake import Intake
from memewatchd.leisure import Leisure
from memewatchd.looking import Looker
from memewatchd.pictures import kinds, ocr
from memewatchd.pictures.export import Exporter
from memewatchd.pictures.kinds import can_read_videos
from memewatchd.pictures.pool import DecodePool, Limits
from memewatchd.pictures.renderer import Renderer
from memewatchd.pictures.thumbnails import Thumbnailer
from memewatchd.progress import Progress
from memewatchd.query_socket import Door
from memewatchd.reader import Reader
from memewatchd.reindex.copier import Copier
from memewatchd.reindex.in_use import ModelInUse
from memewatchd.reindex.reindexer import Reindexer
from memewatchd.search.calibrator import Calibrator
from memewatchd.search.examples import Examples
from memewatchd.search.naming import Namer
from memewatchd.search.search import Searcher
from memewatchd.search.usage import Usage
from memewatchd.second_pass import OFF as WORDS_OFF
from memewatchd.second_pass import SecondPass
from memewatchd.service.power import Battery
from memewatchd.service.sandbox import require_network, sandbox
from memewatchd.sync import Mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from memewatchd.config import Settings
    from memewatchd.encoders.host import Encoder
    from memewatchd.encoders.models import Choice
    from memewatchd.encoders.two_towers import TwoTowers
    from memewatchd.service.web.server import WebServer

# The mirror comes round at least every ten seconds; a walk over a slow network disk takes longer.
MIRROR_STUCK_S = 300.0


class Parts:
    """See the module. ``say``: tells a line to whoever watches, from any thread."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        """Makes every part and starts none. Raises ConfigError."""
        self._settings = settings
        self._shares = bool(settings.host) and not settings.is_embedded
        self._environ = environ
        self._keeper = StateKeeper(settings.state_dir)
        self.choice: Choice = models.choose(settings.model, self._keeper.state.model, environ)
        if not settings.is_embedded:
            require_network(f"milvus = {settings.milvus}")
        elif self.choice.folder is None:
            require_network(f"the model {self.choice.name}, which is to be downloaded,")
        if settings.translate == TENCENT:
            require_network('translate = "tencent"')
        self._say = say
        self._stopping = threading.Event()

        self.catalog = Catalog()
        self.progress = Progress()
        self._leisure = Leisure()
        self.engine = Engine(settings.milvus, settings.milvus_token(), settings.state_dir)
        self._store = Store(self.engine, settings.collection_prefix, settings.host)
        self._ledger = Ledger(self._store, self.catalog, words=self._store)

        workers = max(1, min(4, len(os.sched_getaffinity(0))))
        limits = Limits()
        self.pool = DecodePool(workers, limits)
        self._dirty = DirtySet(settings.folders)
        # EncoderHost's Protocol names what it needs; TwoTowers is known to the thread that loads it only.
        self.host = EncoderHost(self._load_model, on_change=self._dirty.wake)
        self._usage = Usage(settings.state_dir, enabled=settings.learn)
        self.translator = Translator(
            lambda: self.host.is_english_only,
            remote=_tencent(settings) if settings.translate == TENCENT else None,
            enabled=settings.translate != OFF,
        )
        self.renderer = Renderer()
        self.thumbnailer = Thumbnailer(
            cache_names.thumbnails_dir(environ),
            files=lambda: [(row.path, row.stat.mtime_ns) for row in self.catalog.searchable()],
            generation=lambda: (self.catalog.generation, self.catalog.indexed),
            is_idle=lambda: self.progress.scanned and not self.progress.pending and self._leisure.is_now(),
        )
        self._calibrator = Calibrator(self.host, self._store, self.catalog, self._leisure.is_now)
        examples = Examples(self.pool, self.host, self._store, self.catalog, lambda: self.host.wait(0).spec).vectors
        self._namer = Namer(self.host, examples)
        self.in_use = ModelInUse(
            self.choice,
            host=self.host,
            keeper=self._keeper,
            store=self._store,
            ledger=self._ledger,
            catalog=self.catalog,
            forget=self._forget_measured,
            taken=self._taken_over,
        )
        self.reindexer = Reindexer(
            settings=settings,
            environ=environ,
            keeper=self._keeper,
            in_use=self.in_use,
            store=self._store,
            decoder=self.pool,
            catalog=self.catalog,
            wake=self._dirty.wake,
            say=say,
        )
        self.copier = Copier(settings=settings, in_use=self.in_use, source=self._store, catalog=self.catalog)
        settle_s = settings.settle_ms / 1000
        intake = Intake(
            Reader(settle_s, limits.max_bytes, videos=can_read_videos()),
            self.pool,
            self.host,
            self.catalog,
            window=4 * workers + 8,
            wake=self._dirty.wake,
        )
        self.reader = ocr.WordReader()
        words = SecondPass(
            reader=self.reader,
            reader_id=ocr.reader_id(),
            catalog=self.catalog,
            ledger=self._ledger,
            progress=self.progress,
            wake=self._dirty.wake,
            off=WORDS_OFF if not settings.words else "" if ocr.is_installed() else f"not installed: {ocr.INSTALL}",
            read_on_battery=settings.words_on_battery,
        )
        ignore = Ignore(settings.exclude)
        known = self._keeper.state.roots
        self._roots = [RootState(folder, known.get(folder)) for folder in settings.folders]
        self.watcher = Watcher(settings.folders, ignore, self._dirty)
        looker = Looker(
            roots=self._roots,
            disk=Disk(settings.folders, ignore),
            ledger=self._ledger,
            catalog=self.catalog,
            progress=self.progress,
            remember_roots=self._remember_roots,
        )
        self.mirror = Mirror(
            looker=looker,
            dirty=self._dirty,
            watcher=self.watcher,
            open_index=self._open_index,
            health=HealthCheck(
                dirty=self._dirty,
                watcher=self.watcher,
                roots=looker,
                check_index=lambda quick: self._store.check(quick=quick),
                at_leisure=self._look_again,
                glance=Glance(settings.folders, self.engine, lambda: self.watcher.hears_all),
            ),
            shortage=self.engine.shortage,
            ledger=self._ledger,
            catalog=self.catalog,
            intake=intake,
            model=self.host,
            activate=self.in_use.activate,
            progress=self.progress,
            settle_s=settle_s,
            words=words,
            reindexer=self.reindexer,
            battery=None if settings.index_on_battery else Battery(),
        )
        self.searcher = Searcher(
            self.host,
            self._store,
            self.catalog,
            roots=settings.folders,
            translate=lambda text, typing: self.translator.translate(text, partial=typing).text,
            examples=examples,
            calibrator=self._calibrator,
            weight=self._usage.weight,
            is_open=lambda: self.mirror.is_open,
            is_active=lambda: self.mirror.is_active,
            problem=lambda: self.progress.problems.get("index", ""),
            on_search=self._make_way,
            on_failure=self.mirror.check_soon,
            elsewhere=self._store.search_elsewhere if self._shares else None,
        )
        commands = Commands(
            searcher=self.searcher,
            catalog=self.catalog,
            progress=self.progress,
            mirror=self.mirror,
            about=self.about,
            usage=self._usage,
            reindexer=self.reindexer,
            copier=self.copier,
            turn=lambda: self.in_use.turn,
            namer=self._namer,
            exporter=Exporter(self.renderer, cache_names.paste_dir(environ), settings.folders, settings.paste_max_px),
        )
        self.door = Door(commands.handle)
        self.wall = self._make_wall(commands) if settings.http else None

    def stop_loading(self) -> None:
        """Whatever is being downloaded for the model is left there."""
        self._stopping.set()

    def _make_wall(self, commands: Commands) -> WebServer:
        """The picture wall, which only those who want it load. Raises ConfigError."""
        from memewatchd.service.web.inside import Inside
        from memewatchd.service.web.server import WebServer

        host, port = self._settings.http_address
        inside = Inside(
            handle=commands.handle,
            known=self.catalog,
            folders=self._settings.folders,
            sniff=functools.partial(kinds.sniff, videos=kinds.can_read_videos()),
            thumbnail=self.thumbnailer.find,
        )
        return WebServer(inside, self._environ, host=host, port=port, token=self._settings.http_token())

    # ---- called by the parts, each in its own thread

    def _load_model(self) -> TwoTowers:
        """The host's text thread."""
        settings = self._settings
        return models.load(
            self.choice,
            endpoint=settings.hub_endpoint,
            proxy=settings.proxy,
            environ=self._environ,
            say=self._say,
            beat=self.host.loading,
            stopping=self._stopping.is_set,
        )

    def _open_index(self) -> None:
        """The sync thread: open Milvus, or open it again."""
        try:
            token = self._settings.milvus_token()
        except ConfigError as error:
            raise StoreError(str(error)) from error
        self.engine.revive(token)
        self._store.open_files()
        self._store.open_words()

    def is_calm(self) -> bool:
        """Any thread: whether searches may be prepared now."""
        return self.progress.state in ("settled", "paused") and self._leisure.is_now()

    def _make_way(self) -> None:
        """The main thread: somebody searches."""
        self._leisure.searched()
        self.reader.make_way()

    def _look_again(self) -> bool:
        """The sync thread, at each health check: whoever works at leisure has no timer of their own. Are they done?"""
        made, prepared = self.thumbnailer.look_again(), self.searcher.preparer.look_again()
        return made and prepared

    def _forget_measured(self) -> None:
        """The sync thread: what was measured with the model before means nothing any more."""
        self._calibrator.forget()
        self._namer.forget()

    def _taken_over(self, encoder: Encoder) -> None:
        """The sync thread: another model is in use."""
        self.mirror.adopt(encoder.spec)

    def _remember_roots(self) -> None:
        """The sync thread."""
        known = dict(self._keeper.state.roots)
        known.update((root.path, root.identity) for root in self._roots if root.identity is not None)
        self._keeper.change(roots=known)

    # ---- how it is

    def about(self) -> Mapping[str, Any]:
        """What ``status`` says besides counts."""
        mode, why = self.watcher.mode
        state = "ready" if self.host.ready else "failed" if self.host.failed else "loading"
        away = self.progress.away
        return {
            "model": self.in_use.name,
            "model_state": state,
            "advice": self.advice(),
            "reindex": self.reindexer.status or self.copier.status,
            "translation": self.translator.description,
            "learning": self._usage.enabled,
            "bm25": self._store.has_bm25,
            "calibrated": self._calibrator.pictures,
            "engine": self.engine.description,
            "host": self._settings.host if self._shares else "",
            "sandbox": sandbox(),
            "watching": mode,
            "watching_why": why,
            "roots": [
                {"path": os.fsdecode(root.path), "away": root.path in away, "why": away.get(root.path, "")}
                for root in self._roots
            ],
        }

    def advice(self) -> list[str]:
        """What there is to say of the model: how far the next one is, or what people should know of this one. And
        whether there are more memes than the embedded engine is made for."""
        lines = [line for line in (self.reindexer.line, self.copier.line) if line]
        moving = self.copier.status is not None
        too_many = "" if moving else beyond(self.engine.kind, self.catalog.indexed)
        return [*(lines or models.advice(self.in_use.name)), *([too_many] if too_many else [])]

    def is_alive(self) -> bool:
        now = time.monotonic()
        return now - self.mirror.beaten_at < MIRROR_STUCK_S and self.host.beat(now)

    def in_short(self) -> str:
        """A line for ``systemctl status``."""
        failed = f", {self.catalog.failed} failed" if self.catalog.failed else ""
        return f"{self.progress.state}: {self.catalog.indexed} indexed, {self.progress.pending} pending{failed}"


def _tencent(settings: Settings) -> Tencent:
    """Raises ConfigError."""
    return Tencent(*settings.tencent_keys(), settings.tencent_region, proxy=settings.proxy)
