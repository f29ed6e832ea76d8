"""Indexing: pictures a second of the whole pipeline, over the same model's bare forward passes on ready tensors.

    python benchmarks/indexing.py [--count 2000] [--models bundled b32 b16]

The pipeline is the daemon's (walk, digest, decode, preprocess, encode, store), from a folder that is moved into its
own until all is searchable; the bare model has the same batch and threads, and ready tensors. What decoding alone does
on the same cores is measured too: where the two share the cores, no pipeline can do more than 1 / (1 / bare + 1 /
decoding).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import material
from rows import Report, Row, arguments, middle

ASKED = {"bundled": 0.75, "b32": 0.90, "b16": 0.90}
NAMES = {"bundled": "the bundled encoder", "b32": "a CLIP ViT-B/32", "b16": "a CLIP ViT-B/16"}
WARM = 8


def bare(folder: Path, batches: int) -> float:
    """Pictures a second through the picture tower alone; run in a process of its own."""
    import torch

    from memewatchd.encoders.cpu import physical_cores
    from memewatchd.encoders.host import BATCH

    encoder = material.encoder(folder)
    torch.set_num_threads(physical_cores())
    values = torch.randn(BATCH, 3, encoder.spec.crop, encoder.spec.crop)
    tower = encoder._model.get_image_features  # noqa: SLF001 - bare is without what is ours
    with torch.inference_mode():
        times = [material.timed(lambda: tower(pixel_values=values)) for _ in range(batches + 2)]
    return BATCH / middle(times[2:])


def bare_elsewhere(folder: Path, batches: int) -> float:
    """As :func:`bare`, in a process that knows nothing else."""
    done = subprocess.run(
        [sys.executable, __file__, "--bare", str(folder), "--batches", str(batches)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout.split()[-1])


def decoding(pictures: Path, folder: Path) -> float:
    """Pictures a second through the decode children alone, as many as the daemon has."""
    import os

    from memewatchd.pictures.pool import DecodePool

    spec = material.encoder(folder).spec
    files = sorted(pictures.iterdir())
    workers = max(1, min(4, len(os.sched_getaffinity(0))))
    with DecodePool(workers) as pool:

        def all_of_them() -> None:
            waiting = []
            for file in files:
                with file.open("rb") as stream:
                    waiting.append(pool.submit(stream.fileno(), spec, 8))
                if len(waiting) >= 4 * workers:
                    waiting.pop(0).result()
            for one in waiting:
                one.result()

        return len(files) / material.timed(all_of_them)


def pipeline(pictures: Path, model: str) -> float:
    """Pictures a second of the daemon."""
    from real_daemon import Daemon

    count = len(list(pictures.iterdir()))
    home = Path(tempfile.mkdtemp(prefix="meme-", dir=pictures.parent))
    (home / "Memes").mkdir()
    material.small_pictures(home / "Memes" / "warm", WARM, 10**6)
    shutil.copytree(pictures, home / "new", copy_function=shutil.copyfile)
    with Daemon(home, "--model", model) as daemon:
        with material.connected(daemon.socket) as ask:
            ask(op="wait")
            began = time.perf_counter()
            (home / "new").rename(home / "Memes" / "new")
            ask(op="wait")
            seconds = time.perf_counter() - began
        status = daemon.status()
        assert (status["failed"], status["indexed"]) == (0, count + WARM), status
    shutil.rmtree(home)
    return count / seconds


def main() -> None:
    """Measure each model: bare, through the daemon, bare again."""
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=2000, help="pictures")
    parser.add_argument("--batches", type=int, default=50, help="bare forward passes")
    parser.add_argument("--models", nargs="+", choices=ASKED, default=list(ASKED))
    parser.add_argument("--bare", type=Path, help="only this: the bare pace of the model in that folder")
    options = parser.parse_args()
    if options.bare:
        print(bare(options.bare, options.batches))
        return
    report = Report()
    with tempfile.TemporaryDirectory(prefix="meme-") as temporary:
        base = Path(temporary)
        pictures = base / "pictures"
        material.pictures(pictures, options.count)
        for name in options.models:
            patch = {"b32": 32, "b16": 16}.get(name)
            folder = material.bundled() if patch is None else material.clip(base / name, patch)
            before = bare_elsewhere(folder, options.batches)
            ours = pipeline(pictures, name if patch is None else str(folder))
            after = bare_elsewhere(folder, options.batches)
            tower, decoded = (before + after) / 2, decoding(pictures, folder)
            report.add(
                Row(f"indexing {options.count:,} pictures with {NAMES[name]}", ours, tower, "/s", at_least=ASKED[name]),
                Row("the same, over what cores shared with decoding allow", ours, 1 / (1 / tower + 1 / decoded), "/s"),
            )
            report.note(
                f"{NAMES[name]}: bare before and after {before:.3g} and {after:.3g}/s; decoding alone {decoded:.3g}/s."
            )
    report.save(options.json)


if __name__ == "__main__":
    main()
