"""The bundled model as memewatchd runs it: its files are our own, so torch, safetensors and tokenizers are enough.

transformers would import what no other part needs, torch's compiler with it: two thirds of the time until the first
answer, and 100 MB of memory for good.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from memewatchd.encoders.bundled import FAMILY
from memewatchd.encoders.bundled.towers import Sizes, Towers
from memewatchd.encoders.pixels import Pixels
from memewatchd.encoders.two_towers import MAX_TOKENS, Parts, TwoTowers, brief
from memewatchd.errors import EncoderError
from memewatchd.meme import FrameSpec

if TYPE_CHECKING:
    from memewatchd.encoders.checkpoint import Checkpoint


class BundledEncoder(TwoTowers):
    """The model that ships, or another that the training made. Vectors and fingerprint are those of transformers."""

    TEXT_THREADS = 1  # products of a row and a small matrix: to wake another thread takes longer

    @staticmethod
    def read(checkpoint: Checkpoint) -> Parts:
        """Raises EncoderError."""
        folder = checkpoint.folder
        assert checkpoint.model_type == FAMILY
        try:
            config = cast("Sizes", SimpleNamespace(**checkpoint.config))
            model = _Model(config)
            model.load_state_dict(_tensors(checkpoint), assign=True)
            settings = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
            edge = settings["size"]["height"]
            spec = FrameSpec("exact", edge, edge, settings["resample"])
            lengths = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["model_max_length"]
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # What the libraries raise for a broken file is anything.
        except Exception as error:
            raise EncoderError(
                f"the model in {folder} can't be read: {brief(error)}. Install memewatchd again."
            ) from error
        longest = min(MAX_TOKENS, lengths, checkpoint.config["max_position_embeddings"])
        tokenizer.enable_truncation(longest)

        def tokens(text: str) -> dict[str, torch.Tensor]:
            found = tokenizer.encode(text)
            return {
                "input_ids": torch.tensor([found.ids], dtype=torch.int64),
                "attention_mask": torch.tensor([found.attention_mask], dtype=torch.int64),
            }

        return Parts(
            model=model.eval(),
            spec=spec,
            pixels=Pixels.of(settings),
            tokens=tokens,
            text_settings={"pad": False, "lower": False, "max_length": longest},
            is_english_only=False,
        )


class _Model(Towers):
    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.config = config
        with torch.device("meta"):  # no memory, and no time to fill it: the file's tensors take their places
            self.build(config)


def _tensors(checkpoint: Checkpoint) -> dict[str, Any]:
    """In float32 where they are numbers with a point, as the model is run."""
    tensors: dict[str, Any] = {}
    for path in checkpoint.weights:
        tensors |= load_file(path)
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
