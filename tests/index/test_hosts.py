"""Several hosts in one server: each sees the others', and none can take another's away."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import numpy as np
import pytest
from milvus_server import ON_SERVER, MilvusServer

from memewatchd.errors import StoreError
from memewatchd.index import hosts, schema
from memewatchd.index.catalog import Catalog
from memewatchd.index.engine import Engine
from memewatchd.index.ledger import KEEP_VECTORS_S, Ledger
from memewatchd.index.store import Store
from memewatchd.meme import Digest, FileRow, FileStat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

FINGERPRINT = "0123456789abcdef"
DIM = 8


def axis(number: int) -> NDArray[np.float32]:
    return np.eye(DIM, dtype=np.float32)[number]


class Host:
    """Store, catalog and ledger as a daemon has them."""

    def __init__(self, engine: Engine, prefix: str, name: str) -> None:
        self.store = Store(engine, prefix, name)
        self.now = 1_800_000_000.0
        self.load()

    def load(self) -> None:
        """As a start does."""
        self.catalog = Catalog()
        self.ledger = Ledger(self.store, self.catalog, words=self.store, wall=lambda: self.now)
        self.store.open_files()
        self.store.open_words()
        self.ledger.load()
        self.ledger.use_model(FINGERPRINT, DIM)

    def add(self, path: str, digest: Digest, number: int) -> FileRow:
        row = FileRow(path.encode(), FileStat(1, 2, 3, number), digest, int(self.now), 8, 8, 1)
        self.ledger.commit(pictures=[(digest, {0: axis(number)})], rows=[row])
        return row

    def own(self, number: int) -> list[Digest]:
        return [hit.digest for hit in self.store.search_pictures(axis(number), 5) if hit.score > 0.9]

    def elsewhere(self, number: int) -> list[tuple[str, bytes]]:
        found = self.store.search_elsewhere(axis(number), 5)
        return [(hit.host, hit.row.path) for hit in found if hit.score > 0.9]


@pytest.fixture
def engine(milvus_server: MilvusServer, tmp_path: Path) -> Iterator[Engine]:
    with Engine.open(milvus_server.uri, milvus_server.token, tmp_path) as opened:
        yield opened


@pytest.fixture
def prefix(engine: Engine) -> Iterator[str]:
    name = f"h{secrets.token_hex(6)}_"
    yield name
    for collection in engine.client.list_collections(timeout=30):
        if collection.startswith(name):
            engine.client.drop_collection(collection, timeout=30)


@ON_SERVER
def test_hosts_see_each_other_and_take_nothing_away(
    engine: Engine, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What another host did is seen a moment later; here, at once.
    monkeypatch.setattr(Store, "_search_bounded", lambda self, *asked: self._search(*asked, "", "Strong"))
    monkeypatch.setattr(hosts, "BOUNDED", "Strong")
    monkeypatch.setattr(hosts, "LOOK_AGAIN_S", 0.0)
    one, two = Host(engine, prefix, "desk"), Host(engine, prefix, "lap-top")
    both, only_one, only_two = (Digest(f"{number:064x}") for number in range(3))
    # One path on both, as in two homes of one user.
    one.add("/home/u/Memes/a.png", both, 0)
    mine = one.add("/home/u/Memes/b.png", only_one, 1)
    two.add("/home/u/Memes/a.png", both, 0)
    theirs = two.add("/home/u/Memes/c.png", only_two, 2)

    assert one.elsewhere(2) == [("lap-top", theirs.path)]
    assert two.elsewhere(1) == [("desk", mine.path)]
    assert one.elsewhere(1) == []
    assert one.own(1) == [only_one]
    assert one.own(2) == []
    assert one.elsewhere(0) == [("lap-top", b"/home/u/Memes/a.png")]

    # A start and a sweep, a month later: nobody takes the other's for a leftover of its own.
    for host in (one, two):
        host.now += 2 * KEEP_VECTORS_S
        host.load()
        assert host.ledger.sweep() == 0
        assert len(host.catalog.rows()) == 2
        assert host.catalog.tombstones() == []

    # Deleted on one, and swept there: the other's copy stays.
    gone = one.catalog.get(b"/home/u/Memes/a.png")
    assert gone is not None
    one.ledger.commit(forget=[gone])
    assert two.elsewhere(0) == []  # its vector is kept a while, and there is no file
    one.now += 2 * KEEP_VECTORS_S
    assert one.ledger.sweep() == 1
    assert both not in one.store.picture_digests()
    assert one.elsewhere(0) == [("lap-top", b"/home/u/Memes/a.png")]
    two.load()
    assert two.catalog.has_vector(both)

    # What --reset drops is one's own; the other host just isn't there any more.
    alone = Store(engine, prefix)
    assert alone.collections() == []
    assert len(one.store.collections()) == 3
    two.store.drop(two.store.collections())
    assert one.elsewhere(2) == []
    assert one.own(1) == [only_one]


def test_a_hosts_prefix_is_nobody_elses_beginning() -> None:
    names = ["a", "a-b", "a-files", "files", "host-a", "1", "a" * 32]
    prefixes = [schema.own_prefix("m_", name) for name in ["", *names]]
    assert prefixes[0] == "m_"
    kinds = [f"{prefix}{kind}" for prefix in prefixes for kind in schema.VERSIONS]
    for prefix in prefixes:
        for kind in schema.VERSIONS:
            others = [name for name in kinds if name.startswith(f"{prefix}{kind}") and name != f"{prefix}{kind}"]
            assert others == []
    assert schema.hosts_in([*kinds, "m_host_", "m_host___files", "other_host_x__files"], "m_") == set(names)


@pytest.mark.parametrize("bad", ["A", "a_b", "a--b", "-a", "a-", "a.b", "é", "a" * 33, "a\n"])
def test_a_host_that_would_not_do_is_refused(bad: str) -> None:
    with pytest.raises(StoreError, match="host"):
        schema.own_prefix("m_", bad)


def test_the_embedded_engine_is_nobody_elses(lite: Engine) -> None:
    store = Store(lite, "t_", "desk")
    store.open_files()
    store.open_pictures(FINGERPRINT, DIM)
    assert store.collections() == ["t_files", f"t_pictures_{FINGERPRINT}"]
    assert store.search_elsewhere(axis(0), 5) == []
