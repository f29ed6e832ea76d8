"""Measures the model that lies in the package, as a user of transformers would load it; writes results.md."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from memewatchd.encoders.bundled import register
from memewatchd.encoders.bundled.towers import flatness
from training import views
from training.backbone import classifier, pretrained_backbone
from training.concepts import load_concepts
from training.downloads import sha256
from training.draw import VALIDATION_SET, read_drawings
from training.export import class_names
from training.paths import BUNDLED, ROOT, SEED, progress
from training.sayings import read_paraphrases
from training.textures import texture
from training.wordlists import read_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from memewatchd.encoders.bundled.modeling import BundledModel

RESULTS = ROOT / "results.md"
BATCH = 32
DEPTHS = (1, 5, 10)
MARKS = ("<!-- figures, written by python -m training.evaluate -->", "<!-- end of figures -->")


@dataclass
class Model:
    """The shipped model with its tokenizer and image processor."""

    network: BundledModel
    tokenizer: Any
    processor: Any

    @classmethod
    def load(cls) -> Model:
        register()
        return cls(
            AutoModel.from_pretrained(BUNDLED, dtype=torch.float32),
            AutoTokenizer.from_pretrained(BUNDLED),
            AutoImageProcessor.from_pretrained(BUNDLED, backend="pil"),  # type: ignore[no-untyped-call]
        )

    def pictures(self, pictures: list[Image.Image], what: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Unit vectors (n, dim) and flatness (n,)."""
        vectors, flat = [], []
        with torch.inference_mode():
            for start in progress(range(0, len(pictures), BATCH), f"{what}, batches of {BATCH}"):
                values = self.processor(images=pictures[start : start + BATCH], return_tensors="pt")["pixel_values"]
                vectors.append(self.network.get_image_features(pixel_values=values).numpy())
                flat.append(flatness(values, 128.0).numpy())
        return np.concatenate(vectors), np.concatenate(flat)

    def texts(self, texts: list[str]) -> NDArray[np.float32]:
        """Unit vectors (n, dim)."""
        rows = []
        with torch.inference_mode():
            for start in range(0, len(texts), 256):
                tokens = self.tokenizer(texts[start : start + 256], padding=True, truncation=True, return_tensors="pt")
                rows.append(self.network.get_text_features(**tokens).numpy())
        return np.concatenate(rows)


def recalls(scores: NDArray[np.float32], right: list[set[str]], meanings: list[str]) -> list[float]:
    """R@1, R@5 and R@10 of scores (queries, pictures), the pictures of one meaning counting as one answer."""
    at = np.zeros(len(DEPTHS))
    for row, wanted in zip(scores, right, strict=True):
        order = np.argsort(-row, kind="stable")[:400]
        found = list(dict.fromkeys(meanings[index] for index in order))
        at += [bool(wanted.intersection(found[:depth])) for depth in DEPTHS]
    return list(at / len(right))


class Table:
    """The rows of results.md."""

    def __init__(self) -> None:
        self.lines = [
            "| what is asked | queries | pictures | R@1 | R@5 | R@10 |",
            "| --- | --- | --- | --- | --- | --- |",
        ]

    def add(self, what: str, scores: NDArray[np.float32], right: list[set[str]], meanings: list[str]) -> None:
        figures = " | ".join(f"{figure:.3f}" for figure in recalls(scores, right, meanings))
        self.lines.append(f"| {what} | {len(right)} | {len(meanings)} | {figures} |")
        print("  " + self.lines[-1], flush=True)


@dataclass
class Style:
    """The drawings of one set: what they mean, and their vectors."""

    rows: list[int]
    meanings: list[str]
    vectors: NDArray[np.float32]
    flat: NDArray[np.float32]

    @classmethod
    def of(cls, model: Model, source: str, *, held_out: bool | None = None) -> Style:
        drawings, pixels = read_drawings()
        rows = [
            row
            for row, drawing in enumerate(drawings)
            if drawing.source == source and held_out in (None, drawing.held_out)
        ]
        vectors, flat = model.pictures([views.clean(pixels[row]) for row in rows], source)
        return cls(rows, [drawings[row].concept or drawings[row].name for row in rows], vectors, flat)


def by_words(model: Model, table: Table, style: Style) -> None:
    """openmoji by its labels, by a tag, and by what people say."""
    concepts = load_concepts()
    asked = [concepts[key] for key in sorted(set(style.meanings) & concepts.keys())]

    def ask(what: str, texts: list[str], right: list[set[str]]) -> None:
        table.add(what, model.texts(texts) @ style.vectors.T, right, style.meanings)

    for language, name in (("en", "English"), ("zh", "simplified Chinese"), ("hant", "traditional Chinese")):
        labels = [getattr(concept, language) for concept in asked]
        # Two emoji of one label are both right.
        right = [{c.key for c, label in zip(asked, labels, strict=True) if label == mine} for mine in labels]
        ask(f"{VALIDATION_SET} by label, {name}", labels, right)
    tagged = [concept for concept in asked if concept.en_tags]
    tags = [concept.en_tags[0] for concept in tagged]
    ask(
        f"{VALIDATION_SET} by a tag, English",
        tags,
        [{c.key for c in asked if tag in (c.en, *c.en_tags)} for tag in tags],
    )
    for language, name in (("en", "English"), ("zh", "Chinese")):
        paraphrases = read_paraphrases(language)
        ask(
            f"{VALIDATION_SET} by what people say, {name}",
            [saying.text for saying in paraphrases],
            [set(saying.keys) for saying in paraphrases],
        )


def by_picture(table: Table, style: Style, other: Style, name: str) -> None:
    """From one style to the same meaning in another; only meanings that both have are asked."""
    common = set(other.meanings)
    first = {meaning: index for index, meaning in reversed(list(enumerate(style.meanings))) if meaning in common}
    asked = sorted(first)
    vectors = style.vectors[[first[meaning] for meaning in asked]]
    table.add(f"{VALIDATION_SET} → {name}, by picture", vectors @ other.vectors.T, [{m} for m in asked], other.meanings)


def as_stickers(model: Model, table: Table, style: Style) -> NDArray[np.float32]:
    """The same drawings as they come in chats: rims, grounds, captions, JPEG, 64 colours. Gives their flatness."""
    concepts = load_concepts()
    _, pixels = read_drawings()
    first = {meaning: row for meaning, row in zip(style.meanings, style.rows, strict=True) if meaning in concepts}
    asked = sorted(first)
    pictures = [views.sticker(pixels[first[key]], np.random.default_rng((SEED, 9, first[key]))) for key in asked]
    vectors, flat = model.pictures(pictures, "as stickers")
    for language, texts in (("English", [concepts[k].en for k in asked]), ("Chinese", [concepts[k].zh for k in asked])):
        right = [{k for k, label in zip(asked, texts, strict=True) if label == mine} for mine in texts]
        table.add(f"{VALIDATION_SET} as stickers by label, {language}", model.texts(texts) @ vectors.T, right, asked)
    return flat


def by_class(model: Model, table: Table) -> None:
    """The classes' own vectors by name: an upper bound for photographs."""
    with torch.inference_mode():
        classes = model.network.classes.vectors(torch.arange(1000)).numpy()
    keys = [str(index) for index in range(1000)]
    first = [names[0] for names in read_classes()]
    table.add("class vectors by first name", model.texts(first) @ classes.T, [{key} for key in keys], keys)
    chinese = {index: names.chinese[0] for index, names in enumerate(class_names()) if names.chinese}
    right = [{str(index)} for index in chinese]
    table.add("class vectors by Chinese name", model.texts(list(chinese.values())) @ classes.T, right, keys)


def classes_alive(model: Model) -> tuple[float, float]:
    """How often the shipped photographs' network names the class that the published one does, first and in its first
    five, on textured pictures that the published one takes for a class (there are no photographs here)."""
    published = pretrained_backbone()
    weight, bias = classifier()
    same = among = count = 0
    with torch.inference_mode():
        for start in range(0, 512, BATCH):
            values = torch.from_numpy(
                np.stack([texture(np.random.default_rng((SEED, 10, start + i))) for i in range(BATCH)])
            )
            wanted = (published(values) @ weight.T + bias).argmax(1)
            network = model.network
            logits = network.classes.classifier(network.photographs(network.lower(values)))
            best = logits.topk(5).indices
            same += int((best[:, 0] == wanted).sum())
            among += int((best == wanted[:, None]).any(1).sum())
            count += len(wanted)
    return same / count, among / count


def main() -> None:
    torch.manual_seed(0)
    model, table = Model.load(), Table()
    emoji = Style.of(model, VALIDATION_SET)
    by_words(model, table, emoji)
    by_picture(table, emoji, Style.of(model, "twemoji"), "twemoji")
    sticker_flat = as_stickers(model, table, emoji)
    clipart = Style.of(model, "openclipart", held_out=True)
    names = sorted(set(clipart.meanings))
    table.add(
        "openclipart held out, by name", model.texts(names) @ clipart.vectors.T, [{n} for n in names], clipart.meanings
    )
    by_class(model, table)
    same, among = classes_alive(model)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    figures = [*table.lines, ""]
    for what, flat in (
        (f"drawings of {VALIDATION_SET}", emoji.flat),
        ("held-out clip-art", clipart.flat),
        ("stickers", sticker_flat),
    ):
        gate = 1 / (1 + np.exp(-(0.68 - flat) / 0.05))
        figures.append(
            f"- The gate on {len(gate)} {what}: mean {gate.mean():.3f}, above one half on {(gate > 0.5).mean():.1%}."
        )
    figures += [
        (
            "- The shipped classes' network names the class that the published one names on "
            f"{same:.1%} of 512 textures; it is among its first five on {among:.1%}."
        ),
        "",
    ]
    weights = sha256(BUNDLED / "model.safetensors")
    head = [
        "# What the bundled model finds",
        "",
        f"Written by `python -m training.evaluate` at commit {commit} for `model.safetensors` `{weights}`.",
        "Pictures of one meaning (skin tones, genders) count as one answer.",
        "",
    ]
    RESULTS.write_text("\n".join([*head, *figures]))
    _into_card(figures)
    print("\n".join([*head, *figures]))


def _into_card(lines: list[str]) -> None:
    """Puts the figures into the model card, between its two marks."""
    card = BUNDLED / "MODEL_CARD.md"
    before, _, rest = card.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    card.write_text("\n".join([before + MARKS[0], *lines]) + MARKS[1] + after)


if __name__ == "__main__":
    main()
