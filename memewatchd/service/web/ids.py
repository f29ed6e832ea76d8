"""Numbers in place of paths: a browser, or a script of the tutorial's, never names a file by its path."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# What a number in JavaScript, and so in JSON everywhere, holds exactly.
ID_BITS = 53


def id_of(path: bytes) -> int:
    """The path's id: the same after a restart, 0 to 2^53 - 1.

    Of 100,000 files two share one with a chance of one in two million; then the id stands for one of the two.
    """
    return int.from_bytes(blake2b(path, digest_size=8).digest(), "big") >> (64 - ID_BITS)


class Ids:
    """id → path, for the paths that were given out, and for all others that the index holds."""

    def __init__(self, paths: Callable[[], Iterable[bytes]], generation: Callable[[], int]) -> None:
        self._paths = paths
        self._generation = generation
        self._read_at: int | None = None
        self._known: dict[int, bytes] = {}

    def of(self, path: bytes) -> int:
        """The id of a path, which is remembered."""
        number = id_of(path)
        self._known[number] = path
        return number

    def path(self, number: int) -> bytes | None:
        """The path, or None. One that isn't known makes the whole index be looked through, once for each change."""
        if number not in self._known and self._read_at != (generation := self._generation()):
            self._known = {id_of(path): path for path in self._paths()}
            self._read_at = generation
        return self._known.get(number)
