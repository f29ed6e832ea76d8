"""A file held open while others work on its bytes; and whether it is still what its digest was made of."""

from __future__ import annotations

import os
import stat as stat_module
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from memewatchd.meme import FileStat

if TYPE_CHECKING:
    from memewatchd.meme import Digest, FileRow


class Known(Protocol):
    """What this needs of the catalog."""

    def paths_of(self, digest: Digest, /) -> list[bytes]: ...
    def get(self, path: bytes, /) -> FileRow | None: ...


@dataclass(slots=True)
class Opened:
    """``fd``, -1 once it is closed, and the :attr:`FileStat.content_key` with which the file had its digest."""

    fd: int
    content_key: tuple[int, int, int]

    @property
    def is_open(self) -> bool:
        return self.fd >= 0

    def close(self) -> bool:
        """Close the file, unless that was done before; says whether its content was unchanged till now."""
        if not self.is_open:
            return False
        fd, self.fd = self.fd, -1
        try:
            return FileStat.of(os.fstat(fd)).content_key == self.content_key
        except OSError:
            return False
        finally:
            os.close(fd)


def open_known(known: Known, digest: Digest) -> Opened | None:
    """A file that has this content, as the catalog knows it; None where there is none any more."""
    for path in known.paths_of(digest):
        row = known.get(path)
        if row is None:
            continue
        try:
            # Not blocking: by now it may be a FIFO.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError:
            continue
        result = os.fstat(fd)
        key = FileStat.of(result).content_key
        if stat_module.S_ISREG(result.st_mode) and key == row.stat.content_key:
            return Opened(fd, key)
        os.close(fd)
    return None
