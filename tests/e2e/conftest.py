"""Daemons to be started, with a tiny model of real torch, on both engines."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from milvus_server import ON_SERVER, MilvusServer
from real_daemon import REPO, Daemon
from warm import Nest, WarmDaemon

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP in the hub's format: real torch, in milliseconds a picture."""
    folder = tmp_path_factory.mktemp("model") / "clip"
    subprocess.run([sys.executable, REPO / "tests" / "tiny_checkpoints.py", "clip", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def nest() -> Iterator[Nest]:
    """Where daemons start without the seconds of importing. ``test_program`` starts them as people do."""
    with Nest() as nest:
        yield nest


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of its own, with a path short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="meme-"))
    (folder / "Memes").mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=["lite", pytest.param("server", marks=ON_SERVER)])
def milvus(request: pytest.FixtureRequest, home: Path) -> list[str]:
    """Flags for the embedded Milvus, and for a real server."""
    if request.param == "lite":
        return []
    server: MilvusServer = request.getfixturevalue("milvus_server")
    token = home / "token"
    token.write_text(server.token)
    return ["--milvus", server.uri, "--milvus-token-file", str(token)]


@pytest.fixture
def daemon(
    nest: Nest, home: Path, tiny_model: Path, milvus: list[str], request: pytest.FixtureRequest
) -> Iterator[Daemon]:
    """A daemon with the tiny model, on both engines; not started."""
    # Its own collections on a server that the whole run shares.
    prefix = "e" + hashlib.blake2b(request.node.nodeid.encode(), digest_size=6).hexdigest() + "_"
    made = WarmDaemon(nest, home, "--model", str(tiny_model), *milvus, MEMEWATCHD_COLLECTION_PREFIX=prefix)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.communicate()


@pytest.fixture
def embedded(nest: Nest, home: Path, tiny_model: Path) -> Iterator[Daemon]:
    """The same on the embedded Milvus alone."""
    made = WarmDaemon(nest, home, "--model", str(tiny_model))
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.communicate()
