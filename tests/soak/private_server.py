"""A real Milvus server of our own, on ports of its own: to be killed, stopped for a while and started again."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import milvus
from milvus_server import _die_with_parent, _etcd_config, _free_ports

START_S = 180


class PrivateServer:
    """Started by ``with``; :meth:`kill` and :meth:`start` keep data and ports."""

    token = "root:Milvus"

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="milvus-"))
        keys = [key for key in milvus.MilvusServerConfig().configurable_items if key.endswith("_port")]
        *found, self._web = _free_ports(len(keys) + 1)
        self._ports = dict(zip(keys, found, strict=True))
        (self._folder / "etcd.yaml").write_text(_etcd_config(self._ports["etcd_port"]), "utf-8")
        self._server: Any = None
        self.uri = f"http://127.0.0.1:{self._ports['proxy_port']}"

    @property
    def pid(self) -> int:
        pid: int = self._server.server_proc.pid
        return pid

    def alive(self) -> bool:
        return self._server.server_proc.poll() is None

    def start(self, wait: bool = True) -> None:
        """Start it on what data there are."""
        config = _Config(data_dir=str(self._folder / "data"), **self._ports)
        server = milvus.MilvusServer(config, wait_for_started=False)
        server.config.set("authorization_enabled", True)
        server.webservice_port = self._web
        before, milvus.subprocess = milvus.subprocess, _Popens()
        os.environ["ETCD_CONFIG_PATH"] = str(self._folder / "etcd.yaml")
        try:
            server.start()
        finally:
            milvus.subprocess = before
            del os.environ["ETCD_CONFIG_PATH"]
        self._server = server
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it is healthy."""
        self._server.wait_started(START_S * 1000)

    def kill(self) -> None:
        """As a power cut would."""
        process = self._server.server_proc
        process.kill()
        process.wait()
        self._server.server_proc = None
        self._server.stop()
        time.sleep(0.2)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> PrivateServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None and self._server.server_proc is not None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Config(milvus.MilvusServerConfig):  # type: ignore[misc]
    """Takes ports on which connections of the server that was killed still linger, as the server itself does."""

    def try_bind_port(self, port: int) -> socket.socket | None:
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
        return None


class _Popens:
    """The module ``subprocess`` as the wheel sees it: what it starts ends with us."""

    def __getattr__(self, name: str) -> Any:
        if name == "Popen":
            return functools.partial(subprocess.Popen, preexec_fn=_die_with_parent)
        return getattr(subprocess, name)
