"""Indexing: pictures a second of the whole pipeline, over the same model's bare forward passes on ready tensors.

    python benchmarks/indexing.py [--count 2000] [--models bundled b32 b16]

The pipeline is the daemon's (walk, digest, decode, preprocess, encode, store), from a folder that is moved into its
own until all is searchable. The bare model has the same batch and threads, ready tensors, and nothing else of ours: one
batch after another, on all cores, with the heap as glibc has it. The daemon's way to run it (two batches at once on
half of the cores each, and a heap that keeps what is free) is measured bare as well, so that it is seen what the rest
of the pipeline costs. So is what decoding alone does on the same cores: where the two share them, no pipeline can do
more than 1 / (1 / bare + 1 / decoding).
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


def bare(folder: Path, batches: int, at_once: int = 1) -> float:
    """Pictures a second through the picture tower alone; run in a process of its own.

    ``at_once``: more than one is the daemon's way: so many batches, each on its share of the cores.
    """
    import threading

    import torch

    from memewatchd.encoders import resting
    from memewatchd.encoders.cpu import physical_cores
    from memewatchd.encoders.host import BATCH

    if at_once > 1:
        resting.set_up_heaps()
    encoder = material.encoder(folder)
    tower = encoder._model.get_image_features  # noqa: SLF001 - bare is without what is ours
    times: list[float] = []

    def pass_after_pass() -> None:
        torch.set_num_threads(max(1, physical_cores() // at_once))
        values = torch.randn(BATCH, 3, encoder.spec.crop, encoder.spec.crop)
        with torch.inference_mode():
            own = [material.timed(lambda: tower(pixel_values=values)) for _ in range(batches // at_once + 2)]
        times.extend(own[2:])

    threads = [threading.Thread(target=pass_after_pass) for _ in range(at_once)]
    encoder.pause()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return at_once * BATCH / middle(times)


def bare_elsewhere(folder: Path, batches: int, at_once: int = 1) -> float:
    """As :func:`bare`, in a process that knows nothing else."""
    command = [sys.executable, __file__, "--bare", str(folder), "--batches", str(batches), "--at-once", str(at_once)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
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
    """Measure each model."""
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=2000, help="pictures")
    parser.add_argument("--batches", type=int, default=50, help="bare forward passes")
    parser.add_argument("--at-once", type=int, default=1, help="with --bare: batches at once")
    parser.add_argument("--models", nargs="+", choices=ASKED, default=list(ASKED))
    parser.add_argument("--bare", type=Path, help="only this: the bare pace of the model in that folder")
    options = parser.parse_args()
    if options.bare:
        print(bare(options.bare, options.batches, options.at_once))
        return
    report = Report()
    with tempfile.TemporaryDirectory(prefix="meme-") as temporary:
        base = Path(temporary)
        pictures = base / "pictures"
        material.pictures(pictures, options.count)
        for name in options.models:
            patch = {"b32": 32, "b16": 16}.get(name)
            folder = material.bundled() if patch is None else material.clip(base / name, patch)
            compare(report, name, name if patch is None else str(folder), folder, pictures, options.batches)
    report.save(options.json)


def compare(report: Report, name: str, model: str, folder: Path, pictures: Path, batches: int) -> None:
    """Bare in both ways, through the daemon, bare again."""
    from memewatchd.encoders.host import IMAGE_THREADS

    count = len(list(pictures.iterdir()))
    before = [bare_elsewhere(folder, batches, at_once) for at_once in (1, IMAGE_THREADS)]
    ours = pipeline(pictures, model)
    after = [bare_elsewhere(folder, batches, at_once) for at_once in (1, IMAGE_THREADS)]
    (tower, our_way), decoded = ((b + a) / 2 for b, a in zip(before, after, strict=True)), decoding(pictures, folder)
    report.add(
        Row(f"indexing {count:,} pictures with {NAMES[name]}", ours, tower, "/s", at_least=ASKED[name]),
        Row("the same, over the model run bare in the daemon's way", ours, our_way, "/s"),
        Row("and over what cores shared with decoding allow then", ours, 1 / (1 / our_way + 1 / decoded), "/s"),
    )
    told = "; ".join(
        f"{way} before and after {b:.3g} and {a:.3g}/s"
        for way, b, a in zip(("bare", "in the daemon's way"), before, after, strict=True)
    )
    report.note(f"{NAMES[name]}: {told}; decoding alone {decoded:.3g}/s.")


if __name__ == "__main__":
    main()
