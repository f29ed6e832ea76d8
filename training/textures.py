"""Pictures of nothing, which need no drawing and no photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGE = 160
"""Pixels of a side, of all that is shown in training."""


def texture(random: np.random.Generator) -> NDArray[np.float32]:
    """Colours that run into each other with grain at several scales, -1…1, (3, EDGE, EDGE): not flat anywhere."""
    layers = [
        np.asarray(
            Image.fromarray(random.integers(0, 256, (edge, edge, 3), dtype=np.uint8)).resize(
                (EDGE, EDGE), Image.Resampling.BICUBIC
            ),
            np.float32,
        )
        for edge in (3, 7, 20, 60)
    ]
    mixed = sum(share * layer for share, layer in zip(random.dirichlet(np.ones(4)), layers, strict=True))
    return ((np.asarray(mixed) - 127) / 128).transpose(2, 0, 1).astype(np.float32)
