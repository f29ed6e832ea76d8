"""What a Milvus server does with more memes than one machine has, through our own store and its index (HNSW).

    python benchmarks/scaling.py [--sizes 100000 1000000] [--hosts 10] [--searches 200]

The standalone server of PyPI's `milvus`, in a temporary folder, and gone afterwards. No pictures: vectors of 384
numbers and unit length from a mixture of Gaussians, a cluster for every 1,000 of them (pictures have neighbours;
uniform noise has none, and its recall says nothing). A query is a vector of that mixture, too, which isn't stored.
Recall is of the ten nearest, against all products in numpy. Building: from the last insert until the server says that
all rows are indexed. Memory: what the server holds with all loaded, less what it held empty. Then what reading one's
own writes costs at each consistency, and one search over the collections of several hosts.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import engines
import material
import numpy as np
from rows import Report, Row, arguments, middle, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from memewatchd.index.engine import Engine
    from memewatchd.meme import Digest

    Vectors = NDArray[np.float32]

DIM = 384
CHUNK = 5000
NEAREST = 10
LIMIT = 20
IN_CLUSTER = 1000
# Of a member around its cluster's centre, both of about unit length: two members have a cosine of some 0.6.
SPREAD = 0.8
EFS = (64, 128, 256, 512)
WRITES = 20
OURS = "our store's"
LEVELS = (OURS, "Session", "Bounded", "Strong")
BUILD_S = 3 * 3600.0
SETTLE_S = 20.0
FINGERPRINT = "0123456789abcdef"


class Mixture:
    """Vectors of a mixture of ``size / 1,000`` Gaussians; the same for the same size."""

    def __init__(self, size: int) -> None:
        random = np.random.default_rng(size)
        self._centres = _unit(random.standard_normal((max(1, size // IN_CLUSTER), DIM), dtype=np.float32))
        self._size = size

    def chunks(self) -> Iterator[tuple[int, Vectors]]:
        """(the first one's number, vectors), all that are stored."""
        for start in range(0, self._size, CHUNK):
            yield start, self.some(min(CHUNK, self._size - start), start)

    def some(self, count: int, seed: int) -> Vectors:
        """Other ones for another seed."""
        random = np.random.default_rng((self._size, seed))
        around = self._centres[random.integers(0, len(self._centres), count)]
        return _unit(around + SPREAD * _unit(random.standard_normal((count, DIM), dtype=np.float32)))


class Exact:
    """The nearest of all that it is shown, for some queries."""

    def __init__(self, queries: Vectors) -> None:
        self._queries = queries
        self._scores = np.full((len(queries), NEAREST), -2.0, np.float32)
        self._numbers = np.zeros((len(queries), NEAREST), np.int64)

    def see(self, start: int, vectors: Vectors) -> None:
        scores = np.concatenate([self._scores, self._queries @ vectors.T], axis=1)
        numbers = np.broadcast_to(np.arange(start, start + len(vectors)), (len(self._queries), len(vectors)))
        numbers = np.concatenate([self._numbers, numbers], axis=1)
        best = np.argpartition(-scores, NEAREST, axis=1)[:, :NEAREST]
        self._scores = np.take_along_axis(scores, best, axis=1)
        self._numbers = np.take_along_axis(numbers, best, axis=1)

    def recall(self, found: list[list[int]]) -> float:
        """The share of the true nearest that was found."""
        shares = [len(set(some) & set(true.tolist())) for some, true in zip(found, self._numbers, strict=True)]
        return sum(shares) / (NEAREST * len(found))


def _unit(vectors: Vectors) -> Vectors:
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


def digest(number: int) -> Digest:
    from memewatchd.meme import Digest

    return Digest(f"{number:064x}")


def numbers(found: Any) -> list[int]:
    """Of one search's hits, as pymilvus gives them."""
    return [int(hit["id"].partition("-")[0], 16) for hit in found[0]]


class Server:
    """A server of our own in ``folder`` until ``alive`` ends."""

    def __init__(self, folder: Path, alive: ExitStack) -> None:
        self.folder = folder / "server"
        self.uri, _ = engines.start_server(self.folder, alive)
        self.token = "root:Milvus"
        self.empty = self.memory()
        self.disk_empty = self.disk()

    def memory(self) -> float:
        """MB that the server's processes hold now; those of our own that supervise it left out."""
        pids = [
            int(entry.parent.name)
            for entry in Path("/proc").glob("[0-9]*/comm")
            if str(self.folder) in _read(entry.with_name("environ")) and _read(entry).startswith("milvus")
        ]
        return material.memory_mb(pids)

    def disk(self) -> float:
        """MB in its folder: logs of inserts, segments and indexes."""
        return sum(file.lstat().st_size for file in (self.folder / "data").rglob("*") if file.is_file()) / 1e6


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def by_size(report: Report, server: Server, engine: Engine, size: int, searches: int) -> None:
    """Fill, build, ask."""
    from memewatchd.index.store import Store

    prefix = f"n{size}_"
    name = f"{prefix}pictures_{FINGERPRINT}"
    about = f"{size:,} vectors"
    store = Store(engine, prefix)
    store.open_pictures(FINGERPRINT, DIM)
    mixture = Mixture(size)
    queries = mixture.some(searches, -1 % 2**32)
    exact = Exact(queries)
    seconds = 0.0
    for start, vectors in mixture.chunks():
        exact.see(start, vectors)
        seconds += material.timed(
            lambda s=start, v=vectors: store.insert_pictures((digest(s + n), 0, one) for n, one in enumerate(v))  # type: ignore[misc]
        )
    report.add(Row(f"{about}: inserted a second", size / seconds, None, "/s"))
    report.add(Row(f"{about}: searched before they are indexed, p95", p95(store, queries), None, "ms"))
    report.add(Row(f"{about}: building the index", build(engine.client, name, size), None, "s"))
    time.sleep(SETTLE_S)  # it loads what it has built, and lets go of what that replaces
    held = server.memory() - server.empty
    report.add(Row(f"{about}: the server's memory for them, over the vectors alone", held, size * DIM * 4 / 1e6, "MB"))
    report.add(Row(f"{about}: on disk", server.disk() - server.disk_empty, None, "MB"))
    for ef in EFS:
        params = {"metric_type": "COSINE", "params": {"ef": ef}}
        found, times = [], []
        for query in queries:
            began = time.perf_counter()
            hits = engine.client.search(
                name, [query], anns_field="v", limit=NEAREST, search_params=params, consistency_level="Session"
            )
            times.append(time.perf_counter() - began)
            found.append(numbers(hits))
        ours = " (ours)" if ef == 128 else ""
        report.add(
            Row(f"{about}: recall@{NEAREST} at ef {ef}{ours}, over exact", exact.recall(found), 1.0),
            Row(f"{about}: search at ef {ef}{ours}, p50", middle(times) * 1e3, None, "ms"),
            Row(f"{about}: search at ef {ef}{ours}, p95", percentile(times, 0.95) * 1e3, None, "ms"),
        )
        curve = report.curves.setdefault("a search on the server, p95, ms, by memes", {})
        curve.setdefault(f"ef {ef}{ours}", []).append((size, percentile(times, 0.95) * 1e3))
    engine.client.release_collection(name)
    load_s = material.timed(lambda: engine.client.load_collection(name, timeout=600.0))
    report.add(Row(f"{about}: loaded again, as after a restart", load_s, None, "s"))
    own_writes(report, store, engine.client, name, mixture, about)
    engine.client.drop_collection(name, timeout=60.0)
    time.sleep(SETTLE_S)


def p95(store: Any, queries: Vectors) -> float:
    """Milliseconds, by our own store."""
    return 1e3 * percentile(
        [material.timed(lambda q=query: store.search_pictures(q, LIMIT)) for query in queries],  # type: ignore[misc]
        0.95,
    )


def build(client: Any, name: str, size: int) -> float:
    """Seconds until all rows are indexed, by the server's own count."""
    began = time.perf_counter()
    client.flush(name, timeout=600.0)
    while True:
        described = client.describe_index(name, "v")
        done, total = int(described.get("indexed_rows", 0)), int(described.get("total_rows", 0))
        pending = int(described.get("pending_index_rows", 0))
        if min(done, total) >= size and not pending:
            break
        if time.perf_counter() > began + BUILD_S:
            raise RuntimeError(f"not indexed: {described}")
        time.sleep(0.5)
    return time.perf_counter() - began


def own_writes(report: Report, store: Any, client: Any, name: str, mixture: Mixture, about: str) -> None:
    """A vector is stored and searched for at once."""
    number = 2**40
    for level in LEVELS:
        calm, at_once, seen, later = [], [], 0, []
        for vector in mixture.some(WRITES, 2**31):
            time.sleep(0.3)  # nobody writes just before
            began = time.perf_counter()
            nearest(store, client, name, vector, level)
            calm.append(time.perf_counter() - began)
        for vector in mixture.some(WRITES, 2**31 + 1):
            number += 1
            store.insert_pictures([(digest(number), 0, vector)])
            written = time.perf_counter()
            found = nearest(store, client, name, vector, level) == number
            at_once.append(time.perf_counter() - written)
            seen += found
            while not found:
                found = nearest(store, client, name, vector, level) == number
            later.append(time.perf_counter() - written)
            store.delete_pictures([digest(number)])
        report.add(
            Row(f"{about}: search, {level} consistency, nothing just written, p50", middle(calm) * 1e3, None, "ms"),
            Row(f"{about}: search, {level} consistency, right after a write, p50", middle(at_once) * 1e3, None, "ms"),
            Row(
                f"{about}: search, {level} consistency, right after a write, p95",
                percentile(at_once, 0.95) * 1e3,
                None,
                "ms",
            ),
            Row(f"{about}: such searches that find what was written, {level} consistency", seen, WRITES),
            Row(
                f"{about}: from a write until it is found, {level} consistency, p95",
                percentile(later, 0.95) * 1e3,
                None,
                "ms",
            ),
        )


def nearest(store: Any, client: Any, name: str, vector: Any, level: str) -> int:
    if level == OURS:
        return int(store.search_pictures(vector, 1)[0].digest, 16)
    params = {"metric_type": "COSINE", "params": {"ef": 128}}
    found = client.search(
        name, [vector], anns_field="v", limit=1, search_params=params, consistency_level=level, timeout=30.0
    )
    return numbers(found)[0]


def by_hosts(report: Report, engine: Engine, hosts: int, each: int, searches: int) -> None:
    """One daemon's search of its own, and over all."""
    from memewatchd.index.store import Store
    from memewatchd.meme import FileRow, FileStat

    mixture = Mixture(each)
    stores = [Store(engine, "shared_", f"host-{number}") for number in range(hosts)]
    for number, store in enumerate(stores):
        store.open_files()
        store.open_pictures(FINGERPRINT, DIM)
        for start in range(0, each, CHUNK):
            some = [digest(number * each + n) for n in range(start, min(each, start + CHUNK))]
            vectors = mixture.some(len(some), number * each + start)
            store.insert_pictures((one, 0, vector) for one, vector in zip(some, vectors, strict=True))
            store.insert_files(
                FileRow(b"/home/u/%s.png" % one.encode(), FileStat(1, 1, 1, 1), one, 1, 8, 8, 1) for one in some
            )
        build(engine.client, f"shared_host_host_{number}__pictures_{FINGERPRINT}", each)
    time.sleep(SETTLE_S)
    ours = stores[0]
    alone, over_all = [], []
    for query in mixture.some(searches, 2**31):
        alone.append(material.timed(lambda q=query: ours.search_pictures(q, LIMIT)))  # type: ignore[misc]
        over_all.append(material.timed(lambda q=query: ours.search_elsewhere(q, LIMIT)))  # type: ignore[misc]
    about = f"{hosts} hosts of {each:,} vectors"
    for share, name in ((0.5, "p50"), (0.95, "p95")):
        others, own = percentile(over_all, share) * 1e3, percentile(alone, share) * 1e3
        report.add(Row(f"{about}: the others' searched, over one's own, {name}", others, own, "ms"))


@contextmanager
def served() -> Iterator[tuple[Server, Engine]]:
    """A server that holds nothing, and our engine on it; both are gone afterwards."""
    from memewatchd.index.engine import Engine

    with tempfile.TemporaryDirectory(prefix="meme-", ignore_cleanup_errors=True) as temporary, ExitStack() as alive:
        server = Server(Path(temporary), alive)
        with Engine.open(server.uri, server.token, Path(temporary)) as engine:
            yield server, engine


def main() -> None:
    """Each size on a server of its own."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000], help="vectors")
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--hosts", type=int, default=10, help="that share the server; 0 leaves that out")
    parser.add_argument("--each", type=int, default=10_000, help="vectors of a host")
    options = parser.parse_args()
    report = Report()
    for size in options.sizes:
        with served() as (server, engine):
            report.add(Row(f"{size:,} vectors: the server's memory before them", server.empty, None, "MB"))
            by_size(report, server, engine, size, options.searches)
    if options.hosts:
        with served() as (_, engine):
            by_hosts(report, engine, options.hosts, options.each, options.searches)
    report.save(options.json)


if __name__ == "__main__":
    main()
