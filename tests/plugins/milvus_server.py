"""The fixture ``milvus_server``: a real Milvus, from PyPI's ``milvus`` wheel, once for a whole test run.

It takes some 10 s to start, so all workers of a run share it: mark a test that uses it with ``ON_SERVER``,
and xdist (``--dist loadgroup``) gives all such tests to one worker. Tests share its data too: choose a
collection prefix of your own, and drop what you made.

The server runs under a supervisor, this file run as a program. Every worker that uses the server holds a
shared lock on a file; the supervisor stops the server when it can lock that file alone. The kernel gives up
the locks of a worker that is killed, so the server outlives no run by more than a second or two.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

START_S = 180
"""For a busy machine; 10 s are usual."""


@dataclass(frozen=True)
class MilvusServer:
    """Where the server listens, and the token that it wants (it refuses others, and none)."""

    uri: str
    token: str


if __name__ != "__main__":
    import pytest

    ON_SERVER = pytest.mark.xdist_group("milvus-server")

    @pytest.fixture(scope="session")
    def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
        """A Milvus server that only this test run uses."""
        base = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            base = base.parent  # common to the run's workers
        with running(base / "milvus-server") as found:
            yield found


@contextmanager
def running(folder: Path) -> Iterator[MilvusServer]:
    """A server whose data lie in ``folder``, which runs as long as anybody is within."""
    folder.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as stack:
        starting = stack.enter_context((folder / "starting.lock").open("w"))
        fcntl.flock(starting, fcntl.LOCK_EX)
        # Waits for a supervisor that is just stopping its server.
        users = stack.enter_context((folder / "users.lock").open("w"))
        fcntl.flock(users, fcntl.LOCK_SH)
        found = _running(folder) or _start(folder)
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield found


def _running(folder: Path) -> MilvusServer | None:
    with (folder / "supervisor.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return MilvusServer(**json.loads((folder / "server.json").read_text("utf-8")))
    return None


def _start(folder: Path) -> MilvusServer:
    ready = folder / "server.json"
    ready.unlink(missing_ok=True)
    log = folder / "supervisor.log"
    with log.open("w") as output:
        supervisor = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    while not ready.exists():
        if supervisor.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the Milvus server did not start: {log.read_text('utf-8', 'replace')[-2000:]}")
        time.sleep(0.1)
    supervisor.returncode = 0  # it ends after us, by itself: Popen is not to complain that it still runs
    return MilvusServer(**json.loads(ready.read_text("utf-8")))


def _supervise(folder: Path) -> None:
    import milvus

    with (folder / "supervisor.lock").open("a") as lock, (folder / "users.lock").open("a") as users:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        data = folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        # So that the server dies with its supervisor, however that ends.
        milvus.subprocess.Popen = functools.partial(subprocess.Popen, preexec_fn=_die_with_parent)
        os.environ["ETCD_CONFIG_PATH"] = str(folder / "etcd.yaml")
        keys = [key for key in milvus.MilvusServerConfig().configurable_items if key.endswith("_port")]
        ports = dict(zip(keys, _free_ports(len(keys)), strict=True))
        (folder / "etcd.yaml").write_text(_etcd_config(ports["etcd_port"]), "utf-8")
        server = milvus.MilvusServer(milvus.MilvusServerConfig(data_dir=str(data), **ports), wait_for_started=False)
        server.config.set("authorization_enabled", True)
        server.webservice_port = _free_ports(1)[0]
        server.start()
        try:
            server.wait_started(START_S * 1000)
            found = MilvusServer(f"http://127.0.0.1:{server.listen_port}", "root:Milvus")
            partial = folder / "server.json.part"
            partial.write_text(json.dumps(found.__dict__), "utf-8")
            partial.rename(folder / "server.json")
            while server.server_proc.poll() is None and not _alone(users):
                time.sleep(0.5)
        finally:
            server.stop()
            shutil.rmtree(data, ignore_errors=True)


def _etcd_config(client_port: int) -> str:
    """Without one, the built-in etcd listens on 2379 and 2380 whatever ``etcd_port`` says, so that no two
    servers can run on a machine. JSON is YAML too."""
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{_free_ports(1)[0]}"
    return json.dumps(
        {
            "name": "default",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
        }
    )


def _alone(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    _supervise(Path(sys.argv[1]))
