"""Real datagram sockets and real descriptors: what systemd would send and hear."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from memewatchd.errors import ConfigError
from memewatchd.service.notify import Notifier, inherited_socket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """What listens at the other end, and its NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@memewatchd-test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + name[1:] if name.startswith("@") else name)
        server.settimeout(5)
        yield name, server


def test_every_message_is_one_datagram(manager: tuple[str, socket.socket]) -> None:
    name, server = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name})
    assert notifier.is_active
    sent = {
        notifier.ready: (("37 pictures",), b"READY=1\nSTATUS=37 pictures"),
        notifier.status: (("one\nREADY=1",), b"STATUS=one READY=1"),
        notifier.extend: ((2.5,), b"EXTEND_TIMEOUT_USEC=2500000"),
        notifier.watchdog: ((), b"WATCHDOG=1"),
        notifier.stopping: ((), b"STOPPING=1\nSTATUS=stopping"),
    }
    for call, (arguments, datagram) in sent.items():
        assert call(*arguments) is True
        assert server.recv(4096) == datagram


def test_what_is_for_us_is_not_left_to_children() -> None:
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/h"}
    assert Notifier.from_environment(environ).watchdog_s == 5.0
    assert environ == {"HOME": "/h"}


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "junk"}, {"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}],
)
def test_nobody_watches_us(environ: dict[str, str]) -> None:
    assert Notifier.from_environment(environ).watchdog_s is None


def test_without_systemd_nothing_is_sent() -> None:
    notifier = Notifier.from_environment({})
    assert not notifier.is_active
    assert notifier.ready("well") is False


def test_a_manager_that_is_gone_does_not_stop_us(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Notifier(str(tmp_path / "gone")).ready("well") is False
    assert "READY=1" in caplog.text


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "door"))
        server.listen()
        yield server


def passing(server: socket.socket, count: str = "1", pid: str | None = None) -> tuple[dict[str, str], int]:
    """An environment as systemd's, and a descriptor that is ours to take."""
    return {"LISTEN_PID": pid or str(os.getpid()), "LISTEN_FDS": count, "LISTEN_FDNAMES": "x"}, os.dup(server.fileno())


def test_a_listening_unix_socket_is_taken_over(listening: socket.socket) -> None:
    environ, fd = passing(listening)
    os.set_inheritable(fd, True)
    taken = inherited_socket(environ, fd)
    assert taken is not None
    with taken, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        assert not taken.get_inheritable()
        assert environ == {}
        client.connect(taken.getsockname())
        taken.accept()[0].close()


def test_what_was_passed_to_another_process_is_left_alone(listening: socket.socket) -> None:
    environ, fd = passing(listening, pid="1")
    assert inherited_socket(environ, fd) is None
    assert inherited_socket({}, fd) is None
    os.close(fd)


def test_anything_else_is_refused(listening: socket.socket, tmp_path: Path) -> None:
    environ, fd = passing(listening, count="2")
    with pytest.raises(ConfigError, match="2 sockets"):
        inherited_socket(environ, fd)
    os.close(fd)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match="ListenStream="):
            inherited_socket(*passing(other))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(tmp_path / "silent"))
        with pytest.raises(ConfigError, match="ListenStream="):
            inherited_socket(*passing(silent))
    file = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(ConfigError, match="ListenStream="):
        inherited_socket({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}, file)
    os.close(file)


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd: apt install systemd")
def test_systemds_own_activation(tmp_path: Path) -> None:
    """systemd-socket-activate starts us at the first connection, with the socket as descriptor 3."""
    door = tmp_path / "door"
    program = (
        "from memewatchd.service.notify import inherited_socket; s = inherited_socket(); "
        "c, _ = s.accept(); c.sendall(s.getsockname().encode()); c.close()"
    )
    command = ["systemd-socket-activate", f"--listen={door}", f"--setenv=PYTHONPATH={os.getcwd()}"]
    process = subprocess.Popen([*command, sys.executable, "-c", program], stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        assert b"Listening" in process.stderr.readline()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(20)
            client.connect(str(door))
            assert client.recv(4096) == os.fsencode(door)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
