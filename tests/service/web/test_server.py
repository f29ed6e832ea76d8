"""The wall as a part of the daemon: when it listens, when it doesn't, and that it never holds up the end."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from real_daemon import Daemon
from wall_browser import Browser, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

WALL_CONF = Path(__file__).resolve().parents[3] / "packaging" / "systemd" / "wall.conf"


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="meme-"))
    (folder / "Memes").mkdir()
    yield folder
    shutil.rmtree(folder)


def test_it_listens_before_the_socket_answers(home: Path) -> None:
    port = free_port()
    with Daemon(home, "--model", "bundled", "--http", f"127.0.0.1:{port}") as daemon:
        # The socket has only just answered, and no model is loaded yet.
        assert Browser(daemon, port).get("/").status == 200
        assert Browser(daemon, port).get("/api/status").status == 200


def test_off_by_default(home: Path) -> None:
    with Daemon(home, "--model", "bundled") as daemon:
        assert daemon.process is not None
        inodes = [line.split()[9] for line in Path(f"/proc/{daemon.process.pid}/net/tcp").read_text().splitlines()[1:]]
        held = [str(link.readlink()) for link in Path(f"/proc/{daemon.process.pid}/fd").iterdir() if link.is_symlink()]
        assert not [inode for inode in inodes if f"socket:[{inode}]" in held]


def test_a_port_that_is_taken(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = Daemon(home, "--model", "bundled", "--http", f"127.0.0.1:{port}").spawn()
        assert process.wait(60) == 78
        assert process.stdout is not None
        process.stdout.close()
    assert f"can't listen at 127.0.0.1:{port}" in (home / "log").read_text()


def test_an_address_of_another_machine(home: Path) -> None:
    token = home / "token"
    token.write_text("sixteen characters")
    token.chmod(0o600)
    process = Daemon(home, "--http", "192.0.2.1:8088", "--http-token-file", str(token)).spawn()
    assert process.wait(60) == 78
    assert process.stdout is not None
    process.stdout.close()
    assert "192.0.2.1:8088" in (home / "log").read_text()


def test_without_the_extra(home: Path) -> None:
    """A module that can't be imported stands before the real one."""
    (home / "missing").mkdir()
    (home / "missing" / "uvicorn.py").write_text("raise ImportError('none', name='uvicorn')\n")
    daemon = Daemon(home, "--http", f"127.0.0.1:{free_port()}", PYTHONPATH=str(home / "missing"))
    process = daemon.spawn()
    assert process.wait(60) == 78
    assert process.stdout is not None
    process.stdout.close()
    assert "pip install 'memewatchd[web]'" in daemon.log()


def test_open_connections_dont_hold_up_the_end(home: Path) -> None:
    port = free_port()
    with Daemon(home, "--model", "bundled", "--http", f"127.0.0.1:{port}") as daemon:
        idle = socket.create_connection(("127.0.0.1", port))
        half = socket.create_connection(("127.0.0.1", port))
        half.sendall(b"POST /image_upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf")
        waiting = socket.create_connection(("127.0.0.1", port))
        waiting.sendall(b'POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\n{"text": "cat"}')
        time.sleep(0.2)
        assert daemon.stop() == 0
        for each in (idle, half, waiting):
            each.close()
        # And the port is free at once.
        with daemon:
            assert Browser(daemon, port).get("/").status == 200


def test_the_drop_in_opens_what_the_sandbox_closes() -> None:
    """Every line stands against one of hardening.conf's."""
    lines = [line for line in WALL_CONF.read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "[Service]"
    opened = dict(line.split("=", 1) for line in lines[1:])
    assert opened.keys() == {"Environment", "PrivateNetwork", "RestrictAddressFamilies", "ReadWritePaths"}
    closed = (WALL_CONF.parent / "hardening.conf").read_text()
    for line in ("PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "ProtectSystem=strict"):
        assert line in closed
    # After it, by its name: later drop-ins win.
    assert WALL_CONF.name > "hardening.conf"
