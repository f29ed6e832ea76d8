"""A model's folder in the hub's format, looked at without loading it: what is there, what is missing.

Standard library only, so that it is cheap enough for the main thread.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memewatchd.errors import EncoderError

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = "config.json"
IMAGE_SETTINGS = ("preprocessor_config.json", "processor_config.json")
"""Either says how pictures are prepared; the second is how newer versions of transformers save it."""

SAFETENSORS = "model.safetensors"
TORCH_WEIGHTS = "pytorch_model.bin"
WEIGHTS = (SAFETENSORS, TORCH_WEIGHTS)
"""In order of preference. Each may instead be split: ``NAME.index.json`` then lists the parts."""

TOKENIZERS = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("tokenizer.model",),
)
"""Any one of these sets of files is a tokenizer."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 4 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that holds all that a two-tower model needs. ``weights``: the files of its tensors."""

    folder: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]

    @property
    def model_type(self) -> str:
        """The family, as transformers names it: "clip", "siglip", …"""
        return str(self.config.get("model_type", ""))

    @property
    def safetensors(self) -> bool:
        """Whether the weights are in safetensors rather than in torch's own format."""
        return self.weights[0].suffix == ".safetensors"

    def weights_hash(self) -> str:
        """SHA-256 over each weights file's SHA-256, 64 hex digits. Reads them all, but for a hub cache's."""
        total = hashlib.sha256()
        for path in sorted(self.weights):
            total.update(f"{path.name} {_sha256(path)}\n".encode())
        return total.hexdigest()


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in ``folder``.

    Raises EncoderError, which names what is missing or what can't be read.
    """
    if not folder.is_dir():
        raise EncoderError(f"there is no folder {folder}; give --model a model's folder, or a model's name")
    missing = missing_files(folder)
    if missing:
        raise EncoderError(
            f"{folder} is not a complete model: it lacks {'; '.join(missing)}. "
            "Copy them from the model's page into this folder."
        )
    return Checkpoint(folder, read_json(folder / CONFIG), _weights(folder))


def missing_files(folder: Path) -> list[str]:
    """What ``folder`` lacks to be a complete model, in words. Raises EncoderError for a broken index."""
    missing = []
    if not (folder / CONFIG).is_file():
        missing.append(CONFIG)
    if not any((folder / name).is_file() for name in IMAGE_SETTINGS):
        missing.append(IMAGE_SETTINGS[0])
    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZERS):
        missing.append("a tokenizer (" + ", or ".join(" and ".join(names) for names in TOKENIZERS[:4]) + ")")
    weights = _weights(folder)
    if not weights:
        missing.append(" or ".join(WEIGHTS))
    missing.extend(path.name for path in weights if not path.is_file())
    return missing


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``. Raises EncoderError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} can't be read: {error}. Fetch it again.") from error
    if not isinstance(value, dict):
        raise EncoderError(f"{path} can't be read: it holds no JSON object. Fetch it again.")
    return value


def _weights(folder: Path) -> tuple[Path, ...]:
    """The files that hold the tensors, safetensors first; parts that an index names may be missing."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            return (folder / name,)
        index = folder / f"{name}.index.json"
        if index.is_file():
            parts = set(read_json(index).get("weight_map", {}).values())
            # Only a bare file name: an index must not point outside of its folder.
            bad = [part for part in parts if not isinstance(part, str) or "/" in part]
            if bad or not parts:
                raise EncoderError(f"{index} is not an index of weights. Fetch it again.")
            return tuple(folder / part for part in sorted(parts))
    return ()


def _sha256(path: Path) -> str:
    """SHA-256 of a file. In the hub's cache a big file's real name is just that, and is trusted."""
    name = path.resolve().name
    if path.is_symlink() and _SHA256.fullmatch(name):
        return name
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
