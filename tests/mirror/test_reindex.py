"""An index beside the one in use, built from a folder that the mirror watches: with fakes that count and may fail."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from memewatchd import config
from memewatchd.commands import Commands
from memewatchd.encoders.host import EncoderHost
from memewatchd.encoders.models import Choice
from memewatchd.errors import BadRequest, Degraded, StoreError, StoreUnavailable
from memewatchd.index.catalog import Catalog
from memewatchd.index.state import StateKeeper, read_state
from memewatchd.meme import Decoded, Digest, FrameSpec
from memewatchd.protocol import parse_line
from memewatchd.reindex.builder import BATCH, BATCHES_UNDER_WAY, TRIES, Builder
from memewatchd.reindex.candidate import LOADS
from memewatchd.reindex.in_use import ModelInUse
from memewatchd.reindex.reindexer import Reindexer
from memewatchd.search.ranking import Hit
from memewatchd.search.search import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

PATIENCE_S = 30.0
DIM = 3
SPEC = FrameSpec("exact", 4, 4)


class Beside:
    """The other collection, in memory. ``fails``: how many of the next calls do."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Digest, int], NDArray[np.float32]] = {}
        self.twice: list[Digest] = []
        self.fails = 0

    def open_beside(self, fingerprint: str, dim: int) -> set[Digest]:
        self._call()
        assert (fingerprint, dim) == ("f2", DIM)
        return {digest for digest, _ in self.rows}

    def insert_beside(self, pictures: Sequence[tuple[Digest, int, NDArray[np.float32]]]) -> None:
        self._call()
        for digest, frame, vector in pictures:
            if (digest, frame) in self.rows:
                self.twice.append(digest)
            self.rows[digest, frame] = vector

    def _call(self) -> None:
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("Milvus is away")

    @property
    def digests(self) -> set[Digest]:
        return {digest for digest, _ in self.rows}


class Tower:
    """The other model: counts what it is given."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self._pool = ThreadPoolExecutor(1)

    def encode_images(self, frames: list[NDArray[np.uint8]]) -> Future[NDArray[np.float32]]:
        return self._pool.submit(self._encode, frames)

    def _encode(self, frames: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.batches.append(len(frames))
        return np.full((len(frames), DIM), 1, np.float32)

    def close(self) -> None:
        self._pool.shutdown()


class Decoding:
    """Three frames of each file. ``seen``: how often it was asked for each, by what it holds."""

    def __init__(self) -> None:
        self.seen: Counter[bytes] = Counter()

    def submit(self, fd: int, spec: FrameSpec, max_frames: int = 1) -> Future[Decoded]:
        assert spec == SPEC
        self.seen[os.pread(fd, 1 << 16, 0)] += 1
        future: Future[Decoded] = Future()
        frames = [np.zeros((4, 4, 3), np.uint8)] * 3
        future.set_result(Decoded("png", 8, 8, 9, frames, numbers=(0, 4, 8)))
        return future


@pytest.fixture
def tower() -> Iterator[Tower]:
    made = Tower()
    yield made
    made.close()


class Site:
    """A builder over a rig's catalog, driven here as the sync thread drives it."""

    def __init__(self, rig: Any, tower: Tower, beside: Beside) -> None:
        self.rig, self.tower, self.beside = rig, tower, beside
        self.decoding = Decoding()
        self.now = 0.0
        self.begin_anew()

    def begin_anew(self) -> None:
        """As after a restart."""
        self.builder = Builder(
            encoder=self.tower,
            fingerprint="f2",
            dim=DIM,
            spec=SPEC,
            store=self.beside,
            decoder=self.decoding,
            catalog=self.rig.catalog,
            wake=lambda: None,
            clock=lambda: self.now,
        )

    def step(self, *, may_begin: bool = True, may_write: bool = True) -> bool:
        return self.builder.step(may_begin=may_begin, may_write=may_write)

    def until(self, met: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not met():
            assert time.monotonic() < deadline
            self.step()
            time.sleep(0.001)

    def finish(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.step():
            assert time.monotonic() < deadline, self.builder.left
            time.sleep(0.001)

    @property
    def wanted(self) -> set[Digest]:
        return {row.digest for row in self.rig.catalog.searchable()}


@pytest.fixture
def site(rig: Any, tower: Tower, png: Callable[[int], bytes]) -> Site:
    for number in range(30):
        rig.write(f"{number}.png", png(number))
    rig.write("copy.png", png(7))
    rig.wait()
    return Site(rig, tower, Beside())


def test_each_picture_is_encoded_once_with_all_its_frames(site: Site) -> None:
    site.finish()
    assert site.beside.digests == site.wanted
    assert len(site.beside.rows) == 3 * 30
    assert set(site.decoding.seen.values()) == {1}, "the copy is the same picture"
    assert sum(site.tower.batches) == 3 * 30
    assert max(site.tower.batches) <= BATCH
    assert (site.builder.stored, site.builder.left) == ((30, 30), 0)
    assert set(site.builder.have) == site.wanted
    assert site.step(), "and it stays complete"


def test_the_old_index_is_neither_read_nor_written(site: Site) -> None:
    before = (dict(site.rig.store.pictures), list(site.rig.store.calls))
    site.finish()
    assert (dict(site.rig.store.pictures), list(site.rig.store.calls)) == before


def test_a_restart_in_the_middle_encodes_only_the_rest(site: Site) -> None:
    site.until(lambda: len(site.decoding.seen) >= 12)
    site.now += 3600  # what is done is written at last
    site.until(lambda: site.beside.rows)
    done, seen = set(site.beside.digests), sum(site.decoding.seen.values())
    assert 0 < len(done) < 30
    site.builder.reset()  # as little as a SIGKILL leaves
    site.begin_anew()
    site.finish()
    assert site.beside.digests == site.wanted
    assert site.beside.twice == []
    assert sum(site.decoding.seen.values()) - seen == 30 - len(done)


def test_nothing_counts_as_stored_before_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    insert = site.beside.insert_beside

    def slow_insert(pictures: Sequence[tuple[Digest, int, NDArray[np.float32]]]) -> None:
        told.append((site.builder.stored[0], len(site.beside.digests)))
        insert(pictures)

    monkeypatch.setattr(site.beside, "insert_beside", slow_insert)
    assert site.builder.stored == (0, 0)
    site.finish()
    assert told
    assert all(said == stored for said, stored in told), "who asks meanwhile is told of what a crash would lose"


def test_what_comes_goes_and_moves_meanwhile(site: Site, png: Callable[[int], bytes]) -> None:
    site.until(lambda: len(site.decoding.seen) >= 5)
    rig = site.rig
    rig.write("new.png", png(100))
    rig.write("3.png", png(101))  # other content
    rig.move("4.png", "moved.png")
    for number in range(20, 30):
        os.unlink(rig.path(f"{number}.png"))
    rig.wait()
    site.finish()
    assert site.wanted <= site.beside.digests
    assert site.builder.stored[1] == 21
    assert site.beside.twice == []
    assert max(site.decoding.seen.values()) == 1


def test_it_begins_nothing_while_the_mirror_has_work(site: Site) -> None:
    assert not site.step(may_begin=False)
    assert site.decoding.seen == {}
    site.until(lambda: site.tower.batches)
    begun, encoded = sum(site.decoding.seen.values()), len(site.tower.batches)
    for _ in range(50):
        assert not site.step(may_begin=False)
        time.sleep(0.001)
    assert sum(site.decoding.seen.values()) == begun
    assert len(site.tower.batches) <= encoded + BATCHES_UNDER_WAY, "only what was with the model already"
    site.finish()
    assert site.beside.digests == site.wanted


def test_nothing_is_written_while_the_disk_is_full(site: Site) -> None:
    assert not site.step(may_write=False)
    site.step()
    for _ in range(50):
        assert not site.step(may_write=False)
        time.sleep(0.001)
    assert site.beside.rows == {}
    site.finish()
    assert site.beside.digests == site.wanted


def test_a_failing_milvus_costs_at_most_what_it_did_not_take(site: Site) -> None:
    site.until(lambda: len(site.decoding.seen) >= 12)
    site.beside.fails = 1
    site.now += 3600
    with pytest.raises(StoreUnavailable):
        site.finish()
    site.builder.reset()
    site.finish()
    assert site.beside.digests == site.wanted
    assert site.beside.twice == []


def test_a_file_that_changes_under_it_is_tried_again_later_and_at_last_left_to_the_mirror(
    site: Site, png: Callable[[int], bytes]
) -> None:
    rig = site.rig
    rig.mirror.set_paused(True)  # it sees nothing of what follows
    rig.write("0.png", png(200))
    os.unlink(rig.path("1.png"))
    lost = {row.digest for row in rig.catalog.searchable() if rig.name(row.path) in ("0.png", "1.png")}
    for _ in range(TRIES - 1):
        site.until(lambda: site.builder.left == 2)
        assert not site.step()
        assert 0 < site.builder.until_due() < 60
        site.now += 60
    site.finish()
    assert site.beside.digests == site.wanted - lost


# ---- what can't be had


def reindexer(state: Path, model: Any, environ: dict[str, str]) -> Reindexer:
    settings = config.load({"state_dir": str(state), "folder": (str(state),)}, environ)
    parts: dict[str, Any] = {"store": None, "decoder": None, "catalog": Catalog()}
    keeper = StateKeeper(state)
    return Reindexer(settings=settings, environ=environ, keeper=keeper, in_use=model, wake=lambda: None, **parts)


def test_without_a_network_it_says_what_to_run_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = in_use(tmp_path, Numbers("f1"), Collections(), [])
    asked = reindexer(tmp_path, model, {"HOME": str(tmp_path)})

    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(Degraded, match=r"no network\. Run in a terminal: memewatchd --download siglip2; and then"):
        asked.ask("siglip2")
    assert asked.status is None
    assert read_state(tmp_path).reindex_model == ""
    with pytest.raises(BadRequest, match=r"^there is no model 'siglip3'; did you mean siglip2\?"):
        asked.ask("siglip3")


def test_a_model_that_ends_every_start_is_left_alone(tmp_path: Path) -> None:
    StateKeeper(tmp_path).change(reindex_model="bundled", reindex_loads=LOADS)
    model = in_use(tmp_path, Numbers("f1"), Collections(), [])
    asked = reindexer(tmp_path, model, {"HOME": str(tmp_path)})
    assert asked.step(idle=True) > 60
    assert asked.status is not None
    assert "too little memory" in asked.status["error"]
    assert "memewatch reindex --model bundled" in asked.line
    asked.ask("bundled")
    assert read_state(tmp_path).reindex_loads == 0


# ---- one model in the place of another


class Numbers:
    """A model of two numbers."""

    def __init__(self, fingerprint: str) -> None:
        self.name = self.fingerprint = fingerprint
        self.dim = 2
        self.spec = SPEC
        self.is_english_only = False
        self.may = threading.Event()
        self.may.set()

    def encode_images(self, frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.zeros((len(frames), 2), np.float32)

    def encode_text(self, text: str) -> NDArray[np.float32]:
        assert self.may.wait(PATIENCE_S)
        return np.array([len(text), int(self.fingerprint[-1])], np.float32)

    def pause(self) -> None: ...

    def rest_pictures(self) -> int:
        return 0


class Collections:
    """What the store is asked, in order, and where the turn stood."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails = False

    def use_beside(self) -> None:
        self.asked.append("use")

    def drop_pictures(self, fingerprint: str) -> None:
        if self.fails:
            raise StoreError("not now")
        self.asked.append(f"drop {fingerprint}")


class Opened:
    """The ledger, as far as it goes."""

    def use_model(self, fingerprint: str, dim: int) -> None:
        self.opened = (fingerprint, dim)


def in_use(state: Path, encoder: Numbers, store: Collections, turns: list[int]) -> ModelInUse:
    host = EncoderHost(lambda: encoder)
    host.start()
    host.wait(PATIENCE_S)
    made: Any = ModelInUse(
        Choice(encoder.name, state, ""),
        host=host,
        keeper=StateKeeper(state),
        store=store,
        ledger=Opened(),  # type: ignore[arg-type]
        catalog=Catalog(),
        forget=lambda: turns.append(made.turn),
    )
    made.host = host
    return made  # type: ignore[no-any-return]


def test_the_swap_is_one_turn_and_the_state_says_so_first(tmp_path: Path) -> None:
    store, turns = Collections(), list[int]()
    model: Any = in_use(tmp_path, Numbers("f1"), store, turns)
    assert model.activate() == SPEC
    assert (model.fingerprint, model.turn, turns) == ("f1", 0, [0])
    model._keeper.change(reindex_model="f2")
    model.take_over(Choice("f2", tmp_path, ""), Numbers("f2"), {Digest("a" * 64)})
    assert (model.name, model.fingerprint, model.turn, turns) == ("f2", "f2", 2, [0, 1])
    assert store.asked == ["use"]
    state = read_state(tmp_path)
    assert (state.model, state.fingerprint, state.reindex_model, state.replaced) == ("f2", "f2", "", "f1")
    assert model.host.encode_text("cat").result(PATIENCE_S).tolist() == [3, 2]
    store.fails = True
    with pytest.raises(StoreError):
        model.drop_replaced()
    model.host.close()

    # Had we died there, the next start would open the new one and drop the old.
    store.fails = False
    again: Any = in_use(tmp_path, Numbers("f2"), store, turns)
    again.activate()
    assert store.asked == ["use", "drop f1"]
    assert read_state(tmp_path).replaced == ""
    again.host.close()


def test_an_index_that_is_in_use_again_is_not_dropped(tmp_path: Path) -> None:
    store = Collections()
    StateKeeper(tmp_path).change(fingerprint="f2", model="f2", replaced="f1")
    model: Any = in_use(tmp_path, Numbers("f1"), store, [])
    model.activate()
    assert store.asked == []
    assert read_state(tmp_path).replaced == ""
    model.host.close()


def test_the_same_model_by_another_name_only_changes_the_name(tmp_path: Path) -> None:
    store = Collections()
    model: Any = in_use(tmp_path, Numbers("f1"), store, [])
    model.activate()
    model.take_over(Choice("other name", tmp_path, ""), Numbers("f1"), ())
    assert (model.name, model.turn, store.asked) == ("other name", 0, [])
    assert read_state(tmp_path).model == "other name"
    model.host.close()


def test_a_text_that_was_being_encoded_does_not_stay_for_the_next_model(tmp_path: Path) -> None:
    old, new = Numbers("f1"), Numbers("f2")
    old.may.clear()
    host = EncoderHost(lambda: old)
    host.start()
    host.wait(PATIENCE_S)
    answer = host.encode_text("cat")
    deadline = time.monotonic() + PATIENCE_S
    while not answer.running():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(0.01)
    host.adopt(new)
    old.may.set()
    assert answer.result(PATIENCE_S).tolist() in ([3, 1], [3, 2])
    assert host.encode_text("cat").result(PATIENCE_S).tolist() == [3, 2]
    host.close()


def test_an_answer_in_the_middle_of_the_swap_is_asked_for_again() -> None:
    turn = [0]
    asked: list[int] = []

    class Searching:
        """The first search sees the swap begin, the second sees it end, the third nothing."""

        async def search(self, *_: object, typing: bool, all_hosts: bool) -> Answer:
            asked.append(turn[0])
            if len(asked) == 1:
                turn[0] = 1
                asyncio.get_running_loop().call_later(0.02, turn.__setitem__, 0, 2)
                raise ValueError("vectors of two lengths")
            if len(asked) == 2:
                turn[0] = 4
                return Answer([Hit(b"/mixed.png", 1.0)])
            return Answer([Hit(b"/right.png", 1.0)])

    parts: dict[str, Any] = {"searcher": Searching(), "progress": None, "mirror": None, "about": dict}
    commands = Commands(catalog=Catalog(), turn=lambda: turn[0], **parts)

    async def ask() -> list[dict[str, Any]]:
        return [reply async for reply in commands.handle(parse_line(b"cat"))]

    (reply,) = asyncio.run(ask())
    assert [hit["path"] for hit in reply["hits"]] == ["/right.png"]
    assert asked == [0, 2, 4]
