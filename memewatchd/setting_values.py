"""What may stand in each setting, and how it is read: a leaf, for ``config``. A wrong value is a ValueError."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pathspec

from memewatchd.ops import MAX_PX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOG_LEVELS = ("debug", "info", "warning", "error")
TENCENT = "tencent"
TRANSLATORS = ("dictionary", TENCENT, "off")
_PREFIX_MAX = 64
_HOST_MAX = 32
_HOST_PART = re.compile("[a-z0-9]+")


def _text(value: Any, base: Path) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {type(value).__name__}")
    return value


def _path(value: Any, base: Path) -> Path:
    text = _text(value, base)
    if not text:
        raise ValueError("must not be empty")
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    return Path(os.path.abspath(base / os.path.expanduser(text)))


def _socket(value: Any, base: Path) -> str:
    return str(_path(value, base))


def _folders(value: Any, base: Path) -> tuple[bytes, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items:
        raise ValueError("must be a folder or a list of folders")
    folders = tuple(dict.fromkeys(os.fsencode(_path(item, base)) for item in items))
    _refuse_nested(folders)
    return folders


def _refuse_nested(folders: tuple[bytes, ...]) -> None:
    real = {folder: os.path.realpath(folder) for folder in folders}
    for inner in folders:
        for outer in folders:
            if inner != outer and (real[inner] + b"/").startswith(real[outer].rstrip(b"/") + b"/"):
                raise ValueError(
                    f"{os.fsdecode(inner)} lies in {os.fsdecode(outer)}, which is watched whole; leave one out"
                )


def _milvus(value: Any, base: Path) -> str:
    text = _text(value, base)
    if "://" not in text:
        if not text.endswith(".db"):
            raise ValueError(f"must be a file that ends in .db, or http(s)://host:port, not {text!r}")
        return str(_path(text, base))
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"has a wrong port: {text!r}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port is None:
        raise ValueError(f"must be a file that ends in .db, or http(s)://host:port, not {text!r}")
    if parts.username or parts.password:
        raise ValueError("must not hold a password; put it into a file and name that with milvus_token_file")
    return text


def _prefix(value: Any, base: Path) -> str:
    text = _text(value, base)
    # Milvus allows letters, digits and underscores, and a letter or underscore first.
    if not text.isascii() or not text.isidentifier() or len(text) > _PREFIX_MAX:
        raise ValueError(f"must be up to {_PREFIX_MAX} letters, digits and underscores, not {text!r}")
    return text


def _host(value: Any, base: Path) -> str:
    text = _text(value, base)
    parts = text.split("-")
    if text and (len(text) > _HOST_MAX or not all(map(_HOST_PART.fullmatch, parts))):
        raise ValueError(f"must be up to {_HOST_MAX} small letters and digits, with hyphens between, not {text!r}")
    return text


def _level(value: Any, base: Path) -> str:
    text = _text(value, base).lower()
    if text not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}, not {text!r}{near(text, LOG_LEVELS)}")
    return text


def _translator(value: Any, base: Path) -> str:
    text = _text(value, base).lower()
    if text not in TRANSLATORS:
        raise ValueError(f"must be one of {', '.join(TRANSLATORS)}, not {text!r}{near(text, TRANSLATORS)}")
    return text


def _region(value: Any, base: Path) -> str:
    text = _text(value, base)
    # It goes into a header of a signed request.
    if not text.isascii() or not text.replace("-", "").isalnum():
        raise ValueError(f"must be a region of Tencent Cloud, such as ap-guangzhou, not {text!r}")
    return text


def _flag(value: Any, base: Path) -> bool:
    given = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    flag = given.get(value.lower()) if isinstance(value, str) else value  # the environment has words only
    if not isinstance(flag, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return flag


def _milliseconds(value: Any, base: Path) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 60_000:
        raise ValueError(f"must be 0 to 60000 milliseconds, not {value!r}")
    return number


def _patterns(value: Any, base: Path) -> tuple[str, ...]:
    items = value.split(":") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise ValueError("must be a list of gitignore patterns")
    try:
        pathspec.GitIgnoreSpec.from_lines(items)
    except ValueError as error:
        raise ValueError(f"holds a pattern that gitignore's syntax doesn't have: {error}") from error
    return tuple(item for item in items if item)


def _endpoint(value: Any, base: Path) -> str:
    text = _text(value, base).rstrip("/")
    if text and not text.startswith(("http://", "https://", "socks5://", "socks5h://")):
        raise ValueError(f"must begin with http:// or https://, not {text!r}")
    return text


def _pixels(value: Any, base: Path) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 16 <= number <= MAX_PX:
        raise ValueError(f"must be 16 to {MAX_PX} pixels, not {value!r}")
    return number


def _http(value: Any, base: Path) -> str:
    text = _text(value, base)
    if not text:
        return ""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port
        if host != "localhost":
            ipaddress.ip_address(host)
    except ValueError:
        host, port = "", None
    if not host or not port or parts.path or parts.query or parts.fragment or "@" in text:
        raise ValueError(f"must be an address and a port, as 127.0.0.1:8088, not {text!r}")
    return text


READERS: Mapping[str, Callable[[Any, Path], Any]] = {
    "folder": _folders,
    "socket": _socket,
    "milvus": _milvus,
    "milvus_token_file": _path,
    "collection_prefix": _prefix,
    "host": _host,
    "model": _text,
    "state_dir": _path,
    "log_level": _level,
    "settle_ms": _milliseconds,
    "exclude": _patterns,
    "hub_endpoint": _endpoint,
    "proxy": _endpoint,
    "http": _http,
    "http_token_file": _path,
    "translate": _translator,
    "tencent_keys_file": _path,
    "tencent_region": _region,
    "learn": _flag,
    "thumbnails": _flag,
    "paste_max_px": _pixels,
    "words": _flag,
    "words_on_battery": _flag,
    "index_on_battery": _flag,
}
KEYS = tuple(READERS)


def near(name: str, known: tuple[str, ...] | list[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; did you mean {matches[0]}?" if matches else ""
