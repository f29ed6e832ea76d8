"""The API for other programs, at the door of a house that plays the daemon."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd import client as module
from memewatchd.client import Client, Event, Failure, Hit, NoAnswer
from memewatchd.errors import BadRequest, Internal, MemewatchError, Paused, RequestError, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEW_LINE, NOT_UTF8 = "/memes/new\nline.png", os.fsdecode(b"/memes/\xff.png")


@pytest.fixture
def client(door: Any) -> Iterator[Client]:
    with Client(door.path) as made:
        yield made


def test_search(client: Client, house: Any) -> None:
    answer = client.search("angry cat", limit=3)
    assert [hit.path for hit in answer] == ["/memes/cat.png", NOT_UTF8, NEW_LINE]
    assert answer[0] == Hit("/memes/cat.png", 0.5)
    assert answer[0].fields["path"] == "/memes/cat.png"
    assert (len(answer), answer.partial, answer.searched, answer.took_ms) == (3, False, "", 0.1)
    assert answer[1:] == answer.hits[1:]
    assert house.requests[-1].args | {"text": "angry cat", "limit": 3} == house.requests[-1].args
    assert not client.search("nothing")
    assert client.search("early").partial


def test_every_argument_of_a_search_arrives(client: Client, house: Any, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"picture")
    client.search("cat", like=[picture, str(picture), b"bytes"], min_score=0.25, timeout=2.5, partial=True)
    args = house.requests[-1].args
    assert (args["min_score"], args["timeout"], args["partial"], args["limit"]) == (0.25, 2.5, True, 20)
    named = (os.fsencode(picture), b"picture")
    assert [(one.path, one.data) for one in args["like"]] == [named, named, (b"", b"bytes")]


def test_a_picture_that_is_not_there(client: Client, house: Any, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=rf"^{tmp_path}/none\.png: No such file"):
        client.search(like=[tmp_path / "none.png"])
    assert house.requests == []


def test_lists_and_status(client: Client, house: Any) -> None:
    assert client.status() == house.status
    files = client.list()
    assert [os.fsencode(file.path) for file in files] == house.paths
    assert (files[0].digest, files[0].size, files[0].width, files[0].height, files[0].frames) == ("0" * 64, 5, 2, 3, 1)
    assert client.failed()[1] == Failure(NOT_UTF8, "it is\nempty")
    (group,) = client.duplicates()
    assert (group.files, group.exact) == (files, True)
    house.paths = []
    assert client.list() == ()
    assert client.duplicates() == ()
    assert client.failed() == ()


def test_wait(client: Client, house: Any) -> None:
    assert client.wait() is True
    assert client.wait(timeout=0.5, words=True) is False
    assert house.requests[-1].args == {"timeout": 0.5, "words": True}
    house.paused = True
    with pytest.raises(Paused):
        client.wait()


def test_events(client: Client, house: Any) -> None:
    events = client.events()
    assert [next(events) for _ in house.events] == [
        Event("added", "/memes/a b.png"),
        Event("moved", NOT_UTF8, "/memes/ol\nd.png"),
        Event("lost"),
    ]
    assert client.status() == house.status  # meanwhile, on the other connection
    events.close()
    assert house.ended.acquire(timeout=30)


def test_used(client: Client, house: Any) -> None:
    client.used(NOT_UTF8)
    client.used(Path("/memes/cat.png"))
    assert house.used == [b"/memes/\xff.png", b"/memes/cat.png"]
    with pytest.raises(BadRequest, match="is not indexed"):
        client.used("/memes/none.png")


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (lambda client: client.search(limit=0), BadRequest),
        (lambda client: client.search("a bug"), Internal),
        (lambda client: client.search("x" * 70_000), TooLarge),
    ],
)
def test_a_refusal_has_the_type_of_its_code_and_the_connection_stays(
    client: Client, door: Any, ask: Callable[[Client], object], kind: type[RequestError]
) -> None:
    with pytest.raises(kind) as refused:
        ask(client)
    assert refused.value.code == kind.code
    assert len(client.search("cat")) == 4


def test_one_connection_is_used_for_all(door: Any, house: Any) -> None:
    proxy = Recorder(door.path)
    with Client(proxy.path) as client:
        for _ in range(3):
            client.search("cat")
            client.list()
    proxy.close()
    assert proxy.connections == 1


def test_a_daemon_that_was_restarted_is_found_again(open_door: Callable[..., Any], house: Any) -> None:
    first = open_door()
    with Client(first.path) as client:
        client.search("cat")
        first.close()
        open_door()
        assert len(client.search("cat")) == 4


def test_nobody_listens(folder: Path) -> None:
    with pytest.raises(NoAnswer, match="no daemon answers at"):
        Client(str(folder / "none")).status()
    with pytest.raises(MemewatchError, match="the socket's path has"):
        Client("/" + "x" * 200).status()


def test_what_answers_is_something_else(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s"))
        listening.listen()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 smtp\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NoAnswer, match="no memewatchd"):
            Client(str(folder / "s")).status()
        thread.join()


def test_the_default_place(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMEWATCHD_SOCKET", door.path)
    with Client() as client:
        assert client.status()["state"] == "settled"


def test_the_command_line_does_not_load_it() -> None:
    code = "import memewatchd.client; print(*{'dataclasses', 'memewatchd.desktop.api'} & {*sys.modules})"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == []


def test_all_names_are_there() -> None:
    assert all(getattr(module, name).__doc__ for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = module.Nothing


ROOT = Path(module.__file__).parents[1]


class Recorder:
    """Passes connections on to a door, and counts them."""

    def __init__(self, door: str) -> None:
        self.path, self.door, self.connections = f"{door}-", door, 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            near, _ = self._listening.accept()
            with near, socket.socket(socket.AF_UNIX) as far:
                far.connect(self.door)
                copying = threading.Thread(target=_copy, args=(far, near))
                copying.start()
                first = _copy(near, far)
                far.shutdown(socket.SHUT_WR)
                copying.join()
            if not first:
                return
            self.connections += 1

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.path)
        self._thread.join()
        self._listening.close()


def _copy(source: socket.socket, target: socket.socket) -> int:
    copied = 0
    while data := source.recv(1 << 16):
        target.sendall(data)
        copied += len(data)
    return copied
