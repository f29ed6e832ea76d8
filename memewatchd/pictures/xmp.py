"""An XMP packet (XML inside a picture) → what people wrote in it. Standard library only.

Read by expat as it comes by, so nothing is built up, and a packet that declares entities or any document type is
left alone: that is where XML's bombs and its fetching of other files begin.
"""

from __future__ import annotations

from typing import Final
from xml.parsers import expat

MAX_BYTES: Final = 1 << 20
"""What of a packet is read. Editors keep their histories in it, some hundred kilobytes."""

_MOST_TEXTS = 256
_MOST_CHARS = 8192
_DC = "http://purl.org/dc/elements/1.1/"
_IPTC = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
PROPERTIES: Final = frozenset(
    (
        f"{_DC} title",
        f"{_DC} description",
        f"{_DC} subject",
        "http://ns.adobe.com/photoshop/1.0/ Headline",
        f"{_IPTC} AltTextAccessibility",
        f"{_IPTC} ExtDescrAccessibility",
        "http://ns.adobe.com/exif/1.0/ UserComment",
        "http://ns.adobe.com/tiff/1.0/ ImageDescription",
    )
)
"""Where people's words are: namespace and name. Subjects are keywords, one an item."""


def texts_in(packet: bytes) -> list[str]:
    """The texts of :data:`PROPERTIES`, in their order; those before the damage, where the XML is damaged."""
    collector = _Collector()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = collector.start
    parser.EndElementHandler = collector.end
    parser.CharacterDataHandler = collector.take
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(packet[:MAX_BYTES].strip(b"\0 \t\r\n"), True)
    except (expat.ExpatError, _Enough, ValueError, LookupError):  # ValueError, LookupError: of its encoding
        pass
    return collector.texts


class _Enough(Exception):
    """No more of this packet."""


def _refuse(*_: object) -> None:
    raise _Enough


class _Collector:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self._depth = 0  # of elements within one of the properties; 0 outside of any
        self._parts: list[str] = []
        self._chars = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        for attribute, value in attributes.items():
            if attribute in PROPERTIES:
                self._keep(value)
        if self._depth or name in PROPERTIES:
            self._depth += 1
            self._end_of_text()

    def end(self, _: str) -> None:
        if self._depth:
            self._end_of_text()
            self._depth -= 1

    def take(self, characters: str) -> None:
        if self._depth:
            self._parts.append(characters)
            self._chars += len(characters)
            if self._chars > _MOST_CHARS:
                self._end_of_text()
                raise _Enough

    def _end_of_text(self) -> None:
        self._keep("".join(self._parts))
        self._parts.clear()

    def _keep(self, text: str) -> None:
        if text := text.strip()[:_MOST_CHARS]:
            self.texts.append(text)
            if len(self.texts) >= _MOST_TEXTS:
                raise _Enough
