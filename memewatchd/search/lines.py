"""Many texts in one string, searched at the speed of a plain search for a substring. Pure."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Lines:
    """Texts and, in the same order, a line for each, all in one string. Line n begins at ``starts[n]``."""

    texts: tuple[str, ...]
    joined: bytes
    starts: tuple[int, ...]

    @classmethod
    def of(cls, texts: Sequence[str], lines: Iterable[str]) -> Lines:
        """``lines`` hold no newline."""
        encoded = [line.encode("utf-8", "replace") + b"\n" for line in lines]
        return cls(tuple(texts), b"".join(encoded), tuple(accumulate(map(len, encoded), initial=0)))

    def holding(self, needle: bytes, *, whole: bool = False) -> Iterator[str]:
        """Texts in whose line ``needle`` stands; ``whole``: and isn't followed by a small letter."""
        joined, starts = self.joined, self.starts
        at = joined.find(needle)
        while at >= 0:
            if whole and 97 <= joined[at + len(needle)] <= 122:
                at = joined.find(needle, at + 1)
                continue
            number = bisect_right(starts, at) - 1
            yield self.texts[number]
            at = joined.find(needle, starts[number + 1])
