"""Reaction: a picture dropped into the folder of an idle daemon until it is searchable; a folder of memes renamed.

    python benchmarks/reaction.py [--drops 30] [--renamed 5000]

A drop is compared with what can't be avoided, measured in the same run: the quiet moment that events are waited for,
one bare forward pass of the bundled model, one insert of the picture's row and one of the file's. A rename with the
engine's own writes of as many rows: inserts of the new, one delete of the old. Medians: of five renames, and of five
such writes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import material
import numpy as np
from rows import Report, Row, arguments, middle

BATCH = 500
RENAMES = 5
REST_S = 2.0
"""Before each rename, and before each of the writes that it is compared with."""
PAUSE_S = 0.3
"""Before each drop, and before each of what it is compared with: after a pause caches are cold, and threads asleep."""


def drops(home: Path, count: int) -> list[float]:
    """Seconds from the end of the copy's beginning to the event that says it can be found."""
    from real_daemon import Daemon, picture

    (home / "Memes").mkdir()
    for seed in range(200):
        picture(home / "Memes" / f"{seed}.png", seed)
    times = []
    with Daemon(home, "--model", "bundled") as daemon:
        daemon.wait()
        events = daemon.lines(op="events")
        next(events)
        for seed in range(1000, 1000 + count):
            picture(home / "drop.png", seed)
            began = time.perf_counter()
            shutil.copy(home / "drop.png", home / "Memes" / f"dropped {seed}.png")
            event = next(events)
            assert event["event"] == "added", event
            times.append(time.perf_counter() - began)
            time.sleep(PAUSE_S)
    return times


def one_forward() -> float:
    """Seconds for one picture through the picture tower."""
    encoder = material.encoder(material.bundled())
    frame = np.random.default_rng(0).integers(0, 256, (encoder.spec.crop, encoder.spec.crop, 3), dtype=np.uint8)
    times = []
    for _ in range(22):
        time.sleep(PAUSE_S)
        times.append(material.timed(lambda: encoder.encode_images([frame])))
    return middle(times[2:])


def one_insert(home: Path) -> float:
    """Seconds for a row of a picture and a row of its file, in an index of 200."""
    home.mkdir()
    index = material.fill(home, 200)
    state = material.state_dir(home)
    from memewatchd.index.engine import Engine

    with Engine.open(str(state / "index.db"), "", state) as engine:
        client = engine.client
        name = f"memewatchd_pictures_{index.fingerprint}"
        for each in (name, "memewatchd_files"):
            client.load_collection(each)
        (file,) = client.query("memewatchd_files", filter='id > ""', output_fields=["*"], limit=1)
        times = []
        for number in range(30):
            row = {"id": f"{number:064x}-0", "digest": f"{number:064x}", "frame": 0, "v": index.vectors[0]}
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            client.insert(name, [row])
            client.insert("memewatchd_files", [{**file, "id": f"{number:064x}"}])
            times.append(time.perf_counter() - began)
    return middle(times)


def rename(home: Path, count: int) -> tuple[float, float]:
    """Seconds until all of a renamed folder is found under its new name; and for the engine's own writes of that."""
    from real_daemon import Daemon

    from memewatchd.index.engine import Engine

    home.mkdir()
    material.fill(home, count, "old")
    with Daemon(home, "--model", "bundled") as daemon, material.connected(daemon.socket) as ask:
        ask(op="wait")
        ours = []
        for number in range(RENAMES):
            time.sleep(REST_S)
            before, after = (home / "Memes" / name for name in (("old", "new"), ("new", "old"))[number % 2])
            began = time.perf_counter()
            before.rename(after)
            ask(op="wait")
            ours.append(time.perf_counter() - began)
        status = daemon.status()
        # Their content is no picture: had one been read, it would have failed.
        assert (status["indexed"], status["failed"], status["encoded"]) == (count, 0, 0), status
        assert all(after.name.encode() in path.split(b"/") for path in daemon.listed())
    state = material.state_dir(home)
    with Engine.open(str(state / "index.db"), "", state) as engine:
        client = engine.client
        client.load_collection("memewatchd_files")
        pages = client.query_iterator("memewatchd_files", batch_size=1000, output_fields=["*"])
        rows = []
        while page := pages.next():
            rows += page
        writes = []
        for _ in range(RENAMES):
            time.sleep(REST_S)
            fresh = [{**row, "id": os.urandom(32).hex()} for row in rows]
            began = time.perf_counter()
            for start in range(0, count, BATCH):
                client.insert("memewatchd_files", fresh[start : start + BATCH])
            client.delete("memewatchd_files", ids=[row["id"] for row in rows])
            writes.append(time.perf_counter() - began)
            rows = fresh
    return middle(ours), middle(writes)


def main() -> None:
    """Drop, wait to be told, measure; then rename."""
    parser = arguments(__doc__)
    parser.add_argument("--drops", type=int, default=30)
    parser.add_argument("--renamed", type=int, default=5000, help="files in the folder that is renamed")
    options = parser.parse_args()
    from memewatchd.agenda import QUIET_S

    report = Report()
    with tempfile.TemporaryDirectory(prefix="meme-") as temporary:
        base = Path(temporary)
        (base / "drops").mkdir()
        times = drops(base / "drops", options.drops)
        forward, insert = one_forward(), one_insert(base / "insert")
        parts = QUIET_S + forward + insert
        report.add(
            Row(
                "drop to searchable, over quiet moment + one encode + one insert",
                middle(times) * 1e3,
                parts * 1e3,
                "ms",
                at_most=1.2,
            )
        )
        report.note(
            f"Drops: least {min(times) * 1e3:.0f} ms, most {max(times) * 1e3:.0f} ms. The quiet moment "
            f"{QUIET_S * 1e3:.0f} ms, one encode {forward * 1e3:.1f} ms, one insert of both rows {insert * 1e3:.1f} ms."
        )
        ours, writes = rename(base / "rename", options.renamed)
        what = f"rename of a folder of {options.renamed:,}, over the engine's own writes"
        report.add(Row(what, ours, writes, "s", at_most=1.5))
    report.save(options.json)


if __name__ == "__main__":
    main()
