"""Any CLIP-family model (two towers, one space) from a local folder, through transformers' Auto classes.

Importing this module imports torch and transformers, which takes seconds: only the thread that
loads a model does. Nothing here touches the network, and no code that comes with a model is run.
"""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

# Read by the hub's library when it is first imported: loading never asks the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers.utils import logging as transformers_logging

from memewatchd.encoders import preprocessing
from memewatchd.encoders.pixels import Pixels
from memewatchd.encoders.two_towers import FAMILIES, MAX_TOKENS, Parts, TwoTowers, brief
from memewatchd.errors import EncoderError

if TYPE_CHECKING:
    from pathlib import Path

    from memewatchd.encoders.checkpoint import Checkpoint

PADDED_FAMILIES = frozenset({"siglip", "siglip2"})
"""Trained on lower-cased text padded to its full length without an attention mask, so they must be asked
like that. The others mask the padding out (or are causal): leaving it out is exact, and faster."""

CHINESE_FAMILIES = frozenset({"chinese_clip"})

_HAN_SAMPLE = "猫狗猪鸭熊笑哭怒吓睡吃喝跑跳抱谁您啥怎喜欢讨厌饿困累懒胖瘦脸眼睛嘴裤鞋帽雪雷晴伞锅碗勺糖辣甜咖啡汤"
"""Everyday characters which an English vocabulary doesn't hold: BERT's English one has the few hundred commonest."""
_MOST_TOKENS = 1.5
"""A character of three bytes takes two or three tokens where each byte is one, and one where it is known."""


class ClipEncoder(TwoTowers):
    """A model of any family that transformers has."""

    @staticmethod
    def read(checkpoint: Checkpoint) -> Parts:
        """With all that transformers checks. Raises EncoderError."""
        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model = _load_model(checkpoint)
        processor = _load_processor(checkpoint.folder)
        tokenizer = _load_tokenizer(checkpoint.folder)
        settings = _text_settings(checkpoint, model.config, tokenizer)

        def tokens(text: str) -> dict[str, torch.Tensor]:
            given = tokenizer(
                [text.lower() if settings["lower"] else text],
                padding="max_length" if settings["pad"] else False,
                max_length=settings["max_length"],
                truncation=True,
                return_tensors="pt",
            )
            return dict(given)

        return Parts(
            model=model,
            spec=preprocessing.frame_spec(processor),
            pixels=Pixels.of(vars(processor)),
            tokens=tokens,
            text_settings=settings,
            is_english_only=checkpoint.model_type not in CHINESE_FAMILIES and not knows_han(tokenizer),
        )


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
        raise EncoderError(f"{folder}/config.json can't be used: {brief(error)}") from error
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
            f"the weights in {folder} ({names}) can't be read: {brief(error)}. Fetch them again."
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
        raise EncoderError(f"{folder}/preprocessor_config.json can't be used: {brief(error)}") from error


def _load_tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise EncoderError(
            f"the tokenizer in {folder} can't be used: {brief(error)}. Fetch its files again."
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
