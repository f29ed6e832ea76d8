"""Makes the bundled encoder from nothing. Stages whose result is in the cache are not done again."""

from __future__ import annotations

import argparse
import os
import shutil
import time

# Everything comes from the pinned packages; the teacher is loaded from one of them.
os.environ["HF_HUB_OFFLINE"] = "1"
# Threads that wait don't spin: on a machine that does other things too, spinning costs more than it gains.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from typing import TYPE_CHECKING

import torch

try:
    import resvg_py  # noqa: F401
except ImportError:
    raise SystemExit("training needs more packages: pip install -r training/requirements.txt") from None

from training import contrast, downloads, draw, evaluate, export, features, teacher, tune, words
from training.paths import BUNDLED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STAGES: list[tuple[str, Callable[[], None], Path | None, str]] = [
    ("fetch", downloads.fetch_all, None, "fetch 170 MB of pinned packages"),
    ("draw", draw.draw_all, draw.LIST, "draw 21,000 pictures"),
    ("teacher", teacher.ask_teacher, teacher.DONE, "ask the teacher for 415,000 vectors"),
    ("tokenizer", words.make_tokenizer, words.TOKENIZER, "learn the tokenizer"),
    ("distil", words.distil, words.WORDS, "fit the words to the teacher"),
    ("tune", tune.tune, tune.TUNED, "tune the backbone (hours)"),
    ("features", features.compute_features, features.COLOURS, "compute the backbone's features"),
    ("contrast", contrast.bring_together, contrast.TOWERS, "bring pictures and words together"),
    ("export", export.export, None, f"write {BUNDLED.name}/"),
    ("evaluate", evaluate.main, None, "measure it"),
]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    names = [name for name, *_ in STAGES]
    parser.add_argument("--from", dest="first", choices=names, help="do this stage and those after it again")
    parser.add_argument("--until", choices=names, default=names[-1], help="stop after this stage")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    again = False
    for number, (name, work, result, what) in enumerate(STAGES, 1):
        again = again or name == options.first
        if result is not None and again:
            shutil.rmtree(result, ignore_errors=True) if result.is_dir() else result.unlink(missing_ok=True)
        if result is None or not result.exists():
            print(f"{number}/{len(STAGES)} {what}", flush=True)
            start = time.monotonic()
            work()
            print(f"{number}/{len(STAGES)} {name}: {time.monotonic() - start:.0f} s", flush=True)
        if name == options.until:
            break


if __name__ == "__main__":
    main()
