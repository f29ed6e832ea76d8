"""What the service's hardening does to us: asked of the kernel, not read from the unit."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from memewatchd.errors import ConfigError

PROC_STATUS = Path("/proc/self/status")
_FILTERED = "2"  # SECCOMP_MODE_FILTER of linux/seccomp.h


def sandbox(proc_status: Path = PROC_STATUS, home: Path | None = None) -> str:
    """ "applied" or "absent".

    Applied where system calls are filtered, new privileges impossible (proc(5)) and the user's ``home`` read-only:
    the first two a login or a container may have too.
    """
    try:
        lines = proc_status.read_text(encoding="ascii", errors="replace").splitlines()
        read_only = bool(os.statvfs(home or Path.home()).f_flag & os.ST_RDONLY)
    except (OSError, RuntimeError):  # RuntimeError: nobody knows our home
        return "absent"
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    held = fields.get("Seccomp", "").strip() == _FILTERED and fields.get("NoNewPrivs", "").strip() == "1"
    return "applied" if held and read_only else "absent"


def is_hidden(folder: str, proc_status: Path = PROC_STATUS) -> bool:
    """Whether the sandbox gives us a ``folder`` of our own, in memory, so that nobody else would see what we put there.

    The hardened unit mounts an empty cache over the user's, and on that the parts that are shared.
    """
    if sandbox(proc_status) != "applied":
        return False
    return os.path.ismount(os.path.dirname(folder)) and not os.path.ismount(folder)


def require_network(what: str) -> None:
    """Raises ConfigError, with the remedy, where we may not use the network, which ``what`` needs."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
    except OSError as error:
        raise ConfigError(
            f"{what} needs the network, and this service's sandbox has none; to open it: "
            "make install-service NETWORK=yes (in the clone)"
        ) from error
