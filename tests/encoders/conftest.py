"""Tiny checkpoints of each family, made once a session."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from numpy.typing import NDArray


def _load_writers() -> ModuleType:
    path = Path(__file__).parents[1] / "tiny_checkpoints.py"
    spec = importlib.util.spec_from_file_location("tiny_checkpoints", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function: family → the folder of its tiny checkpoint. Copy it before changing it."""
    writers = _load_writers()
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = writers.write(family, tmp_path_factory.mktemp("tiny") / family)
        return made[family]

    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pictures() -> dict[str, Image.Image]:
    """Pictures whose shapes and details tell one way of scaling and cropping from another."""
    random = np.random.default_rng(7)

    def noise(height: int, width: int) -> Image.Image:
        rough = random.integers(0, 256, (max(2, height // 7), max(2, width // 7), 3), dtype=np.uint8)
        return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)

    return {
        "wide": noise(90, 211),
        "tall": noise(157, 64),
        "small": noise(9, 13),
        "exact": noise(32, 32),
        "thin": noise(3, 140),
    }


@pytest.fixture(scope="session")
def frame_of() -> Callable[[Image.Image, Any], NDArray[np.uint8]]:
    """What a decode child is asked to do, in the plainest words: a picture and a FrameSpec → a frame."""

    def frame(picture: Image.Image, spec: Any) -> NDArray[np.uint8]:
        width, height = picture.size
        if spec.mode == "exact":
            size = (spec.resize, spec.resize)
        else:
            assert spec.mode == "shortest"
            short, long = sorted(picture.size)
            longer = int(spec.resize * long / short)
            size = (spec.resize, longer) if width <= height else (longer, spec.resize)
        scaled = picture.resize(size, spec.resample)
        left, top = ((edge - spec.crop) // 2 for edge in size)
        return np.asarray(scaled.crop((left, top, left + spec.crop, top + spec.crop)))

    return frame
