"""Any CLIP-family model (two towers, one space) from a local folder, through transformers' Auto classes.

Importing this module imports torch and transformers, which takes seconds: only the thread that
loads a model does. Nothing here touches the network, and no code that comes with a model is run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
from typing import TYPE_CHECKING, Any

# Read by the hub's library when it is first imported: loading never asks the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers.utils import logging as transformers_logging

from memewatchd.encoders import preprocessing, resting
from memewatchd.encoders.checkpoint import Checkpoint, read_checkpoint
from memewatchd.encoders.cpu import physical_cores
from memewatchd.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from memewatchd.meme import FrameSpec

log = logging.getLogger(__name__)

PADDED_FAMILIES = frozenset({"siglip", "siglip2"})
"""Trained on lower-cased text padded to its full length without an attention mask, so they must be asked
like that. The others mask the padding out (or are causal): leaving it out is exact, and faster."""

MAX_TOKENS = 512
"""Where neither tokenizer nor model say how long a text may be."""

CHINESE_FAMILIES = frozenset({"chinese_clip"})

_HAN_SAMPLE = "猫狗猪鸭熊笑哭怒吓睡吃喝跑跳抱谁您啥怎喜欢讨厌饿困累懒胖瘦脸眼睛嘴裤鞋帽雪雷晴伞锅碗勺糖辣甜咖啡汤"
"""Everyday characters which an English vocabulary doesn't hold: BERT's English one has the few hundred commonest."""
_MOST_TOKENS = 1.5
"""A character of three bytes takes two or three tokens where each byte is one, and one where it is known."""

FAMILIES = "CLIP, Chinese-CLIP, SigLIP and SigLIP 2 (for example --model siglip2)"

_VOLATILE_CONFIG = frozenset({"transformers_version", "_name_or_path", "torch_dtype", "dtype"})
"""Entries of config.json that say nothing of how vectors come about."""


class ClipEncoder:
    """A loaded model. Picture and text calls may come from different threads at once.

    ``name``: what people call it. ``fingerprint``: 16 hex digits; vectors of the same fingerprint
    are comparable. ``dim``: the vectors' length. ``spec``: how frames must be prepared. ``is_english_only``:
    whether it wasn't made to read Chinese.
    """

    def __init__(self, name: str, checkpoint: Checkpoint, device: torch.device) -> None:
        self.name = name
        self._device = device
        self._weights = checkpoint.weights
        folder = checkpoint.folder
        self._model = _load_model(checkpoint).to(device)
        self._processor = _load_processor(folder)
        self._tokenizer = _load_tokenizer(folder)
        self._text_settings = _text_settings(checkpoint, self._model.config, self._tokenizer)
        self.spec: FrameSpec = preprocessing.frame_spec(self._processor)
        self.is_english_only = checkpoint.model_type not in CHINESE_FAMILIES and not knows_han(self._tokenizer)
        # One picture and one text through both towers: what can't work is found now, not in the first batch.
        grey = np.full((self.spec.crop, self.spec.crop, 3), 127, dtype=np.uint8)
        try:
            image_dim, text_dim = self.encode_images([grey]).shape[1], self.encode_text("a").shape[0]
        except Exception as error:
            raise EncoderError(f"the model in {folder} loads, but can't be run: {_brief(error)}") from error
        if image_dim != text_dim:
            raise EncoderError(
                f"the model in {folder} gives pictures {image_dim} dimensions and texts {text_dim}: "
                f"it isn't a model of the CLIP family. memewatchd uses {FAMILIES}."
            )
        self.dim = image_dim
        self.fingerprint = self._fingerprint(checkpoint)

    @classmethod
    def load(cls, folder: Path, name: str, device: str = "auto", threads: int | None = None) -> ClipEncoder:
        """Load the model in ``folder``, which is in the hub's format.

        ``device``: "auto" is CUDA where there is one, else the CPU. ``threads``: for the CPU; None
        is one for each physical core that this process may use.
        Raises EncoderError, which says what is missing or wrong, and what to do.
        """
        checkpoint = read_checkpoint(folder)
        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu":
            torch.set_num_threads(threads or physical_cores())
        try:
            encoder = cls(name, checkpoint, torch.device(device))
        except EncoderError:
            raise
        except torch.OutOfMemoryError as error:
            raise EncoderError(f"{name} needs more memory than the graphics card has free") from error
        resting.trim()  # of what loading took for a moment
        log.info("loaded %s (%s, %d dimensions) on %s", name, checkpoint.model_type, encoder.dim, device)
        return encoder

    def encode_images(self, frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Frames as ``spec`` says, uint8 (crop, crop, 3) each → unit-length float32 (n, dim)."""
        values = preprocessing.pixel_values(self._processor, frames).to(self._device)
        with torch.inference_mode():
            return _unit(self._model.get_image_features(pixel_values=values))

    def encode_text(self, text: str) -> NDArray[np.float32]:
        """One text, cut where it is longer than the model reads → unit-length float32 (dim,)."""
        settings = self._text_settings
        tokens = self._tokenizer(
            [text.lower() if settings["lower"] else text],
            padding="max_length" if settings["pad"] else False,
            max_length=settings["max_length"],
            truncation=True,
            return_tensors="pt",
        ).to(self._device)
        with torch.inference_mode():
            vector: NDArray[np.float32] = _unit(self._model.get_text_features(**tokens))[0]
        return vector

    def rest_pictures(self) -> int:
        """No picture is expected soon: give the picture tower's memory back, and take it again at the next need.

        Returns the bytes given back; 0 where that wouldn't be worth it. Costs a millisecond; any thread may call it.
        """
        resting.trim()
        if self._device.type != "cpu":
            return 0
        return resting.give_back(resting.picture_weights(self._model), self._weights)

    def _fingerprint(self, checkpoint: Checkpoint) -> str:
        """A hash over all that makes this model's vectors what they are, wherever its files lie."""
        parts = {
            "config": {key: value for key, value in checkpoint.config.items() if key not in _VOLATILE_CONFIG},
            "weights": checkpoint.weights_hash(),
            "frames": [self.spec.mode, self.spec.resize, self.spec.crop, self.spec.resample],
            "pixels": preprocessing.settings(self._processor),
            "text": self._text_settings,
            "dim": self.dim,
        }
        text = json.dumps(parts, sort_keys=True, default=list)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _load_model(checkpoint: Checkpoint) -> Any:
    """The model itself, float32, ready to be asked. Raises EncoderError."""
    folder, model_type = checkpoint.folder, checkpoint.model_type
    if model_type not in CONFIG_MAPPING:
        if "auto_map" in checkpoint.config:
            raise EncoderError(
                f"the model in {folder} needs Python code of its own, and memewatchd never runs code that "
                f"comes with a model. memewatchd uses {FAMILIES}."
            )
        raise EncoderError(f"{folder}/config.json: unknown model_type {model_type!r}. memewatchd uses {FAMILIES}.")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise EncoderError(f"{folder}/config.json can't be used: {_brief(error)}") from error
    kind = MODEL_MAPPING.get(type(config), None)
    if not (hasattr(kind, "get_image_features") and hasattr(kind, "get_text_features")):
        raise EncoderError(
            f"the model in {folder} is of type {model_type!r}, which doesn't put pictures and words into one "
            f"space. memewatchd uses {FAMILIES}."
        )
    names = ", ".join(path.name for path in checkpoint.weights)
    try:
        model, info = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=checkpoint.safetensors,
            weights_only=True,
            output_loading_info=True,
            # Told below, in one line; by default it is logged as a table of every tensor.
            ignore_mismatched_sizes=True,
        )
    except pickle.UnpicklingError as error:
        raise EncoderError(
            f"the weights in {folder} ({names}) hold more than numbers, and are refused: such files can run "
            "code. Use a model in safetensors format."
        ) from error
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError) as error:
        raise EncoderError(
            f"the weights in {folder} ({names}) can't be read: {_brief(error)}. Fetch them again."
        ) from error
    if mismatched := sorted(info["mismatched_keys"]):
        raise EncoderError(
            f"the weights in {folder} ({names}) belong to another config.json: {mismatched[0][0]} has the shape "
            f"{tuple(mismatched[0][1])}, not {tuple(mismatched[0][2])}. Fetch the folder again."
        )
    if missing := sorted(info["missing_keys"]):
        raise EncoderError(
            f"the weights in {folder} ({names}) are incomplete: {len(missing)} tensors are missing, "
            f"{missing[0]} is the first. Fetch them again."
        )
    return model.eval()


def _load_processor(folder: Path) -> Any:
    """The Pillow-backed image processor: torchvision isn't installed, and would give other pixels."""
    try:
        return AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise EncoderError(f"{folder}/preprocessor_config.json can't be used: {_brief(error)}") from error


def _load_tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise EncoderError(
            f"the tokenizer in {folder} can't be used: {_brief(error)}. Fetch its files again."
        ) from error


def knows_han(tokenizer: Any) -> bool:
    """Whether a vocabulary was made for Chinese too, which is how we tell that its model was.

    Nothing in a checkpoint names its languages. But a model that was trained on Chinese has a vocabulary with a token
    for most everyday characters; one that wasn't spells them in bytes (openai's CLIP), or doesn't know them at all
    (SigLIP's first, English one). No more is claimed: a model may have such a vocabulary and little Chinese.
    """
    unknown = tokenizer.unk_token_id
    spelled = [tokenizer(each, add_special_tokens=False)["input_ids"] for each in _HAN_SAMPLE]
    strange = sum(not tokens or unknown in tokens for tokens in spelled)
    # Together, since SentencePiece puts a token for a space before each alone.
    together = tokenizer(_HAN_SAMPLE, add_special_tokens=False)["input_ids"]
    return strange * 4 < len(_HAN_SAMPLE) and len(together) <= _MOST_TOKENS * len(_HAN_SAMPLE)


def _text_settings(checkpoint: Checkpoint, config: Any, tokenizer: Any) -> dict[str, Any]:
    """How this family is asked: ``pad`` to ``max_length`` tokens or only cut there; ``lower``-case or not."""
    padded = checkpoint.model_type in PADDED_FAMILIES
    positions = getattr(getattr(config, "text_config", config), "max_position_embeddings", None)
    lengths = [MAX_TOKENS, tokenizer.model_max_length]
    if positions is not None:
        lengths.append(int(positions))
    # SigLIP 2's published checkpoints say do_lower_case, but name a tokenizer class that ignores it.
    lower = padded and tokenizer.init_kwargs.get("do_lower_case", True)
    return {"pad": padded, "lower": bool(lower), "max_length": min(lengths)}


def _unit(features: Any) -> NDArray[np.float32]:
    """Unit-length rows of what ``get_…_features`` gave: a tensor, or an output with it as its pooler's."""
    tensor: torch.Tensor = getattr(features, "pooler_output", features)
    vectors: NDArray[np.float32] = torch.nn.functional.normalize(tensor.float(), dim=-1).cpu().numpy()
    return vectors


def _brief(error: Exception) -> str:
    """The first sentence of what a library said."""
    lines = str(error).strip().splitlines()
    return lines[0].split(". ")[0][:300].rstrip(".!") if lines else type(error).__name__
