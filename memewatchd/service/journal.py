"""Where the log goes: the journal with levels and fields, else stderr."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

IDENTIFIER = "memewatchd"
_PLAIN = "%(levelname)s %(name)s: %(message)s"
# syslog's priorities, as sd-daemon(3) prefixes them.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG_PRIORITY = 7


def log_handler(environ: Mapping[str, str] = os.environ, stream: TextIO | None = None) -> logging.Handler:
    """The handler for this process's stderr (``stream``).

    Connected to the journal: systemd-python's, or without it lines that begin with ``<N>``, which the journal
    turns into levels. Else lines with the time in front.
    """
    out = sys.stderr if stream is None else stream
    if not _is_journal(environ.get("JOURNAL_STREAM", ""), out):
        handler: logging.Handler = logging.StreamHandler(out)
        handler.setFormatter(logging.Formatter(f"%(asctime)s {_PLAIN}"))
        return handler
    try:
        from systemd.journal import JournalHandler
    except ImportError:
        handler = logging.StreamHandler(out)
        handler.setFormatter(PriorityFormatter("%(name)s: %(message)s"))
        return handler
    journal: logging.Handler = JournalHandler(SYSLOG_IDENTIFIER=IDENTIFIER)
    journal.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    return journal


class PriorityFormatter(logging.Formatter):
    """Puts syslog's priority in front of every line, a traceback's too."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{priority(record.levelno)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines() or [""])


def priority(level: int) -> int:
    """syslog's priority of a level of ``logging``."""
    return next((number for floor, number in _PRIORITIES if level >= floor), _DEBUG_PRIORITY)


def _is_journal(stream_id: str, out: TextIO) -> bool:
    """Whether ``out`` is the very file that systemd connected to the journal: ``JOURNAL_STREAM`` is DEVICE:INODE."""
    try:
        found = os.fstat(out.fileno())
    except (OSError, ValueError):
        return False
    return stream_id == f"{found.st_dev}:{found.st_ino}"
