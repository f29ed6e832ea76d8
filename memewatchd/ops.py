"""What each op takes: its keys, what may stand in them, and what holds where a key is left out.

A leaf like ``protocol``, which reads the lines that these keys come in.
"""

from __future__ import annotations

import binascii
import json
import os

from memewatchd.errors import BadRequest

TYPE_CHECKING = False  # typing's own costs an import; type checkers know the name
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Check = Callable[[str, Any], Any]

LIMIT_MAX = 1000
LIMIT_DEFAULT = 20
TIMEOUT_MAX_S = 365 * 24 * 3600

EXPORT_FORMS = ("auto", "png", "gif", "uri")
"""What a meme can be handed out as: auto is png for a still and gif for what moves; uri is the file as it is."""
MAX_PX = 8192
MAX_EXAMPLES = 16
"""Pictures in one ``like``."""
LIST_ORDERS = ("path", "used")


def shown(value: Any) -> str:
    """A value as its sender wrote it, cut short."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return "so deeply nested a value"
    return text if len(text) <= 60 else text[:57] + "..."


def _text(key: str, value: Any) -> str:
    if type(value) is not str:
        raise BadRequest(f"{key} must be a string, not {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{key} holds half a surrogate pair") from None
    return value


def _flag(key: str, value: Any) -> bool:
    if type(value) is not bool:
        raise BadRequest(f"{key} must be true or false, not {shown(value)}")
    return value


def _number(key: str, value: Any) -> float:
    if type(value) is not int and type(value) is not float:
        raise BadRequest(f"{key} must be a number, not {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise BadRequest(f"{key} is out of range") from None


def _limit(key: str, value: Any) -> int:
    if type(value) is not int:
        raise BadRequest(f"{key} must be a whole number from 1 to {LIMIT_MAX}, not {shown(value)}")
    if not 1 <= value <= LIMIT_MAX:
        raise BadRequest(f"{key} must be 1 to {LIMIT_MAX}, not {shown(value)}")
    return value


def _search_seconds(key: str, value: Any) -> float:
    seconds = _number(key, value)
    if not 0 < seconds <= TIMEOUT_MAX_S:
        raise BadRequest(f"{key} must be more than 0 and at most {TIMEOUT_MAX_S} s, not {shown(value)}")
    return seconds


def _wait_seconds(key: str, value: Any) -> float:
    seconds = _number(key, value)
    if not 0 <= seconds <= TIMEOUT_MAX_S:
        raise BadRequest(f"{key} must be 0 to {TIMEOUT_MAX_S} s, not {shown(value)}")
    return seconds


def _base64(key: str, value: Any) -> bytes:
    try:
        return binascii.a2b_base64(_text(key, value).encode("ascii"), strict_mode=True)
    except ValueError:
        raise BadRequest(f"{key} must be standard base64, padded") from None


def _form(key: str, value: Any) -> str:
    if value not in EXPORT_FORMS:
        raise BadRequest(f"{key} must be one of {', '.join(EXPORT_FORMS)}, not {shown(value)}")
    return str(value)


def _order(key: str, value: Any) -> str:
    if value not in LIST_ORDERS:
        raise BadRequest(f"{key} must be one of {', '.join(LIST_ORDERS)}, not {shown(value)}")
    return str(value)


def _pixels(key: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_PX:
        raise BadRequest(f"{key} must be a whole number from 1 to {MAX_PX}, not {shown(value)}")
    return value


class Example:
    """A picture that is asked with: a path, or the bytes of a file, or both (the path then names it)."""

    __slots__ = ("data", "path")

    def __init__(self, path: bytes = b"", data: bytes = b"") -> None:
        self.path = path
        self.data = data


def _examples(key: str, value: Any) -> list[Example]:
    if type(value) is not list or not 1 <= len(value) <= MAX_EXAMPLES:
        raise BadRequest(f"{key} must be a list of 1 to {MAX_EXAMPLES} pictures")
    examples = []
    for number, item in enumerate(value):
        name = f"{key}[{number}]"
        if type(item) is not dict or not item.keys() & {"path", "path_b64", "data_b64"}:
            raise BadRequest(f'{name} must be {{"path": …}} or {{"data_b64": …}}, not {shown(item)}')
        path = os.fsencode(_text(f"{name}.path", item["path"])) if "path" in item else b""
        if "path_b64" in item:
            path = _base64(f"{name}.path_b64", item["path_b64"])
        if path and not path.startswith(b"/"):
            raise BadRequest(f"{name}.path must be absolute, not {shown(item.get('path', ''))}")
        data = _base64(f"{name}.data_b64", item["data_b64"]) if "data_b64" in item else b""
        if not (path or data):
            raise BadRequest(f"{name} is empty")
        examples.append(Example(path, data))
    return examples


OPS: dict[str, dict[str, tuple[Check, Any]]] = {
    "search": {
        "text": (_text, ""),
        "limit": (_limit, LIMIT_DEFAULT),
        "timeout": (_search_seconds, None),
        "min_score": (_number, None),
        "partial": (_flag, False),
        "meta": (_flag, False),
        "like": (_examples, None),
        "all_hosts": (_flag, False),
    },
    "list": {"meta": (_flag, False), "order": (_order, "path")},
    "status": {},
    "wait": {"timeout": (_wait_seconds, None), "words": (_flag, False)},
    "failed": {},
    "duplicates": {},
    "describe": {"like": (_examples, None)},
    "events": {},
    "rescan": {"forget_missing": (_flag, False)},
    "pause": {},
    "resume": {},
    "used": {"path": (_text, None), "path_b64": (_base64, None)},
    "forget-usage": {},
    "reindex": {"model": (_text, None), "milvus": (_text, None)},
    "export": {
        "path": (_text, None),
        "path_b64": (_base64, None),
        "as": (_form, "auto"),
        "max_px": (_pixels, None),
        "inline": (_flag, False),
    },
}
"""op → key → (check, default). A check returns the value to use, or raises :class:`BadRequest`."""

CHANGING_OPS = frozenset({"rescan", "pause", "resume", "used", "forget-usage", "reindex"})
"""Ops that are carried out even where the client hangs up before the answer."""
