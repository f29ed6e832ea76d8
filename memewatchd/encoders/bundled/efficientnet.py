"""EfficientNet-Lite0, for inference: batch norms are folded into the convolutions.

The architecture is that of the paper's authors (https://github.com/tensorflow/tpu, efficientnet/lite):
no squeeze-and-excite, ReLU6, stem and head of fixed width. Input is (x - 127) / 128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

STEM = 32
FEATURES = 1280
"""Length of the feature vector."""
LOWER_BLOCKS = 3
"""Blocks of :class:`Lower`, which stay as published whatever is tuned."""

STAGES = (
    # repeats, kernel, stride of the first, expansion, channels out
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class Convolution(nn.Conv2d):
    """A convolution whose output is ceil(input / stride), padded as TensorFlow does: the odd pixel goes last."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups)
        # Exact for even sizes, which is what every layer sees when the picture's edge is a multiple of 32.
        self._missing = kernel - stride if stride > 1 else 0

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if self._missing:
            before, after = self._missing // 2, self._missing - self._missing // 2
            input = functional.pad(input, (before, after, before, after))  # noqa: A001
        return super().forward(input)


class ByteConvolution(Convolution):
    """A convolution whose weight is kept as int8 with a scale for each output."""

    scale: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups)
        shape = self.weight.shape
        del self.weight
        self.register_buffer("weight", torch.zeros(shape, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(outputs, 1, 1, 1))

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        output: Tensor = super()._conv_forward(input, weight.to(self.scale.dtype) * self.scale, bias)
        return output


class Block(nn.Module):
    """Inverted residual: expand (1x1), filter each channel (k x k), project (1x1), add where shapes allow."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, kind: type[Convolution] = Convolution
    ) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = kind(inputs, wide, 1) if expansion > 1 else None
        # So few weights that bytes would save nothing.
        self.depthwise = Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = kind(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, inputs: Tensor) -> Tensor:
        values = inputs
        if self.expand is not None:
            values = functional.relu6(self.expand(values))
        values = functional.relu6(self.depthwise(values))
        projected: Tensor = self.project(values)
        return projected + inputs if self.residual else projected


class Lower(nn.Module):
    """The stem and the first blocks: float32 (n, 3, edge, edge), an edge that 32 divides →
    (n, 24, edge / 4, edge / 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, 2)
        self.blocks = nn.Sequential(*_blocks()[:LOWER_BLOCKS])

    def forward(self, pixel_values: Tensor) -> Tensor:
        values: Tensor = self.blocks(functional.relu6(self.stem(pixel_values)))
        return values


class Upper(nn.Module):
    """The other blocks and the last convolution: what :class:`Lower` gives → features (n, 1280), all ≥ 0."""

    def __init__(self, kind: type[Convolution] = Convolution) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*_blocks(kind)[LOWER_BLOCKS:])
        self.top = kind(STAGES[-1][-1], FEATURES, 1)

    def forward(self, values: Tensor) -> Tensor:
        values = functional.relu6(self.top(self.blocks(values)))
        return values.mean(dim=(2, 3))


class EfficientNetLite0(nn.Module):
    """Pictures, float32 (n, 3, edge, edge) with an edge that 32 divides → features (n, 1280)."""

    def __init__(self) -> None:
        super().__init__()
        self.lower = Lower()
        self.upper = Upper()

    def forward(self, pixel_values: Tensor) -> Tensor:
        features: Tensor = self.upper(self.lower(pixel_values))
        return features


def _blocks(kind: type[Convolution] = Convolution) -> list[Block]:
    blocks = []
    inputs = STEM
    for repeats, kernel, stride, expansion, outputs in STAGES:
        for index in range(repeats):
            blocks.append(Block(inputs, outputs, kernel, stride if index == 0 else 1, expansion, kind))
            inputs = outputs
    return blocks
