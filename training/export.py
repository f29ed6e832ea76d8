"""Puts the trained parts into the folder that ships, in the hub's format."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from memewatchd.encoders.bundled.efficientnet import Convolution
from memewatchd.encoders.bundled.modeling import BundledModel
from training.backbone import classifier, pretrained_backbone
from training.captions import chinese_names
from training.contrast import TOWERS
from training.paths import BUNDLED, SEED
from training.textures import texture
from training.tune import TUNED
from training.wordlists import Synset, read_classes, read_wordnet
from training.words import config, crop, encode, load_tokenizer

if TYPE_CHECKING:
    from memewatchd.encoders.bundled.configuration import BundledConfig
    from memewatchd.encoders.bundled.efficientnet import EfficientNetLite0, Upper
    from memewatchd.encoders.bundled.towers import Words

PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"height": 160, "width": 160},
    "resample": 3,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [127 / 255] * 3,
    "image_std": [128 / 255] * 3,
}
"""EfficientNet-Lite's (x - 127) / 128, in the terms of transformers' image processors."""

BROADEST_PARENT = 250
"""A WordNet parent that covers more classes than this says too little to be a name."""
SHARES = (0.5, 0.2, 0.2, 0.1)
"""English names, Chinese names, wider names, wider Chinese names."""


def quantise(table: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of floats → int8 rows and the scale of each."""
    scale = (table.abs().amax(1, keepdim=True) / 127).clamp(min=1e-8)
    return torch.round(table / scale).to(torch.int8), scale


def _to_bytes(state: dict[str, Tensor], *modules: str) -> None:
    """Replaces the weights of ``modules`` by bytes and scales."""
    for name in modules:
        state[f"{name}.values"], state[f"{name}.scale"] = quantise(state.pop(f"{name}.weight"))


@dataclass(frozen=True)
class ClassNames:
    """What a class may be called; ``wider`` names come from WordNet's parents, Chinese ones from CC-CEDICT."""

    english: list[str]
    chinese: list[str]
    wider: list[str]
    wider_chinese: list[str]


def class_names() -> list[ClassNames]:
    """The names of each of the 1,000 classes."""
    wordnet = read_wordnet()
    by_word: dict[str, list[str]] = {}
    for key, synset in wordnet.items():
        if key.startswith("n"):
            for word in synset.words:
                by_word.setdefault(word.lower(), []).append(key)
    named = read_classes()
    lineages = [_ancestors(_synset_of(names, by_word, wordnet), wordnet) for names in named]
    covered: dict[str, int] = {}
    for lineage in lineages:
        for key in lineage:
            covered[key] = covered.get(key, 0) + 1
    dictionary = chinese_names()

    def in_chinese(names: list[str]) -> list[str]:
        return [word for name in names for word in dictionary.get(name.lower(), [])]

    classes = []
    for names, lineage in zip(named, lineages, strict=True):
        english = list(dict.fromkeys([*names, *(re.sub(r"\s*\(.*\)", "", name) for name in names)]))
        wider = [word for key in lineage if covered[key] <= BROADEST_PARENT for word in wordnet[key].words[:2]]
        first = [wordnet[key].words[0] for key in lineage if covered[key] <= BROADEST_PARENT]
        classes.append(ClassNames(english, in_chinese(english), wider, in_chinese(first)))
    return classes


def _synset_of(names: list[str], by_word: dict[str, list[str]], wordnet: dict[str, Synset]) -> str:
    """The synset whose words are most like a class's names (the class list is from another edition)."""
    wanted = {name.lower() for name in names}
    candidates = {key for name in wanted for key in by_word.get(name, [])}

    def likeness(key: str) -> float:
        words = {word.lower() for word in wordnet[key].words}
        return len(words & wanted) / len(words | wanted)

    return max(sorted(candidates), key=likeness, default="")


def _ancestors(key: str, wordnet: dict[str, Synset]) -> list[str]:
    found: list[str] = []
    waiting = list(wordnet[key].parents) if key else []
    while waiting:
        parent = waiting.pop(0)
        if parent not in found and parent in wordnet:
            found.append(parent)
            waiting.extend(wordnet[parent].parents)
    return found


def class_vectors(words: Words) -> Tensor:
    """Unit-length (1000, projection_dim): the mean of each class's names, weighed by their kind."""
    tokenizer = load_tokenizer()

    def mean(texts: list[str]) -> Tensor:
        with torch.inference_mode():
            vectors = words(*crop(encode(tokenizer, texts)))
        return functional.normalize(functional.normalize(vectors, dim=-1).mean(0), dim=-1)

    rows = []
    for names in class_names():
        kinds = (names.english, names.chinese, names.wider, names.wider_chinese)
        parts = [share * mean(kind) for share, kind in zip(SHARES, kinds, strict=True) if kind]
        rows.append(functional.normalize(torch.stack(parts).sum(0), dim=-1))
    return torch.stack(rows)


def in_bytes(published: EfficientNetLite0) -> dict[str, Tensor]:
    """The published upper part for :class:`~memewatchd.encoders.bundled.efficientnet.ByteConvolution`.

    Rounding shifts the mean of each channel, and layer upon layer adds up: it is put right in the bias, from the first
    layer on (Nagel et al. 2019, "Data-Free Quantization", section 4.2). By that the class of a texture stays the same
    in 98 of 100, and not 92.
    """
    exact, rounded = published.upper, copy.deepcopy(published.upper)
    state: dict[str, Tensor] = {}
    for name, layer in rounded.named_modules():
        if isinstance(layer, Convolution) and layer.groups == 1:
            values, scale = quantise(layer.weight.data.flatten(1))
            layer.weight.data = (values * scale).reshape(layer.weight.shape)
            state[f"{name}.weight"] = values.reshape(layer.weight.shape)
            state[f"{name}.scale"] = scale[:, :, None, None]
    textures = [texture(np.random.default_rng((SEED, 12, number))) for number in range(64)]
    with torch.inference_mode(mode=False), torch.no_grad():
        shared = published.lower(torch.from_numpy(np.stack(textures)))
        for name, layer in rounded.named_modules():
            if isinstance(layer, Convolution) and layer.bias is not None:
                layer.bias += _mean(exact, name, shared) - _mean(rounded, name, shared)
    return {**rounded.state_dict(), **state}


def _mean(network: Upper, name: str, values: Tensor) -> Tensor:
    """The mean of each channel that one layer of ``network`` gives for ``values``."""
    caught: list[Tensor] = []
    handle = network.get_submodule(name).register_forward_hook(
        lambda _module, _inputs, output: caught.append(output.mean((0, 2, 3)))
    )
    network(values)
    handle.remove()
    return caught[0]


def build_model(settings: BundledConfig) -> BundledModel:
    """The shipped model from the trained towers and the published backbone."""
    towers = torch.load(TOWERS, weights_only=True)
    model = BundledModel(settings)
    model.train(False)
    words: dict[str, Tensor] = towers["words"]
    _to_bytes(words, "tokens", "bigrams")
    model.words.load_state_dict(words)
    head: dict[str, Tensor] = towers["head"]
    _to_bytes(head, "inner")
    model.head.load_state_dict(head)
    published = pretrained_backbone()
    model.lower.load_state_dict(published.lower.state_dict())
    model.drawings.load_state_dict(torch.load(TUNED, weights_only=True)["upper"])
    model.photographs.load_state_dict(in_bytes(published))
    weight, bias = classifier()
    classes = {
        "classifier.weight": weight,
        "classifier.bias": bias,
        "vectors.weight": class_vectors(model.words),
    }
    _to_bytes(classes, "classifier", "vectors")
    model.classes.load_state_dict(classes)
    return model


def export() -> None:
    """Writes config, weights (half precision and bytes), tokenizer and preprocessor into the package."""
    settings = config()
    model = build_model(settings)
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    settings.architectures = ["BundledModel"]
    settings.dtype = "float32"
    settings.save_pretrained(BUNDLED)
    load_tokenizer().save_pretrained(BUNDLED)
    (BUNDLED / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n")
    temporary = BUNDLED / "model.safetensors.part"
    save_file(tensors, temporary, metadata={"format": "pt"})
    temporary.replace(BUNDLED / "model.safetensors")
    print(f"  model.safetensors: {(BUNDLED / 'model.safetensors').stat().st_size / 1e6:.1f} MB")
