"""Tunes the backbone on drawings, from block 3 on: the greatest gain of all stages, and the longest.

What comes before block 3 stays as published, so that the tuned network and the original one, whose classes
answer for photographs, share it. Every picture is drawn anew on the fly (``views``). It is told by two losses
from all other meanings at once: by the teacher's vectors of what it may be called, moved by a linear map, and
by a free vector of each meaning; a third brings two styles of one meaning together.
"""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from memewatchd.encoders.bundled.configuration import BundledConfig
from memewatchd.encoders.bundled.efficientnet import FEATURES, Convolution, Upper
from memewatchd.encoders.bundled.towers import DrawingHead
from training import phrases, views
from training.backbone import pixel_values, pretrained_backbone
from training.captions import Captions, captions_for
from training.concepts import load_concepts
from training.draw import VALIDATION_SET, read_drawings
from training.paths import CACHE, SEED, finished, progress
from training.teacher import TEXTS, VECTORS

if TYPE_CHECKING:
    from pathlib import Path

TUNED = CACHE / "tuned.pt"
CHECKPOINT = CACHE / "tuning.pt"


@dataclass(frozen=True)
class Recipe:
    """What was chosen by trying; ``rate`` is the relative change of a weight in a step (see :class:`Scaled`)."""

    steps: int = 5000
    batch: int = 64  # half as many meanings, two pictures each
    rate: float = 2e-3
    head_rate: float = 1.5e-3
    weight_decay: float = 0.02
    warm_up: int = 200
    average: float = 0.998  # of the weights that are kept, a step
    emoji_share: float = 0.7
    clean_share: float = 0.12
    painted_share: float = 0.2
    likeness: float = 0.25  # weight of the loss between pictures
    largest_scale: float = 30.0
    edges: tuple[tuple[float, int], ...] = ((0.45, 112), (0.85, 128), (1.0, 160))
    """Until which share of the steps pictures have which edge: most is learned from small ones."""
    checkpoint_every: int = 200
    validate_every: int = 1000


class Scaled(nn.Module):
    """A convolution's weight as (fixed scale of each output) x (values of deviation 1): as batch norms are folded
    in, weights differ in size by orders, and an optimizer with one rate for all would ruin the small ones."""

    scale: Tensor

    def __init__(self, convolution: Convolution) -> None:
        super().__init__()
        weight = convolution.weight.data
        scale = weight.flatten(1).std(1).clamp(min=1e-5)[:, None, None, None]
        self.register_buffer("scale", scale)
        self.values = nn.Parameter(weight / scale)
        self.bias = nn.Parameter(convolution.bias.data.clone())  # type: ignore[union-attr]
        self._like = (convolution.stride, convolution.padding, convolution.groups, convolution._missing)  # noqa: SLF001

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.values * self.scale
        return weight

    def forward(self, values: Tensor) -> Tensor:
        stride, padding, groups, missing = self._like
        if missing:
            before, after = missing // 2, missing - missing // 2
            values = functional.pad(values, (before, after, before, after))
        return functional.conv2d(values, self.weight, self.bias, stride, padding, 1, groups)


def make_trainable(upper: Upper) -> None:
    """Replaces the convolutions by :class:`Scaled` ones."""
    for module in list(upper.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Convolution):
                setattr(module, name, Scaled(child))


def plain_weights(upper: Upper) -> dict[str, Tensor]:
    """The state dict of an :class:`Upper` that computes the same."""
    state = {name: value for name, value in upper.state_dict().items() if not name.endswith((".values", ".scale"))}
    for name, module in upper.named_modules():
        if isinstance(module, Scaled):
            state[f"{name}.weight"] = module.weight.detach().clone()
    return state


class Towers(nn.Module):
    """What is tuned: the network with a head, the map from the teacher's space, a vector for each meaning."""

    def __init__(self, meanings: Tensor) -> None:
        super().__init__()
        settings = BundledConfig()
        network = pretrained_backbone().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.lower, self.upper = network.lower.requires_grad_(requires_grad=False), network.upper
        make_trainable(self.upper)
        self.head = DrawingHead(settings)
        self.head.inner = nn.Linear(FEATURES, settings.head_hidden_size)
        self.words = nn.Linear(meanings.shape[1], settings.projection_dim)
        self.free = nn.Parameter(meanings.clone())
        self.log_scales = nn.Parameter(torch.full((3,), math.log(16.0)))
        with torch.no_grad():
            self.words.weight.copy_(torch.eye(settings.projection_dim))
            self.words.bias.zero_()

    def pictures(self, pixels: Tensor) -> Tensor:
        """(n, 3, edge, edge) → unit-length (n, dim)."""
        with torch.no_grad():
            values = self.lower(pixels)
        features = self.upper(values)
        if self.training:
            features = functional.dropout(features, 0.1)
        return functional.normalize(self.head(features), dim=-1)


class Meanings:
    """The training drawings by meaning, and what each meaning may be called, as the teacher's vectors."""

    def __init__(self) -> None:
        drawings, _ = read_drawings()
        captions = captions_for(drawings)
        self.rows: list[list[int]] = []
        self.kinds: tuple[list[int], list[int]] = ([], [])  # emoji, clip-art
        known: dict[str, int] = {}
        self._captions: list[Captions] = []
        for row, drawing in enumerate(drawings):
            if drawing.held_out or "-" in captions[row].en:  # a file's name, not a word
                continue
            identity = captions[row].identity
            if identity not in known:
                known[identity] = len(known)
                self.rows.append([])
                self._captions.append(captions[row])
                self.kinds[0 if drawing.concept else 1].append(known[identity])
            self.rows[known[identity]].append(row)

    def vectors(self) -> tuple[Tensor, NDArray[np.int64], NDArray[np.float64], Tensor]:
        """All captions' vectors (c, 384); each meaning's captions and their cumulated shares, both (n, most), padded
        with the first; colour captions' vectors (colours, n, 384)."""
        texts = {text: row for row, text in enumerate(json.loads(TEXTS.read_text()))}
        table = np.load(VECTORS, mmap_mode="r")
        used: dict[int, int] = {}
        choices = []
        for caption in self._captions:
            # A Chinese name's vector is that of its English: here it would be one caption twice.
            pairs = [(texts[text], weight) for text, weight in caption.texts if text in texts]
            pairs = pairs or [(texts[caption.en], 1.0)] if caption.en in texts else pairs
            choices.append([(used.setdefault(row, len(used)), weight) for row, weight in pairs])
        most = max(map(len, choices))
        ids = np.zeros((len(choices), most), np.int64)
        edges = np.full((len(choices), most), 2.0)
        for row, pairs in enumerate(choices):
            if not pairs:
                raise ValueError(f"the teacher knows no caption of {self._captions[row].identity!r}")
            ids[row] = pairs[0][0]
            ids[row, : len(pairs)] = [text for text, _ in pairs]
            weights = np.asarray([weight for _, weight in pairs])
            edges[row, : len(pairs)] = np.cumsum(weights) / weights.sum()
        vectors = torch.from_numpy(np.asarray(table[list(used)], np.float32))
        # "red heart": the teacher hasn't read most of these; the sum of both is near what it would say.
        labels = vectors[torch.from_numpy(ids[:, 0])]
        spoken = torch.from_numpy(np.asarray(table[[texts[colour] for colour in phrases.COLOURS]], np.float32))
        return vectors, ids, edges, functional.normalize(labels[None] + spoken[:, None], dim=-1)


class Batches(Dataset[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]]):
    """Step → pictures uint8 (batch, edge, edge, 3), their meanings, and the colours that they were painted in (-1: as
    they are). The same step is always the same batch."""

    def __init__(self, recipe: Recipe, meanings: Meanings) -> None:
        self._recipe, self._meanings = recipe, meanings

    def __len__(self) -> int:
        return self._recipe.steps

    def edge(self, step: int) -> int:
        """The pictures' edge at this step."""
        return next(edge for until, edge in self._recipe.edges if step < until * self._recipe.steps)

    def __getitem__(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
        recipe, random = self._recipe, np.random.default_rng((SEED, 7, step))
        edge = self.edge(step)
        pictures, meanings, colours = [], [], []
        for _ in range(recipe.batch // 2):
            kind = self._meanings.kinds[0 if random.random() < recipe.emoji_share else 1]
            meaning = kind[int(random.integers(len(kind)))]
            rows = self._meanings.rows[meaning]
            for row in random.choice(rows, 2, replace=len(rows) < 2):
                picture, colour = views.tuning_view(int(row), recipe.clean_share, recipe.painted_share, random)
                pictures.append(np.asarray(picture.resize((edge, edge), Image.Resampling.BILINEAR, reducing_gap=None)))
                meanings.append(meaning)
                colours.append(views.COLOUR_NAMES.index(colour) if colour else -1)
        return np.stack(pictures), np.asarray(meanings), np.asarray(colours)


class Validation:
    """openmoji by its English labels: pictures of whole emoji against each other, one of each meaning."""

    def __init__(self) -> None:
        drawings, pixels = read_drawings()
        concepts = load_concepts()
        first: dict[str, int] = {}
        for row, drawing in enumerate(drawings):
            if drawing.source == VALIDATION_SET and drawing.concept in concepts:
                first.setdefault(drawing.concept, row)
        texts = {text: row for row, text in enumerate(json.loads(TEXTS.read_text()))}
        keys = sorted(key for key in first if concepts[key].en in texts)
        table = np.load(VECTORS, mmap_mode="r")
        self._texts = torch.from_numpy(np.asarray(table[[texts[concepts[key].en] for key in keys]], np.float32))
        self._pictures = np.stack([np.asarray(views.clean(pixels[first[key]])) for key in keys])

    def recalls(self, towers: Towers) -> tuple[float, float]:
        """R@1, R@5."""
        towers.train(False)
        with torch.inference_mode():
            found = torch.cat(
                [
                    towers.pictures(pixel_values(self._pictures[at : at + 64]).to(memory_format=torch.channels_last))
                    for at in range(0, len(self._pictures), 64)
                ]
            )
            best = (functional.normalize(towers.words(self._texts), dim=-1) @ found.T).topk(5).indices
        towers.train()
        right = best == torch.arange(len(best))[:, None]
        return right[:, 0].float().mean().item(), right.any(1).float().mean().item()


def told_apart(pictures: Tensor, candidates: Tensor, scale: Tensor, right: Tensor, meanings: Tensor) -> Tensor:
    """Cross entropy of each picture's own candidate against all; what is called nearly the same doesn't count, nor
    does a painted picture's name without its colour."""
    logits = scale * pictures @ candidates.T
    with torch.no_grad():
        same = candidates[right] @ candidates.T > 0.97
        every = torch.arange(len(right))
        same[every, meanings] = True
        same[every, right] = False
    return functional.cross_entropy(logits.masked_fill(same, -1e4), right)


def likeness_loss(pictures: Tensor, meanings: Tensor, scale: Tensor) -> Tensor:
    """Supervised contrastive loss between pictures (Khosla et al. 2020, eq. 2)."""
    itself = torch.eye(len(pictures), dtype=torch.bool)
    logs = functional.log_softmax((scale * pictures @ pictures.T).masked_fill(itself, -1e4), 1)
    alike = (meanings[:, None] == meanings) & ~itself
    return -((logs * alike).sum(1) / alike.sum(1)).mean()


class Trainer:
    """The towers, their averaged copy, the optimizer: what a checkpoint keeps."""

    def __init__(self, recipe: Recipe, meanings: Meanings) -> None:
        torch.manual_seed(SEED + 2)
        self.recipe = recipe
        self._vectors, self._ids, self._edges, self._coloured = meanings.vectors()
        self.towers = Towers(self._vectors[torch.from_numpy(self._ids[:, 0])])
        self.average = copy.deepcopy(self.towers).train(False)
        weights = [p for p in self.towers.upper.parameters() if p.dim() > 1]
        biases = [p for p in self.towers.upper.parameters() if p.dim() == 1]
        others = [*self.towers.head.parameters(), *self.towers.words.parameters()]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": weights, "lr": recipe.rate},
                {"params": biases, "lr": recipe.rate / 2, "weight_decay": 0.0},
                {"params": others, "lr": recipe.head_rate},
                {"params": [self.towers.free, self.towers.log_scales], "lr": recipe.head_rate, "weight_decay": 0.0},
            ],
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self.step = 0
        if CHECKPOINT.exists():
            self._resume(CHECKPOINT)

    def _resume(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.towers.load_state_dict(state["towers"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        print(f"  goes on at step {self.step}", flush=True)

    def save(self) -> None:
        with finished(CHECKPOINT) as path:
            torch.save(
                {
                    "towers": self.towers.state_dict(),
                    "average": self.average.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "step": self.step,
                },
                path,
            )

    def learn(self, pixels: Tensor, meanings: Tensor, colours: Tensor) -> list[float]:
        """One step; the three losses."""
        recipe, towers = self.recipe, self.towers
        share = min(1.0, (self.step + 1) / recipe.warm_up)
        share *= 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / recipe.steps)))
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = max(share, 0.002) * rate
        random = np.random.default_rng((SEED, 8, self.step))
        chosen = (self._edges < random.random((len(self._ids), 1))).sum(1)
        spoken = self._vectors[torch.from_numpy(self._ids[np.arange(len(chosen)), chosen])]
        # A painted picture is called by its colour, and told from the same thing in every other colour.
        painted = colours >= 0
        own = [self._coloured[:, meaning] for meaning in meanings[painted].tolist()]
        candidates = torch.cat([spoken, *own])
        right = meanings.clone()
        right[painted] = len(spoken) + torch.arange(len(own)) * len(self._coloured) + colours[painted]
        pictures = towers.pictures(pixels)
        scales = towers.log_scales.exp().clamp(max=recipe.largest_scale)
        words = functional.normalize(towers.words(candidates), dim=-1)
        losses = [
            told_apart(pictures, words, scales[0], right, meanings),
            told_apart(pictures, functional.normalize(towers.free, dim=-1), scales[1], meanings, meanings),
            likeness_loss(pictures, meanings, scales[2]),
        ]
        self.optimizer.zero_grad()
        (losses[0] + losses[1] + recipe.likeness * losses[2]).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_((p for g in self.optimizer.param_groups for p in g["params"]), 5.0)
        self.optimizer.step()
        self.step += 1
        keep = min(recipe.average, self.step / (self.step + 10))
        with torch.no_grad():
            for mine, theirs in zip(self.average.parameters(), towers.parameters(), strict=True):
                mine.lerp_(theirs, 1 - keep)
        return [loss.item() for loss in losses]


def tune() -> None:
    """Writes ``tuned.pt``: state dicts of the network's "upper" part, of the "head", and of the map ("words"); goes on
    where it was interrupted."""
    recipe, meanings = Recipe(), Meanings()
    trainer, validation = Trainer(recipe, meanings), Validation()
    trainer.towers.train()
    batches = Batches(recipe, meanings)
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(trainer.step, recipe.steps),
        num_workers=1,
        prefetch_factor=4,
        multiprocessing_context="spawn",
    )
    said = np.zeros(3)
    for pixels, identities, colours in progress(
        loader, f"tuning, batches of {recipe.batch}", recipe.steps - trainer.step, every_s=60
    ):
        values = pixel_values(pixels.numpy()).to(memory_format=torch.channels_last)
        said += trainer.learn(values, identities, colours)
        if trainer.step % 100 == 0:
            print(f"  step {trainer.step}: losses {np.round(said / 100, 3)}", flush=True)
            said[:] = 0
        if trainer.step % recipe.checkpoint_every == 0:
            trainer.save()
        if trainer.step % recipe.validate_every == 0 or trainer.step == recipe.steps:
            first, fifth = validation.recalls(trainer.average)
            print(f"  step {trainer.step}: openmoji in English {first:.3f} {fifth:.3f}", flush=True)
    with finished(TUNED) as path:
        average = trainer.average
        torch.save(
            {
                "upper": plain_weights(average.upper),
                "head": average.head.state_dict(),
                "words": average.words.state_dict(),
            },
            path,
        )
