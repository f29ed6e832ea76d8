"""A warm search over the socket, over the sum of its parts measured bare: text encoding and the engine's own search.

    python benchmarks/searching.py [--sizes 1000 20000 100000] [--queries 200] [--pictures 5000]

Both ask the same queries, none of them twice. The parts are summed query by query. Then again while pictures are being
indexed, and while the words in pictures are read, over the same daemon's own idle figure.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import material
from rows import Report, Row, arguments, middle, percentile

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 20
WARM = 10
GROUP, PAUSE_S = 10, 0.1
SOME_READ = 50
CALM_S = 15.0
"""By then what the daemon does at leisure after a start is done."""


def bare(home: Path, asked: list[str], index: material.Index) -> list[float]:
    """Seconds for each query: encoded, and its vector searched for in the engine that holds the index."""
    from memewatchd.index.engine import Engine
    from memewatchd.index.store import Store

    encoder = material.encoder(material.bundled())
    state = material.state_dir(home)
    times = []
    with Engine.open(str(state / "index.db"), "", state) as engine:
        store = Store(engine)
        store.open_pictures(index.fingerprint, encoder.dim)
        name = f"memewatchd_pictures_{index.fingerprint}"
        for text in [*material.queries(WARM, seed=9), *asked]:
            began = time.perf_counter()
            vector = encoder.encode_text(text)
            engine.client.search(
                name, [vector.tolist()], anns_field="v", limit=LIMIT, search_params={"metric_type": "COSINE"}
            )
            times.append(time.perf_counter() - began)
    return times[WARM:]


def asked_of(socket_path: str, texts: list[str]) -> list[float]:
    """Seconds for each query over one connection."""
    times = []
    with material.connected(socket_path) as ask:
        for text in texts:
            began = time.perf_counter()
            ask(op="search", text=text, limit=LIMIT)
            times.append(time.perf_counter() - began)
    return times


def by_size(report: Report, base: Path, size: int, count: int) -> None:
    """An index of ``size`` memes, whose vectors are random."""
    from real_daemon import Daemon

    home = base / str(size)
    home.mkdir()
    index = material.fill(home, size)
    asked = material.queries(count)
    parts = bare(home, asked, index)
    with Daemon(home, "--model", "bundled") as daemon:
        with material.connected(daemon.socket) as ask:
            ask(op="wait")
        time.sleep(CALM_S)
        asked_of(daemon.socket, material.queries(WARM, seed=9))
        ours = asked_of(daemon.socket, asked)
        status = daemon.status()
        assert (status["indexed"], status["failed"], status["encoded"]) == (size, 0, 0), status
    for share, name in ((0.5, "p50"), (0.95, "p95")):
        mine, theirs = percentile(ours, share) * 1e3, percentile(parts, share) * 1e3
        report.add(Row(f"search among {size:,}, {name}", mine, theirs, "ms", at_most=1.15))
        curve = report.curves.setdefault("a search over the socket, ms, by memes", {})
        curve.setdefault(f"ours, {name}", []).append((size, mine))
        curve.setdefault(f"its parts, bare, {name}", []).append((size, theirs))
    shutil.rmtree(home)
    gc.collect()


def while_busy(report: Report, base: Path, pictures: int, count: int, *, words: bool) -> None:
    """The same daemon idle, then while it indexes, or while it reads words."""
    from real_daemon import Daemon

    home = base / ("words" if words else "indexing")
    (home / "Memes").mkdir(parents=True)
    material.pictures(home / "Memes" / "first", pictures if words else 100, seed=1)
    if not words:
        material.pictures(home / "new", pictures, seed=2)
    with (
        Daemon(home, "--model", "bundled", MEMEWATCHD_WORDS=str(words).lower()) as daemon,
        material.connected(daemon.socket) as ask,
    ):
        ask(op="wait")
        if words:
            # From the first words on Milvus is asked for words as well: so it shall be in both.
            daemon.until(lambda: daemon.status()["words_pending"] < pictures - SOME_READ, "some are read")
            ask(op="pause")
            time.sleep(5)  # what is being read is finished
        asked_of(daemon.socket, material.queries(WARM, seed=9))
        idle = _in_groups(daemon, count, seed=500)
        if words:
            ask(op="resume")
            busy = _in_groups(daemon, count, seed=1000, while_="words_pending")
            doing = "while the words in pictures are read"
        else:
            (home / "new").rename(home / "Memes" / "new")
            busy = _in_groups(daemon, count, seed=1000, while_="pending")
            doing = f"while {pictures:,} pictures are being indexed"
    report.add(
        Row(f"search {doing}, p50, over idle", middle(busy) * 1e3, middle(idle) * 1e3, "ms"),
        Row(
            f"search {doing}, p95, over idle",
            percentile(busy, 0.95) * 1e3,
            percentile(idle, 0.95) * 1e3,
            "ms",
            at_most=1.5 if words else 3.0,
        ),
    )


def _in_groups(daemon: Any, count: int, *, seed: int, while_: str = "") -> list[float]:
    """Seconds for each of ``count`` queries, in groups with pauses between, as people ask; both sides of a comparison
    are asked so, for what comes after a pause finds cold caches. Ends when nothing is left of ``while_`` in status."""
    status: Callable[[], dict[str, Any]] = daemon.status
    if while_:
        daemon.until(lambda: status()[while_], f"{while_} > 0")
    times: list[float] = []
    for start in range(0, count, GROUP):
        now = status()
        if while_ and not now[while_]:
            break
        times += asked_of(daemon.socket, material.queries(GROUP, seed=seed + start))
        time.sleep(PAUSE_S)
    assert times, "it was done before a query was asked: give it more pictures"
    return times


def main() -> None:
    """By size, then busy."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 20_000, 100_000], help="memes")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--pictures", type=int, default=5000, help="to index while searching; 0 leaves that out")
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="meme-") as temporary:
        base = Path(temporary)
        for size in options.sizes:
            by_size(report, base, size, options.queries)
        if options.pictures:
            while_busy(report, base, options.pictures, options.queries, words=False)
            while_busy(report, base, options.pictures, options.queries, words=True)
    report.save(options.json)


if __name__ == "__main__":
    main()
