"""Each family, end to end, against what transformers' documented calls give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from memewatchd.encoders.clip import ClipEncoder
from memewatchd.meme import FrameSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

FAMILIES = ("clip", "chinese-clip", "siglip", "siglip2")
SPECS = {
    "clip": FrameSpec("shortest", 32, 32, 3),
    "chinese-clip": FrameSpec("exact", 32, 32, 3),
    "siglip": FrameSpec("exact", 32, 32, 3),
    "siglip2": FrameSpec("exact", 32, 32, 2),
}
QUERIES = (
    "angry cat",
    "an angry cat looks at a white dog, " * 20,
    "生气 的 猫",
    "Angry CAT!",
    "ß İ ﬁ 🙂",
    " ",
)


@pytest.fixture(scope="module")
def load(tiny: Callable[[str], Path]) -> Callable[[str], ClipEncoder]:
    loaded: dict[str, ClipEncoder] = {}

    def encoder(family: str) -> ClipEncoder:
        if family not in loaded:
            loaded[family] = ClipEncoder.load(tiny(family), family, device="cpu", threads=1)
        return loaded[family]

    return encoder


def documented_image(folder: Path, picture: Image.Image) -> NDArray[np.float32]:
    """As every family's page says: the processor on the whole picture, ``get_image_features``, divide by the norm."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.inference_mode():
        features = model.get_image_features(**processor(images=picture, return_tensors="pt")).pooler_output
    return (features / features.norm(dim=-1, keepdim=True))[0].numpy()


def documented_text(folder: Path, family: str, text: str) -> NDArray[np.float32]:
    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    settings: dict[str, Any] = {
        # CLIP's and Chinese-CLIP's pages pad a batch to its longest text, and truncate to what the model reads.
        "clip": {"padding": True, "truncation": True},
        "chinese-clip": {"padding": True, "truncation": True, "max_length": 24},
        # "make sure to set padding="max_length" as that's how the model was trained"
        "siglip": {"padding": "max_length", "truncation": True},
        # "pass padding="max_length" and max_length=64"; "trained with lowercased text"
        "siglip2": {"padding": "max_length", "max_length": 64, "truncation": True},
    }[family]
    if family == "siglip2":
        text = text.lower()
    with torch.inference_mode():
        features = model.get_text_features(**tokenizer([text], return_tensors="pt", **settings)).pooler_output
    return (features / features.norm(dim=-1, keepdim=True))[0].numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_get_the_documented_vectors(
    family: str,
    tiny: Callable[[str], Path],
    load: Callable[[str], ClipEncoder],
    pictures: dict[str, Image.Image],
    frame_of: Callable[[Image.Image, FrameSpec], NDArray[np.uint8]],
) -> None:
    encoder = load(family)
    assert encoder.spec == SPECS[family]
    vectors = encoder.encode_images([frame_of(picture, encoder.spec) for picture in pictures.values()])

    assert vectors.dtype == np.float32
    assert vectors.shape == (len(pictures), encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    for vector, picture in zip(vectors, pictures.values(), strict=True):
        np.testing.assert_allclose(vector, documented_image(tiny(family), picture), atol=1e-5)
    # The pictures are told apart far more clearly than that, or the line above would say nothing.
    assert np.abs(vectors[0] - vectors[1]).max() > 0.02


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("query", QUERIES)
def test_texts_get_the_documented_vectors(
    family: str, query: str, tiny: Callable[[str], Path], load: Callable[[str], ClipEncoder]
) -> None:
    encoder = load(family)
    vector = encoder.encode_text(query)
    assert vector.dtype == np.float32
    assert vector.shape == (encoder.dim,)
    np.testing.assert_allclose(np.linalg.norm(vector), 1.0, atol=1e-5)
    np.testing.assert_allclose(vector, documented_text(tiny(family), family, query), atol=1e-5)
