"""`memewatch`: asks the daemon and prints its answer.

Standard library only, and little of that: it is started at every keystroke. Results go to standard
output, everything else to standard error.

For other programs there is ``from memewatchd.client import Client`` (``desktop/api.py``).
"""

from __future__ import annotations

import os
import sys

from memewatchd import __version__, protocol
from memewatchd.desktop import arguments, connection, output
from memewatchd.desktop.connection import ANSWER_S
from memewatchd.desktop.trouble import NoAnswer, Refused, Trouble
from memewatchd.protocol import EXIT_NO_DAEMON, EXIT_NOTHING, EXIT_OK, EXIT_REFUSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from memewatchd.desktop.api import Answer, Client, Event, Failure, File, Group, Hit
    from memewatchd.desktop.arguments import Arguments
    from memewatchd.desktop.output import Output

# The names that other programs import from here; loaded when they are asked for.
_API = ("Answer", "Client", "Event", "Failure", "File", "Group", "Hit")
__all__ = ["Answer", "Client", "Event", "Failure", "File", "Group", "Hit", "NoAnswer", "main"]

EXIT_INTERRUPTED = 130

_CONVERTED_S = 300.0
# With a large model the first name takes longer; the next has it at once.
_NAMED_S = 15.0


def __getattr__(name: str) -> Any:
    if name in _API:
        from memewatchd.desktop import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Returns its exit code."""
    out = output.Output()
    try:
        try:
            code = _run(sys.argv[1:] if argv is None else argv, out)
        except arguments.UsageError as error:
            code = EXIT_REFUSED
            _complain(f"{error}\n  memewatch --help says more")
        except (Refused, Trouble) as error:
            code = EXIT_REFUSED
            _complain(str(error))
        except NoAnswer as error:
            code = EXIT_NO_DAEMON
            _complain(str(error))
        out.flush()
    except output.ClosedOutput:
        out.abandon()
        return EXIT_OK
    except KeyboardInterrupt:
        out.abandon()
        return EXIT_INTERRUPTED
    except OSError as error:  # a full disk, say; the socket's own errors are NoAnswer
        out.abandon()
        _complain(f"can't write the answer: {error.strerror}")
        return EXIT_REFUSED
    return code


def _run(argv: Sequence[str], out: Output) -> int:
    asked = arguments.parse(argv)
    if asked.version:
        out.write(f"memewatch {__version__}\n".encode())
        return EXIT_OK
    if asked.help:
        out.write(arguments.help_text(asked.command).encode())
        return EXIT_OK
    return _COMMANDS[asked.command](asked, out)


def _complain(message: str) -> None:
    if sys.stderr is None:  # and print would then fall back to standard output
        return
    try:
        print(f"memewatch: {message}", file=sys.stderr, flush=True)
    except OSError:
        pass


# Talking to the daemon -------------------------------------------------------------------------


def _ask(asked: Arguments, request: Mapping[str, Any], answer_s: float | None = ANSWER_S) -> Iterator[dict[str, Any]]:
    """The replies to one request, as they come. Raises :class:`Refused`, :class:`NoAnswer`, :class:`Trouble`.

    ``answer_s``: how long one line may take; None is for ever.
    """
    return connection.ask(asked.socket, request, answer_s)


# The commands ----------------------------------------------------------------------------------


def _search(asked: Arguments, out: Output) -> int:
    text = " ".join(asked.words)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise arguments.UsageError("the words are not UTF-8") from None
    request: dict[str, Any] = {"op": "search", "text": text}
    if asked.limit is not None:
        request["limit"] = asked.limit
    if asked.min_score is not None:
        request["min_score"] = asked.min_score
    if asked.like:
        from memewatchd.desktop import clipboard, examples

        # A launcher knows its rows by their addresses.
        files = [os.fsdecode(clipboard.meme_path(one)) if one.startswith("file:/") else one for one in asked.like]
        request["like"] = examples.read(files)
    if asked.all_hosts:
        if asked.format in output.MENUS:
            raise arguments.UsageError(
                "a menu shows files, and other hosts' are not here: --all-hosts has no such format"
            )
        request["all_hosts"] = True
    if asked.format in output.MENUS:
        request["meta"] = True
    line = _menu_line() if asked.format in output.MENUS else output.hit_line
    reply = next(_ask(asked, request))
    hits = reply["hits"]
    for hit in hits:
        out.write(line(hit, asked.format))
    if searched := reply.get("searched"):
        out.flush()
        _complain(f"searched: {searched}")
    if reply.get("partial"):
        out.flush()
        _complain("the model is still loading: found by name and words only")
    return EXIT_OK if hits else EXIT_NOTHING


def _tag(asked: Arguments, out: Output) -> int:
    from memewatchd.desktop import tagging

    return tagging.run(asked.words, asked.format == "json", out, _complain)


def _import(asked: Arguments, out: Output) -> int:
    from memewatchd.desktop import importing

    return importing.run(asked.words, asked.base, out, _complain)


def _pick(asked: Arguments, _: Output) -> int:
    from memewatchd.desktop import launchers

    return launchers.pick(_patient(asked), asked.words, asked.launcher, asked.socket, os.environ)


def _copy(asked: Arguments, _: Output) -> int:
    from memewatchd.desktop import clipboard

    if len(asked.words) != 1:
        raise arguments.UsageError(f"copy needs the PATH of one meme, not {len(asked.words)}")
    path = clipboard.meme_path(asked.words[0])
    clipboard.copy(_patient(asked), path, os.environ, asked.form, asked.max_px)
    return EXIT_OK


def _add(asked: Arguments, out: Output) -> int:
    from memewatchd.desktop import adding

    if len(asked.words) + asked.clipboard != 1:
        raise arguments.UsageError("add needs a FILE, a URL or --clipboard, and one of them")
    source = asked.words[0] if asked.words else None

    def ask(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        return _ask(asked, request, _NAMED_S if request["op"] == "describe" else ANSWER_S)

    return adding.add(ask, source, asked.name, os.environ, out, _complain)


def _patient(asked: Arguments) -> Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]]:
    """Asks, and waits for as long as converting a long animation may take."""
    return lambda request: _ask(asked, request, _CONVERTED_S)


def _menu_line() -> Callable[[Mapping[str, Any], str], bytes]:
    from memewatchd.desktop import menus

    return menus.Menu(os.environ).line


def _list(asked: Arguments, out: Output) -> int:
    if asked.format in output.MENUS:
        return _files(asked, out, _menu_line(), meta=True, order="used")
    return _files(asked, out, output.file_line)


def _failed(asked: Arguments, out: Output) -> int:
    return _files(asked, out, output.failed_line)


def _duplicates(asked: Arguments, out: Output) -> int:
    for number, reply in enumerate(_ask(asked, {"op": "duplicates"})):
        if reply.get("end"):
            break
        out.write(output.group_lines(reply["group"], asked.format, first=number == 0))
    return EXIT_OK


def _files(asked: Arguments, out: Output, line: Callable[[Mapping[str, Any], str], bytes], **more: object) -> int:
    for reply in _ask(asked, {"op": asked.command, **more}):
        if reply.get("end"):
            break
        out.write(line(reply["file"], asked.format))
    return EXIT_OK


def _status(asked: Arguments, out: Output) -> int:
    status = next(_ask(asked, {"op": "status"}))["status"]
    if asked.format == "json":
        out.write(output.as_json(status))
    else:
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        colour = output.wants_colour(os.environ, is_terminal)
        width = os.get_terminal_size(sys.stdout.fileno()).columns if is_terminal else 0
        out.write(output.status_text(status, colour, width).encode(errors="replace"))
    return EXIT_OK


def _wait(asked: Arguments, _: Output) -> int:
    request: dict[str, Any] = {"op": "wait", **({"words": True} if asked.read_words else {})}
    if asked.timeout is not None:
        request["timeout"] = asked.timeout
    try:
        next(_ask(asked, request, None if asked.timeout is None else asked.timeout + ANSWER_S))
    except Refused as error:
        if error.code != "timeout":
            raise
        _complain(str(error))
        return EXIT_NOTHING
    return EXIT_OK


def _events(asked: Arguments, out: Output) -> int:
    for reply in _ask(asked, {"op": "events"}, None):
        if "event" in reply:
            out.write(output.event_line(reply, asked.format))
            out.flush()
    return EXIT_OK


def _rescan(asked: Arguments, _: Output) -> int:
    next(_ask(asked, {"op": "rescan", "forget_missing": asked.forget_missing}))
    return EXIT_OK


def _used(asked: Arguments, _: Output) -> int:
    if not asked.words:
        raise arguments.UsageError("used needs the PATH of a meme")
    code = EXIT_OK
    for word in asked.words:
        path = os.path.abspath(os.fsencode(word))  # links stay: a linked meme is known by the link's path
        try:
            next(_ask(asked, {"op": "used", **protocol.path_fields(path)}))
        except Refused as error:
            _complain(str(error))
            code = EXIT_REFUSED
    return code


def _reindex(asked: Arguments, _: Output) -> int:
    if asked.milvus and not asked.model:
        _complain(next(_ask(asked, {"op": "reindex", "milvus": asked.milvus}))["message"])
        return EXIT_OK
    if not asked.model or asked.milvus:
        raise arguments.UsageError("reindex needs --model (a name as siglip2, a hub id or a folder), or --milvus URI")
    model = os.path.expanduser(asked.model)
    # The daemon stands in another folder. An OWNER/NAME that is also a folder here is the folder, as for memewatchd.
    if model.startswith(".") or ("/" in model and os.path.isdir(model)):
        model = os.path.abspath(model)
    _complain(next(_ask(asked, {"op": "reindex", "model": model}))["message"])
    return EXIT_OK


def _simple(asked: Arguments, _: Output) -> int:
    next(_ask(asked, {"op": asked.command}))
    return EXIT_OK


_COMMANDS: dict[str, Callable[[Arguments, Output], int]] = {
    "search": _search,
    "pick": _pick,
    "copy": _copy,
    "add": _add,
    "tag": _tag,
    "import": _import,
    "list": _list,
    "status": _status,
    "wait": _wait,
    "failed": _failed,
    "duplicates": _duplicates,
    "events": _events,
    "rescan": _rescan,
    "pause": _simple,
    "resume": _simple,
    "used": _used,
    "forget-usage": _simple,
    "reindex": _reindex,
}


if __name__ == "__main__":
    sys.exit(main())
