"""From drop to searchable: a picture put into the folder of an idle daemon with the bundled model, until it is told of.

    python benchmarks/reaction.py

Against what can't be avoided, measured in the same run: one bare forward pass of the model for one picture.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests" / "plugins"))

from real_daemon import Daemon, picture  # noqa: E402 - beside the tests, which use it too

DROPS = 30


def one_forward_ms() -> float:
    """The median of one picture through the picture tower."""
    from memewatchd.encoders import bundled
    from memewatchd.encoders.clip import ClipEncoder

    bundled.register()
    encoder = ClipEncoder.load(bundled.FOLDER, "bundled", device="cpu")
    frame = np.random.default_rng(0).integers(0, 256, (encoder.spec.crop, encoder.spec.crop, 3), dtype=np.uint8)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        encoder.encode_images([frame])
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


def main() -> None:
    """Drop, wait to be told, measure."""
    home = Path(tempfile.mkdtemp(prefix="meme-"))
    try:
        (home / "Memes").mkdir()
        for seed in range(200):
            picture(home / "Memes" / f"{seed}.png", seed)
        times = []
        with Daemon(home, "--model", "bundled") as daemon:
            daemon.wait()
            events = daemon.lines(op="events")
            next(events)
            for seed in range(1000, 1000 + DROPS):
                picture(home / "drop.png", seed)
                began = time.perf_counter()
                shutil.copy(home / "drop.png", home / "Memes" / f"dropped {seed}.png")
                event = next(events)
                assert event["event"] == "added", event
                times.append((time.perf_counter() - began) * 1e3)
                time.sleep(0.3)
    finally:
        shutil.rmtree(home)
    bare = one_forward_ms()
    low, middle, high = min(times), statistics.median(times), max(times)
    print(f"drop to searchable: median {middle:.0f} ms (least {low:.0f}, most {high:.0f}; {DROPS} drops)")
    print(f"one bare forward pass: {bare:.0f} ms; ratio {middle / bare:.1f}")


if __name__ == "__main__":
    main()
