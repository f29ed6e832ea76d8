"""The picture tower's memory, given back and taken again: what the kernel says, and that no vector changes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from memewatchd.encoders import bundled, resting
from memewatchd.encoders.clip import ClipEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

FAMILIES = ("clip", "chinese-clip", "siglip", "siglip2")


@pytest.fixture
def wide(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A tiny checkpoint whose picture tower has tensors of many pages."""

    def folder(family: str) -> Path:
        copy = tmp_path / family
        shutil.copytree(tiny(family), copy)
        config = AutoConfig.from_pretrained(copy)
        config.vision_config.intermediate_size = 2048
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(copy)
        return copy

    return folder


def resident(file: Path) -> int:
    """How much of a mapped file is in this process's memory, bytes."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        key, *rest = line.split(maxsplit=5)
        if not key.endswith(":"):
            ours = len(rest) == 5 and rest[4] == str(file)
        elif key == "Rss:" and ours:
            total += int(rest[0]) * 1024
    return total


def frames(encoder: ClipEncoder) -> list[Any]:
    random = np.random.default_rng(3)
    edge = encoder.spec.crop
    return [random.integers(0, 256, (edge, edge, 3), dtype=np.uint8) for _ in range(3)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tower_rests_and_gives_the_same_vectors_again(
    family: str, wide: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resting.give_back, "__defaults__", (1,))
    folder = wide(family)
    encoder = ClipEncoder.load(folder, family, device="cpu", threads=1)
    pictures = frames(encoder)
    before, words = encoder.encode_images(pictures), encoder.encode_text("a cat")
    held = resident(folder / "model.safetensors")

    given = encoder.rest_pictures()
    assert given > 100_000
    assert resident(folder / "model.safetensors") <= held - given
    np.testing.assert_array_equal(encoder.encode_text("a cat"), words)
    np.testing.assert_array_equal(encoder.encode_images(pictures), before)
    assert resident(folder / "model.safetensors") > held - given


def test_what_is_shared_with_no_file_stays(wide: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in half precision are converted when they are loaded."""
    monkeypatch.setattr(resting.give_back, "__defaults__", (1,))
    folder = wide("clip")
    weights = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    encoder = ClipEncoder.load(folder, "half", device="cpu", threads=1)
    before = encoder.encode_images(frames(encoder))
    assert encoder.rest_pictures() == 0
    np.testing.assert_array_equal(encoder.encode_images(frames(encoder)), before)


def test_what_has_been_written_stays(wide: Callable[[str], Path]) -> None:
    folder = wide("clip")
    encoder = ClipEncoder.load(folder, "changed", device="cpu", threads=1)
    weights = resting.picture_weights(encoder._model)
    largest = max(weights, key=torch.numel)
    with torch.no_grad():
        largest[len(largest) // 2].add_(1)
    changed = largest.detach().numpy().copy()
    given = resting.give_back(weights, [folder / "model.safetensors"], worth=1)
    assert 0 < given <= sum(tensor.numel() * 4 for tensor in weights if tensor is not largest)
    np.testing.assert_array_equal(largest.detach().numpy(), changed)


def test_a_small_tower_stays() -> None:
    bundled.register()
    encoder = ClipEncoder.load(bundled.FOLDER, "bundled", device="cpu", threads=1)
    assert encoder.rest_pictures() == 0
