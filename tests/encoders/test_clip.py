"""Each family, end to end, against what transformers' documented calls give."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, AutoProcessor, AutoTokenizer, BertConfig, BertModel

from memewatchd.encoders.clip import ClipEncoder
from memewatchd.errors import EncoderError
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


def test_a_fingerprint_follows_the_weights_and_not_the_place(
    tiny: Callable[[str], Path], load: Callable[[str], ClipEncoder], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny("clip"), tmp_path / "elsewhere")
    moved = ClipEncoder.load(folder, "another name", device="cpu", threads=1)
    assert moved.fingerprint == load("clip").fingerprint
    assert re.fullmatch(r"[0-9a-f]{16}", moved.fingerprint)

    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"][0, 0] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    changed = ClipEncoder.load(folder, "clip", device="cpu", threads=1)
    assert changed.fingerprint != moved.fingerprint

    edit(folder / "preprocessor_config.json", image_mean=[0.5, 0.5, 0.5])
    assert ClipEncoder.load(folder, "clip", device="cpu", threads=1).fingerprint != changed.fingerprint
    assert len({load(family).fingerprint for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("layout", ["bin", "sharded", "newer settings", "half precision"])
def test_other_layouts_give_the_same_vectors(
    layout: str, tiny: Callable[[str], Path], load: Callable[[str], ClipEncoder], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny("clip"), tmp_path / "model")
    tolerance = 1e-6
    if layout == "bin":
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    elif layout == "sharded":
        model = AutoModel.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="100KB")
        assert (folder / "model.safetensors.index.json").is_file()
    elif layout == "newer settings":
        # transformers 5 saves a processor's parts as one file, and the tokenizer as tokenizer.json.
        processor = AutoProcessor.from_pretrained(folder, backend="pil")
        for name in ("preprocessor_config.json", "vocab.json", "merges.txt"):
            (folder / name).unlink()
        processor.save_pretrained(folder)
        assert not (folder / "preprocessor_config.json").exists()
    else:
        # float16 on the disk; still computed in float32.
        AutoModel.from_pretrained(folder).half().save_pretrained(folder)
        tolerance = 2e-2
    other, plain = ClipEncoder.load(folder, "clip", device="cpu", threads=1), load("clip")
    assert other.spec == plain.spec
    frame = np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(other.encode_images([frame]), plain.encode_images([frame]), atol=tolerance)
    np.testing.assert_allclose(other.encode_text("angry cat"), plain.encode_text("angry cat"), atol=tolerance)


def edit(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not None}), encoding="utf-8")


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def without_tokenizer(folder: Path) -> None:
    (folder / "vocab.json").unlink()


def without_all_parts(folder: Path) -> None:
    AutoModel.from_pretrained(folder).save_pretrained(folder / "parts", max_shard_size="100KB")
    (folder / "model.safetensors").unlink()
    for path in (folder / "parts").iterdir():
        if path.name != "config.json" and not path.name.startswith("model-00002"):
            path.rename(folder / path.name)


def damaged_weights(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def damaged_torch_weights(folder: Path) -> None:
    without_weights(folder)
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04 and then nothing")


def weights_of_another_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    edit(folder / "config.json", projection_dim=config["projection_dim"] + 4)


def weights_without_a_tower(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("text_model.")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def weights_that_run_code(folder: Path) -> None:
    without_weights(folder)
    with (folder / "pytorch_model.bin").open("wb") as file:
        torch.save({"text_projection.weight": Bomb(folder / "exploded")}, file)


class Bomb:
    """What runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self.path).touch, (self.path,))


def of_another_kind(folder: Path) -> None:
    BertModel(
        BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(folder)


def of_an_unknown_type(folder: Path) -> None:
    edit(folder / "config.json", model_type="clip-from-the-future")


def with_its_own_code(folder: Path) -> None:
    edit(folder / "config.json", model_type="mine", auto_map={"AutoConfig": "mine.Mine", "AutoModel": "mine.Model"})
    (folder / "mine.py").write_text(f"from pathlib import Path\nPath({str(folder / 'exploded')!r}).touch()\n")


def with_a_broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "clip"')


def with_a_broken_tokenizer(folder: Path) -> None:
    (folder / "vocab.json").write_text("[1, 2")


def with_pictures_of_any_shape(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", do_center_crop=False)


def with_a_crop_that_is_larger(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", size={"shortest_edge": 16})


def with_an_oblong(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", size={"height": 32, "width": 48}, do_center_crop=False)


def with_native_resolution(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "Siglip2ImageProcessor", "patch_size": 8, "max_num_patches": 16})
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "there is no folder"),
        (without_weights, r"lacks model.safetensors or pytorch_model.bin"),
        (without_tokenizer, r"lacks a tokenizer \(tokenizer.json, or vocab.json and merges.txt"),
        (without_all_parts, r"lacks model-00002-of-0000\d.safetensors\."),
        (damaged_weights, r"weights in .* \(model.safetensors\) can't be read.*Fetch them again"),
        (damaged_torch_weights, r"weights in .* \(pytorch_model.bin\) can't be read.*Fetch them again"),
        (weights_of_another_shape, r"weights in .* belong to another config.json: \w+_projection.weight has the shape"),
        (weights_without_a_tower, r"incomplete: \d+ tensors are missing, text_model"),
        (weights_that_run_code, "hold more than numbers, and are refused"),
        (of_another_kind, "is of type 'bert', which doesn't put pictures and words into one space"),
        (of_an_unknown_type, "unknown model_type 'clip-from-the-future'"),
        (with_its_own_code, "needs Python code of its own"),
        (with_a_broken_config, "config.json can't be read"),
        (with_a_broken_tokenizer, "tokenizer in .* can't be used"),
        (with_pictures_of_any_shape, "without a crop to a square"),
        (with_a_crop_that_is_larger, "crops to 32 pixels what it scaled to 16"),
        (with_an_oblong, "not one square"),
        (with_native_resolution, "in a way of its own"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why_and_what_to_do(
    damage: Callable[[Path], None], said: str, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny("clip"), tmp_path / "model")
    damage(folder)
    with pytest.raises(EncoderError, match=said) as caught:
        ClipEncoder.load(folder, "clip", device="cpu", threads=1)
    assert "\n" not in str(caught.value)
    assert not (folder / "exploded").exists()


def test_an_index_of_weights_cannot_point_outside(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("clip"), tmp_path / "model")
    without_weights(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../secret"}}))
    with pytest.raises(EncoderError, match="not an index of weights"):
        ClipEncoder.load(folder, "clip", device="cpu", threads=1)
