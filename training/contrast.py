"""Brings pictures and words together: the drawing head learns from cached features, the words move along."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from memewatchd.encoders.bundled.efficientnet import FEATURES
from memewatchd.encoders.bundled.towers import DrawingHead
from training import phrases
from training.captions import captions_for
from training.concepts import load_concepts
from training.draw import VALIDATION_SET, read_drawings
from training.features import COLOURS, VIEWS, view_path
from training.paths import CACHE, SEED, finished, progress
from training.tune import TUNED
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

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from memewatchd.encoders.bundled.towers import Words

TOWERS = CACHE / "towers.pt"

VALIDATE_EVERY = 100


@dataclass(frozen=True)
class Recipe:
    """What was chosen by trying, on openmoji, which nothing is learned from."""

    steps: int = 1200
    batch: int = 1024
    head_rate: float = 1.5e-3
    words_rate: float = 2e-3
    weight_decay: float = 0.05
    keep_teacher: float = 0.4  # weight of staying close to the teacher while moving towards the pictures
    emoji_share: float = 0.7  # of the pictures; the rest is clip-art
    clean_share: float = 0.3  # how often the clean view is shown
    coloured: float = 0.4  # how often a picture with one clear colour is called by it
    dropped_features: float = 0.2
    largest_scale: float = 40.0


class Sampler:
    """Draws batches of pictures, captions, and which captions fit which pictures."""

    def __init__(self, random: np.random.Generator, recipe: Recipe) -> None:
        drawings, _ = read_drawings()
        self._random, self._recipe = random, recipe
        self._features = np.stack([np.load(view_path(view)) for view in range(VIEWS)])
        self._colours: list[list[str]] = json.loads(COLOURS.read_text())
        captions = captions_for(drawings)
        training = [row for row, drawing in enumerate(drawings) if not drawing.held_out]
        number: dict[str, int] = {}
        self._captions = []
        for row in training:
            if captions[row].identity not in number:
                number[captions[row].identity] = len(number)
                self._captions.append(captions[row])
        self._identity = {row: number[captions[row].identity] for row in training}
        self._groups = [
            self._by_identity([row for row in training if bool(drawings[row].concept) == kind])
            for kind in (True, False)
        ]
        texts: dict[str, int] = {}
        self._fits: list[set[int]] = []  # caption → identities that it names
        self._options: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self._coloured: list[dict[str, list[int]]] = []
        for identity, caption in enumerate(self._captions):
            ids = [texts.setdefault(text, len(texts)) for text, _ in caption.texts]
            weights = np.asarray([weight for _, weight in caption.texts])
            self._options.append((np.asarray(ids), np.cumsum(weights) / weights.sum()))
            self._fits.extend(set() for _ in range(len(texts) - len(self._fits)))
            for text in ids:
                self._fits[text].add(identity)
        for caption in self._captions:
            self._coloured.append(
                {
                    colour: [texts.setdefault(text, len(texts)) for text in caption.coloured(colour)]
                    for colour in phrases.COLOURS
                }
            )
        self._ids = encode(load_tokenizer(), list(texts))

    def _by_identity(self, rows: list[int]) -> list[list[int]]:
        groups: dict[int, list[int]] = defaultdict(list)
        for row in rows:
            groups[self._identity[row]].append(row)
        return list(groups.values())

    def batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features (n, 1280), ids and mask (n, length), fits (n, n) of 0 and 1: picture by caption."""
        random, recipe = self._random, self._recipe
        rows, views, identities, texts, colours, said = [], [], [], [], [], []
        for chance, pick, which, view, word, colouring in random.random((recipe.batch, 6)):
            groups = self._groups[0 if chance < recipe.emoji_share else 1]
            group = groups[int(pick * len(groups))]
            row = group[int(which * len(group))]
            shown = (
                0
                if view < recipe.clean_share
                else 1 + int((view - recipe.clean_share) / (1 - recipe.clean_share) * (VIEWS - 1))
            )
            identity, colour = self._identity[row], self._colours[row][shown]
            if colour and colouring < recipe.coloured:
                options = self._coloured[identity][colour]
                texts.append(options[0] if word < 0.5 else options[int((word - 0.5) * 2 * len(options))])
                said.append(True)
            else:
                ids, edges = self._options[identity]
                texts.append(int(ids[np.searchsorted(edges, word)]))
                said.append(False)
            rows.append(row)
            views.append(shown)
            identities.append(identity)
            colours.append(colour)
        features = torch.from_numpy(self._features[views, rows].astype(np.float32))
        return features, *crop(self._ids[texts]), self._matches(identities, colours, texts, said)

    def _matches(self, identities: list[int], colours: list[str], texts: list[int], said: list[bool]) -> Tensor:
        places: dict[int, list[int]] = defaultdict(list)
        for place, identity in enumerate(identities):
            places[identity].append(place)
        fits = torch.eye(len(texts))
        for column, text in enumerate(texts):
            if said[column]:
                same = [place for place in places[identities[column]] if colours[place] == colours[column]]
            else:
                same = [place for identity in self._fits[text] if identity in places for place in places[identity]]
            fits[same, column] = 1.0
        return fits


class Validation:
    """Text → picture over all of openmoji, from cached features."""

    def __init__(self) -> None:
        drawings, _ = read_drawings()
        concepts = load_concepts()
        rows = [row for row, drawing in enumerate(drawings) if drawing.source == VALIDATION_SET]
        self._features = torch.from_numpy(np.load(view_path(0))[rows].astype(np.float32))
        keys = [drawings[row].concept or drawings[row].name for row in rows]
        asked = [concepts[key] for key in sorted(set(keys) & concepts.keys())]
        number = {key: index for index, key in enumerate(dict.fromkeys(keys))}
        self._meaning = torch.tensor([number[key] for key in keys])
        self._wanted = torch.tensor([number[concept.key] for concept in asked])
        self._texts = [encode(load_tokenizer(), labels) for labels in ([c.en for c in asked], [c.zh for c in asked])]

    def recalls(self, words: Words, head: nn.Module) -> list[float]:
        """R@1 and R@5 in English, then in Chinese."""
        words.train(False)
        head.train(False)
        figures = []
        with torch.inference_mode():
            pictures = functional.normalize(head(self._features), dim=-1)
            for ids in self._texts:
                spoken = functional.normalize(words(*crop(ids)), dim=-1)
                found = self._meaning[(spoken @ pictures.T).topk(5).indices] == self._wanted[:, None]
                figures += [found[:, 0].float().mean().item(), found.any(1).float().mean().item()]
        words.train()
        head.train()
        return figures


def contrastive_loss(pictures: Tensor, words: Tensor, fits: Tensor, scale: Tensor) -> Tensor:
    """Cross entropy both ways, the target spread evenly over all that fit."""
    logits = scale * pictures @ words.T
    to_words = -(functional.log_softmax(logits, 1) * fits / fits.sum(1, keepdim=True)).sum(1).mean()
    to_pictures = -(functional.log_softmax(logits, 0) * fits / fits.sum(0, keepdim=True)).sum(0).mean()
    return (to_words + to_pictures) / 2


def train(recipe: Recipe) -> tuple[Words, DrawingHead, list[float]]:
    """The towers, and how well openmoji is found in the end."""
    torch.manual_seed(SEED + 1)
    random = np.random.default_rng(SEED + 1)
    generator = torch.Generator().manual_seed(SEED + 1)
    settings = config()
    words: Words = trainable_words(settings)
    words.load_state_dict(torch.load(WORDS, weights_only=True))
    head = DrawingHead(settings)
    head.inner = nn.Linear(FEATURES, settings.head_hidden_size)
    # Where tuning left off: there the map moved the teacher's own vectors, which the words are near.
    tuned = torch.load(TUNED, weights_only=True)
    head.load_state_dict(tuned["head"])
    words.projection.load_state_dict(tuned["words"])
    log_scale = nn.Parameter(torch.tensor(3.0))
    sampler, table, validation = Sampler(random, recipe), text_table(), Validation()
    likely = np.cumsum(table.weights / table.weights.sum())
    tables = [words.tokens.weight, words.bigrams.weight]
    for module in (words.tokens, words.bigrams):
        module.sparse = True  # type: ignore[assignment]
    others = [p for n, p in words.named_parameters() if not n.startswith(("projection", "tokens", "bigrams"))]
    dense: torch.optim.Optimizer = torch.optim.AdamW(
        [
            {"params": [*head.parameters(), *words.projection.parameters(), log_scale], "lr": recipe.head_rate},
            {"params": others, "lr": recipe.words_rate},
        ],
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    sparse: torch.optim.Optimizer = torch.optim.SparseAdam(tables, lr=recipe.words_rate)  # type: ignore[arg-type]
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            recipe.steps,
            pct_start=0.1,
            cycle_momentum=False,
        )
        for optimizer in (dense, sparse)
    ]
    words.train()
    head.train()
    figures: list[float] = []
    for step in progress(range(recipe.steps), f"bringing together, batches of {recipe.batch}"):
        features, ids, mask, fits = sampler.batch()
        pictures = functional.normalize(head(functional.dropout(features, recipe.dropped_features)), dim=-1)
        spoken = functional.normalize(words(ids, drop_tokens(mask, generator)), dim=-1)
        loss = contrastive_loss(pictures, spoken, fits, log_scale.exp().clamp(max=recipe.largest_scale))
        if recipe.keep_teacher:
            rows = np.searchsorted(likely, random.random(recipe.batch // 2)).clip(max=len(likely) - 1)
            target = torch.from_numpy(table.vectors[rows].astype(np.float32))
            kept = distil_loss(words.meaning(*table.batch(rows)), target)
        else:
            kept = torch.zeros(())
        for optimizer in (dense, sparse):
            optimizer.zero_grad()
        (loss + recipe.keep_teacher * kept).backward()  # type: ignore[no-untyped-call]
        for optimizer, schedule in zip((dense, sparse), schedules, strict=True):
            optimizer.step()
            schedule.step()
        if (step + 1) % VALIDATE_EVERY == 0 or step + 1 == recipe.steps:
            figures = validation.recalls(words, head)
            shown = " ".join(f"{figure:.3f}" for figure in figures)
            print(
                f"  step {step + 1}: contrast {loss.item():.3f}, teacher {kept.item():.3f}, openmoji {shown}",
                flush=True,
            )
    return words, head, figures


def bring_together() -> None:
    """Writes ``towers.pt``: {"words", "head"} state dicts."""
    words, head, _ = train(Recipe())
    with finished(TOWERS) as path:
        torch.save({"words": words.state_dict(), "head": head.state_dict()}, path)
