"""What each model costs: disk, memory, pictures a second, a query; each against the tutorial's CLIP, in one run.

    python benchmarks/models.py [--models bundled chinese-clip]

The bundled model is itself. The others are random weights of the published models' shapes in the hub's format (speed
and size don't depend on what the weights say), loaded and run as the daemon does, two batches at once; each in a
process of its own. Nothing is downloaded; about 4 GB of temporary disk.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rows import Report, arguments

REPO = Path(__file__).resolve().parents[1]
REFERENCE = "clip"
ROUNDS, BATCHES = 5, 4
BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_TEXT = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
# Published sizes: https://huggingface.co/MODEL/blob/main/config.json of the three in encoders/models.py.
SHAPES: dict[str, dict[str, Any]] = {
    "clip": {
        "text_config": {**CLIP_TEXT, "vocab_size": 49408, "max_position_embeddings": 77},
        "vision_config": {**BASE, "image_size": 224, "patch_size": 16},
        "projection_dim": 512,
    },
    "chinese-clip": {
        "text_config": {**BASE, "vocab_size": 21128, "max_position_embeddings": 512},
        "vision_config": {**BASE, "image_size": 224, "patch_size": 16},
        "projection_dim": 512,
    },
    "siglip2": {
        "text_config": {**BASE, "vocab_size": 256000, "max_position_embeddings": 64, "projection_size": 768},
        "vision_config": {**BASE, "image_size": 224, "patch_size": 16},
    },
}
QUERY = "a cat that is not amused at all"


def write(name: str, folder: Path, patch: int = 16) -> Path:
    """A checkpoint of the published shape: a tiny one's tokenizer and settings, random weights of full size.

    ``patch``: the pixels of a side of a picture's patch.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    spec = importlib.util.spec_from_file_location("tiny_checkpoints", REPO / "tests" / "tiny_checkpoints.py")
    assert spec is not None and spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    tiny.write(name, folder)
    config = AutoConfig.from_pretrained(folder)
    for part, values in SHAPES[name].items():
        for key, value in values.items() if isinstance(values, dict) else ():
            setattr(getattr(config, part), key, value)
        if not isinstance(values, dict):
            setattr(config, part, values)
    config.vision_config.patch_size = patch
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    settings = folder / "preprocessor_config.json"
    values = json.loads(settings.read_text())
    for key in ("size", "crop_size"):
        if isinstance(values.get(key), dict):
            values[key] = dict.fromkeys(values[key], 224)
        elif key in values:
            values[key] = 224
    settings.write_text(json.dumps(values))
    return folder


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(folder: Path, name: str) -> dict[str, float]:
    """In a process of its own: what this model takes and does."""
    import numpy as np

    from memewatchd.encoders import resting
    from memewatchd.encoders.host import BATCH, EncoderHost
    from memewatchd.encoders.models import encoder_class

    resting.set_up_heaps()
    began = time.perf_counter()
    host = EncoderHost(lambda: encoder_class(folder).load(folder, name, device="cpu"))
    host.start()
    edge = host.wait().spec.crop
    loaded = time.perf_counter() - began
    frames = [np.random.default_rng(seed).integers(0, 256, (edge, edge, 3), dtype=np.uint8) for seed in range(BATCH)]
    pictures, queries = [], []
    for number in range(ROUNDS + 1):
        began = time.perf_counter()
        for future in [host.encode_images(frames) for _ in range(BATCHES)]:
            future.result()
        pictures.append(time.perf_counter() - began)
        began = time.perf_counter()
        host.encode_text(f"{QUERY} {number}").result()  # another each time: a repeated one isn't encoded
        queries.append(time.perf_counter() - began)
    weights = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in (".safetensors", ".bin"))
    host.close()
    return {
        "disk_mb": weights / 1e6,
        "ram_mb": resident_mb(),
        "load_s": loaded,
        "pictures_s": BATCHES * BATCH / statistics.median(pictures[1:]),
        "query_ms": statistics.median(queries[1:]) * 1e3,
    }


def main() -> None:
    """Measure all, one after the other, and print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="*", choices=["bundled", *SHAPES], default=["bundled", *SHAPES])
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "NAME"), help="measure that, in this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Path(options.one[0]), options.one[1])))
        return
    found: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys([*options.models, REFERENCE]):
        with tempfile.TemporaryDirectory() as temporary:
            folder = REPO / "memewatchd/encoders/bundled" if name == "bundled" else write(name, Path(temporary) / name)
            command = [sys.executable, __file__, "--one", str(folder), name]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPO)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    report = Report()
    report.note(table(found))
    report.note(f"{os.cpu_count()} CPUs, {BATCHES} batches, median of {ROUNDS}; memory is the encoder's process whole.")
    report.save(options.json)


def table(found: dict[str, dict[str, float]]) -> str:
    """Of a shape of its own."""
    pace = found[REFERENCE]["pictures_s"]
    lines = [
        f"| model | disk, MB | memory, MB | load, s | pictures/s | of {REFERENCE}'s pace | a query, ms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, values in found.items():
        lines.append(
            f"| {name} | {values['disk_mb']:.0f} | {values['ram_mb']:.0f} | {values['load_s']:.1f} "
            f"| {values['pictures_s']:.1f} | {values['pictures_s'] / pace:.1f} | {values['query_ms']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
