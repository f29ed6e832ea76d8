"""Is somebody still writing this file? The kernel knows."""

from __future__ import annotations

import errno
import fcntl
import signal
from typing import Literal

WriterState = Literal["closed", "open", "unknown"]


def writer_state(fd: int) -> WriterState:
    """Whether any process, this one included, has the file open (or mapped) for writing.

    ``fd`` is open for reading only. A read lease is refused while there is a writer; it is given back at
    once. "unknown" where leases can't be had: another user's file without CAP_LEASE, network and FUSE
    file systems, anything but a regular file. Then only a size and time that stay the same can tell.

    A process that opens the file for writing in the microseconds between waits for us (with O_NONBLOCK it
    gets EWOULDBLOCK, as leases have it).
    """
    try:
        _lease(fd)
    except OSError as error:
        return "open" if error.errno == errno.EAGAIN else "unknown"
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return "closed"


def _lease(fd: int) -> None:
    # Whoever opens the file while we hold the lease makes the kernel signal us, by default with SIGIO,
    # which ends a process. F_SETSIG chooses another signal for this one open file: SIGURG, which is
    # ignored by default. So no signal disposition of the process is touched.
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
