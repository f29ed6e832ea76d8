"""The bundled model: a bag of words and a small convolutional network, into one space.

A picture's vector is norm(D + g·C). D is what a network that was tuned on drawings, and its head, make of it. C is
what the published network's own 1,000 classes say, as vectors of their names; both networks share their first layers.
g tells a photograph (1) from a drawing (0) by how flat its areas are: the classes were learned from photographs, and
would only blur what the head says of a drawing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from memewatchd.encoders.bundled.efficientnet import FEATURES, ByteConvolution, Lower, Upper

if TYPE_CHECKING:
    from torch import Tensor

FLAT_STEP = 2.0
"""Neighbouring pixels (0 to 255) that differ by no more than this in every channel count as flat."""

SHUT = 0.01
"""Below this the gate counts as shut, and the photographs' network isn't asked: drawings cost half as much."""

_HASH = (1_000_003, 8_191)
"""Odd primes that spread pairs of token ids over the bigram table."""


class Sizes(Protocol):
    """What config.json holds; :class:`~memewatchd.encoders.bundled.configuration.BundledConfig` says what each is."""

    vocab_size: int
    bigram_buckets: int
    word_size: int
    words_hidden_size: int
    head_hidden_size: int
    projection_dim: int
    num_classes: int
    likeliest_classes: int
    gate_flatness: float
    gate_width: float
    pixel_scale: float


class ByteRows(nn.Module):
    """An embedding table of int8 rows with a scale each; only the rows that are asked for become floats."""

    values: Tensor
    scale: Tensor

    def __init__(self, rows: int, size: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(rows, size, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(rows, 1))

    def forward(self, ids: Tensor) -> Tensor:
        """(…) int64 → (…, size) float."""
        scale = self.scale[ids]
        return self.values[ids].to(scale.dtype) * scale


class ByteLinear(nn.Module):
    """A linear layer whose weight is int8 with a scale for each output."""

    values: Tensor
    scale: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(outputs, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.linear(inputs, self.values.to(self.scale.dtype)) * self.scale.T + self.bias


def bigram_ids(input_ids: Tensor, buckets: int) -> Tensor:
    """The bucket of each pair of neighbouring tokens: (n, length) → (n, length - 1)."""
    first, second = _HASH
    return (input_ids[:, :-1] * first + input_ids[:, 1:] * second) % buckets


class Words(nn.Module):
    """Mean of the tokens' vectors + mean of the bigrams' vectors → perceptron → (n, projection_dim)."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.buckets = config.bigram_buckets
        self.tokens: nn.Module = ByteRows(config.vocab_size, config.word_size)
        self.bigrams: nn.Module = ByteRows(config.bigram_buckets, config.word_size)
        self.norm = nn.LayerNorm(config.word_size)
        self.inner = nn.Linear(config.word_size, config.words_hidden_size)
        self.outer = nn.Linear(config.words_hidden_size, config.projection_dim)
        self.short = nn.Linear(config.word_size, config.projection_dim, bias=False)
        self.projection = nn.Linear(config.projection_dim, config.projection_dim)

    def meaning(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What is fitted to the teacher, before the projection into the pictures' space."""
        weights = attention_mask.unsqueeze(-1).to(self.norm.weight.dtype)
        bag = (self.tokens(input_ids) * weights).sum(1) / weights.sum(1).clamp(min=1)
        if input_ids.shape[1] > 1:
            pairs = weights[:, :-1] * weights[:, 1:]
            found = self.bigrams(bigram_ids(input_ids, self.buckets))
            bag = bag + (found * pairs).sum(1) / pairs.sum(1).clamp(min=1)
        bag = self.norm(bag)
        vectors: Tensor = self.short(bag) + self.outer(functional.gelu(self.inner(bag)))
        return vectors

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        vectors: Tensor = self.projection(self.meaning(input_ids, attention_mask))
        return vectors


class DrawingHead(nn.Module):
    """Features of the drawings' network → (n, projection_dim)."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(FEATURES)
        self.inner: nn.Module = ByteLinear(FEATURES, config.head_hidden_size)
        self.outer = nn.Linear(config.head_hidden_size, config.projection_dim)

    def forward(self, features: Tensor) -> Tensor:
        vectors: Tensor = self.outer(functional.gelu(self.inner(self.norm(features))))
        return vectors


class ClassWords(nn.Module):
    """Features of the published network → logits of its classes → the mean vector of the likeliest classes' names."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.likeliest = config.likeliest_classes
        self.classifier = ByteLinear(FEATURES, config.num_classes)
        self.vectors = ByteRows(config.num_classes, config.projection_dim)

    def forward(self, features: Tensor) -> Tensor:
        probabilities, classes = self.classifier(features).softmax(-1).topk(self.likeliest)
        vectors: Tensor = (probabilities.unsqueeze(-1) * self.vectors(classes)).sum(1)
        return vectors


def flatness(pixel_values: Tensor, pixel_scale: float) -> Tensor:
    """Share (n,) of neighbouring pixels, across and down, that differ by at most ``FLAT_STEP`` in each channel."""
    limit = (FLAT_STEP + 0.5) / pixel_scale  # differences are whole steps: half a step is room for rounding
    across = (pixel_values[:, :, :, 1:] - pixel_values[:, :, :, :-1]).abs().amax(1) < limit
    down = (pixel_values[:, :, 1:] - pixel_values[:, :, :-1]).abs().amax(1) < limit
    flat = across.sum((1, 2)) + down.sum((1, 2))
    return flat / (across[0].numel() + down[0].numel())


def photograph_gate(pixel_values: Tensor, config: Sizes) -> Tensor:
    """How much each picture looks like a photograph: (n,) in 0…1."""
    return torch.sigmoid((config.gate_flatness - flatness(pixel_values, config.pixel_scale)) / config.gate_width)


class Towers(nn.Module):
    """Both, asked as transformers' CLIP is."""

    config: Sizes

    def build(self, config: Sizes) -> None:
        """The layers, for who has a constructor of its own; their weights come from a file, or from the training."""
        self.words = Words(config)
        self.lower = Lower()
        self.drawings = Upper()
        self.head = DrawingHead(config)
        self.photographs = Upper(ByteConvolution)
        self.classes = ClassWords(config)

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> Tensor:
        """Token ids (n, length), 1 in ``attention_mask`` where they count → unit-length (n, projection_dim)."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        return functional.normalize(self.words(input_ids, attention_mask), dim=-1)

    def get_image_features(self, pixel_values: Tensor, **_: Any) -> Tensor:
        """(x - 127) / 128 of pictures, (n, 3, image_size, image_size) → unit-length (n, projection_dim)."""
        shared = self.lower(pixel_values)
        vectors = functional.normalize(self.head(self.drawings(shared)), dim=-1)
        gate = photograph_gate(pixel_values, self.config)
        opened = gate > SHUT
        if opened.any():
            classes = functional.normalize(self.classes(self.photographs(shared[opened])), dim=-1)
            vectors[opened] += gate[opened].unsqueeze(-1) * classes
        return functional.normalize(vectors, dim=-1)
