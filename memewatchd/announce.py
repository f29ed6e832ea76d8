"""What `make run` and a terminal get to see: how to search, progress with rate and ETA, and what the model can't do."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
from typing import TYPE_CHECKING, TextIO

from memewatchd.config import CLIENT_VARIABLE
from memewatchd.protocol import default_socket_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from memewatchd.index.catalog import Catalog
    from memewatchd.progress import Progress

_LOOK_S = 0.5
# Where the output is no terminal a line stays, so there are fewer of them.
_LINE_S = 5.0


def client_command(environ: Mapping[str, str], socket_path: str) -> str:
    """How people call the client to ask this very daemon: `make run` says so, or else it is on the PATH."""
    given = environ.get(CLIENT_VARIABLE)
    if given:
        return given
    if socket_path == default_socket_path(environ):
        return "memewatch"
    return f"memewatch --socket {shlex.quote(socket_path)}"


def daemon_command(client: str) -> str:
    """How people call the daemon, which lies beside the client."""
    return shlex.quote(shlex.split(client)[0] + "d")


class Announcer:
    """Prints to ``out`` until everything is settled, then says what the model can't do. ``enabled`` False: nothing."""

    def __init__(
        self,
        progress: Progress,
        catalog: Catalog,
        *,
        enabled: bool,
        out: TextIO = sys.stdout,
        client: str = "memewatch",
    ) -> None:
        """``client``: how people call it."""
        self._progress = progress
        self._catalog = catalog
        self._enabled = enabled
        self._out = out
        self._client = client
        self._is_terminal = out.isatty()
        self._open_line = False

    def say(self, line: str) -> None:
        """One line that stays."""
        if not self._enabled:
            return
        with contextlib.suppress(OSError):
            if self._open_line:
                self._out.write("\r\x1b[K")
                self._open_line = False
            self._out.write(self._showable(line) + "\n")
            self._out.flush()

    async def follow(self, closing_lines: Callable[[], list[str]]) -> None:
        """A progress line until all is settled for the first time; then the closing lines."""
        if not self._enabled:
            return
        shown = ""
        silent = 0.0
        while self._progress.state != "settled":
            line = self._line()
            silent += _LOOK_S
            if line != shown and (self._is_terminal or silent >= _LINE_S):
                self._show(line)
                shown, silent = line, 0.0
            await asyncio.sleep(_LOOK_S)
        failed = self._catalog.failed
        more = f", {failed} could not be read ({self._client} failed says why)" if failed else ""
        self.say(f"settled: {self._catalog.indexed} memes can be found{more}")
        for line in closing_lines():
            # As it must be typed here, where our programs may not be on the PATH.
            self.say(line.replace("memewatchd --", f"{daemon_command(self._client)} --"))

    def _line(self) -> str:
        progress = self._progress
        if progress.state == "degraded":
            return "; ".join([*progress.problems.values(), *progress.away.values()])
        if progress.state == "starting":
            return "looking at the folder and loading the model…"
        done = self._catalog.indexed + self._catalog.failed
        total = done + progress.pending
        line = f"indexing: {done} of {total}"
        if progress.rate:
            line += f", {progress.rate:.0f}/s" if progress.rate >= 10 else f", {progress.rate:.1f}/s"
        if progress.eta_s is not None:
            line += f", about {_duration(progress.eta_s)} left"
        elif not progress.rate:
            line += " (the model is loading)" if not progress.encoded else ""
        return line

    def _show(self, line: str) -> None:
        if not self._is_terminal:
            self.say(line)
            return
        with contextlib.suppress(OSError):
            self._out.write("\r\x1b[K" + self._showable(line))
            self._out.flush()
            self._open_line = True

    def _showable(self, line: str) -> str:
        """A folder's name need not be UTF-8, and a terminal need not know more than ASCII."""
        encoding = self._out.encoding or "utf-8"
        return line.encode(encoding, "replace").decode(encoding)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{max(whole, 1)} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
