"""A plain HTTP client for the picture wall of a real daemon."""

from __future__ import annotations

import http.client
import json
import socket
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from real_daemon import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from real_daemon import Daemon


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, read."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Browser:
    """Sends requests as they are written: no header is added but Host, and that only where none is given."""

    def __init__(self, daemon: Daemon, port: int) -> None:
        self.daemon = daemon
        self.port = port

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.putrequest(method, path, skip_host="Host" in named, skip_accept_encoding=True)
            for name, value in named.items():
                connection.putheader(name, value)
            if body or method == "POST":
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            reply = connection.getresponse()
            return Answer(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, b"", **headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.send("POST", path, json.dumps(body).encode(), Content_Type="application/json", **headers)

    def upload(self, path: str, *files: tuple[str, bytes], field: str = "image", **headers: str) -> Answer:
        boundary = uuid.uuid4().hex
        parts = [
            b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
            % (boundary.encode(), field.encode(), name.encode(), content)
            for name, content in files
        ]
        body = b"".join(parts) + b"--%s--\r\n" % boundary.encode()
        return self.send("POST", path, body, Content_Type=f"multipart/form-data; boundary={boundary}", **headers)

    def names(self, text: str = "") -> dict[str, int]:
        """Name → id of what a search finds."""
        answer = self.post("/api/search", {"text": text, "limit": 200})
        assert answer.status == 200, answer.body
        return {hit["name"]: hit["id"] for hit in answer.json["hits"]}

    def file(self, name: str) -> Path:
        return self.daemon.folder / name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
