"""What passes between the daemon and a decode child: jobs one way, pictures the other.

A message is a length (4 bytes, little-endian), that many bytes of JSON, then the ``bytes`` of raw
pixels that the JSON announces. A job carries the picture as an open file descriptor. The child reads
whatever people download, so the parent believes nothing that comes back beyond what it asked for.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import asdict, dataclass
from typing import Any

from memewatchd.meme import FrameSpec

_LENGTH = struct.Struct("<I")
_MAX_JSON = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one picture may cost. Beyond it the picture is failed, with the limit in the reason.

    ``max_pixels``: width times height (twice Pillow's own warning level, where Pillow refuses).
    ``max_bytes``: of the file. ``memory_bytes``: address space beyond what an idle child has; a
    picture of ``max_pixels`` with an alpha channel needs 1.5 GB. ``cpu_s`` is seconds of processor
    time; ``deadline_s``, seconds on the wall, is far longer, because a busy machine is not the
    picture's fault: it catches what sleeps, such as a file on a share that went away. ``video_s``: how
    long a film may last; beyond it, it is hardly a meme.
    """

    max_pixels: int = 178_956_970
    max_bytes: int = 256 * 1024 * 1024
    memory_bytes: int = 2 * 1024 * 1024 * 1024
    cpu_s: int = 20
    deadline_s: float = 60.0
    video_s: int = 60


@dataclass(frozen=True, slots=True)
class Job:
    """What a child is asked: frames of one picture, as a model wants them."""

    spec: FrameSpec
    max_frames: int = 1

    def to_json(self) -> dict[str, Any]:
        return {"spec": asdict(self.spec), "max_frames": self.max_frames}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Job:
        return cls(FrameSpec(**fields["spec"]), fields["max_frames"])


class Closed(Exception):
    """The other side has gone."""


def send(sock: socket.socket, fields: dict[str, Any], pixels: bytes = b"", fd: int | None = None) -> None:
    """Sends one message, with a file descriptor if one is given.

    Raises Closed when the other side has gone, TimeoutError when the socket's timeout passes.
    """
    text = json.dumps(fields).encode()
    head = _LENGTH.pack(len(text)) + text
    try:
        if fd is None:
            sent = 0
        else:
            # The descriptor rides on the first bytes; the rest may need more than one call.
            sent = socket.send_fds(sock, [head], [fd])
        if sent < len(head):  # sending nothing to a child that has answered and left would fail
            sock.sendall(memoryview(head)[sent:])
        if pixels:
            sock.sendall(pixels)
    except (BrokenPipeError, ConnectionError) as error:
        raise Closed from error


def receive(sock: socket.socket, deadline: float | None = None) -> dict[str, Any]:
    """Receives one message's JSON.

    ``deadline`` is by ``time.monotonic``. Raises Closed, TimeoutError, ValueError for what is not a message.
    """
    length = _length(receive_bytes(sock, _LENGTH.size, deadline))
    return _json(receive_bytes(sock, length, deadline))


def receive_with_fd(sock: socket.socket) -> tuple[dict[str, Any], int]:
    """Receives one message and the descriptor that came with it (the caller closes it)."""
    head, fds, _flags, _address = socket.recv_fds(sock, _LENGTH.size, 1)
    if not head:
        raise Closed
    head += receive_bytes(sock, _LENGTH.size - len(head))
    if len(fds) != 1:
        raise ValueError("a job came without its file")
    return _json(receive_bytes(sock, _length(head))), fds[0]


def receive_bytes(sock: socket.socket, count: int, deadline: float | None = None) -> bytearray:
    """Receives exactly ``count`` bytes, writable (so that arrays over them are writable too)."""
    data = bytearray(count)
    view = memoryview(data)
    while view:
        if deadline is not None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            sock.settimeout(remaining)
        try:
            got = sock.recv_into(view)
        except ConnectionError as error:
            raise Closed from error
        if not got:
            raise Closed
        view = view[got:]
    return data


def _length(head: bytes | bytearray) -> int:
    (length,) = _LENGTH.unpack(head)
    if length > _MAX_JSON:
        raise ValueError(f"a message of {length} bytes")
    return int(length)


def _json(data: bytearray) -> dict[str, Any]:
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("a message that is not an object")
    return fields
