"""Filters of a query: what a file must be to be found at all. Pure."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from memewatchd.errors import BadRequest
from memewatchd.words import HAN, fold, tag_key, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

FILTERS = ("ext", "is", "in", "after", "before", "tag")
"""The only prefixes that make a filter; ``re:zero`` is words."""
EXACT = "exact"
"""The name of the filter that is written in quotes."""
FAVOURITE = "fav"
"""The tag that ``is:fav`` asks for."""

KINDS = ("avif", "bmp", "gif", "heic", "jpeg", "mov", "mp4", "png", "tiff", "webm", "webp")
"""Real types, as the decoder names them."""
# What their files are called.
_KIND_OF = dict.fromkeys(KINDS) | {
    "jpg": "jpeg",
    "jpe": "jpeg",
    "jfif": "jpeg",
    "pjpeg": "jpeg",
    "pjp": "jpeg",
    "apng": "png",
    "tif": "tiff",
    "dib": "bmp",
    "avifs": "avif",
    "heics": "heic",
    "heif": "heic",
    "heifs": "heic",
    "hif": "heic",
    "m4v": "mp4",
    "qt": "mov",
}
_STATES = ("animated", "still", FAVOURITE)
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?", re.ASCII)
_HAN = re.compile(rf"[{HAN}]")
# Of these a file can hardly be two at once, so several of them are alternatives.
_ALTERNATIVES = ("ext", "in")


class Stat(Protocol):
    """Of a file's stat."""

    @property
    def mtime_ns(self) -> int: ...


class Row(Protocol):
    """What filters ask of a file."""

    @property
    def path(self) -> bytes:
        """Absolute."""

    @property
    def stat(self) -> Stat: ...
    @property
    def kind(self) -> str:
        """The real type: one of :data:`KINDS`."""

    @property
    def frames(self) -> int: ...
    @property
    def tags(self) -> Sequence[str]:
        """As :func:`~memewatchd.words.tag_key` makes them."""

    @property
    def text(self) -> str:
        """Folded words, separated by spaces."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter, checked. ``value`` is as it is compared, ``spelled`` as it was typed."""

    name: str
    value: str
    negated: bool = False
    spelled: str = field(default="", compare=False)


def make(name: str, value: str, negated: bool, spelled: str) -> Filter:
    """Check a filter that was typed. Raises BadRequest, which names the values that there are."""
    value = unicodedata.normalize("NFKC", value).strip()
    if not value:
        raise BadRequest(f"{spelled}: {name}: wants something after the colon")
    return Filter(name, _CHECKS[name](value, spelled), negated, spelled)


def exact(quoted: str, negated: bool, spelled: str) -> Filter | None:
    """The filter for words in quotes; None where there are no words in them."""
    words = " ".join(words_of(quoted))
    return Filter(EXACT, words, negated, spelled) if words else None


def predicate(filters: Iterable[Filter], roots: Iterable[bytes]) -> Callable[[Row], bool]:
    """A function that says whether a file passes all of ``filters``.

    ``roots``: the watched folders, absolute, which ``in:`` is relative to. It remembers folders, so use it for one
    search, in one thread. Several ``ext:``, or several ``in:``, are alternatives; everything else must hold together.
    """
    base = sorted((root.rstrip(b"/") + b"/" for root in roots), key=len, reverse=True)
    must: list[Callable[[Row], bool]] = []
    either: dict[str, list[Callable[[Row], bool]]] = {}
    for one in dict.fromkeys(filters):
        holds = _test(one, base)
        if one.negated:
            must.append(_none(holds))
        elif one.name in _ALTERNATIVES:
            either.setdefault(one.name, []).append(holds)
        else:
            must.append(holds)
    must += [_any(alternatives) for alternatives in either.values()]
    return lambda row: all(holds(row) for holds in must)


def _none(holds: Callable[[Row], bool]) -> Callable[[Row], bool]:
    return lambda row: not holds(row)


def _any(alternatives: list[Callable[[Row], bool]]) -> Callable[[Row], bool]:
    return lambda row: any(holds(row) for holds in alternatives)


def _test(one: Filter, roots: list[bytes]) -> Callable[[Row], bool]:
    value = one.value
    match one.name:
        case "ext":
            return lambda row: row.kind == value
        case "is":
            return {
                "animated": lambda row: row.frames > 1,
                "still": lambda row: row.frames == 1,
                FAVOURITE: lambda row: FAVOURITE in row.tags,
            }[value]
        case "in":
            return _lies_in(value, roots)
        case "after":
            since = _midnight_ns(value)
            return lambda row: row.stat.mtime_ns >= since
        case "before":
            until = _midnight_ns(value)
            return lambda row: row.stat.mtime_ns < until
        case "tag":
            return lambda row: value in row.tags
    # Latin words stand whole, Han characters have no edges to stand at.
    needle = ("" if _HAN.match(value) else " ") + value + ("" if _HAN.match(value[-1]) else " ")
    return lambda row: needle in f" {row.text} "


def _lies_in(value: str, roots: list[bytes]) -> Callable[[Row], bool]:
    known: dict[bytes, bool] = {}

    def holds(row: Row) -> bool:
        folder = os.path.dirname(row.path)
        if (inside := known.get(folder)) is None:
            whole = folder + b"/"
            relative = next((whole[len(root) - 1 :] for root in roots if whole.startswith(root)), whole)
            if value.startswith("/"):  # from a root, or a whole path
                inside = _folded(relative).startswith(value) or _folded(whole).startswith(value)
            else:
                inside = f"/{value}" in _folded(relative)
            known[folder] = inside
        return inside

    return holds


def _folded(folder: bytes) -> str:
    return fold(folder.decode("utf-8", "surrogateescape"))


def _midnight_ns(date: str) -> int:
    """When a day began here, in nanoseconds since the epoch."""
    return int(datetime.fromisoformat(date).timestamp()) * 10**9


def _check_ext(value: str, spelled: str) -> str:
    name = value.casefold().removeprefix(".")
    if name not in _KIND_OF:
        raise BadRequest(f"{spelled}: no such type; ext: takes {', '.join(KINDS)} (or jpg, tif, heif)")
    return _KIND_OF[name] or name


def _check_is(value: str, spelled: str) -> str:
    state = value.casefold()
    if state not in _STATES:
        raise BadRequest(f"{spelled}: unknown; there are {', '.join(f'is:{known}' for known in _STATES)}")
    return state


def _check_in(value: str, spelled: str) -> str:
    parts = [part for part in fold(value).split("/") if part not in ("", ".")]
    if not parts:
        raise BadRequest(f"{spelled}: in: wants a folder, as in:reactions/ does")
    return ("/" if value.startswith("/") else "") + "/".join(parts) + "/"


def _check_date(value: str, spelled: str) -> str:
    try:
        match = _DATE.fullmatch(value)
        if match is None:
            raise ValueError(value)
        year, month, day = (int(part or 1) for part in match.groups())
        date = datetime(year, month, day)
        date.timestamp()  # raises where it is too long ago for a clock
    except (ValueError, OverflowError, OSError):
        name = spelled.lstrip("-").partition(":")[0].lower()
        raise BadRequest(f"{spelled}: no such day; write {name}:2025-01-31, {name}:2025-01 or {name}:2025") from None
    return date.date().isoformat()


def _check_tag(value: str, spelled: str) -> str:
    return tag_key(value)


_CHECKS: dict[str, Callable[[str, str], str]] = {
    "ext": _check_ext,
    "is": _check_is,
    "in": _check_in,
    "after": _check_date,
    "before": _check_date,
    "tag": _check_tag,
}
