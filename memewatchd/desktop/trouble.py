"""What can go wrong for `memewatch`, besides a wrong command line. ``client.main`` makes exit codes of it."""

from __future__ import annotations

from memewatchd.errors import MemewatchError


class NoAnswer(MemewatchError):
    """Nobody listens, or who listens doesn't answer."""


class HungUp(NoAnswer):
    """The daemon closed the connection instead of answering: it ends, or ended long ago."""


class Refused(MemewatchError):
    """The daemon said no; ``code`` is the protocol's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Trouble(MemewatchError):
    """Something on this side doesn't work: a program is missing, an address doesn't answer. Says what helps."""
