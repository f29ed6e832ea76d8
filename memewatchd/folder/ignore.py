"""Which names are no memes: hidden ones, half-written ones, and what ``exclude`` names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pathspec import GitIgnoreSpec

from memewatchd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

TEMPORARY_ENDINGS = (b"~", b".part", b".partial", b".crdownload", b".opdownload", b".download", b".tmp")
"""What editors, browsers and downloaders call a file that is not finished: they rename it when it is."""


class Ignore:
    """Judges one name at a time; a folder that matches is not entered, so what is below it is ignored too.

    ``patterns`` are lines in gitignore's syntax, relative to each root. Raises ConfigError for one that
    can't be understood.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        for pattern in patterns:
            try:
                GitIgnoreSpec.from_lines([pattern], backend="simple")
            except ValueError as error:
                raise ConfigError(f"exclude: {pattern!r} is no pattern; write it as in a .gitignore file") from error
        # The "simple" backend is Python's re, which takes names that are not UTF-8; re2 does not.
        spec = GitIgnoreSpec.from_lines([_in_one_line(pattern) for pattern in patterns], backend="simple")
        self._spec = spec if any(pattern.include is not None for pattern in spec.patterns) else None

    def match(self, relative: bytes, is_dir: bool) -> bool:
        """Whether to pass over ``relative``, a path below a root (raw bytes, no leading slash)."""
        name = relative[relative.rfind(b"/") + 1 :]
        if name.startswith(b"."):
            return True
        if not is_dir and name.lower().endswith(TEMPORARY_ENDINGS):
            return True
        if self._spec is None:
            return False
        return self._spec.match_file(_in_one_line(os.fsdecode(relative)) + ("/" if is_dir else ""))


def _in_one_line(text: str) -> str:
    # In what patterns become a dot is anything but a newline, and $ lets one follow. No name holds a NUL.
    return text.replace("\n", "\0")
