"""The tuned backbone's features of every drawing: clean, and in random views. Computed once, learned from often."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from memewatchd.encoders.bundled.efficientnet import FEATURES
from training import views
from training.backbone import pixel_values, pretrained_backbone
from training.draw import read_drawings
from training.paths import CACHE, finished, progress
from training.teacher import fast_dtype
from training.tune import TUNED

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

COLOURS = CACHE / "colours.json"
VIEWS = views.VIEWS
BATCH = 64


def view_path(view: int) -> Path:
    """Where one view's features lie: float16 (drawings, 1280), zeros where a drawing has no such view."""
    return CACHE / f"features-{view}.npy"


def compute_features() -> None:
    """Writes each view's features and, last, ``colours.json``: colours[drawing][view], "" for none."""
    drawings, _ = read_drawings()
    colours: list[list[str]] = [[] for _ in drawings]
    for view in range(VIEWS):
        names = CACHE / f"colours-{view}.json"
        if not names.exists():
            found = _compute_view(view, len(drawings))
            with finished(names) as path:
                path.write_text(json.dumps(found))
        for known, colour in zip(colours, json.loads(names.read_text()), strict=True):
            known.append(colour)
    with finished(COLOURS) as path:
        path.write_text(json.dumps(colours))


def _compute_view(view: int, count: int) -> list[str]:
    dtype = fast_dtype()
    network = pretrained_backbone()
    network.upper.load_state_dict(torch.load(TUNED, weights_only=True)["upper"])
    network = network.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    table = np.zeros((count, FEATURES), np.float16)
    colours: list[str] = []
    rows: list[int] = []
    waiting: list[NDArray[np.uint8]] = []

    def flush() -> None:
        with torch.inference_mode():
            batch = pixel_values(np.stack(waiting)).to(dtype=dtype, memory_format=torch.channels_last)
            table[rows] = network(batch).float().numpy().astype(np.float16)
        rows.clear()
        waiting.clear()

    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=views.open_drawings) as pool:
        shown = pool.map(partial(views.show, view), range(count), chunksize=16)
        for row, (picture, colour) in enumerate(progress(shown, f"features of view {view + 1} of {VIEWS}", count)):
            colours.append(colour)
            if picture is not None:
                rows.append(row)
                waiting.append(picture)
            if len(waiting) == BATCH:
                flush()
    if waiting:
        flush()
    with finished(view_path(view)) as path, path.open("wb") as file:
        np.save(file, table)
    return colours
