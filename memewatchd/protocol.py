"""The wire, as both sides see it: limits, exit codes, lines in and lines out. What each op takes: ``ops``.

A leaf with nothing but the standard library, and little of that: the client imports it at every
keystroke. ``docs/protocol.md`` says the same for people who write scripts.

A line that begins with ``{`` is a JSON request; any other line is a search in plain text.
"""

from __future__ import annotations

import binascii
import json
import math
import os

from memewatchd.errors import BadRequest, RequestError, TooLarge, UnknownOp
from memewatchd.ops import OPS, shown

TYPE_CHECKING = False  # typing's own costs an import; type checkers know the name
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any


PROTOCOL = 1

LINE_BYTES = 64 * 1024
"""The longest line, without its newline, that has no ``like``."""
LIKE_LINE_BYTES = 32 * 1024 * 1024
"""The longest line of all: beyond it, the connection is closed."""
PLAIN_HITS = 20
SEARCH_WAIT_S = 30.0
"""How long a search waits for the model where the request names no ``timeout``."""

SOCKET_PATH_BYTES = 107
"""What fits into ``sockaddr_un.sun_path`` beside its closing NUL (unix(7))."""

EXIT_OK = 0
EXIT_NOTHING = 1  # a search without a hit, a wait that timed out
EXIT_REFUSED = 2  # the request is wrong, or was refused
EXIT_NO_DAEMON = 3
EXIT_ALREADY_RUNNING = 75  # EX_TEMPFAIL
EXIT_CONFIG = 78  # EX_CONFIG

SOCKET_NAME = "memewatchd.sock"


def default_state_dir(environ: Mapping[str, str]) -> str:
    """``$XDG_STATE_HOME/memewatchd``, else ``~/.local/state/memewatchd``."""
    base = _absolute(environ.get("XDG_STATE_HOME", ""))
    if not base:
        home = _absolute(environ.get("HOME", "")) or os.path.expanduser("~")
        base = os.path.join(home, ".local", "state")
    return os.path.join(base, "memewatchd")


def default_socket_path(environ: Mapping[str, str]) -> str:
    """Where the daemon listens and the client looks, unless ``--socket`` (or systemd) says otherwise."""
    named = environ.get("MEMEWATCHD_SOCKET", "")
    if named:
        return os.path.abspath(os.path.expanduser(named))
    runtime = _absolute(environ.get("XDG_RUNTIME_DIR", ""))
    return os.path.join(runtime or default_state_dir(environ), SOCKET_NAME)


def _absolute(folder: str) -> str:
    """The folder, or "" for a relative one: the XDG specification has those ignored."""
    return folder if folder.startswith("/") else ""


# Lines in --------------------------------------------------------------------------------------


class Request:
    """One request. ``args`` holds every known key of its op, checked, defaults filled in.

    ``id_json`` is the ``id`` to echo, as JSON text; "" where the request has none.
    ``plain`` marks a search that came as plain text and is answered so.
    """

    __slots__ = ("args", "id_json", "op", "plain")

    def __init__(self, op: str, args: dict[str, Any], id_json: str = "", plain: bool = False) -> None:
        self.op = op
        self.args = args
        self.id_json = id_json
        self.plain = plain


class Line:
    """A line that could be read, before what it asks for is checked: its errors can echo ``id_json``."""

    __slots__ = ("body", "id_json", "plain", "size")

    def __init__(self, body: dict[str, Any], size: int, id_json: str = "", plain: bool = False) -> None:
        self.body = body
        self.size = size
        self.id_json = id_json
        self.plain = plain


def is_plain(raw: bytes | bytearray) -> bool:
    """Whether a line (or its beginning) is a search in plain text."""
    return not raw.startswith(b"{")


def parse_line(raw: bytes) -> Request:
    """One line, without its newline, as a request. Raises :class:`RequestError` only."""
    return check_line(read_line(raw))


def read_line(raw: bytes) -> Line:
    """The line as an object. Raises :class:`BadRequest` where it is no text or no JSON object, and
    :class:`TooLarge`."""
    raw = raw.removesuffix(b"\r")
    plain = is_plain(raw)
    size = len(raw)
    if size > LIKE_LINE_BYTES or (size > LINE_BYTES and (plain or _too_many_values(raw))):
        raise too_large(size)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the line is not UTF-8 (byte {error.start + 1})") from None
    if plain:
        if not text.strip():
            raise BadRequest("the query is blank")
        return Line({"op": "search", "text": text, "limit": PLAIN_HITS}, size, plain=True)
    try:
        body = json.loads(
            text,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_without_repeats,
        )
        # Here and not in the reply: what is nested too deeply to be echoed is refused.
        id_json = _dumps(body["id"]) if "id" in body else ""
    except RecursionError:
        raise BadRequest("the line is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the line is not JSON: {error.msg} (character {error.pos + 1})") from None
    except ValueError as error:
        raise BadRequest(f"the line is not JSON: {error}") from None
    return Line(body, size, id_json)


def check_line(line: Line) -> Request:
    """What the line asks for. Raises :class:`RequestError` (the line's ``id_json`` goes with it)."""
    body = line.body
    if line.size > LINE_BYTES and not _has_like(body):
        raise too_large(line.size)
    if "op" not in body:
        raise BadRequest("op is missing")
    op = body["op"]
    if type(op) is not str:
        raise BadRequest(f"op must be a string, not {shown(op)}")
    keys = OPS.get(op)
    if keys is None:
        raise UnknownOp(f"there is no op {shown(op)}")
    args = {}
    for key, (check, default) in keys.items():
        args[key] = check(key, body[key]) if key in body else default
    return Request(op, args, line.id_json, line.plain)


def too_large(size: int) -> RequestError:
    """What is said of a line of (at least) this many bytes."""
    if size > LIKE_LINE_BYTES:
        return TooLarge(f"a line may have {LIKE_LINE_BYTES} bytes at most")
    return TooLarge(f"a line without like may have {LINE_BYTES} bytes at most")


def _has_like(body: dict[str, Any]) -> bool:
    like = body.get("like")
    return (
        type(like) is list
        and bool(like)
        and all(type(item) is dict and ("path" in item or "data_b64" in item) for item in like)
    )


def _too_many_values(raw: bytes) -> bool:
    # A long line is long for its pictures' base64, which has none of these. Without this, 32 MiB of
    # "[[],[],…" would become a gigabyte of lists.
    return sum(map(raw.count, (b",", b"[", b"{"))) > LINE_BYTES


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _whole(text: str) -> int:
    if len(text) > 300:  # Python refuses 4,300 digits, and JSON readers elsewhere far fewer
        raise ValueError("a number is out of range")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is out of range")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Which of two would count is anybody's guess, and parsers differ.
    result = dict(pairs)
    if len(result) != len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {shown(key)} appears twice")
            seen.add(key)
    return result


# Lines out -------------------------------------------------------------------------------------


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "), allow_nan=False)


def encode(reply: Mapping[str, Any], id_json: str = "") -> bytes:
    """One line of JSON, newline included, with the request's ``id`` in front."""
    text = _dumps(reply)
    if id_json:
        text = f'{{"id": {id_json}, {text[1:]}' if reply else f'{{"id": {id_json}}}'
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair: JSON can spell it, UTF-8 can't
        return json.dumps(json.loads(text)).encode() + b"\n"


def error_reply(error: RequestError) -> dict[str, Any]:
    """``{"ok": false, "error": …}``."""
    return {"ok": False, "error": {"code": error.code, "message": str(error)}}


def plain_error(error: RequestError) -> bytes:
    """The answer to a plain line that can't be answered: one line, and the empty line that ends it."""
    message = " ".join(str(error).split())
    return f"error: {error.code}: {message}\n\n".encode(errors="replace")


def plain_answer(hits: Iterable[Mapping[str, Any]]) -> bytes:
    """The answer to a plain line: a path a line, raw, and the empty line that ends it.

    A path that holds a newline is left out: nobody could tell it from two.
    """
    paths = [path_bytes(hit) for hit in hits]
    lines = [path + b"\n" for path in paths if b"\n" not in path]
    return b"".join(lines[:PLAIN_HITS]) + b"\n"


def path_fields(raw: bytes, key: str = "path") -> dict[str, str]:
    """A path as it goes over the wire: ``path``, and ``path_b64`` beside it where it is not UTF-8."""
    try:
        return {key: raw.decode()}
    except UnicodeDecodeError:
        encoded = binascii.b2a_base64(raw, newline=False).decode()
        return {key: raw.decode(errors="replace"), f"{key}_b64": encoded}


def path_bytes(fields: Mapping[str, Any], key: str = "path") -> bytes:
    """The path's own bytes, from what :func:`path_fields` made. Raises KeyError, ValueError."""
    encoded = fields.get(f"{key}_b64")
    if encoded is not None:
        return binascii.a2b_base64(encoded)
    path: str = fields[key]
    return path.encode()
