"""Writes tiny CLIP-family models in the hub's own file format: seeded random weights, a real small tokenizer.

    python tests/tiny_checkpoints.py FAMILY FOLDER [--seed N]

The settings files say what those of the published checkpoints say (``openai/clip-vit-base-patch16``,
``OFA-Sys/chinese-clip-vit-base-patch16``, ``google/siglip-base-patch16-224``,
``google/siglip2-base-patch16-224``), but for the sizes.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

SIDE = 32
"""Pixels: the side of the square that every tiny model looks at."""

TEXTS = (
    "an angry cat looks at a white dog",
    "a black dog smiles, the cat is not amused",
    "one does not simply walk past a meme",
    "distracted boyfriend meme template with two women",
    "this is fine, says the dog in the burning room",
    "生气 的 猫 看着 一只 白色 的 狗",
    "黑色 的 狗 在 笑",
)

_OPENAI = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def write(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a tiny checkpoint of ``family`` (a key of :data:`WRITERS`) into ``folder``, made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    WRITERS[family](folder, seed)
    return folder


def write_tiny_clip(folder: Path, seed: int = 0) -> None:
    """CLIP: byte-level BPE, causal text tower, pictures scaled by the shorter side and cropped."""
    from transformers import CLIPConfig, CLIPModel

    words = _clip_tokenizer(folder)
    towers = _towers(words, max_position_embeddings=24)
    # As published: 2 is not the end token's id, and tells transformers to look for the greatest one.
    towers["text_config"] |= {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    _save(CLIPModel, CLIPConfig(**towers, projection_dim=24), folder, seed)
    _json(
        folder / "preprocessor_config.json",
        {
            "crop_size": SIDE,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor",
            **_OPENAI,
            "resample": 3,
            "size": SIDE,
        },
    )


def write_tiny_chinese_clip(folder: Path, seed: int = 0) -> None:
    """Chinese-CLIP: BERT's words and text tower, pictures squeezed to a square."""
    from transformers import ChineseCLIPConfig, ChineseCLIPModel

    letters = sorted(set("".join(TEXTS)) - {" "})
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocab += ["cat", "dog", "meme", "##ed", "the"]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    _json(folder / "tokenizer_config.json", {"do_lower_case": True, "tokenizer_class": "BertTokenizer"})
    towers = _towers(len(vocab), max_position_embeddings=24)
    _save(ChineseCLIPModel, ChineseCLIPConfig(**towers, projection_dim=24), folder, seed)
    _json(
        folder / "preprocessor_config.json",
        {
            "do_center_crop": False,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "ChineseCLIPFeatureExtractor",
            **_OPENAI,
            "resample": 3,
            "size": {"height": SIDE, "width": SIDE},
        },
    )


def write_tiny_siglip(folder: Path, seed: int = 0) -> None:
    """SigLIP: SentencePiece words, always padded; pictures squeezed to a square (bicubic)."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=model,
        vocab_size=120,
        hard_vocab_limit=False,
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(model.getvalue())
    words = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size()
    _json(
        folder / "tokenizer_config.json",
        {
            "do_lower_case": True,
            "eos_token": "</s>",
            "model_input_names": ["input_ids"],
            "model_max_length": 16,
            "pad_token": "</s>",
            "sp_model_kwargs": {},
            "tokenizer_class": "SiglipTokenizer",
            "unk_token": "<unk>",
        },
    )
    _siglip(folder, seed, words, positions=16, resample=3)


def write_tiny_siglip2(folder: Path, seed: int = 0) -> None:
    """SigLIP 2 of a fixed size: a SigLIP model with Gemma's tokenizer, which by itself doesn't lower-case."""
    words = _gemma_tokenizer(folder)
    _siglip(folder, seed, words, positions=64, resample=2)


WRITERS = {
    "clip": write_tiny_clip,
    "chinese-clip": write_tiny_chinese_clip,
    "siglip": write_tiny_siglip,
    "siglip2": write_tiny_siglip2,
}


def _siglip(folder: Path, seed: int, words: int, positions: int, resample: int) -> None:
    from transformers import SiglipConfig, SiglipModel

    towers = _towers(words, max_position_embeddings=positions)
    towers["text_config"] |= {"projection_size": towers["vision_config"]["hidden_size"]}
    _save(SiglipModel, SiglipConfig(**towers), folder, seed)
    _json(
        folder / "preprocessor_config.json",
        {
            "do_convert_rgb": None,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            **_HALF,
            "image_processor_type": "SiglipImageProcessor",
            "processor_class": "SiglipProcessor",
            "resample": resample,
            "rescale_factor": 1 / 255,
            "size": {"height": SIDE, "width": SIDE},
        },
    )


def _towers(words: int, max_position_embeddings: int) -> dict[str, dict[str, Any]]:
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {
        "text_config": {**size, "vocab_size": words, "max_position_embeddings": max_position_embeddings},
        "vision_config": {**size, "image_size": SIDE, "patch_size": 8},
    }


def _save(kind: Any, config: Any, folder: Path, seed: int) -> None:
    """A model with weights wide enough that different pictures get clearly different vectors."""
    import torch

    random = torch.Generator().manual_seed(seed)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                wide = parameter.shape[1:].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=random) * wide * 1.5)
    model.save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _json(folder / "config.json", settings | {"transformers_version": "4.49.0"})


def _clip_tokenizer(folder: Path) -> int:
    """``vocab.json`` and ``merges.txt``, ordered as OpenAI's: bytes, bytes that end a word, merges, start, end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    end = "</w>"
    learner = Tokenizer(models.BPE(end_of_word_suffix=end))
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=alphabet, end_of_word_suffix=end, show_progress=False
    )
    learner.train_from_iterator(TEXTS, trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    words = [*alphabet, *(letter + end for letter in alphabet), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(words))}
    _json(folder / "vocab.json", vocab)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _json(
        folder / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            "bos_token": "<|startoftext|>",
            "do_lower_case": True,
            "eos_token": "<|endoftext|>",
            "errors": "replace",
            "model_max_length": 24,
            "pad_token": "<|endoftext|>",
            "tokenizer_class": "CLIPTokenizer",
            "unk_token": "<|endoftext|>",
        },
    )
    return len(vocab)


def _gemma_tokenizer(folder: Path) -> int:
    """``tokenizer.json`` as Gemma's: BPE with byte fallback, and the padding to 64 that SigLIP 2 bakes in."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.train_from_iterator(
        [text.replace(" ", " ▁").split(" ") for text in TEXTS],
        trainers.BpeTrainer(vocab_size=300, show_progress=False),
    )
    model = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    words = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(model["vocab"], key=model["vocab"].get)]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=True, byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.add_special_tokens(special)
    tokenizer.enable_padding(length=64, pad_id=0, pad_token="<pad>")
    tokenizer.enable_truncation(64)
    tokenizer.save(str(folder / "tokenizer.json"))
    _json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "add_eos_token": True,
            "bos_token": "<bos>",
            "do_lower_case": True,
            "eos_token": "<eos>",
            "mask_token": "<mask>",
            "model_input_names": ["input_ids"],
            "model_max_length": int(1e30),
            "pad_token": "<pad>",
            "padding_side": "right",
            "processor_class": "SiglipProcessor",
            "tokenizer_class": "GemmaTokenizer",
            "unk_token": "<unk>",
        },
    )
    return len(vocab)


def _json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="write a tiny CLIP-family model in the hub's format")
    parser.add_argument("family", choices=sorted(WRITERS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write(given.family, given.folder, given.seed)
