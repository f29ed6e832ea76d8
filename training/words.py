"""Fits the words' tower to the teacher."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from memewatchd.encoders.bundled.configuration import BundledConfig
from memewatchd.encoders.bundled.towers import Words
from training.paths import CACHE, SEED, finished, progress
from training.teacher import TEXTS, VECTORS
from training.texts import gather
from training.tokenizer import train_tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOKENIZER = CACHE / "tokenizer"
WORDS = CACHE / "words.pt"

LONGEST = 40
BATCH = 2048
EPOCHS = 8
PEAK_RATE = 3e-3
TEMPERATURE = 0.05
DROPPED_TOKENS = 0.1


def config() -> BundledConfig:
    """The configuration that everything here is built with."""
    return BundledConfig(vocab_size=len(load_tokenizer()))


def load_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(TOKENIZER)  # type: ignore[assignment]
    return tokenizer


def trainable_words(settings: BundledConfig) -> Words:
    """The shipped tower with tables of floats in place of bytes."""
    tower = Words(settings)
    tower.tokens = nn.Embedding(settings.vocab_size, settings.word_size)
    tower.bigrams = nn.Embedding(settings.bigram_buckets, settings.word_size)
    nn.init.normal_(tower.tokens.weight, std=0.1)
    nn.init.normal_(tower.bigrams.weight, std=0.02)
    with torch.no_grad():
        tower.projection.weight.copy_(torch.eye(settings.projection_dim))
        tower.projection.bias.zero_()
    return tower


@dataclass
class TextTable:
    """Texts as token ids (n, LONGEST) int32, 0 where a text has ended; with the teacher's vectors (n, 384) float16."""

    ids: NDArray[np.int32]
    vectors: NDArray[np.float16]
    weights: NDArray[np.float32]

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """(ids, mask), as long as the longest of ``rows``."""
        return crop(self.ids[rows])


def crop(ids: NDArray[np.int32]) -> tuple[Tensor, Tensor]:
    """Padded ids as int64 with their mask, cut to the longest."""
    longest = max(1, int((ids != 0).sum(1).max()))
    tensor = torch.from_numpy(ids[:, :longest].astype(np.int64))
    return tensor, (tensor != 0).long()


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> NDArray[np.int32]:
    """(n, LONGEST) token ids, padded with 0."""
    return np.asarray(
        tokenizer(texts, padding="max_length", truncation=True, max_length=LONGEST)["input_ids"], np.int32
    )


def text_table() -> TextTable:
    """All texts with the teacher's vectors, in a fixed order."""
    pairs = gather()
    row = {text: index for index, text in enumerate(json.loads(TEXTS.read_text()))}
    vectors = np.load(VECTORS)
    known = [(student, row[teacher], weight) for student, teacher, weight in pairs if teacher in row]
    return TextTable(
        encode(load_tokenizer(), [student for student, _, _ in known]),
        vectors[[index for _, index, _ in known]],
        np.asarray([weight for _, _, weight in known], np.float32),
    )


def distil_loss(meaning: Tensor, target: Tensor) -> Tensor:
    """Cosine distance to the teacher's vector, plus telling it from the batch's other vectors."""
    meaning = functional.normalize(meaning, dim=-1)
    distance = 1 - (meaning * target).sum(-1).mean()
    labels = torch.arange(len(target))
    return distance + 0.5 * functional.cross_entropy(meaning @ target.T / TEMPERATURE, labels, label_smoothing=0.1)


def drop_tokens(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Forgets some tokens of texts that have at least three."""
    keep = torch.rand(mask.shape, generator=generator) > DROPPED_TOKENS
    return torch.where(mask.sum(1, keepdim=True) >= 3, mask * keep, mask)


def make_tokenizer() -> None:
    """Trains the tokenizer; short everyday texts count five times."""
    texts = [student for student, _, weight in gather() for _ in range(5 if weight > 1 else 1)]
    with finished(TOKENIZER) as path:
        train_tokenizer(texts).save_pretrained(path)


def distil() -> None:
    """Writes ``words.pt``: the tower fitted to the teacher."""
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    generator = torch.Generator().manual_seed(SEED)
    table = text_table()
    tower = trainable_words(config()).train()
    optimizer = torch.optim.AdamW(tower.parameters(), lr=PEAK_RATE, weight_decay=0.01, fused=True)
    lengths = (table.ids != 0).sum(1)
    per_epoch = len(lengths) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=EPOCHS * per_epoch, pct_start=0.1)
    likely = table.weights / table.weights.sum()
    for step in progress(range(EPOCHS * per_epoch), f"distilling, batches of {BATCH}"):
        if step % 16 == 0:  # sixteen batches at once, alike in length within a batch
            chosen = random.choice(len(lengths), 16 * BATCH, p=likely)
            batches = random.permutation(chosen[np.argsort(lengths[chosen], kind="stable")].reshape(16, BATCH))
        rows = batches[step % 16]
        ids, mask = table.batch(rows)
        target = torch.from_numpy(table.vectors[rows].astype(np.float32))
        loss = distil_loss(tower.meaning(ids, drop_tokens(mask, generator)), target)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"  step {step}: loss {loss.item():.3f}", flush=True)
    with finished(WORDS) as path:
        torch.save(tower.state_dict(), path)
