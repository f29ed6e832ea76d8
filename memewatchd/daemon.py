"""`memewatchd`: the story, from the settings to the last goodbye. Nobody imports this.

The main thread opens the door first, so that `status` answers at once, and from then on only serves it. The model
loads in a thread of its own; the mirror runs in another, opens Milvus there and is its only writer. What was begun
is ended in reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from memewatchd import __version__, cache_names, config, offline
from memewatchd.announce import Announcer, client_command
from memewatchd.encoders import resting
from memewatchd.errors import AlreadyRunning, ConfigError, MemewatchError
from memewatchd.index.state import ensure_private_dir, lock_state
from memewatchd.parts import Parts
from memewatchd.protocol import EXIT_ALREADY_RUNNING, EXIT_CONFIG, default_socket_path
from memewatchd.service.journal import log_handler
from memewatchd.service.notify import LOADING_S, Notifier, inherited_socket
from memewatchd.service.sandbox import is_hidden

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from memewatchd.config import Settings

log = logging.getLogger(__name__)

# All of a stop within 5 s: the mirror may finish the call it is in, Milvus may close.
STOP_MIRROR_S = 2.0
STOP_MILVUS_S = 1.5
# Who waits at the door already is answered before the imports of torch and pymilvus leave nobody else a turn.
FIRST_ANSWER_S = 0.01
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
    resting.set_up_heaps()
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
    """Starts all parts, serves, and ends them. Made and served on the main thread."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], notifier: Notifier, announcing: bool = False
    ) -> None:
        """Starts nothing. Raises ConfigError."""
        self._settings = settings
        self._environ = environ
        self._notifier = notifier
        self._parts = Parts(settings, environ, self._say_from_elsewhere)
        self._client = client_command(environ, settings.socket or default_socket_path(environ))
        self._announcer = Announcer(self._parts.progress, self._parts.catalog, enabled=announcing, client=self._client)

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
        if self._parts.wall is not None:
            await self._parts.wall.open()
        await self._parts.door.open(path, inherited)
        self._notifier.ready("the door is open; looking at the folders")
        await asyncio.sleep(FIRST_ANSWER_S)
        with ExitStack() as unwind:
            unwind.callback(self._parts.searcher.close)
            unwind.callback(self._parts.translator.close)
            unwind.callback(_bounded, "milvus-close", self._parts.engine.close, STOP_MILVUS_S)
            self._parts.host.start()
            unwind.callback(self._parts.host.close)
            unwind.callback(self._parts.reindexer.close)
            unwind.callback(self._parts.copier.close)
            self._parts.pool.start()
            unwind.callback(self._parts.pool.close)
            unwind.callback(self._parts.reader.close)
            unwind.callback(self._parts.renderer.close)
            self._start_thumbnails()
            unwind.callback(self._parts.thumbnailer.close)
            mirror = threading.Thread(target=self._parts.mirror.run, name="sync", daemon=True)
            mirror.start()
            unwind.callback(mirror.join, STOP_MIRROR_S)
            unwind.callback(self._parts.mirror.stop)
            self._greet(path)
            helpers = [
                asyncio.create_task(
                    self._notifier.keep_informed(
                        is_alive=self._parts.is_alive,
                        is_loading=lambda: not (self._parts.host.ready or self._parts.host.failed),
                        is_idle=lambda: self._parts.progress.state in ("settled", "paused"),
                        text=self._parts.in_short,
                    )
                ),
                asyncio.create_task(self._parts.searcher.keep_ready(self._parts.is_calm, self._parts.translator.warm)),
                asyncio.create_task(self._announcer.follow(self._parts.advice)),
            ]
            await stop.wait()
            self._notifier.stopping()
            self._parts.stop_loading()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            if self._parts.wall is not None:
                await self._parts.wall.close()
            await self._parts.door.close()
        self._announcer.say("Stopped. Nothing is lost: the next start goes on from here.")
        log.info("stopped")

    def _start_thumbnails(self) -> None:
        if not self._settings.thumbnails:
            return
        folder = cache_names.thumbnails_dir(self._environ)
        if is_hidden(folder):
            log.info("no thumbnails are made: the sandbox gives us a %s that nobody else sees", folder)
        else:
            self._parts.thumbnailer.start()

    def _say_from_elsewhere(self, line: str) -> None:
        """Any thread."""
        log.info("%s", line)
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._announcer.say, line)

    def _greet(self, path: str | None) -> None:
        settings = self._settings
        folders = ", ".join(os.fsdecode(folder) for folder in settings.folders)
        log.info("memewatchd %s watches %s, model %s", __version__, folders, self._parts.choice.name)
        self._announcer.say(f"memewatchd {__version__} watches {folders} with the model {self._parts.choice.name}")
        if path is not None:
            self._announcer.say(f"Search, in another terminal:  {self._client} search angry cat")
            if self._parts.wall is not None:
                self._announcer.say(f"Or look at them:  {self._parts.wall.url}")
            self._announcer.say("Ctrl-C stops; what is indexed stays indexed.")


def _bounded(name: str, function: Callable[[], None], seconds: float) -> None:
    """Call ``function``, and wait for it no longer than this: it may sit behind a server that doesn't answer."""
    thread = threading.Thread(target=function, name=name, daemon=True)
    thread.start()
    thread.join(seconds)


if __name__ == "__main__":
    main()
