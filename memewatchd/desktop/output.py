"""What `memewatch` writes: raw paths, a line each, and the status in words."""

from __future__ import annotations

import json
import os
import sys

from memewatchd.protocol import path_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


MENUS = ("rofi", "wofi")
"""Formats that ``menus.py`` makes."""


class ClosedOutput(Exception):
    """Whoever read our output has gone (``memewatch list | head``): nothing to complain about."""


class Output:
    """Standard output, as bytes. Raises :class:`ClosedOutput` when nobody reads it any more."""

    def __init__(self) -> None:
        # None where we were started with it closed; then file descriptor 1 may be anything.
        self._stream = None if sys.stdout is None else sys.stdout.buffer

    def write(self, data: bytes) -> None:
        if self._stream is None:
            raise ClosedOutput
        try:
            self._stream.write(data)
        except BrokenPipeError:
            raise ClosedOutput from None

    def flush(self) -> None:
        if self._stream is None:
            return
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise ClosedOutput from None

    def abandon(self) -> None:
        """What is still buffered goes nowhere, so that Python doesn't try it again at exit."""
        if self._stream is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def as_json(value: object) -> bytes:
    """One line of JSON, as the daemon gave it."""
    try:
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value).encode() + b"\n"


def escaped(field: bytes) -> bytes:
    """A field of a line of fields: backslash, tab and newline as ``\\\\``, ``\\t``, ``\\n``."""
    return field.replace(b"\\", b"\\\\").replace(b"\t", b"\\t").replace(b"\n", b"\\n")


def hit_line(hit: Mapping[str, Any], how: str) -> bytes:
    """One hit of a search; ``how`` is a format's name."""
    if how == "json":
        return as_json(hit)
    path = path_bytes(hit)
    if host := hit.get("host"):  # as scp and rsync take it
        path = str(host).encode(errors="replace") + b":" + path
    if how == "tsv":
        score = hit.get("score")
        return b"%s\t%s\n" % (b"" if score is None else json.dumps(score).encode(), escaped(path))
    return path + (b"\0" if how == "print0" else b"\n")


def file_line(file: Mapping[str, Any], how: str) -> bytes:
    """One file of ``list``. As tsv: size, width, height, frames, digest, path."""
    if how == "tsv":
        keys = ("size", "width", "height", "frames", "digest")
        fields = [str(file.get(key, "")).encode() for key in keys]
        return b"\t".join([*fields, escaped(path_bytes(file))]) + b"\n"
    return hit_line(file, how)


def failed_line(file: Mapping[str, Any], how: str) -> bytes:
    """One file of ``failed``, with the reason unless only paths are asked for."""
    if how == "text":
        return path_bytes(file) + b": " + _line(str(file.get("reason", ""))).encode(errors="replace") + b"\n"
    return hit_line(file, how)


def group_lines(group: Mapping[str, Any], how: str, *, first: bool) -> bytes:
    """Files that show one picture, a path a line; before every group but the first, an empty one."""
    if how == "json":
        return as_json(group)
    end = b"\0" if how == "print0" else b"\n"
    return (b"" if first else end) + b"".join(hit_line(file, how) for file in group["files"])


def event_line(event: Mapping[str, Any], how: str) -> bytes:
    """One event: what happened, the path, and for a move where it was, with tabs between."""
    if how == "json":
        return as_json(event)
    fields = [str(event.get("event", "")).encode(errors="replace")]
    fields += [escaped(path_bytes(event, key)) for key in ("path", "from") if key in event]
    return b"\t".join(fields) + b"\n"


_COLOURS = {"settled": "32", "indexing": "36", "starting": "36", "paused": "33", "degraded": "31"}
_BAR = 24  # characters
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def wants_colour(environ: Mapping[str, str], is_terminal: bool) -> bool:
    """Whether to write in colours (no-color.org)."""
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def status_text(status: Mapping[str, Any], colour: bool = False, width: int = 0) -> str:
    """The status for people. Leaves out what the daemon doesn't say. ``width``: columns to wrap
    sentences at; 0: as they are."""
    lines = [_headline(status, colour)]
    failed = status.get("failed")
    if bar := _bar(status):
        lines.append(_row("", _painted(bar, "36", colour)))
    if failed:
        lines.append(_row("failed", f"{failed:,} could not be read (memewatch failed says why)"))
    if status.get("words_pending"):
        lines.append(_row("words", _words_line(status)))
    elif str(status.get("words_state") or "done") != "done":
        lines.append(_row("words", f"not read: {_line(str(status['words_state']))}"))
    for problem in status.get("problems") or ():
        lines += _wrapped(_row("problem", _painted(_line(str(problem)), "31", colour)), width)
    if status.get("model"):
        state = status.get("model_state")
        lines.append(_row("model", _with_reason(status["model"], "" if state == "ready" else state)))
        for advice in status.get("advice") or ():
            lines += _wrapped(_row("", _line(str(advice))), width)
    if status.get("engine"):
        host = status.get("host")
        lines.append(_row("index", _with_reason(_line(str(status["engine"])), host and f"shared; we are {host}")))
    if status.get("watching"):
        lines.append(_row("watching", _with_reason(status["watching"], status.get("watching_why"))))
    if status.get("sandbox") == "applied":
        lines.append(_row("sandbox", "applied"))
    for root in status.get("roots") or ():
        away = f"  AWAY: {_line(str(root.get('why', '')))}" if root.get("away") else ""
        lines.append(_row("folder", _line(str(root.get("path", ""))) + away))
    if status.get("uptime_s") is not None:
        lines.append(_row("up", duration(status["uptime_s"])))
    return "\n".join(lines) + "\n"


def _wrapped(line: str, width: int) -> list[str]:
    """Between words, and below the text that the line began with."""
    if not 0 < width < len(line):
        return [line]
    import textwrap  # only a terminal needs it

    indent = _row("", "")
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _painted(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def _bar(status: Mapping[str, Any]) -> str:
    """How far the index is, "" where nothing is to be done."""
    pending, indexed, failed = (int(status.get(key) or 0) for key in ("pending", "indexed", "failed"))
    if not pending:
        return ""
    done = max(0, indexed + failed) / (max(0, indexed + failed) + pending)
    whole, part = divmod(int(done * _BAR * 8), 8)
    cells = _EIGHTHS[8] * whole + (_EIGHTHS[part] if whole < _BAR else "")
    return f"▕{cells:<{_BAR}}▏ {int(done * 100)} %"


def _headline(status: Mapping[str, Any], colour: bool = False) -> str:
    indexed = status.get("indexed", 0)
    state = str(status.get("state", "unknown"))
    line = _painted(state, _COLOURS.get(state, "0"), colour)
    line += f": {indexed:,} {'meme' if indexed == 1 else 'memes'} can be found"
    pending = status.get("pending")
    if pending:
        line += f", {pending:,} to go"
        details = []
        if status.get("holding"):
            details.append(f"waits: {_line(str(status['holding']))}")
        elif status.get("rate"):
            details.append(f"{status['rate']:.3g}/s")
        if status.get("eta_s") is not None and not status.get("holding"):
            details.append(f"about {duration(status['eta_s'])}")
        if details:
            line += f" ({', '.join(details)})"
    return line


def _words_line(status: Mapping[str, Any]) -> str:
    pending, state = status["words_pending"], str(status.get("words_state") or "reading")
    line = f"{pending:,} {'picture' if pending == 1 else 'pictures'} still to be read"
    if state != "reading":
        return f"{line} ({_line(state)})"
    if status.get("words_eta_s") is not None:
        line += f" ({status.get('words_rate', 0):.2g}/s, about {duration(status['words_eta_s'])})"
    return line


def _with_reason(what: object, why: object) -> str:
    return f"{what} ({_line(str(why))})" if why else str(what)


def _row(name: str, text: str) -> str:
    return f"  {name:<9} {text}"


def _line(text: str) -> str:
    return " ".join(text.split())


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    if whole < 172800:
        return f"{whole // 3600} h"
    return f"{whole // 86400} days"
