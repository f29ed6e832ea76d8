"""Puts the trained parts into the folder that ships, in the hub's format."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from memewatchd.encoders.bundled.modeling import BundledModel, Words
from training.backbone import classifier, pretrained_backbone
from training.contrast import TOWERS
from training.paths import BUNDLED
from training.wordlists import Synset, read_classes, read_wordnet
from training.words import config, crop, encode, load_tokenizer

if TYPE_CHECKING:
    from memewatchd.encoders.bundled.configuration import BundledConfig

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
PARENTS_SHARE = 0.3


def quantise(table: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of floats → int8 rows and the scale of each."""
    scale = (table.abs().amax(1, keepdim=True) / 127).clamp(min=1e-8)
    return torch.round(table / scale).to(torch.int8), scale


def class_names() -> list[tuple[list[str], list[str]]]:
    """(names, wider names from WordNet) of each of the 1,000 classes."""
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
    return [
        (
            list(dict.fromkeys([*names, *(re.sub(r"\s*\(.*\)", "", name) for name in names)])),
            [word for key in lineage if covered[key] <= BROADEST_PARENT for word in wordnet[key].words[:2]],
        )
        for names, lineage in zip(named, lineages, strict=True)
    ]


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
    """Unit-length (1000, projection_dim): the mean of each class's names, its wider names weighing less."""
    tokenizer = load_tokenizer()

    def mean(texts: list[str]) -> Tensor:
        with torch.inference_mode():
            vectors = words(*crop(encode(tokenizer, texts)))
        return functional.normalize(functional.normalize(vectors, dim=-1).mean(0), dim=-1)

    rows = []
    for names, parents in class_names():
        vector = mean(names)
        if parents:
            vector = (1 - PARENTS_SHARE) * vector + PARENTS_SHARE * mean(parents)
        rows.append(functional.normalize(vector, dim=-1))
    return torch.stack(rows)


def build_model(settings: BundledConfig) -> BundledModel:
    """The shipped model from the trained towers and the published backbone."""
    towers = torch.load(TOWERS, weights_only=True)
    model = BundledModel(settings)
    model.train(False)
    words: dict[str, Tensor] = towers["words"]
    for table in ("tokens", "bigrams"):
        values, scale = quantise(words.pop(f"{table}.weight"))
        words[f"{table}.values"], words[f"{table}.scale"] = values, scale
    model.words.load_state_dict(words)
    model.head.load_state_dict(towers["head"])
    model.network.load_state_dict(pretrained_backbone().state_dict())
    weight, bias = classifier()
    model.classes.classifier.load_state_dict({"weight": weight, "bias": bias})
    model.classes.vectors.copy_(class_vectors(model.words))
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
