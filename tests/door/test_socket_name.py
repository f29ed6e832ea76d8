from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd import protocol
from memewatchd.errors import AlreadyRunning, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    Opened = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("descriptors")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    return listener


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_socket_and_its_folders_are_ours_alone(open_door: Opened, folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        door = open_door(folder / "a" / "b" / "s")
    finally:
        os.umask(before)
    assert mode(folder / "a") == mode(folder / "a" / "b") == 0o700
    assert mode(folder / "a" / "b" / "s") == 0o600
    assert mode(folder / "a" / "b" / "s.lock") == 0o600
    assert door.ask(b"cat\n").startswith(b"/")


def test_the_socket_goes_with_the_door(open_door: Opened, folder: Path) -> None:
    door = open_door()
    with door.client() as idle:
        door.close()
        assert idle.recv(10) == b""
    assert not (folder / "s").exists()
    open_door()
    assert (folder / "s").exists()


def test_a_second_door_is_refused_and_the_first_goes_on(open_door: Opened, folder: Path) -> None:
    first = open_door()
    with pytest.raises(AlreadyRunning, match="another memewatchd holds"):
        open_door()
    assert first.ask(b"cat\n").startswith(b"/")
    first.close()
    open_door()


def test_a_busy_daemon_that_accepts_nobody_is_not_replaced(open_door: Opened, folder: Path) -> None:
    code = (
        "import sys, time; from memewatchd import socket_name\n"
        "held = socket_name.bind(sys.argv[1]); print('held', flush=True); time.sleep(600)"
    )
    # As a daemon that hangs: it holds its name, and never accepts.
    with subprocess.Popen([sys.executable, "-c", code, folder / "s"], stdout=subprocess.PIPE) as hung:
        assert hung.stdout is not None
        try:
            assert hung.stdout.readline() == b"held\n"
            with pytest.raises(AlreadyRunning):
                open_door()
        finally:
            hung.send_signal(signal.SIGKILL)
    # Killed, it leaves its socket file: that is replaced.
    assert stat.S_ISSOCK((folder / "s").lstat().st_mode)
    assert open_door().ask(b"cat\n").startswith(b"/")


def test_a_socket_that_systemd_listens_on_is_not_replaced(open_door: Opened, folder: Path) -> None:
    with listening(folder / "s"), pytest.raises(AlreadyRunning, match=r"memewatchd\.socket"):
        open_door()
    assert open_door().ask(b"cat\n").startswith(b"/")


def test_anything_else_of_that_name_stays(open_door: Opened, folder: Path) -> None:
    (folder / "s").write_text("precious")
    with pytest.raises(ConfigError, match="is no socket"):
        open_door()
    assert (folder / "s").read_text() == "precious"
    (folder / "s").unlink()
    (folder / "s").symlink_to(folder / "elsewhere")
    with pytest.raises(ConfigError, match="is no socket"):
        open_door()


def test_somebody_elses_socket_is_not_removed_at_the_end(open_door: Opened, folder: Path) -> None:
    door = open_door()
    (folder / "s").unlink()
    with listening(folder / "s"):
        door.close()
        assert (folder / "s").exists()


@pytest.mark.parametrize("bits", [0o720, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(open_door: Opened, folder: Path, bits: int) -> None:
    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(bits)
    with pytest.raises(ConfigError, match="other users can write"):
        open_door(shared / "s")
    assert list(shared.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_users_folder_is_refused(open_door: Opened, folder: Path) -> None:
    (folder / "theirs").mkdir(0o700)
    os.chown(folder / "theirs", 65534, 65534)
    with pytest.raises(ConfigError, match="other users can write"):
        open_door(folder / "theirs" / "s")


def test_a_folder_that_is_none_is_refused(open_door: Opened, folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(ConfigError, match="folder"):
        open_door(folder / "file" / "s")
    with pytest.raises(ConfigError, match="folder"):
        open_door(folder / "file" / "deeper" / "s")


def test_a_path_of_107_bytes_is_taken_and_108_is_refused_with_the_remedy(open_door: Opened, folder: Path) -> None:
    path = folder / ("s" * (protocol.SOCKET_PATH_BYTES - len(str(folder)) - 1))
    assert len(str(path)) == protocol.SOCKET_PATH_BYTES
    assert open_door(path).ask(b"cat\n").startswith(b"/")
    with pytest.raises(ConfigError, match=r"108 bytes.*107.*choose a shorter one with --socket"):
        open_door(path.with_name(path.name + "s"))


def test_an_inherited_socket_is_used_locked_and_left(open_door: Opened, folder: Path) -> None:
    with listening(folder / "s") as made_by_systemd:
        door = open_door(inherited=made_by_systemd.dup())
        assert door.ask(b"cat\n").startswith(b"/")
        with pytest.raises(AlreadyRunning):
            open_door()
        door.close()
        # It is systemd's still: clients may queue for the next start.
        assert (folder / "s").exists()
        with door.client() as early:
            early.sendall(b"cat\n")
            assert select.select([made_by_systemd], [], [], 10)[0]
            open_door(inherited=made_by_systemd.dup())
            assert early.recv(100).startswith(b"/")


def test_an_inherited_socket_that_is_none_of_ours_is_refused(open_door: Opened, folder: Path) -> None:
    one, other = socket.socketpair()
    with one, other, pytest.raises(ConfigError, match="ListenStream"):
        open_door(inherited=one)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams, pytest.raises(ConfigError):
        open_door(inherited=datagrams)


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd: apt install systemd")
def test_socket_activation_by_systemds_own_tool(folder: Path) -> None:
    code = """
import asyncio, socket
from memewatchd.query_socket import Door

async def handle(request):
    yield {"ok": True, "status": {}}

async def main():
    door = Door(handle)
    await door.open(None, socket.socket(fileno=3))
    await asyncio.sleep(600)

asyncio.run(main())
"""
    command = ["systemd-socket-activate", "-l", str(folder / "s"), "-E", "PYTHONPATH", sys.executable, "-c", code]
    environ = {**os.environ, "PYTHONPATH": str(Path(protocol.__file__).parents[1])}
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as activated:
        assert activated.stderr is not None
        try:
            assert b"Listening" in activated.stderr.readline()
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(str(folder / "s"))
                client.sendall(b'{"op": "status"}\n')
                assert json.loads(client.recv(100))["ok"]
        finally:
            activated.kill()
