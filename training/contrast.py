"""Brings pictures and words together: the drawing head learns from cached features, the words move along."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from memewatchd.encoders.bundled.modeling import DrawingHead, Words
from training.captions import Captions, captions_for
from training.draw import read_drawings
from training.features import COLOURS, VIEWS, view_path
from training.paths import CACHE, SEED, finished, progress
from training.words import (
    WORDS,
    config,
    crop,
    distil_loss,
    drop_tokens,
    encode,
    load_tokenizer,
    text_table,
    trainable_words,
)

TOWERS = CACHE / "towers.pt"

STEPS = 1600
BATCH = 1024
HEAD_RATE = 1.5e-3
WORDS_RATE = 4e-4
KEEP_TEACHER = 0.2
"""Weight of staying close to the teacher while moving towards the pictures."""
EMOJI_SHARE = 0.65
COLOURED = 0.5
"""How often a picture with one clear colour is called by it."""
DROPPED_FEATURES = 0.25
SHOWN = (0.3, *[0.7 / (VIEWS - 1)] * (VIEWS - 1)) if VIEWS > 1 else (1.0,)
"""How often each view is shown; the first is the clean one."""


class Sampler:
    """Draws batches of (features, caption, which captions fit which pictures)."""

    def __init__(self, random: np.random.Generator) -> None:
        drawings, _ = read_drawings()
        self._random = random
        self._tables = np.stack([np.load(view_path(view)) for view in range(VIEWS)])
        self._colours: list[list[str]] = json.loads(COLOURS.read_text())
        self._captions = captions_for(drawings)
        training = [row for row, drawing in enumerate(drawings) if not drawing.held_out]
        self._emoji = self._by_identity([row for row in training if drawings[row].concept])
        self._clipart = self._by_identity([row for row in training if not drawings[row].concept])
        self._fits: dict[str, set[str]] = defaultdict(set)  # caption → identities that it names
        for row in training:
            for text, _ in self._captions[row].texts:
                self._fits[text].add(self._captions[row].identity)
        texts = sorted({text for row in training for text in self._all_texts(self._captions[row])})
        self._ids = encode(load_tokenizer(), texts)
        self._row_of = {text: index for index, text in enumerate(texts)}

    def _by_identity(self, rows: list[int]) -> list[list[int]]:
        groups: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            groups[self._captions[row].identity].append(row)
        return list(groups.values())

    @staticmethod
    def _all_texts(captions: Captions) -> list[str]:
        from training.phrases import COLOURS as ALL

        return [text for text, _ in captions.texts] + [text for colour in ALL for text in captions.coloured(colour)]

    def batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features (n, 1280), ids and mask (n, length), fits (n, n) of 0 and 1: picture by caption."""
        random = self._random
        features, rows, identities, texts, colours = [], [], [], [], []
        for _ in range(BATCH):
            groups = self._emoji if random.random() < EMOJI_SHARE else self._clipart
            group = groups[int(random.integers(len(groups)))]
            row = group[int(random.integers(len(group)))]
            view = int(random.choice(VIEWS, p=SHOWN))
            captions, colour = self._captions[row], self._colours[row][view]
            said = colour and random.random() < COLOURED
            if said:
                options = captions.coloured(colour)
                text = options[0] if random.random() < 0.5 else options[int(random.integers(len(options)))]
            else:
                names, weights = zip(*captions.texts, strict=True)
                edges = np.cumsum(weights)
                text = names[int(np.searchsorted(edges, random.random() * edges[-1]))]
            rows.append((row, view))
            identities.append(captions.identity)
            colours.append(colour)
            texts.append((text, colour if said else ""))
        index = np.asarray(rows)
        features = self._tables[index[:, 1], index[:, 0]].astype(np.float32)
        ids, mask = crop(self._ids[[self._row_of[text] for text, _ in texts]])
        return torch.from_numpy(features), ids, mask, self._matches(identities, colours, texts)

    def _matches(self, identities: list[str], colours: list[str], texts: list[tuple[str, str]]) -> Tensor:
        places: dict[str, list[int]] = defaultdict(list)
        for place, identity in enumerate(identities):
            places[identity].append(place)
        fits = torch.eye(len(texts))
        for column, (text, colour) in enumerate(texts):
            named = {identities[column]} if colour else self._fits[text]
            for identity in named & places.keys():
                for place in places[identity]:
                    if not colour or colours[place] == colour:
                        fits[place, column] = 1.0
        return fits


def contrastive_loss(pictures: Tensor, words: Tensor, fits: Tensor, scale: Tensor) -> Tensor:
    """Cross entropy both ways, the target spread evenly over all that fit."""
    logits = scale * pictures @ words.T
    to_words = -(functional.log_softmax(logits, 1) * fits / fits.sum(1, keepdim=True)).sum(1).mean()
    to_pictures = -(functional.log_softmax(logits, 0) * fits / fits.sum(0, keepdim=True)).sum(0).mean()
    return (to_words + to_pictures) / 2


def bring_together() -> None:
    """Writes ``towers.pt``: {"words", "head"} state dicts."""
    torch.manual_seed(SEED + 1)
    random = np.random.default_rng(SEED + 1)
    generator = torch.Generator().manual_seed(SEED + 1)
    settings = config()
    words: Words = trainable_words(settings)
    words.load_state_dict(torch.load(WORDS, weights_only=True))
    head = DrawingHead(settings)
    log_scale = nn.Parameter(torch.tensor(3.0))
    sampler, table = Sampler(random), text_table()
    likely = np.cumsum(table.weights / table.weights.sum())
    optimizer = torch.optim.AdamW(
        [
            {"params": [*head.parameters(), *words.projection.parameters(), log_scale], "lr": HEAD_RATE},
            {"params": [p for n, p in words.named_parameters() if not n.startswith("projection")], "lr": WORDS_RATE},
        ],
        weight_decay=0.02,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [HEAD_RATE, WORDS_RATE], total_steps=STEPS, pct_start=0.1)
    words.train()
    for step in progress(range(STEPS), f"bringing together, batches of {BATCH}"):
        features, ids, mask, fits = sampler.batch()
        pictures = functional.normalize(head(functional.dropout(features, DROPPED_FEATURES)), dim=-1)
        spoken = functional.normalize(words(ids, drop_tokens(mask, generator)), dim=-1)
        loss = contrastive_loss(pictures, spoken, fits, log_scale.clamp(max=4.0).exp())
        rows = np.searchsorted(likely, random.random(BATCH)).clip(max=len(likely) - 1)
        target = torch.from_numpy(table.vectors[rows].astype(np.float32))
        kept = distil_loss(words.meaning(*table.batch(rows)), target)
        optimizer.zero_grad()
        (loss + KEEP_TEACHER * kept).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"  step {step}: contrast {loss.item():.3f}, teacher {kept.item():.3f}", flush=True)
    with finished(TOWERS) as path:
        torch.save({"words": words.state_dict(), "head": head.state_dict()}, path)
