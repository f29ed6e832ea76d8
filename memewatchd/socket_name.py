"""The name that the door listens at: its folder, its lock, and the socket file.

Whoever holds the lock owns the name. It is a file beside the socket, because a socket can't be
locked, and asking by connecting can't tell a busy daemon from none.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import stat
from pathlib import Path

from memewatchd.errors import AlreadyRunning, ConfigError
from memewatchd.protocol import SOCKET_PATH_BYTES

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that may wait to be accepted (the kernel caps it at net.core.somaxconn)."""

_LISTENING = 0x10000  # __SO_ACCEPTCON, in the flags that /proc/net/unix shows


class SocketName:
    """The lock on a socket's path, and the socket file that we made there, if we did."""

    def __init__(self, path: bytes, lock: int) -> None:
        self._path = path
        self._lock = lock
        self._made: tuple[int, int] | None = None

    def made(self) -> None:
        status = os.lstat(self._path)
        self._made = (status.st_dev, status.st_ino)

    def remove_socket(self) -> None:
        if self._made is None:
            return
        try:
            status = os.lstat(self._path)
            if (status.st_dev, status.st_ino) == self._made:
                os.unlink(self._path)
        except OSError as error:
            log.warning("can't remove the socket: %s", error)
        self._made = None

    def close(self) -> None:
        # The lock file stays: removing it would let two daemons lock two files of one name.
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def bind(path: str) -> tuple[SocketName, socket.socket]:
    """Listens at ``path``, mode 0600, in place of what a killed daemon left there.

    Raises :class:`ConfigError` where that can't be or wouldn't be safe, and :class:`AlreadyRunning`.
    """
    raw = os.fsencode(os.path.abspath(path)) if path else b""
    if not raw or b"\0" in raw:
        raise ConfigError(f"--socket {path!r} is no path")
    if len(raw) > SOCKET_PATH_BYTES:
        raise ConfigError(
            f"the socket's path has {len(raw)} bytes, and a socket's may have {SOCKET_PATH_BYTES}:"
            f" {os.fsdecode(raw)}; choose a shorter one with --socket (or MEMEWATCHD_SOCKET, for both"
            " programs)"
        )
    _private_folder(os.path.dirname(raw))
    name = SocketName(raw, _lock(raw))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(raw)
        listener.bind(raw)
        name.made()
        # Nobody can connect before listen(), so there is no moment at which others could.
        os.chmod(raw, 0o600)
        listener.listen(BACKLOG)
    except BaseException as error:
        listener.close()
        name.remove_socket()
        name.close()
        if isinstance(error, OSError):
            raise ConfigError(f"can't listen at {os.fsdecode(raw)}: {error.strerror}") from error
        raise
    return name, listener


def inherit(listener: socket.socket) -> tuple[SocketName, socket.socket]:
    """Takes over the socket that systemd made: its file stays when we go. Raises as :func:`bind` does."""
    is_unix = listener.family == socket.AF_UNIX and listener.type == socket.SOCK_STREAM
    if not is_unix or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ConfigError("the socket that systemd passed is no listening AF_UNIX stream (ListenStream=)")
    path = listener.getsockname()
    raw = path if isinstance(path, bytes) else os.fsencode(path)
    if not raw.startswith(b"/"):
        return SocketName(raw, -1), listener
    try:
        return SocketName(raw, _lock(raw)), listener
    except ConfigError as error:
        # A sandboxed service may not write there. systemd starts it once only, and the state has
        # a lock of its own.
        log.info("%s; going on with the socket that systemd passed", error)
        return SocketName(raw, -1), listener


def _private_folder(folder: bytes) -> None:
    """Makes the folder (and those above it) for us alone; refuses one that others can write to."""
    shown = os.fsdecode(folder)
    try:
        missing = []
        above = folder
        while not os.path.lexists(above):
            missing.append(above)
            above = os.path.dirname(above)
        for each in reversed(missing):
            os.mkdir(each, 0o700)
        status = os.stat(folder)
    except OSError as error:
        raise ConfigError(f"can't use the socket's folder {shown}: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"the socket's folder {shown} is no folder")
    if status.st_mode & 0o022 or status.st_uid not in (os.geteuid(), 0):
        # A sticky folder such as /tmp too: another user could take the name first.
        raise ConfigError(
            f"other users can write to the socket's folder {shown}: choose another with --socket, or chmod 700 {shown}"
        )


def _lock(path: bytes) -> int:
    """Holds the socket's name, or raises :class:`AlreadyRunning`. Never a guess by connecting."""
    lock_path = path + b".lock"
    try:
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(f"can't lock {os.fsdecode(lock_path)}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise AlreadyRunning(f"another memewatchd holds the socket {os.fsdecode(path)}") from None
    except OSError as error:
        os.close(lock)
        raise ConfigError(f"can't lock {os.fsdecode(lock_path)}: {error.strerror}") from error
    return lock


def _clear(path: bytes) -> None:
    """Removes what a killed daemon left at ``path``. Only under the lock."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(
            f"{os.fsdecode(path)} is there and is no socket: move it away, or choose another with --socket"
        )
    if _listening(path):
        raise AlreadyRunning(
            f"something else listens at {os.fsdecode(path)}; if that is systemd for the service:"
            " systemctl --user stop memewatchd.socket"
        )
    os.unlink(path)


def _listening(path: bytes) -> bool:
    """Whether a socket bound to ``path`` listens: systemd does on behalf of a service that is stopped."""
    try:
        lines = Path("/proc/net/unix").read_bytes().splitlines()[1:]
    except OSError:
        return False
    for line in lines:
        fields = line.split(maxsplit=7)  # slot, references, protocol, flags, type, state, inode, path
        if len(fields) == 8 and fields[7] == path and int(fields[3], 16) & _LISTENING:
            return True
    return False
