"""What systemd tells a service and is told by it, in plain datagrams and file descriptors.

The protocols are small and stable (sd_notify(3), sd_listen_fds(3)), and the daemon must speak them where
systemd-python isn't installed too: under Type=notify it would be killed otherwise. So they are spoken here in one
way only; systemd-python is used for the journal (:mod:`memewatchd.service.journal`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING

from memewatchd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

log = logging.getLogger(__name__)

# SD_LISTEN_FDS_START of sd-daemon.h.
FIRST_FD = 3
# How often the manager is told how things stand, while something is happening and while nothing is.
TELL_BUSY_S = 2.0
TELL_IDLE_S = 20.0
LOADING_S = 30.0
"""A model that loads may take so many seconds more than when we last said so."""
# systemd reads at once; a queue that stays full this many seconds belongs to a manager in trouble.
_SEND_TIMEOUT_S = 1.0


class Notifier:
    """Tells the service manager how we are. Without one, every call does nothing. Main thread only.

    ``watchdog_s``: seconds after which the manager gives us up unless :meth:`watchdog` was called; call it at
    least twice as often. None: it doesn't watch us.
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        # "@" stands for the NUL byte that begins an abstract address.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """Read and remove ``NOTIFY_SOCKET`` and ``WATCHDOG_*``: our children don't speak for us."""
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "")
        ours = pid in ("", str(os.getpid()))
        watchdog_s = int(microseconds) / 1e6 if ours and microseconds.isdecimal() and int(microseconds) else None
        return cls(address if address[:1] in ("/", "@") else "", watchdog_s)

    @property
    def is_active(self) -> bool:
        """Whether a service manager listens."""
        return bool(self._address)

    def ready(self, status: str) -> bool:
        """The door is open and answers."""
        return self._send("READY=1", _status(status))

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``."""
        return self._send(_status(text))

    def extend(self, seconds: float) -> bool:
        """Starting or stopping goes on for up to ``seconds`` more; repeat before they are over."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def watchdog(self) -> bool:
        """Still alive and working."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """A clean stop has begun."""
        return self._send("STOPPING=1", _status("stopping"))

    async def keep_informed(
        self,
        *,
        is_alive: Callable[[], bool],
        is_loading: Callable[[], bool],
        is_idle: Callable[[], bool],
        text: Callable[[], str],
    ) -> None:
        """STATUS whenever ``text`` changes, EXTEND_TIMEOUT while loading, WATCHDOG while alive; for ever."""
        shown = ""
        while self.is_active:
            if self.watchdog_s is not None and is_alive():
                self.watchdog()
            if is_loading():
                self.extend(LOADING_S)
            if (said := text()) != shown:
                self.status(said)
                shown = said
            pause = TELL_IDLE_S if is_idle() else TELL_BUSY_S
            await asyncio.sleep(min(pause, (self.watchdog_s or 60.0) / 3))

    def _send(self, *lines: str) -> bool:
        """Send one datagram; whether it went out. A manager that doesn't listen is no reason to fail."""
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.settimeout(_SEND_TIMEOUT_S)
                out.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("systemd can't be told %s: %s", lines[0], error)
            return False
        return True


def _status(text: str) -> str:
    # A newline would begin another assignment.
    return "STATUS=" + " ".join(text.split())


def inherited_socket(environ: MutableMapping[str, str] = os.environ, first_fd: int = FIRST_FD) -> socket.socket | None:
    """The listening Unix socket that systemd opened for us, or None where it passed none.

    Reads and removes ``LISTEN_*``, so that no child takes them for its own. Raises ConfigError where what was
    passed is not exactly one listening Unix stream socket.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        return None
    if int(count) != 1:
        raise ConfigError(f"systemd passed {count} sockets; memewatchd.socket must have one ListenStream=")
    try:
        passed = socket.socket(fileno=first_fd)
    except OSError as error:
        raise ConfigError(f"systemd passed no socket: {error}; memewatchd.socket needs ListenStream=") from error
    passed.set_inheritable(False)
    if (passed.family, passed.type) != (socket.AF_UNIX, socket.SOCK_STREAM) or not passed.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    ):
        passed.close()
        raise ConfigError("systemd passed no listening Unix stream socket; see ListenStream= in memewatchd.socket")
    return passed
