"""What each Milvus does with an index like ours: the embedded engine in use, the other line of it, a real server.

    python benchmarks/engines.py [--sizes 1000 20000 100000] [--engines lite2 lite3 lite3hnsw server]

lite2 is the milvus-lite that setup.cfg names, lite3 the newest 3.x (in an environment of its own under .run/, made with
pip once; lite3hnsw the same with the index that 2.5 lacks), server the standalone Milvus of PyPI's `milvus`. Each in a
process of its own, by the same calls of pymilvus; rows as ours: a picture's vector of 384 numbers, a file's stat
fields, words with BM25 by jieba. Of the embedded ones also what other users of the machine can reach: open TCP ports
as pymilvus starts them, whether a call with a wrong token is answered there, and open ports where a Unix socket is
asked for. Medians are of 20 calls, of searches of 100; of an engine that takes over half a minute for them, of as many
as it does in that, and of 10 at least.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rows import Report, Row, arguments, middle, percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REPO = Path(__file__).resolve().parents[1]
DIM = 384
BATCH = 500
TIMES = 20
SEARCHES = 100
PATIENCE_S = 30.0
RENAMED = 5000
NAMES = {
    "lite2": "milvus-lite 2.5.1",
    "lite3": "milvus-lite 3.x",
    "lite3hnsw": "milvus-lite 3.x with HNSW",
    "server": "the server 2.3.5",
}
UNITS = {"rows written a second": "/s", "memory": "MB", "open TCP ports": "", "start to the first search": "s"}
UNITS |= {"calls with a wrong token": "", "disk": "MB"}
STAT = ("id", "path", "digest", "size", "mtime_ns", "ctime_ns", "ino")
WORDS = ("cat", "dog", "frog", "crying", "angry", "happy", "coffee", "monday", "boss", "sleep", "money", "猫咪", "生气")


# ---- in a process of its own; it may know nothing but pymilvus and numpy


def connect(engine: str, uri: str) -> Any:
    """pymilvus' client, and what must be kept alive with it."""
    if engine == "lite2":
        sys.path.insert(0, str(REPO))
        from memewatchd.index.engine import Engine

        return Engine.open(uri, "", Path(uri).parent).client
    from pymilvus import MilvusClient

    return MilvusClient(uri, token="root:Milvus") if engine == "server" else MilvusClient(uri)


def create(client: Any, engine: str) -> list[str]:
    """The collections; their names."""
    from pymilvus import DataType, Function, FunctionType

    names = []
    for kind in ("files", "pictures", "words"):
        if kind == "words" and engine == "server":
            continue  # 2.3 has no BM25
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=80)
        schema.add_field("digest", DataType.VARCHAR, max_length=64)
        params = client.prepare_index_params()
        if kind == "pictures":
            schema.add_field("v", DataType.FLOAT_VECTOR, dim=DIM)
            hnsw = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}}
            exact = {"index_type": "FLAT"}
            params.add_index("v", metric_type="COSINE", **(exact if engine in ("lite2", "lite3") else hnsw))
        elif kind == "files":
            schema.add_field("path", DataType.VARCHAR, max_length=8192)
            for name in STAT[3:]:
                schema.add_field(name, DataType.INT64)
            schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)
            params.add_index("unused", index_type="FLAT", metric_type="L2")
        else:
            schema.add_field(
                "searched",
                DataType.VARCHAR,
                max_length=8192,
                enable_analyzer=True,
                analyzer_params={"tokenizer": "jieba", "filter": ["lowercase"]},
            )
            schema.add_field("bm25", DataType.SPARSE_FLOAT_VECTOR)
            schema.add_function(
                Function(
                    name="bm25",
                    function_type=FunctionType.BM25,
                    input_field_names=["searched"],
                    output_field_names=["bm25"],
                )
            )
            params.add_index("bm25", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
        client.create_collection(kind, schema=schema, index_params=params, consistency_level="Session")
        names.append(kind)
    return names


def rows_of(kind: str, numbers: range, salt: str = "") -> list[dict[str, Any]]:
    """Rows of a collection; other salt, other keys."""
    random = np.random.default_rng(numbers.start)
    vectors = random.standard_normal((len(numbers), DIM), dtype=np.float32)
    found = []
    for number, vector in zip(numbers, vectors, strict=True):
        row: dict[str, Any] = {"id": f"{salt}{number:064x}", "digest": f"{number:064x}"}
        if kind == "pictures":
            row["v"] = vector / np.linalg.norm(vector)
        elif kind == "files":
            row |= {"path": f"/home/somebody/Memes/{salt}{number}.png", "unused": [0.0, 0.0]}
            row |= dict.fromkeys(STAT[3:], number)
        else:
            row["searched"] = " ".join(random.choice(WORDS, 6)) + f" {number}"
        found.append(row)
    return found


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def each(work: Callable[[Any], object], values: Sequence[Any]) -> list[float]:
    """Seconds of a call with each value; who takes longer than :data:`PATIENCE_S` for them isn't given all."""
    found: list[float] = []
    for value in values:
        found.append(timed(lambda value=value: work(value)))  # type: ignore[misc]
        if sum(found) > PATIENCE_S and len(found) >= TIMES // 2:
            break
    return found


def look_up(client: Any, number: int) -> Any:
    """The rows of a digest."""
    return client.query("pictures", filter=f'digest in ["{number:064x}"]', output_fields=["id"])


def search(client: Any, number: int) -> Any:
    """Dense, the best 20; ``ef``, which exact indexes ignore, as our store has it."""
    (row,) = rows_of("pictures", range(number, number + 1))
    params = {"metric_type": "COSINE", "params": {"ef": 128}}
    return client.search("pictures", [row["v"]], anns_field="v", limit=20, search_params=params)


def measure(engine: str, uri: str, size: int) -> dict[str, float]:
    """Fill it, and ask it everything that we ask."""
    client = connect(engine, uri)
    names = create(client, engine)
    found: dict[str, float] = {}
    parts = [range(start, min(size, start + BATCH)) for start in range(0, size, BATCH)]
    seconds = 0.0
    for part in parts:
        for kind in names:
            rows = rows_of(kind, part)
            seconds += timed(lambda kind=kind, rows=rows: client.insert(kind, rows))  # type: ignore[misc]
    found["rows written a second"] = size * len(names) / seconds
    new = [rows_of("pictures", range(size + n, size + n + 1)) for n in range(TIMES)]
    found["insert of 1"] = 1e3 * middle(each(lambda row: client.insert("pictures", row), new))
    found["delete of 1"] = 1e3 * middle(each(lambda row: client.delete("pictures", ids=[row[0]["id"]]), new))
    extra = [row for start in (0, BATCH // 2) for row in rows_of("pictures", range(start, start + BATCH // 2), "e")]
    client.insert("pictures", extra)
    found[f"delete of {BATCH}"] = 1e3 * timed(lambda: client.delete("pictures", ids=[row["id"] for row in extra]))
    found[f"rename of {min(size, RENAMED):,}"] = 1e3 * rename(client, min(size, RENAMED))
    random = np.random.default_rng(2)
    some = [int(number) for number in random.integers(0, size, TIMES)]
    found["look-up by digest"] = 1e3 * middle(each(lambda number: look_up(client, number), some))
    wanted = [int(number) for number in random.integers(0, size, SEARCHES)]
    busy = processor_s()
    times = each(lambda number: search(client, number), wanted)
    if engine != "server":
        found["search, processor time"] = 1e3 * (processor_s() - busy) / len(times)
    found["search"], found["search, p95"] = 1e3 * middle(times), 1e3 * percentile(times, 0.95)
    if "words" in names:
        asked = [" ".join(random.choice(WORDS, 2)) for _ in range(SEARCHES)]
        times = each(lambda text: client.search("words", [text], anns_field="bm25", limit=20), asked)
        found["search by BM25"], found["search by BM25, p95"] = 1e3 * middle(times), 1e3 * percentile(times, 0.95)
    found["all stat fields read"] = 1e3 * timed(lambda: read_all(client))
    return found


def rename(client: Any, count: int) -> float:
    """Seconds to write new rows of so many files and delete the old ones."""
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        client.insert("files", rows_of("files", range(start, min(count, start + BATCH)), "n"))
    client.delete("files", ids=[f"{number:064x}" for number in range(count)])
    return time.perf_counter() - began


def read_all(client: Any) -> int:
    """The rows of all files, in pages; how many there are."""
    total = 0
    pages = client.query_iterator("files", batch_size=1000, output_fields=list(STAT))
    while page := pages.next():
        total += len(page)
    pages.close()
    return total


def worker(engine: str, uri: str, size: int, *, first: bool) -> None:
    """Print the figures as JSON. ``first``: fill it; else open what is there."""
    began = time.perf_counter()
    if first:
        found = measure(engine, uri, size)
    else:
        client = connect(engine, uri)
        for name in ("files", "pictures"):
            client.load_collection(name)
        search(client, 0)
        found = {"start to the first search": time.perf_counter() - began}
        if engine != "server":
            found |= reachable(engine, Path(uri))
    if engine != "server":
        key = "memory, filled and asked" if first else "memory, opened"
        found[key] = sum(peak_mb(pid) for pid in processes(os.getpid()))
    print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # some engine's threads don't end


def reachable(engine: str, file: Path) -> dict[str, float]:
    """What of an engine that is open in this process anybody on this machine can reach."""
    ports = listening(processes(os.getpid()))
    found: dict[str, float] = {"open TCP ports": len(ports)}
    if engine == "lite2" or not ports:
        return found  # a Unix socket in a private folder
    from milvus_lite.adapter.grpc.server import start_server_in_thread
    from pymilvus import MilvusClient

    stranger = MilvusClient(f"http://127.0.0.1:{int(ports[0].rpartition(':')[2], 16)}", token="nobody:wrong")
    found["calls with a wrong token that are answered"] = len(stranger.list_collections()) > 0
    # gRPC takes this for the address of a socket `s:0`; pymilvus has no way to say it.
    kept = start_server_in_thread(str(file.with_name("other.db")), host=f"unix:{file.with_name('s')}", port=0)
    MilvusClient(f"unix:{file.with_name('s')}:0").list_collections()
    found["open TCP ports more on a Unix socket"] = len(listening(processes(os.getpid()))) - len(ports)
    kept[0].stop(grace=0)
    return found


def processes(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            for child in (task / "children").read_text().split():
                found += processes(int(child))
    return found


def processor_s() -> float:
    """Processor time of this process and all that it started: other than a search's own time, a busy machine leaves it
    nearly as it is."""
    ticks = 0
    for pid in processes(os.getpid()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """The most that a process has held in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def listening(pids: list[int]) -> list[str]:
    """The TCP ports on which these processes listen."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets.add(os.readlink(link))
            except OSError:
                continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.append(fields[1])
    return found


# ---- the program


def environment_of_lite3() -> str:
    """The Python that has milvus-lite 3.x; made with pip where it isn't there yet."""
    folder = REPO / ".run" / "milvus-lite-3"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        wanted = ["milvus-lite>=3,<4", "pymilvus>=3.0.2,<3.1", "numpy", "jieba"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        (folder / "complete").touch()
    return str(python)


def run(python: str, *arguments: str) -> dict[str, float]:
    """A worker's figures."""
    done = subprocess.run([python, __file__, *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def start_server(folder: Path, alive: ExitStack) -> tuple[str, Callable[[], float]]:
    """A server of our own, until ``alive`` ends: its address, and a function that says its peak memory in MB."""
    sys.path.insert(0, str(REPO / "tests" / "plugins"))
    import milvus_server

    server = alive.enter_context(milvus_server.running(folder))

    def memory() -> float:
        total = 0.0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(folder).encode() in (process / "cmdline").read_bytes() or (
                    str(folder).encode() in (process / "environ").read_bytes()
                ):
                    total += peak_mb(int(process.name))
            except OSError:
                continue
        return total

    return server.uri, memory


def main() -> None:
    """Each engine at each size; then a table."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 20_000, 100_000])
    parser.add_argument("--engines", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--worker", nargs=3, metavar=("ENGINE", "URI", "SIZE"), help="only this, as JSON")
    parser.add_argument("--again", action="store_true", help="with --worker: open what is there")
    options = parser.parse_args()
    if options.worker:
        engine, uri, size = options.worker
        worker(engine, uri, int(size), first=not options.again)
        return
    report = Report()
    pythons = dict.fromkeys(options.engines, sys.executable)
    for name in ("lite3", "lite3hnsw"):
        if name in pythons:
            try:
                pythons[name] = environment_of_lite3()
            except subprocess.CalledProcessError as error:
                report.note(f"{NAMES[name]} could not be installed: {error}")
                del pythons[name]
    for size in options.sizes:
        found = {name: one(name, python, size) for name, python in pythons.items()}
        tell(report, size, found)
    report.save(options.json)


def one(engine: str, python: str, size: int) -> dict[str, float]:
    """All figures of one engine at one size, of a fresh index."""
    base = Path(tempfile.mkdtemp(prefix="meme-"))
    try:
        with ExitStack() as alive:
            memory: Callable[[], float] | None = None
            uri = str(base / "bench.db")
            if engine == "server":
                uri, memory = start_server(base / "server", alive)
            found = run(python, "--worker", engine, uri, str(size))
            if memory is not None:
                found["memory, filled and asked"] = memory()
            else:
                found["disk"] = sum(file.stat().st_size for file in base.rglob("*") if file.is_file()) / 1e6
            return found | run(python, "--worker", engine, uri, str(size), "--again")
    finally:
        shutil.rmtree(base, ignore_errors=True)


def tell(report: Report, size: int, found: dict[str, dict[str, float]]) -> None:
    """The first engine over each of the others."""
    ours, *others = found
    for other in others:
        for what, value in found[ours].items():
            unit = next((unit for start, unit in UNITS.items() if what.startswith(start)), "ms")
            if what in found[other]:
                label = f"{NAMES[ours]} over {NAMES[other]}, {size:,} memes: {what}"
                report.add(Row(label, value, found[other][what], unit))
        alone = {what: value for what, value in found[other].items() if what not in found[ours]}
        report.add(*(Row(f"{NAMES[other]}, {size:,} memes: {what}", value) for what, value in alone.items()))
    if not others:
        report.add(*(Row(f"{NAMES[ours]}, {size:,} memes: {what}", value) for what, value in found[ours].items()))
    for name, values in found.items():
        for what in ("search, p95", "search by BM25, p95"):
            if what in values:
                report.curves.setdefault(f"{what}, ms, by memes", {}).setdefault(NAMES[name], []).append(
                    (size, values[what])
                )


if __name__ == "__main__":
    main()
