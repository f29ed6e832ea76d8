"""The bundled model among transformers' models, for whoever wants it there: the training, and the tests.

memewatchd itself runs it by :mod:`memewatchd.encoders.bundled.encoder`, which needs no more than torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from memewatchd.encoders.bundled.configuration import BundledConfig
from memewatchd.encoders.bundled.towers import Towers

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass
class BundledOutput(ModelOutput):
    """Like CLIP's: ``image_embeds`` (n, dim) and ``text_embeds`` (m, dim) of unit length, their cosines."""

    logits_per_image: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None


class BundledModel(Towers, PreTrainedModel):  # type: ignore[no-untyped-call]
    """Two towers into one space, asked as transformers' CLIP is."""

    config_class = BundledConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    config: BundledConfig

    def __init__(self, config: BundledConfig) -> None:
        PreTrainedModel.__init__(self, config)
        self.build(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: weights come from a file, or from the training code."""

    def forward(
        self, input_ids: Tensor, pixel_values: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> BundledOutput:
        text = self.get_text_features(input_ids, attention_mask)
        image = self.get_image_features(pixel_values)
        cosines = text @ image.T
        return BundledOutput(logits_per_image=cosines.T, logits_per_text=cosines, text_embeds=text, image_embeds=image)
