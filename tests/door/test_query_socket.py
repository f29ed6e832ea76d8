from __future__ import annotations

import json
import logging
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.protocol import LIKE_LINE_BYTES, LINE_BYTES
from memewatchd.query_socket import DoorLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 30.0
MEMES = b"/memes/cat.png\n/memes/\xff.png\n/memes/ta\tb\\.png\n\n"

pytestmark = pytest.mark.usefixtures("descriptors")


def replies(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in raw.splitlines()]


def codes(raw: bytes) -> list[str]:
    return ["ok" if reply["ok"] else reply["error"]["code"] for reply in replies(raw)]


# ---- the tools that people have


def run(command: list[str], words: bytes) -> bytes:
    return subprocess.run(command, input=words, capture_output=True, check=True, timeout=PATIENCE_S).stdout


@pytest.mark.parametrize(
    "command", [["nc", "-NU", "PATH"], ["socat", "-", "UNIX-CONNECT:PATH"], ["socat", "-t30", "STDIO", "UNIX:PATH"]]
)
def test_nc_and_socat_are_answered(door: Any, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}: apt install netcat-openbsd socat")
    command = [part.replace("PATH", door.path) for part in command]
    assert run(command, b"angry cat\n") == MEMES
    assert run(command, b"angry cat") == MEMES
    assert run(command, "生气\r\n".encode()) == MEMES
    assert door.house.requests[-1].args["text"] == "生气"
    assert replies(run(command, b'{"op": "status", "id": 3}\n')) == [{"id": 3, "ok": True, "status": door.house.status}]


def test_a_script_of_ten_lines_is_answered(door: Any) -> None:
    script = """
        import json, socket, sys
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(sys.argv[1])
            lines = s.makefile("rw", encoding="utf-8", newline="\\n")
            for words in ("angry cat", "猫"):
                print(json.dumps({"op": "search", "text": words, "limit": 1}), file=lines, flush=True)
                reply = json.loads(lines.readline())
                print(words, *(hit["path"] for hit in reply["hits"]))
    """
    command = [sys.executable, "-X", "utf8", "-c", textwrap.dedent(script), door.path]
    assert run(command, b"").decode() == "angry cat /memes/cat.png\n猫 /memes/cat.png\n"


# ---- lines and replies


def test_replies_come_in_the_order_of_the_requests(door: Any) -> None:
    asked = b"".join(b'{"op": "%s", "id": %d}\n' % (random.choice([b"search", b"status"]), n) for n in range(300))
    assert [reply["id"] for reply in replies(door.ask(asked))] == list(range(300))


def test_plain_and_json_lines_mix(door: Any, house: Any) -> None:
    house.paths = [b"/a"]
    asked = b'cat\n{"op": "status"}\n\nnothing\na filter\n\xff\n{"op": "nap", "id": null}\n{'
    lines = door.ask(asked).split(b"\n")
    assert lines[:2] == [b"/a", b""]
    assert json.loads(lines[2])["status"] == house.status
    assert lines[3:11] == [
        b"error: bad_request: the query is blank",
        b"",
        b"",
        b"error: bad_request: the filter ext: is not there yet",
        b"",
        b"error: bad_request: the line is not UTF-8 (byte 1)",
        b"",
        b'{"id": null, "ok": false, "error": {"code": "unknown_op", "message": "there is no op \\"nap\\""}}',
    ]
    assert codes(lines[11]) == ["bad_request"]
    assert lines[12:] == [b""]


def test_a_line_may_come_byte_by_byte_and_many_in_one_piece(door: Any) -> None:
    with door.client() as client:
        for byte in b'{"op": "status"}\n':
            client.send(bytes([byte]))
        lines = client.makefile("rb")
        with lines:
            assert json.loads(lines.readline())["ok"]
            client.send(b'{"op": "status"}\n{"op": "status"}\n{"op": "st')
            assert json.loads(lines.readline())["ok"]
            assert json.loads(lines.readline())["ok"]
            client.send(b'atus"}\n')
            assert json.loads(lines.readline())["ok"]


def test_a_list_is_a_line_each_and_its_end(door: Any, house: Any) -> None:
    house.paths = [b"/memes/%d.png" % number for number in range(5000)]
    answer = replies(door.ask(b'{"op": "list", "id": "x"}\n{"op": "status"}\n'))
    assert [reply["file"]["path"] for reply in answer[:-2]] == [path.decode() for path in house.paths]
    assert answer[-2] == {"id": "x", "ok": True, "end": True, "count": 5000}
    assert answer[-1]["ok"]


def test_a_bug_is_internal_and_the_connection_goes_on(door: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    asked = b'{"op": "search", "text": "a bug", "id": 1}\n{"op": "search", "text": "a broken store"}\na bug\ncat\n'
    lines = door.ask(asked).split(b"\n", 4)
    assert codes(lines[0]) == codes(lines[1]) == ["internal"]
    assert lines[2].startswith(b"error: internal: ")
    assert lines[4] == MEMES
    assert "KeyError" in caplog.text
    assert "on_search" in caplog.text
    assert "ConnectionResetError" in caplog.text


def test_what_is_searched_for_is_never_logged_above_debug(door: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    door.house.mistake = "my secret"
    door.ask(b'my secret\n{"op": "search", "text": "my secret", "limit": 0}\na bug\n{"op": "my secret"}\nmy secret\xff')
    assert "secret" not in caplog.text
    caplog.set_level(logging.DEBUG)
    door.ask(b"my secret\n")
    assert "my secret" in caplog.text


# ---- long lines


def long_line(size: int, *, like: bool) -> bytes:
    start = b'{"op": "search", "id": 1, ' + (b'"like": [{"data_b64": "' if like else b'"text": "')
    end = b'"}]}' if like else b'"}'
    room = size - len(start) - len(end)
    return start + b"A" * (room // 4 * 4) + end[:-1] + b" " * (room % 4) + end[-1:]  # base64 comes in fours


def test_more_than_64_kib_without_like_is_too_large_and_the_next_line_is_answered(door: Any) -> None:
    line = long_line(LINE_BYTES + 1, like=False)
    answer = replies(door.ask(line + b'\n{"op": "status"}\n'))
    assert (answer[0]["id"], answer[0]["error"]["code"]) == (1, "too_large")
    assert answer[1]["ok"]
    assert codes(door.ask(long_line(LINE_BYTES, like=False) + b"\n")) == ["ok"]


def test_a_long_plain_line_is_too_large_and_the_next_line_is_answered(door: Any) -> None:
    error, answer = door.ask(b"a" * 3_000_000 + b"\ncat\n").split(b"\n\n", 1)
    assert error.startswith(b"error: too_large: ")
    assert answer == MEMES
    assert door.ask(b"a" * 100_000).startswith(b"error: too_large: ")


def test_a_long_line_with_like_is_read(door: Any) -> None:
    answer = replies(door.ask(long_line(LIKE_LINE_BYTES, like=True) + b'\n{"op": "status"}'))
    assert answer[0]["ok"], "the door lets it through; what the bytes are is not its matter"
    assert answer[1]["ok"]


@pytest.mark.parametrize("begin", [b"{", b"a"])
def test_more_than_32_mib_is_too_large_and_ends_the_connection(door: Any, begin: bytes) -> None:
    with door.client() as client:
        client.sendall(begin * (LIKE_LINE_BYTES + 1_000_000))
        client.sendall(b'\n{"op": "status"}\n')
        answer = b""
        while data := client.recv(1 << 16):  # to the end, though we have not closed
            answer += data
    assert answer.count(b"too_large") == 1
    assert b"33554432" in answer
    assert b"status" not in answer


def test_long_lines_share_a_budget_and_give_it_back(open_door: Callable[..., Any]) -> None:
    door = open_door(limits=DoorLimits(long_bytes=1_000_000))
    line = long_line(900_000, like=True)
    with door.client() as first:
        first.sendall(line[:-1])
        while door.door._budget._left > 200_000:
            pass_time()
        assert codes(door.ask(line + b'\n{"op": "status"}')) == ["busy", "ok"]
        first.sendall(line[-1:] + b"\n")
        assert codes(first.recv(1000)) == ["ok"]
    assert codes(door.ask(line)) == ["ok"]
    with door.client() as leaves_halfway:
        leaves_halfway.sendall(line[:-1])
        while door.door._budget._left > 200_000:
            pass_time()
    while door.door.connections:
        pass_time()
    assert door.door._budget._left == 1_000_000


def pass_time() -> None:
    threading.Event().wait(0.005)


# ---- slow clients, and clients that leave


def test_a_line_that_never_ends_is_timed_out_and_an_idle_client_is_not(open_door: Callable[..., Any]) -> None:
    door = open_door(limits=DoorLimits(line_s=0.2))
    with door.client() as idle, door.client() as slow, door.client() as plain:
        slow.sendall(b'{"op": ')
        plain.sendall(b"angry")
        with slow.makefile("rb") as lines:
            assert codes(lines.read()) == ["timeout"]
        assert plain.recv(1000).startswith(b"error: timeout: ")
        idle.sendall(b'{"op": "status"}\n')
        assert codes(idle.recv(1000)) == ["ok"]


def test_a_client_that_never_reads_is_dropped(open_door: Callable[..., Any], house: Any) -> None:
    door = open_door(limits=DoorLimits(write_s=0.2))
    with door.client() as client:
        client.sendall(b'{"op": "search", "text": "very much"}\n')
        assert house.ended.acquire(timeout=PATIENCE_S)
        while door.door.connections:
            pass_time()


def test_events_may_be_read_at_any_pace(open_door: Callable[..., Any], house: Any) -> None:
    door = open_door(limits=DoorLimits(write_s=0.05))
    house.events = [{"event": "added", "path": "/" + "x" * 50_000}] * 100
    with door.client() as client:
        client.sendall(b'{"op": "events"}\n')
        threading.Event().wait(0.5)  # much longer than the deadline of other answers
        with client.makefile("rb") as lines:
            assert [json.loads(lines.readline()) for _ in range(101)] == [{"ok": True}, *house.events]


def test_a_half_closed_client_gets_its_events(door: Any) -> None:
    with door.client() as client:
        client.sendall(b'{"op": "events", "id": 1}\n')
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as lines:
            assert json.loads(lines.readline()) == {"id": 1, "ok": True}
            assert json.loads(lines.readline()) == {"id": 1, **door.house.events[0]}


@pytest.mark.parametrize("half_closed", [False, True])
@pytest.mark.parametrize("asked", [b'{"op": "search", "text": "for ever"}\n', b"for ever\n", b'{"op": "events"}\n'])
def test_work_for_a_client_that_leaves_ends(door: Any, house: Any, asked: bytes, half_closed: bool) -> None:
    client = door.client()
    client.sendall(asked)
    if half_closed:
        client.shutdown(socket.SHUT_WR)
    assert house.began.acquire(timeout=PATIENCE_S)
    assert not house.ended.acquire(timeout=0.1)
    client.close()
    assert house.ended.acquire(timeout=PATIENCE_S)
    while door.door.connections:
        pass_time()


def test_what_changes_something_is_done_though_the_client_leaves(door: Any, house: Any) -> None:
    with door.client() as client:
        client.sendall(b'{"op": "pause"}\n')
    assert house.ended.acquire(timeout=PATIENCE_S)
    assert house.paused


def test_clients_that_come_and_go_leave_nothing(door: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(200):
        client = door.client()
        client.sendall(
            [b"", b"cat", b"cat\n", b'{"op": "events"}\n', b'{"op": "search", "text": "for ever"}\n'][number % 5]
        )
        client.close()
    # The last one is answered last: whoever came before it has been let in, and left.
    assert door.ask(b"cat\n") == MEMES
    while door.door.connections:
        pass_time()
    assert len(os.listdir("/proc/self/fd")) == before


# ---- many


def test_500_clients_at_once(door: Any) -> None:
    clients = [door.client() for _ in range(500)]
    for number, client in enumerate(clients):
        client.sendall(b'{"op": "search", "id": %d}\n' % number)
    for number, client in enumerate(clients):
        with client, client.makefile("rb") as lines:
            assert json.loads(lines.readline())["id"] == number


def test_one_client_that_waits_or_floods_holds_nobody_up(door: Any) -> None:
    with door.client() as waits, door.client() as floods, ThreadPoolExecutor(1) as pool:
        waits.sendall(b"for ever\n")
        flood = pool.submit(floods.sendall, b'{"op": "status"}\n' * 100_000)
        assert door.ask(b"cat\n") == MEMES
        floods.shutdown(socket.SHUT_RDWR)
        with pytest.raises(OSError, match="Broken pipe"):
            flood.result()


def test_too_many_clients_are_told_busy(open_door: Callable[..., Any]) -> None:
    door = open_door(limits=DoorLimits(connections=2))
    with door.client() as first, door.client() as second:
        for client in (first, second):
            client.sendall(b'{"op": "status"}\n')
            assert codes(client.recv(1000)) == ["ok"]
        with door.client() as third:
            assert codes(third.recv(1000)) == ["busy"]
            assert third.recv(1000) == b""
    while door.door.connections:
        pass_time()
    assert codes(door.ask(b'{"op": "status"}\n')) == ["ok"]


def test_running_out_of_descriptors_is_waited_out(door: Any, caplog: pytest.LogCaptureFixture) -> None:
    _, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with door.client() as first, socket.socket(socket.AF_UNIX) as second:
        first.sendall(b'{"op": "status"}\n')
        assert codes(first.recv(1000)) == ["ok"]
        second.settimeout(PATIENCE_S)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            second.connect(door.path)
            second.sendall(b'{"op": "status"}\n')
            while "can't accept" not in caplog.text:
                pass_time()
            first.sendall(b'{"op": "status"}\n')
            assert codes(first.recv(1000)) == ["ok"]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert codes(second.recv(1000)) == ["ok"]


# ---- who may come in


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_even_where_the_modes_let_him(door: Any, folder: Path) -> None:
    folder.chmod(0o755)
    Path(door.path).chmod(0o777)
    script = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1])\n"
        "try: s.sendall(b'cat\\n'); print(s.recv(100))\n"
        "except (BrokenPipeError, ConnectionResetError): print(b'')\n"
    )
    assert run([sys.executable, "-c", script, door.path], b"") == b"b''\n"
    assert door.house.requests == []
    assert door.ask(b"cat\n") == MEMES


# ---- nonsense


def nonsense() -> Iterator[bytes]:
    source = random.Random(20)
    pieces = [b"{", b"}", b'"', b":", b",", b"[", b"]", b'"op"', b'"search"', b'"id"', b"1e999", b"\\u0000", b"\\ud800"]
    pieces += [b"null", b"-", b"\x00", b"\xff", b"\r", b" ", "猫".encode(), b'"limit"', b'"like"', b"cat", b"{" * 2000]
    good = b'{"op": "search", "text": "angry cat", "limit": 20, "id": [1, {"a": null}]}'
    for _ in range(2500):
        if source.random() < 0.5:
            yield b"".join(source.choices(pieces, k=source.randrange(12)))
        else:
            broken = bytearray(good)
            for _ in range(source.randrange(1, 4)):
                broken[source.randrange(len(broken))] = source.choice(b'{}[]",:0a\x00\xff\\')
            yield bytes(broken)


def test_nonsense_is_answered_line_by_line(door: Any, caplog: pytest.LogCaptureFixture) -> None:
    lines = list(nonsense())
    with door.client() as client, client.makefile("rb") as answers, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(
            client.sendall, b"".join(line + b"\n" for line in lines) + b'{"op": "status", "id": "last"}\n'
        )
        for line in lines:
            answer = answers.readline()
            if line.startswith(b"{"):
                assert set(json.loads(answer)) >= {"ok"}
                continue
            while answer != b"\n":
                assert answer.startswith((b"/", b"error: "))
                answer = answers.readline()
        assert json.loads(answers.readline())["id"] == "last"
        sent.result()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
