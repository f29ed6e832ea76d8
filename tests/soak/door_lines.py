"""Bad lines of every sort, floods of them, and what is to be answered."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import guarded

from memewatchd import protocol
from memewatchd.errors import RequestError
from memewatchd.protocol import LINE_BYTES

if TYPE_CHECKING:
    from guarded import Guarded
    from report import Row

PATIENCE_S = 60.0
ANY = "any"  # one answer, good or bad


@dataclass(frozen=True, slots=True)
class Bad:
    """A line, without its newline, and the one answer to it: a code, "ok", or :data:`ANY`."""

    line: bytes
    code: str


def bad_line(chance: random.Random) -> Bad:
    """One of the many sorts."""
    return chance.choice(_SORTS)(chance)


def _not_json(chance: random.Random) -> Bad:
    asked = json.dumps({"op": "search", "text": "cat " * chance.randrange(9), "limit": 5, "id": 7}).encode()
    cut = asked[: chance.randrange(1, len(asked))]
    return Bad(
        chance.choice([cut, asked + b"}", b"{" + asked, asked.replace(b":", b"=", 1), b"{'op': 'list'}"]), "bad_request"
    )


def _bad_value(chance: random.Random) -> Bad:
    values: list[Any] = [None, True, -1, 0, 1001, 2**70, -1.5, 1e308, "5", [], {}, [[1]], "\ud800", "x" * 5000]
    op, key = chance.choice(
        [
            *(("search", key) for key in ("text", "limit", "timeout", "min_score", "partial", "like")),
            *(("wait", "timeout"), ("wait", "words"), ("rescan", "forget_missing")),
        ]
    )
    value = chance.choice(values)
    return oracle(json.dumps({"op": op, key: value, "id": chance.choice([1, "x", None, [{}]])}).encode())


def _no_op(chance: random.Random) -> Bad:
    body = chance.choice([{}, {"op": None}, {"op": 5}, {"op": ["list"]}, {"text": "cat"}, {"OP": "list"}, {"op": {}}])
    return Bad(json.dumps({**body, "id": chance.random()}).encode(), "bad_request")


def _no_such_op(chance: random.Random) -> Bad:
    op = chance.choice(["", "Search", "search ", "quit", "__class__", "\n", "\0", "Reindex", "Export", "é" * 999])
    return Bad(json.dumps({"op": op}).encode(), "unknown_op")


def _contradiction(chance: random.Random) -> Bad:
    lines = [
        b'{"op": "search", "op": "list"}',
        b'{"op": "search", "text": "cat", "text": "dog"}',
        b'{"op": "status", "id": 1, "id": 2}',
        b'{"op": "search", "text": "ext:gif cat", "like": []}',
        b'{"op": "search", "like": [{"path": "/x"}], "text": "cat"}',
        b'{"op": "search", "like": [{"data_b64": "AAAA"}]}',
        b'{"op": "search", "like": [{"path": "relative"}]}',
        b'{"op": "search", "text": "-dog ext:cat"}',
        b'{"op": "search", "text": "cat after:tomorrow"}',
        b'{"op": "search", "text": "cat", "min_score": NaN}',
        b'{"op": "search", "text": "cat", "min_score": 1e999}',
        b'{"op": "search", "text": "cat", "limit": 1' + b"0" * 400 + b"}",
        b'{"op": "wait", "timeout": -0.0001}',
        b'{"op": "wait", "timeout": 5, "words": true}',
    ]
    return Bad(chance.choice(lines), "bad_request")


def _nested(chance: random.Random) -> Bad:
    depth = chance.choice([10, 900, 30_000])
    line = chance.choice([b'{"op":"status","id":' + b"[" * depth, b'{"a":' * (depth // 6), b"{" + b"[" * depth])
    return Bad(line, "bad_request")


def _binary(chance: random.Random) -> Bad:
    noise = chance.randbytes(chance.choice((3, 60, 3000))).replace(b"\n", b"")
    head = chance.choice([b"\xff", b"{\xff", b'{"op": "\xff', b"\x16\x03\x01", b"GET / HTTP/1.1\r\xff"])
    line = head + noise + b"\xff"
    return Bad(line, "bad_request")


def _blank(chance: random.Random) -> Bad:
    return Bad(chance.choice([b"", b" ", b"\t\t", b"\r", "\u3000\u2003".encode()]), "bad_request")


def _too_long(chance: random.Random) -> Bad:
    size = LINE_BYTES + chance.choice([1, 7, 40_000])
    line = chance.choice([b"a" * size, b'{"op": "status", "pad": "%s"}' % (b"x" * size), b"\xff" * size, b"{" * size])
    return Bad(line, "too_large")


def _long_like(chance: random.Random) -> Bad:
    body = {"op": "search", "like": [{"data_b64": "A" * chance.choice((70_000, 400_000))}]}
    return Bad(json.dumps(body).encode(), "bad_request")


def _mutated(chance: random.Random) -> Bad:
    asked = [b'{"op": "search", "text": "angry cat", "limit": 3, "id": [1, "x"]}', b'{"op": "status", "id": {"a": 1}}']
    line = bytearray(chance.choice([*asked, b'{"op": "search", "text": "ca", "min_score": 0.5}', "生气的猫".encode()]))
    for _ in range(chance.choice((1, 2, 5))):
        line[chance.randrange(len(line))] = chance.choice((chance.randrange(256), 0, 0x22, 0x7B, 0x5C))
    return oracle(bytes(line).replace(b"\n", b" "))


def oracle(line: bytes) -> Bad:
    """What the protocol by itself says of the line: its own tests say whether that is right."""
    try:
        request = protocol.parse_line(line)
    except RequestError as error:
        return Bad(line, error.code)
    return Bad(line, ANY if request.op in ("search", "status", "wait") else "ok")


_SORTS = [
    *(_not_json, _bad_value, _bad_value, _no_op, _no_such_op, _contradiction, _binary, _blank, _mutated, _mutated),
]
_RARE = [_nested, _too_long, _long_like]


def lines(chance: random.Random, count: int) -> list[Bad]:
    """Many; the long ones are rare."""
    return [chance.choice(_RARE)(chance) if chance.random() < 0.01 else bad_line(chance) for _ in range(count)]


def floods(row: Row, daemon: Guarded, seed: int, least: int, deadline: float) -> None:
    """Two threads that send connections full of bad lines, each in its own manner."""
    codes: Counter[str] = Counter()
    lock = threading.Lock()

    def flood(number: int) -> None:
        chance = random.Random(seed * 1000 + number)
        sent = 0
        while (sent < least / 2 or time.monotonic() < deadline) and len(row.failures) < 10:
            batch = lines(chance, 250)
            try:
                replies = _exchange(daemon.socket, batch, chance)
            except (OSError, ValueError) as error:
                with lock:
                    row.check(False, f"a flood broke: {error!r}")
                continue
            with lock:
                _judge(row, batch, replies, codes)
                row.tried += len(batch)
            sent += len(batch)

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row.notes.append("answers: " + ", ".join(f"{count:,} {code}" for code, count in codes.most_common()))


def _exchange(path: str, batch: list[Bad], chance: random.Random) -> list[tuple[str, str]]:
    """Send them, in one piece or in many; the answers as (code, message).

    Raises OSError and ValueError where those aren't as many as the lines, or none of ours.
    """
    data = b"".join(bad.line + b"\n" for bad in batch)
    if batch[-1].line and chance.random() < 0.5:
        data = data[:-1]  # the last line may lack its newline
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(path)

        def send() -> None:
            with contextlib.suppress(OSError):
                if chance.random() < 0.1:
                    for start in range(0, 2000, 100):
                        sock.sendall(data[start : start + 100])
                        time.sleep(0.001)
                    sock.sendall(data[2000:])
                else:
                    sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        with sock.makefile("rb") as stream:
            replies = [_reply(stream, protocol.is_plain(bad.line)) for bad in batch]
            if stream.read(1):
                raise ValueError("more answers than requests")
        sender.join()
    return replies


def _reply(stream: BinaryIO, plain: bool) -> tuple[str, str]:
    first = stream.readline()
    if not first.endswith(b"\n"):
        raise ConnectionError("the connection ended without an answer")
    if not plain:
        said = json.loads(first)
        return ("ok", "") if said["ok"] else (said["error"]["code"], said["error"]["message"])
    answer = [first]
    while answer[-1] != b"\n":
        answer.append(stream.readline())
        if not answer[-1]:
            raise ConnectionError("the connection ended in an answer")
    if not first.startswith(b"error: "):
        return "ok", ""
    _, code, message = first.decode().strip().split(": ", 2)
    if len(answer) != 2:
        raise ValueError(f"an error of {len(answer)} lines")
    return code, message


def _judge(row: Row, batch: list[Bad], replies: list[tuple[str, str]], codes: Counter[str]) -> None:
    for bad, (code, message) in zip(batch, replies, strict=True):
        codes[code] += 1
        right = code in ("ok", "bad_request", "timeout") if bad.code == ANY else code == bad.code
        if len(bad.line) > LINE_BYTES:  # with clients enough in a hurry, it may have to come again
            right = right or code == "busy"
        row.check(right, f"{bad.line[:80]!r} is answered {code} ({message}), not {bad.code}")
        if code != "ok" and bad.code != ANY:  # those may quote a query, whatever it holds
            row.check(guarded.is_for_people(message), f"{bad.line[:80]!r}: is this for people? {message!r}")
