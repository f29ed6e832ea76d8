"""The shape of the bundled model, in the words of transformers' configurations."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from memewatchd.encoders.bundled import FAMILY


class BundledConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Sizes and constants of :class:`~memewatchd.encoders.bundled.modeling.BundledModel`.

    ``gate_flatness`` and ``gate_width`` say where a picture stops looking like a drawing: see
    :func:`~memewatchd.encoders.bundled.towers.photograph_gate`. ``pixel_scale`` is the deviation
    that the image processor divides by, in units of 0 to 255.
    """

    model_type = FAMILY

    def __init__(
        self,
        vocab_size: int = 18_000,
        bigram_buckets: int = 16_384,
        word_size: int = 256,
        words_hidden_size: int = 768,
        head_hidden_size: int = 1024,
        projection_dim: int = 384,
        max_position_embeddings: int = 128,
        image_size: int = 160,
        num_classes: int = 1000,
        likeliest_classes: int = 10,
        gate_flatness: float = 0.68,
        gate_width: float = 0.05,
        pixel_scale: float = 128.0,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.bigram_buckets = bigram_buckets
        self.word_size = word_size
        self.words_hidden_size = words_hidden_size
        self.head_hidden_size = head_hidden_size
        self.projection_dim = projection_dim
        self.max_position_embeddings = max_position_embeddings
        self.image_size = image_size
        self.num_classes = num_classes
        self.likeliest_classes = likeliest_classes
        self.gate_flatness = gate_flatness
        self.gate_width = gate_width
        self.pixel_scale = pixel_scale
        super().__init__(**kwargs)
