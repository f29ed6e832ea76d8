"""The mirror over a real folder, with what stands around it: real where it matters, fake where it may fail or be slow.

Pictures are tiny real PNGs. The fake decoder makes a frame of a file's digest, so whoever holds a vector can tell
which content it was made of.
"""

from __future__ import annotations

import io
import os
import threading
import time
import zlib
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from memewatchd import sync
from memewatchd.errors import EncoderError, PictureError, StoreUnavailable
from memewatchd.folder.dirty import DirtySet
from memewatchd.folder.ignore import Ignore
from memewatchd.folder.roots import RootState
from memewatchd.folder.scan import Disk
from memewatchd.folder.watcher import Watcher
from memewatchd.health import HealthCheck
from memewatchd.index.catalog import Catalog
from memewatchd.index.ledger import Ledger
from memewatchd.intake import Intake
from memewatchd.looking import Looker
from memewatchd.meme import Decoded, Digest, FileRow, FileStat, FrameSpec, new_digest
from memewatchd.pictures.pool import DecodePool
from memewatchd.progress import Progress
from memewatchd.reader import Reader
from memewatchd.sync import Mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from memewatchd.progress import Event
    from memewatchd.service.power import Battery

PATIENCE_S = 30.0
SPEC = FrameSpec("exact", 8, 8)
DIM = 32
PNG = b"\x89PNG\r\n\x1a\n"


def png(seed: int) -> bytes:
    """A picture of 8 x 8 pixels unlike that of any other seed, in its pixels and in its bytes."""
    colour = (seed % 251, seed // 251 % 251, seed // 251**2 % 251)
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "PNG")
    return out.getvalue() + b"%d" % seed  # behind the end: decoders don't mind


def digest_of(data: bytes) -> Digest:
    hasher = new_digest()
    hasher.update(data)
    return Digest(hasher.hexdigest())


def until(met: Callable[[], object], what: str = "") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, what or "it never came to pass"
        time.sleep(0.005)


class FakeStore:
    """Milvus in memory. Rows are inserted and deleted by id; an id that is there already is a mistake.

    ``fail`` says what becomes of the n-th call: None, or "before", "half" or "after" its effect it fails; a
    ``dies`` store then fails every call until :meth:`revive`.
    """

    def __init__(self) -> None:
        self.files: dict[str, FileRow] = {}
        self.pictures: dict[str, dict[tuple[Digest, int], NDArray[np.float32]]] = {}
        self.calls: list[str] = []
        self.mistakes: list[str] = []
        self.fail: Callable[[int, str], str | None] = lambda _number, _name: None
        self.dies = False
        self.is_dead = False
        self.checks: list[str] = []
        self._fingerprint = ""
        self._doubtful: set[object] = set()

    def revive(self) -> None:
        self.is_dead, self.fail = False, lambda _number, _name: None

    @property
    def active(self) -> dict[tuple[Digest, int], NDArray[np.float32]]:
        return self.pictures.setdefault(self._fingerprint, {})

    def count(self, name: str) -> int:
        return self.calls.count(name)

    def open(self) -> None:
        self._call("open", [], lambda _: None)

    def check(self, *, quick: bool = False) -> None:
        self.checks.append("quick" if quick else "thorough")
        if self.is_dead:
            raise StoreUnavailable("Milvus is away")

    def read_files(self) -> Iterator[FileRow]:
        self._call("read_files", [], lambda _: None)
        yield from list(self.files.values())

    def insert_files(self, rows: Sequence[FileRow]) -> None:
        self._insert("insert_files", self.files, {row.id: row for row in rows})

    def delete_files(self, ids: Collection[str]) -> None:
        self._call("delete_files", sorted(ids), lambda key: self.files.pop(key, None))

    def open_pictures(self, fingerprint: str, dim: int) -> None:
        def name(_: object) -> None:
            self._fingerprint = fingerprint

        assert dim == DIM
        self._call("open_pictures", [fingerprint], name)

    def picture_digests(self) -> set[Digest]:
        self._call("picture_digests", [], lambda _: None)
        return {digest for digest, _ in self.active}

    def insert_pictures(self, pictures: Sequence[tuple[Digest, int, NDArray[np.float32]]]) -> None:
        self._insert("insert_pictures", self.active, {(d, frame): vector for d, frame, vector in pictures})

    def delete_pictures(self, digests: Collection[Digest]) -> None:
        keys = [key for key in self.active if key[0] in digests]
        self._call("delete_pictures", keys, lambda key: self.active.pop(key, None))

    def _insert(self, name: str, table: dict[Any, Any], new: dict[Any, Any]) -> None:
        twice = [key for key in new if key in table and key not in self._doubtful]
        self.mistakes += [f"{name}: {key} is there already" for key in twice]
        try:
            self._call(name, list(new), lambda key: table.__setitem__(key, new[key]))
        except StoreUnavailable:
            self._doubtful |= new.keys()
            raise

    def _call(self, name: str, keys: list[Any], effect: Callable[[Any], object]) -> None:
        if self.is_dead:
            raise StoreUnavailable("Milvus is away")
        number = len(self.calls)
        self.calls.append(name)
        fails = self.fail(number, name)
        done = {"before": 0, "half": len(keys) // 2}.get(fails or "", len(keys))
        for key in keys[:done]:
            effect(key)
        if fails:
            self.is_dead = self.dies
            raise StoreUnavailable(f"call {number} ({name}) fails {fails}")


class FakeDecoder:
    """Decodes in threads, so that it takes its time as the children do. Waits at ``gate``, when that is closed."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.decoded: Counter[Digest] = Counter()
        self.began = threading.Semaphore(0)
        self._pool = ThreadPoolExecutor(2)

    def submit(self, fd: int, spec: FrameSpec, max_frames: int = 1) -> Future[Decoded]:
        return self._pool.submit(self._decode, os.dup(fd), spec)

    def close(self) -> None:
        self.gate.set()
        self._pool.shutdown()

    def _decode(self, fd: int, spec: FrameSpec) -> Decoded:
        try:
            self.began.release()
            assert self.gate.wait(PATIENCE_S)
            data = os.pread(fd, 1 << 20, 0)
        finally:
            os.close(fd)
        digest = digest_of(data)
        self.decoded[digest] += 1
        if b"IEND" not in data:
            raise PictureError("truncated")
        return Decoded("png", 8, 8, 1, [frame_of(digest)])


@lru_cache(4096)
def crc_of(digest: Digest) -> int:
    return zlib.crc32(frame_of(digest).tobytes())


def frame_of(digest: Digest) -> NDArray[np.uint8]:
    return np.resize(np.frombuffer(bytes.fromhex(digest), np.uint8), (SPEC.crop, SPEC.crop, 3))


def vector_of(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    vector = np.resize(frame.reshape(-1), DIM).astype(np.float32) + 1
    return vector / np.linalg.norm(vector)


class FakeModel:
    """``encode_images`` may wait at ``gate`` and fail; ``encoded`` counts each frame by a hash of its pixels."""

    def __init__(self) -> None:
        self.ready = True
        self.failed = ""
        self.fingerprint = "f1"
        self.breaks = ""
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Semaphore(0)
        self.encoded: Counter[int] = Counter()
        self.batches: list[int] = []
        self.in_vain: list[int] = []
        self.stored: Callable[[], set[int]] = set
        """What need not be asked for any more."""
        self._pool = ThreadPoolExecutor(1)

    def encode_images(self, frames: list[NDArray[np.uint8]]) -> Future[NDArray[np.float32]]:
        self.in_vain += self.stored() & {zlib.crc32(frame.tobytes()) for frame in frames}
        return self._pool.submit(self._encode, frames)

    def close(self) -> None:
        self.gate.set()
        self._pool.shutdown()

    def _encode(self, frames: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.began.release()
        assert self.gate.wait(PATIENCE_S)
        if self.breaks:
            reason, self.breaks = self.breaks, ""
            raise EncoderError(reason)
        self.batches.append(len(frames))
        self.encoded.update(zlib.crc32(frame.tobytes()) for frame in frames)
        return np.stack([vector_of(frame) for frame in frames])


class CountingReader(Reader):
    """Knows which files were opened; ``before`` is called first."""

    def __init__(self, settle_s: float, videos: bool) -> None:
        super().__init__(settle_s, 1 << 20, videos=videos)
        self.opened: list[bytes] = []
        self.before: Callable[[bytes], object] = lambda _path: None

    def read(self, path: bytes, seen: FileStat, since: float) -> Any:
        self.before(path)
        self.opened.append(path)
        return super().read(path, seen, since)


class ToldProgress(Progress):
    """Keeps every event."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Event] = []

    def tell(self, events: Iterable[Event]) -> None:
        batch = list(events)
        self.told += batch
        super().tell(batch)


@dataclass
class Rig:
    """A mirror that can be started, asked, stopped and started anew over the same store."""

    roots: list[bytes]
    decoder: Any
    store: Any = field(default_factory=FakeStore)
    model: FakeModel = field(default_factory=FakeModel)
    open_index: Callable[[], None] | None = None
    shortage: str = ""
    settle_s: float = 0.1
    videos: bool = False
    battery: Battery | None = None
    glance: Any = None
    identities: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    _thread: threading.Thread | None = None

    @property
    def root(self) -> bytes:
        return self.roots[0]

    def start(self) -> None:
        ignore = Ignore(["excluded"])
        self.catalog = Catalog()
        self.progress = ToldProgress()
        self.dirty = DirtySet(self.roots)
        self.reader = CountingReader(self.settle_s, self.videos)
        ledger = Ledger(self.store, self.catalog)
        states = [RootState(root, self.identities.get(root)) for root in self.roots]

        def activate() -> FrameSpec:
            ledger.use_model(self.model.fingerprint, DIM)
            return SPEC

        def remember_roots() -> None:
            self.identities.update((root.path, root.identity) for root in states if root.identity is not None)

        looker = Looker(
            roots=states,
            disk=Disk(self.roots, ignore),
            ledger=ledger,
            catalog=self.catalog,
            progress=self.progress,
            remember_roots=remember_roots,
        )
        watcher = Watcher(self.roots, ignore, self.dirty)
        self.mirror = Mirror(
            looker=looker,
            dirty=self.dirty,
            watcher=watcher,
            open_index=self.open_index or self.store.open,
            health=HealthCheck(
                dirty=self.dirty,
                watcher=watcher,
                roots=looker,
                check_index=lambda quick: self.store.check(quick=quick),
                glance=self.glance,
            ),
            shortage=lambda: self.shortage,
            ledger=ledger,
            catalog=self.catalog,
            intake=Intake(self.reader, self.decoder, self.model, self.catalog, window=6, wake=self.dirty.wake),
            model=self.model,
            activate=activate,
            progress=self.progress,
            settle_s=self.settle_s,
            battery=self.battery,
        )
        if isinstance(self.store, FakeStore):
            self.model.stored = lambda: {crc_of(digest) for digest, _ in self.store.active}
        self._thread = threading.Thread(target=self.mirror.run, name="sync")
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self.mirror.stop()
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive()
            self._thread = None

    def close(self) -> None:
        self.stop()
        self.model.close()
        if isinstance(self.decoder, FakeDecoder):
            self.decoder.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def ask(self) -> Future[None]:
        """What ``memewatch wait`` asks for."""
        walk = self.progress.new_walk()
        self.mirror.wake()
        return walk.done

    def wait(self) -> None:
        self.ask().result(PATIENCE_S)

    def wait_until_read(self, name: str) -> None:
        until(lambda: self.path(name) in self.reader.opened)

    # Where things are. Names are relative to the first root.

    def path(self, name: str) -> bytes:
        return os.path.join(self.root, os.fsencode(name))

    def write(self, name: str, data: bytes) -> bytes:
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:  # noqa: PTH123 - raw bytes
            file.write(data)
        return path

    def move(self, name: str, to: str) -> None:
        os.rename(self.path(name), self.path(to))

    # What came of it.

    @property
    def indexed(self) -> dict[str, Digest]:
        """What ``memewatch list`` shows: name → digest."""
        return {self.name(row.path): row.digest for row in self.catalog.searchable()}

    @property
    def failed(self) -> dict[str, str]:
        return {self.name(row.path): row.error for row in self.catalog.failed_sorted()}

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(event.kind, self.name(event.path)) for event in self.progress.told]

    def name(self, path: bytes) -> str:
        return os.fsdecode(path.removeprefix(self.root + b"/"))

    def stored(self) -> Counter[bytes]:
        """How many rows each path has in Milvus."""
        return Counter(row.path for row in self.store.read_files() if row.path)

    def assert_equal_to_disk(self) -> None:
        """Catalog and store say what the disk says; nothing else is in them."""
        good: dict[bytes, tuple[FileStat, Digest]] = {}
        bad: set[bytes] = set()
        for root in self.roots:
            for path in files_below(root):
                with open(path, "rb") as file:  # noqa: PTH123
                    data = file.read()
                if data.startswith(PNG) and b"IEND" in data:
                    good[path] = (FileStat.of(os.stat(path)), digest_of(data))
                elif data.startswith(PNG) or path.endswith(b".png"):
                    bad.add(path)
        rows = self.catalog.rows()
        assert {row.path: (row.stat, row.digest) for row in rows if not row.error} == good
        assert {row.path for row in rows if row.error} == bad
        assert {row.path for row in self.catalog.searchable()} == good.keys()
        assert (self.catalog.indexed, self.catalog.failed) == (len(good), len(bad))
        assert self.progress.pending == 0
        assert self.progress.state == "settled", self.progress.problems
        assert self.stored() == Counter([*good, *bad])
        assert {row.id for row in self.store.read_files() if row.path} == {row.id for row in rows}
        assert self.store.picture_digests() >= {digest for _, digest in good.values()}
        # A tombstone's vectors are dropped after a month, so no file may need them.
        tombstones = [row.digest for row in self.store.read_files() if not row.path]
        assert Counter(row.digest for row in self.catalog.tombstones()) == Counter(tombstones)
        assert not [digest for digest in tombstones if self.catalog.is_used(digest)]

    def assert_vectors_are_true(self) -> None:
        """With the fakes: each vector is that of its digest, and none was asked for that was there."""
        for (digest, _), vector in self.store.active.items():
            np.testing.assert_array_equal(vector, vector_of(frame_of(digest)))
        assert self.store.mistakes == []
        assert self.model.in_vain == []

    def encoded(self, digest: Digest) -> int:
        """How often this content went through the tower. Of the fake decoder only."""
        return self.model.encoded[crc_of(digest)]


def files_below(folder: bytes) -> Iterator[bytes]:
    """The files that the mirror looks into, found in the plainest way."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.startswith(b".") or name == b"excluded":
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            yield from files_below(path)
        elif os.path.isfile(path) and not name.endswith((b".part", b".tmp")):
            yield path


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that failed is opened again at once, not after half a second and more."""
    monkeypatch.setattr(sync, "RECONNECT_S", (0.01, 0.1))


@pytest.fixture(scope="session")
def pool() -> Iterator[DecodePool]:
    with DecodePool(1) as pool:
        yield pool


@pytest.fixture
def new_rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Makes rigs, not started yet, each over a folder of its own unless told which; ``decoder`` fake by default."""
    made: list[Rig] = []
    number = count()

    def make(**parts: Any) -> Rig:
        if "roots" not in parts:
            root = tmp_path / f"memes{next(number)}"
            root.mkdir()
            parts["roots"] = [os.fsencode(root)]
        rig = Rig(**{"decoder": FakeDecoder(), **parts})
        made.append(rig)
        return rig

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(new_rig: Callable[..., Rig]) -> Rig:
    """A started mirror with a fake decoder, in an empty folder."""
    rig = new_rig()
    rig.start()
    return rig


@pytest.fixture
def real_rig(new_rig: Callable[..., Rig], pool: DecodePool) -> Rig:
    """A started mirror with real decode children, in an empty folder."""
    rig = new_rig(decoder=pool)
    rig.start()
    return rig


@pytest.fixture(name="png")
def _png() -> Callable[[int], bytes]:
    return png


@pytest.fixture(name="digest_of")
def _digest_of() -> Callable[[bytes], Digest]:
    return digest_of


@pytest.fixture(name="until")
def _until() -> Callable[..., None]:
    return until
