"""Talking to the daemon: requests out, replies in. The command line and the API both go through here."""

from __future__ import annotations

import json
import os
import socket

from memewatchd import protocol
from memewatchd.desktop.trouble import HungUp, NoAnswer, Refused, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import BufferedReader
    from typing import Any

ANSWER_S = 60.0
"""How long an answer may take: a search waits 30 s at most, and a daemon that systemd starts needs its own start."""


class Connection:
    """An open connection, for one thread. ``path``: the socket's, as people wrote it, for messages too."""

    def __init__(self, path: str | None = None) -> None:
        """Connects to ``path``, else to where the daemon listens by default.

        Raises :class:`NoAnswer`; :class:`Trouble` for a path that no socket can have.
        """
        self.path = path or protocol.default_socket_path(os.environ)
        raw = os.fsencode(os.path.abspath(os.path.expanduser(self.path)))
        if len(raw) > protocol.SOCKET_PATH_BYTES:
            raise Trouble(
                f"the socket's path has {len(raw)} bytes, and a socket's may have {protocol.SOCKET_PATH_BYTES}"
            )
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Without a time limit, because then a full queue means waiting and not an error.
            self._socket.connect(raw)
        except (OSError, ValueError) as error:
            self._socket.close()
            reason = error.strerror if isinstance(error, OSError) else error
            raise NoAnswer(
                f"no daemon answers at {self.path} ({reason}); start one with memewatchd --folder ~/Memes, or the"
                " service with systemctl --user start memewatchd; --socket says where else to look"
            ) from None
        except BaseException:  # Ctrl-C while the queue is full
            self._socket.close()
            raise
        self._lines: BufferedReader = self._socket.makefile("rb")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, request: Mapping[str, Any], answer_s: float | None = ANSWER_S) -> Iterator[dict[str, Any]]:
        """The replies to one request, as they come; who knows the last one asks for no more.

        ``answer_s``: how long one line may take; None is for ever. Raises :class:`Refused`, after which the
        connection can be used on, and :class:`NoAnswer`, after which it can't.
        """
        self._socket.settimeout(answer_s)
        try:
            self._socket.sendall(protocol.encode(request))
            while line := self._lines.readline():
                yield _reply(line)
        except TimeoutError:
            raise NoAnswer(f"the daemon at {self.path} gave no answer within {answer_s:g} s") from None
        except ConnectionError as error:
            raise HungUp(f"the daemon at {self.path} hung up ({error.strerror})") from None
        raise HungUp(f"the daemon at {self.path} hung up")


def ask(path: str | None, request: Mapping[str, Any], answer_s: float | None = ANSWER_S) -> Iterator[dict[str, Any]]:
    """The replies to one request on a connection of its own. Raises as :class:`Connection` does."""
    connection = Connection(path)
    try:
        yield from connection.ask(request, answer_s)
    finally:
        connection.close()


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
