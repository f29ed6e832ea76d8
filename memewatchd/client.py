"""`memewatch`: asks the daemon and prints its answer.

Standard library only, and little of that: it is started at every keystroke. Results go to standard
output, everything else to standard error.
"""

from __future__ import annotations

import json
import os
import socket
import sys

from memewatchd import __version__, protocol
from memewatchd.desktop import arguments, output
from memewatchd.protocol import EXIT_NO_DAEMON, EXIT_NOTHING, EXIT_OK, EXIT_REFUSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from memewatchd.desktop.arguments import Arguments
    from memewatchd.desktop.output import Output

EXIT_INTERRUPTED = 130

_ANSWER_S = 60.0  # a search waits 30 s at most, and a daemon that systemd starts needs its own start


class NoAnswer(Exception):
    """Nobody listens, or who listens doesn't answer."""


class Refused(Exception):
    """The daemon said no; ``code`` is the protocol's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Returns its exit code."""
    out = output.Output()
    try:
        try:
            code = _run(sys.argv[1:] if argv is None else argv, out)
        except arguments.UsageError as error:
            code = EXIT_REFUSED
            _complain(f"{error}\n  memewatch --help says more")
        except Refused as error:
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


def _ask(asked: Arguments, request: Mapping[str, Any], answer_s: float | None = _ANSWER_S) -> Iterator[dict[str, Any]]:
    """The replies to one request, as they come. Raises :class:`Refused`, :class:`NoAnswer`.

    ``answer_s``: how long one line may take; None is for ever.
    """
    path = asked.socket or protocol.default_socket_path(os.environ)
    raw = os.fsencode(os.path.abspath(os.path.expanduser(path)))
    if len(raw) > protocol.SOCKET_PATH_BYTES:
        raise arguments.UsageError(
            f"the socket's path has {len(raw)} bytes, and a socket's may have {protocol.SOCKET_PATH_BYTES}"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            # Connected without a time limit, because then a full queue means waiting and not an error.
            connection.connect(raw)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise NoAnswer(
                f"no daemon answers at {path} ({reason}); start one with memewatchd --folder ~/Memes, or the"
                " service with systemctl --user start memewatchd; --socket says where else to look"
            ) from None
        connection.settimeout(answer_s)
        try:
            connection.sendall(protocol.encode(request))
            with connection.makefile("rb") as lines:
                while line := lines.readline():
                    yield _reply(line)
        except TimeoutError:
            raise NoAnswer(f"the daemon at {path} gave no answer within {answer_s:g} s") from None
        except ConnectionError as error:
            raise NoAnswer(f"the daemon at {path} hung up ({error.strerror})") from None
    raise NoAnswer(f"the daemon at {path} hung up")


def _reply(line: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(line)
        if reply.get("ok", True):
            return dict(reply)
        error = reply["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise NoAnswer("what answers there is no memewatchd") from None
    raise Refused(code, message)


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
    reply = next(_ask(asked, request))
    hits = reply["hits"]
    for hit in hits:
        out.write(output.hit_line(hit, asked.format))
    if reply.get("partial"):
        out.flush()
        _complain("the model is still loading: found by name and words only")
    return EXIT_OK if hits else EXIT_NOTHING


def _list(asked: Arguments, out: Output) -> int:
    return _files(asked, out, output.file_line)


def _failed(asked: Arguments, out: Output) -> int:
    return _files(asked, out, output.failed_line)


def _files(asked: Arguments, out: Output, line: Callable[[Mapping[str, Any], str], bytes]) -> int:
    for reply in _ask(asked, {"op": asked.command}):
        if reply.get("end"):
            break
        out.write(line(reply["file"], asked.format))
    return EXIT_OK


def _status(asked: Arguments, out: Output) -> int:
    status = next(_ask(asked, {"op": "status"}))["status"]
    if asked.format == "json":
        out.write(output.as_json(status))
    else:
        out.write(output.status_text(status).encode(errors="replace"))
    return EXIT_OK


def _wait(asked: Arguments, _: Output) -> int:
    request: dict[str, Any] = {"op": "wait"}
    if asked.timeout is not None:
        request["timeout"] = asked.timeout
    try:
        next(_ask(asked, request, None if asked.timeout is None else asked.timeout + _ANSWER_S))
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


def _simple(asked: Arguments, _: Output) -> int:
    next(_ask(asked, {"op": asked.command}))
    return EXIT_OK


_COMMANDS: dict[str, Callable[[Arguments, Output], int]] = {
    "search": _search,
    "list": _list,
    "status": _status,
    "wait": _wait,
    "failed": _failed,
    "events": _events,
    "rescan": _rescan,
    "pause": _simple,
    "resume": _simple,
}


if __name__ == "__main__":
    sys.exit(main())
