"""The index on both engines, each test with collections of its own."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from milvus_server import ON_SERVER, MilvusServer

from memewatchd.index.engine import Engine
from memewatchd.index.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FINGERPRINT = "0123456789abcdef"
DIM = 16


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def lite(state_dir: Path) -> Iterator[Engine]:
    """The embedded engine on a new file."""
    with Engine.open(str(state_dir / "index.db"), "", state_dir) as engine:
        yield engine


@pytest.fixture(params=["lite", pytest.param("server", marks=ON_SERVER)])
def engine(request: pytest.FixtureRequest, state_dir: Path) -> Iterator[Engine]:
    """Both engines, one after the other."""
    if request.param == "lite":
        yield request.getfixturevalue("lite")
        return
    server = request.getfixturevalue("milvus_server")
    with Engine.open(server.uri, server.token, state_dir) as opened:
        yield opened


@pytest.fixture
def prefix(engine: Engine) -> Iterator[str]:
    """A prefix that no other test uses; what stands under it is dropped at the end."""
    name = f"t{secrets.token_hex(6)}_"
    yield name
    if engine.kind == "server":
        drop(engine, name)


@pytest.fixture(scope="session")
def shared_prefix(milvus_server: MilvusServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """For tests on the server that leave nothing behind: making a collection takes a server 3 s."""
    name = f"t{secrets.token_hex(6)}_"
    yield name
    with Engine.open(milvus_server.uri, milvus_server.token, tmp_path_factory.mktemp("state")) as opened:
        drop(opened, name)


@pytest.fixture
def store(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Store]:
    """A store with ``files`` and the pictures of ``FINGERPRINT`` (16 dimensions) open, and empty."""
    name = "t_" if engine.kind == "lite" else request.getfixturevalue("shared_prefix")
    made = Store(engine, name)
    made.open_files()
    made.open_pictures(FINGERPRINT, DIM)
    yield made
    if engine.kind == "server":
        for collection in (f"{name}files", f"{name}pictures_{FINGERPRINT}"):
            engine.client.delete(collection, filter='id != ""', timeout=30)


def drop(engine: Engine, prefix: str) -> None:
    for collection in engine.client.list_collections(timeout=30):
        if collection.startswith(prefix):
            engine.client.drop_collection(collection, timeout=30)
