"""`memewatchd`: the story, from the settings to the last goodbye. Nobody imports this.

The main thread opens the door first, so that `status` answers at once, and from then on only serves it. The model
loads in a thread of its own; the mirror runs in another, opens Milvus there and is its only writer. What was begun
is ended in reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import resource
import signal
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from memewatchd import __version__, cache_names, config, offline
from memewatchd.announce import Announcer, client_command
from memewatchd.commands import Commands
from memewatchd.encoders import models
from memewatchd.encoders.host import EncoderHost
from memewatchd.encoders.tencent import Tencent
from memewatchd.encoders.translate import OFF, TENCENT, Translator
from memewatchd.errors import AlreadyRunning, ConfigError, MemewatchError, StoreError
from memewatchd.folder.dirty import DirtySet
from memewatchd.folder.ignore import Ignore
from memewatchd.folder.roots import RootState
from memewatchd.folder.scan import Disk
from memewatchd.folder.watcher import Watcher
from memewatchd.index.catalog import Catalog
from memewatchd.index.engine import Engine
from memewatchd.index.ledger import Ledger
from memewatchd.index.state import StateKeeper, ensure_private_dir, lock_state
from memewatchd.index.store import Store
from memewatchd.intake import Intake
from memewatchd.pictures import kinds, ocr
from memewatchd.pictures.export import Exporter
from memewatchd.pictures.kinds import can_read_videos
from memewatchd.pictures.pool import DecodePool, Limits
from memewatchd.pictures.renderer import Renderer
from memewatchd.pictures.thumbnails import Thumbnailer
from memewatchd.progress import Progress
from memewatchd.protocol import EXIT_ALREADY_RUNNING, EXIT_CONFIG, default_socket_path
from memewatchd.query_socket import Door
from memewatchd.reader import Reader
from memewatchd.reindex.copier import Copier
from memewatchd.reindex.in_use import ModelInUse
from memewatchd.reindex.reindexer import Reindexer
from memewatchd.search.calibrator import Calibrator
from memewatchd.search.examples import Examples
from memewatchd.search.search import Searcher
from memewatchd.search.usage import Usage
from memewatchd.second_pass import OFF as WORDS_OFF
from memewatchd.second_pass import SecondPass
from memewatchd.service.journal import log_handler
from memewatchd.service.notify import LOADING_S, Notifier, inherited_socket
from memewatchd.service.power import Battery
from memewatchd.service.sandbox import is_hidden, require_network, sandbox
from memewatchd.sync import Mirror

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from memewatchd.config import Settings
    from memewatchd.encoders.clip import ClipEncoder
    from memewatchd.encoders.host import Encoder
    from memewatchd.encoders.models import Choice
    from memewatchd.service.web.server import WebServer

log = logging.getLogger(__name__)

# All of a stop within 5 s: the mirror may finish the call it is in, Milvus may close.
STOP_MIRROR_S = 2.0
STOP_MILVUS_S = 1.5
# The mirror comes round at least every ten seconds; a walk over a slow network disk takes longer.
MIRROR_STUCK_S = 300.0
# 600 connections, each picture that is on its way, and what libraries keep.
OPEN_FILES = 4096


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--folder", "folder", multiple=True, metavar="DIR", help="A folder to watch (~/Memes). May be repeated.")
@click.option("--socket", metavar="PATH", help="Where to answer searches.")
@click.option("--milvus", metavar="URI", help="A file that ends in .db (embedded), or http(s)://host:port.")
@click.option("--milvus-token-file", metavar="FILE", help="A file with the server's token.")
@click.option("--model", metavar="MODEL", help="auto, bundled, siglip2, chinese-clip, clip, a hub id, or a folder.")
@click.option("--state-dir", metavar="DIR", help="Where the index and the state live.")
@click.option("--config", "config_file", metavar="FILE", help="Settings in TOML, keys as these flags with _.")
@click.option("--http", metavar="HOST:PORT", help="Serve the picture wall there, as 127.0.0.1:8088 (off).")
@click.option("--http-token-file", metavar="FILE", help="A file with the token that the wall asks for.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.option("--download", metavar="MODEL", help="Download a model, and end.")
@click.option("--check", is_flag=True, help="Check all settings, print them, and end.")
@click.option(
    "--reset", is_flag=True, help="Forget the index (never the pictures), and end. Says what goes, then asks."
)
@click.version_option(__version__, prog_name="memewatchd")
def _program(config_file: str | None, download: str | None, check: bool, reset: bool, **flags: Any) -> int:
    """Watch folders of memes and answer searches in words.

    Every flag may also stand in the environment (MEMEWATCHD_FOLDER, …) or in
    $XDG_CONFIG_HOME/memewatchd/config.toml. Search with `memewatch search angry cat`.
    """
    settings = config.load(flags, os.environ, config_file)
    if check:
        return offline.check(settings, os.environ)
    if download:
        return offline.download(settings, download, os.environ)
    if reset:
        return offline.reset(settings)
    return _run(settings)


def main() -> None:
    """The program: every error becomes a line and an exit code here, and nowhere else."""
    try:
        code = int(_program.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        code = EXIT_CONFIG
    except ConfigError as error:
        _complain(error)
        code = EXIT_CONFIG
    except AlreadyRunning as error:
        _complain(error)
        code = EXIT_ALREADY_RUNNING
    except MemewatchError as error:
        _complain(error)
        code = 1
    except (click.Abort, KeyboardInterrupt):
        code = 0
    _leave(code)


def _complain(error: Exception) -> None:
    click.echo(f"memewatchd: {error}", err=True)


def _leave(code: int) -> None:
    """End, even where a thread sits in a library's call that nothing can end."""
    if any(thread is not threading.main_thread() for thread in threading.enumerate()):
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _run(settings: Settings) -> int:
    """Until a signal says stop."""
    os.umask(0o077)
    _allow_open_files()
    notifier = Notifier.from_environment()
    inherited = inherited_socket()
    announcing = config.CLIENT_VARIABLE in os.environ or (sys.stdout.isatty() and not notifier.is_active)
    _log_to_the_right_place(settings, announcing)
    ensure_private_dir(settings.state_dir)
    with lock_state(settings.state_dir):
        asyncio.run(Daemon(settings, os.environ, notifier, announcing).serve(inherited))
    return 0


def _log_to_the_right_place(settings: Settings, announcing: bool) -> None:
    # Someone who watches the progress line wants to read of trouble only.
    level = "warning" if announcing and settings.sources["log_level"] == "default" else settings.log_level
    root = logging.getLogger()
    root.addHandler(log_handler())
    root.setLevel(level.upper())
    if level == "debug":
        for library in ("asyncio", "urllib3", "PIL", "watchdog"):
            logging.getLogger(library).setLevel(logging.INFO)


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Daemon:
    """All parts and how they hang together. Made and served on the main thread."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], notifier: Notifier, announcing: bool = False
    ) -> None:
        """Makes every part and starts none. Raises ConfigError."""
        self._settings = settings
        self._environ = environ
        self._notifier = notifier
        self._keeper = StateKeeper(settings.state_dir)
        self._choice: Choice = models.choose(settings.model, self._keeper.state.model, environ)
        if not settings.is_embedded:
            require_network(f"milvus = {settings.milvus}")
        elif self._choice.folder is None:
            require_network(f"the model {self._choice.name}, which is to be downloaded,")
        if settings.translate == TENCENT:
            require_network('translate = "tencent"')
        self._stopping = threading.Event()

        self._catalog = Catalog()
        self._progress = Progress()
        self._client = client_command(environ, settings.socket or default_socket_path(environ))
        self._announcer = Announcer(self._progress, self._catalog, enabled=announcing, client=self._client)
        self._engine = Engine(settings.milvus, settings.milvus_token(), settings.state_dir)
        self._store = Store(self._engine, settings.collection_prefix)
        self._ledger = Ledger(self._store, self._catalog, words=self._store)

        workers = max(1, min(4, len(os.sched_getaffinity(0))))
        limits = Limits()
        self._pool = DecodePool(workers, limits)
        self._dirty = DirtySet(settings.folders)
        # EncoderHost's Protocol names what it needs; ClipEncoder is known to the thread that loads it only.
        self._host = EncoderHost(self._load_model, on_change=self._dirty.wake)
        self._usage = Usage(settings.state_dir, enabled=settings.learn)
        self._translator = Translator(
            lambda: self._host.is_english_only,
            remote=_tencent(settings) if settings.translate == TENCENT else None,
            enabled=settings.translate != OFF,
        )
        self._renderer = Renderer()
        self._thumbnailer = Thumbnailer(
            cache_names.thumbnails_dir(environ),
            files=lambda: [(row.path, row.stat.mtime_ns) for row in self._catalog.searchable()],
            generation=lambda: self._catalog.generation,
            is_idle=lambda: self._progress.scanned and not self._progress.pending,
        )
        self._calibrator = Calibrator(self._host, self._store, self._catalog)
        self._in_use = ModelInUse(
            self._choice,
            host=self._host,
            keeper=self._keeper,
            store=self._store,
            ledger=self._ledger,
            catalog=self._catalog,
            forget=self._calibrator.forget,
            taken=self._taken_over,
        )
        self._reindexer = Reindexer(
            settings=settings,
            environ=environ,
            keeper=self._keeper,
            in_use=self._in_use,
            store=self._store,
            decoder=self._pool,
            catalog=self._catalog,
            wake=self._dirty.wake,
            say=self._say_from_elsewhere,
        )
        self._copier = Copier(settings=settings, in_use=self._in_use, source=self._store, catalog=self._catalog)
        settle_s = settings.settle_ms / 1000
        intake = Intake(
            Reader(settle_s, limits.max_bytes, videos=can_read_videos()),
            self._pool,
            self._host,
            self._catalog,
            window=4 * workers + 8,
            wake=self._dirty.wake,
        )
        self._reader = ocr.WordReader()
        words = SecondPass(
            reader=self._reader,
            reader_id=ocr.reader_id(),
            catalog=self._catalog,
            ledger=self._ledger,
            progress=self._progress,
            wake=self._dirty.wake,
            off=WORDS_OFF if not settings.words else "" if ocr.is_installed() else f"not installed: {ocr.INSTALL}",
            read_on_battery=settings.words_on_battery,
        )
        ignore = Ignore(settings.exclude)
        known = self._keeper.state.roots
        self._roots = [RootState(folder, known.get(folder)) for folder in settings.folders]
        self._watcher = Watcher(settings.folders, ignore, self._dirty)
        self._mirror = Mirror(
            roots=self._roots,
            disk=Disk(settings.folders, ignore),
            dirty=self._dirty,
            watcher=self._watcher,
            open_index=self._open_index,
            check_index=self._store.check,
            shortage=self._engine.shortage,
            ledger=self._ledger,
            catalog=self._catalog,
            intake=intake,
            model=self._host,
            activate=self._in_use.activate,
            remember_roots=self._remember_roots,
            progress=self._progress,
            settle_s=settle_s,
            words=words,
            reindexer=self._reindexer,
            battery=None if settings.index_on_battery else Battery(),
        )
        self._searcher = Searcher(
            self._host,
            self._store,
            self._catalog,
            roots=settings.folders,
            translate=lambda text, typing: self._translator.translate(text, partial=typing).text,
            examples=Examples(
                self._pool, self._host, self._store, self._catalog, lambda: self._host.wait(0).spec
            ).vectors,
            calibrator=self._calibrator,
            weight=self._usage.weight,
            is_open=lambda: self._mirror.is_open,
            is_active=lambda: self._mirror.is_active,
            problem=lambda: self._progress.problems.get("index", ""),
            on_failure=self._mirror.check_soon,
        )
        commands = Commands(
            searcher=self._searcher,
            catalog=self._catalog,
            progress=self._progress,
            mirror=self._mirror,
            about=self._about,
            usage=self._usage,
            reindexer=self._reindexer,
            copier=self._copier,
            turn=lambda: self._in_use.turn,
            exporter=Exporter(self._renderer, cache_names.paste_dir(environ), settings.folders, settings.paste_max_px),
        )
        self._door = Door(commands.handle)
        self._wall = self._make_wall(commands) if settings.http else None

    async def serve(self, inherited: socket.socket | None) -> None:
        """Open the door, start everything, serve until a signal; end all of it in reverse, within 5 s."""
        self._loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._loop.add_signal_handler(number, stop.set)
        path = self._settings.socket or (None if inherited else default_socket_path(self._environ))
        if self._settings.socket and inherited is not None:
            inherited.close()
            inherited = None

        self._notifier.extend(LOADING_S)
        if self._wall is not None:
            await self._wall.open()
        await self._door.open(path, inherited)
        self._notifier.ready("the door is open; looking at the folders")
        with ExitStack() as unwind:
            unwind.callback(self._searcher.close)
            unwind.callback(self._translator.close)
            unwind.callback(_bounded, "milvus-close", self._engine.close, STOP_MILVUS_S)
            self._host.start()
            unwind.callback(self._host.close)
            unwind.callback(self._reindexer.close)
            unwind.callback(self._copier.close)
            self._pool.start()
            unwind.callback(self._pool.close)
            unwind.callback(self._reader.close)
            unwind.callback(self._renderer.close)
            self._start_thumbnails()
            unwind.callback(self._thumbnailer.close)
            mirror = threading.Thread(target=self._mirror.run, name="sync", daemon=True)
            mirror.start()
            unwind.callback(mirror.join, STOP_MIRROR_S)
            unwind.callback(self._mirror.stop)
            self._greet(path)
            helpers = [
                asyncio.create_task(
                    self._notifier.keep_informed(
                        is_alive=self._is_alive,
                        is_loading=lambda: not (self._host.ready or self._host.failed),
                        is_idle=lambda: self._progress.state in ("settled", "paused"),
                        text=self._in_short,
                    )
                ),
                asyncio.create_task(
                    self._searcher.keep_ready(
                        lambda: self._progress.state in ("settled", "paused"), self._translator.warm
                    )
                ),
                asyncio.create_task(self._announcer.follow(self._advice)),
            ]
            await stop.wait()
            self._notifier.stopping()
            self._stopping.set()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            if self._wall is not None:
                await self._wall.close()
            await self._door.close()
        self._announcer.say("Stopped. Nothing is lost: the next start goes on from here.")
        log.info("stopped")

    def _make_wall(self, commands: Commands) -> WebServer:
        """The picture wall, which only those who want it load. Raises ConfigError."""
        from memewatchd.service.web.inside import Inside
        from memewatchd.service.web.server import WebServer

        host, port = self._settings.http_address
        inside = Inside(
            handle=commands.handle,
            known=self._catalog,
            folders=self._settings.folders,
            sniff=functools.partial(kinds.sniff, videos=kinds.can_read_videos()),
            thumbnail=self._thumbnailer.find,
        )
        return WebServer(inside, self._environ, host=host, port=port, token=self._settings.http_token())

    def _start_thumbnails(self) -> None:
        if not self._settings.thumbnails:
            return
        folder = cache_names.thumbnails_dir(self._environ)
        if is_hidden(folder):
            log.info("no thumbnails are made: the sandbox gives us a %s that nobody else sees", folder)
        else:
            self._thumbnailer.start()

    def _greet(self, path: str | None) -> None:
        settings = self._settings
        folders = ", ".join(os.fsdecode(folder) for folder in settings.folders)
        log.info("memewatchd %s watches %s, model %s", __version__, folders, self._choice.name)
        self._announcer.say(f"memewatchd {__version__} watches {folders} with the model {self._choice.name}")
        if path is not None:
            self._announcer.say(f"Search, in another terminal:  {self._client} search angry cat")
            if self._wall is not None:
                self._announcer.say(f"Or look at them:  {self._wall.url}")
            self._announcer.say("Ctrl-C stops; what is indexed stays indexed.")

    # ---- called by the parts, each in its own thread

    def _load_model(self) -> ClipEncoder:
        """The host's text thread."""
        settings = self._settings
        return models.load(
            self._choice,
            endpoint=settings.hub_endpoint,
            proxy=settings.proxy,
            environ=self._environ,
            say=self._say_from_elsewhere,
            beat=self._host.loading,
            stopping=self._stopping.is_set,
        )

    def _say_from_elsewhere(self, line: str) -> None:
        log.info("%s", line)
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._announcer.say, line)

    def _open_index(self) -> None:
        """The sync thread: open Milvus, or open it again."""
        try:
            token = self._settings.milvus_token()
        except ConfigError as error:
            raise StoreError(str(error)) from error
        self._engine.revive(token)
        self._store.open_files()
        self._store.open_words()

    def _taken_over(self, encoder: Encoder) -> None:
        """The sync thread: another model is in use."""
        self._mirror.adopt(encoder.spec)

    def _remember_roots(self) -> None:
        """The sync thread."""
        known = dict(self._keeper.state.roots)
        known.update((root.path, root.identity) for root in self._roots if root.identity is not None)
        self._keeper.change(roots=known)

    # ---- how it is

    def _about(self) -> Mapping[str, Any]:
        """What ``status`` says besides counts."""
        mode, why = self._watcher.mode
        state = "ready" if self._host.ready else "failed" if self._host.failed else "loading"
        away = self._progress.away
        return {
            "model": self._in_use.name,
            "model_state": state,
            "advice": self._advice(),
            "reindex": self._reindexer.status or self._copier.status,
            "translation": self._translator.description,
            "learning": self._usage.enabled,
            "bm25": self._store.has_bm25,
            "calibrated": self._calibrator.pictures,
            "engine": self._engine.description,
            "sandbox": sandbox(),
            "watching": mode,
            "watching_why": why,
            "roots": [
                {"path": os.fsdecode(root.path), "away": root.path in away, "why": away.get(root.path, "")}
                for root in self._roots
            ],
        }

    def _advice(self) -> list[str]:
        """What there is to say of the model: how far the next one is, or what people should know of this one."""
        lines = [line for line in (self._reindexer.line, self._copier.line) if line]
        return lines or models.advice(self._in_use.name)

    def _is_alive(self) -> bool:
        now = time.monotonic()
        return now - self._mirror.beaten_at < MIRROR_STUCK_S and self._host.beat(now)

    def _in_short(self) -> str:
        """A line for ``systemctl status``."""
        failed = f", {self._catalog.failed} failed" if self._catalog.failed else ""
        return f"{self._progress.state}: {self._catalog.indexed} indexed, {self._progress.pending} pending{failed}"


def _tencent(settings: Settings) -> Tencent:
    """Raises ConfigError."""
    return Tencent(*settings.tencent_keys(), settings.tencent_region, proxy=settings.proxy)


def _bounded(name: str, function: Callable[[], None], seconds: float) -> None:
    """Call ``function``, and wait for it no longer than this: it may sit behind a server that doesn't answer."""
    thread = threading.Thread(target=function, name=name, daemon=True)
    thread.start()
    thread.join(seconds)


if __name__ == "__main__":
    main()
