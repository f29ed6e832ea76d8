"""A Chinese query in English, for a model that reads English only.

By CC-CEDICT, offline; by Tencent Cloud only where the user chose that, and then by the dictionary where it fails.
"""

from __future__ import annotations

import logging
import pickle
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from memewatchd.encoders import glossary
from memewatchd.errors import EncoderError
from memewatchd.words import HAN, simplified

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

DICTIONARY = "dictionary"
TENCENT = "tencent"
OFF = "off"

_ANY_HAN = re.compile(rf"[{HAN}]")


class Remote(Protocol):
    """What is needed of a service; :class:`memewatchd.encoders.tencent.Tencent` is one."""

    @property
    def problem(self) -> str: ...
    def translate(self, text: str) -> str: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Translation:
    """``text``: what to ask the model with; ``by``: "dictionary", "tencent", or "" where it is what was typed."""

    text: str
    by: str = ""


class Translator:
    """Translates where the model needs it. Thread-safe; blocks.

    ``is_needed`` says whether the model reads English only; None while nobody knows yet. ``remote``: the service to
    ask first, None for the dictionary alone. ``enabled``: False never translates.
    """

    def __init__(
        self, is_needed: Callable[[], bool | None], *, remote: Remote | None = None, enabled: bool = True
    ) -> None:
        self._is_needed = is_needed
        self._remote = remote
        self._enabled = enabled
        self._no_dictionary = ""

    @property
    def description(self) -> str:
        """For ``status``: who translates, and whether queries leave the machine."""
        if self._is_needed() is False:
            return "not needed"
        if not self._enabled:
            return OFF
        if self._remote is not None:
            away = f"{TENCENT} (queries are sent to Tencent Cloud)"
            return f"{away}; now {DICTIONARY}: {self._remote.problem}" if self._remote.problem else away
        if self._no_dictionary:
            return f"none: {self._no_dictionary}"
        return f"{DICTIONARY} (CC-CEDICT, offline)"

    def translate(self, text: str, *, partial: bool = False) -> Translation:
        """``text`` as the model should be asked; never raises.

        ``partial``: the query is still being typed, which no service is ever asked about.
        """
        if not self._enabled or not self._is_needed():
            return Translation(text)
        if self._remote is not None and not partial and _ANY_HAN.search(text):
            try:
                # Simplified: both scripts are then one entry in the cache.
                return Translation(self._remote.translate(simplified(text)), TENCENT)
            except EncoderError as error:
                log.debug("not translated by %s: %s", TENCENT, error)
        english = self._by_dictionary(text)
        return Translation(english, DICTIONARY) if english else Translation(text)

    def warm(self) -> None:
        """Read the dictionary, where the model needs one: some 2 s that the first query needn't wait."""
        if self._enabled and self._is_needed():
            self._by_dictionary("好")

    def close(self) -> None:
        """Ask no service any more."""
        if self._remote is not None:
            self._remote.close()

    def _by_dictionary(self, text: str) -> str:
        try:
            return glossary.in_english(text)
        except (OSError, ValueError, pickle.UnpicklingError) as error:  # not installed, or not what it was
            if not self._no_dictionary:
                log.warning("Chinese isn't translated: %s", error)
            self._no_dictionary = str(error)
            return ""
