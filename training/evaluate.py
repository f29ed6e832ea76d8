"""Measures the model that lies in the package, as a user of transformers would load it; writes results.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from memewatchd.encoders.bundled import register
from memewatchd.encoders.bundled.modeling import BundledModel, flatness
from training import views
from training.concepts import load_concepts
from training.downloads import sha256
from training.draw import VALIDATION_SET, read_drawings
from training.export import class_names
from training.paths import BUNDLED, ROOT, progress
from training.wordlists import read_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

RESULTS = ROOT / "results.md"
BATCH = 32
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


def recall(scores: NDArray[np.float32], right: list[set[str]], meanings: list[str]) -> tuple[float, float, float]:
    """(R@1, R@5, R@5 counting each meaning's drawings as one) of scores (queries, pictures)."""
    at_1 = at_5 = at_5_merged = 0
    for row, wanted in zip(scores, right, strict=True):
        order = np.argsort(-row, kind="stable")[:300]
        found = [meanings[index] for index in order]
        at_1 += found[0] in wanted
        at_5 += bool(wanted.intersection(found[:5]))
        at_5_merged += bool(wanted.intersection(list(dict.fromkeys(found))[:5]))
    return at_1 / len(right), at_5 / len(right), at_5_merged / len(right)


def main() -> None:
    torch.manual_seed(0)
    model = Model.load()
    drawings, pixels = read_drawings()
    concepts = load_concepts()
    lines = [
        "# What the bundled model finds",
        "",
        f"Written by `python -m training.evaluate` for `model.safetensors` `{sha256(BUNDLED / 'model.safetensors')}`.",
        "",
        "| what is asked | queries | pictures | R@1 | R@5 | R@5, variants as one |",
        "| --- | --- | --- | --- | --- | --- |",
    ]

    def line(what: str, count: int, of: int, figures: tuple[float, float, float]) -> None:
        lines.append(f"| {what} | {count} | {of} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")
        print("  " + lines[-1], flush=True)

    rows = [row for row, drawing in enumerate(drawings) if drawing.source == VALIDATION_SET]
    vectors, flat = model.pictures([views.clean(pixels[row]) for row in rows], "openmoji")
    meanings = [drawings[row].concept or f"openmoji:{drawings[row].name}" for row in rows]
    asked = [concepts[key] for key in sorted(set(meanings) & concepts.keys())]
    for language, labels in (("English", [c.en for c in asked]), ("Chinese", [c.zh for c in asked])):
        # Two emoji of one label are both right.
        right = [{c.key for c, label in zip(asked, labels, strict=True) if label == mine} for mine in labels]
        line(
            f"openmoji by label, {language}",
            len(labels),
            len(rows),
            recall(model.texts(labels) @ vectors.T, right, meanings),
        )
    chosen = [c for c in asked if c.en_tags]
    tagged = [{c.key for c in asked if tag in (c.en, *c.en_tags)} for tag in (c.en_tags[0] for c in chosen)]
    line(
        "openmoji by a tag, English",
        len(chosen),
        len(rows),
        recall(model.texts([c.en_tags[0] for c in chosen]) @ vectors.T, tagged, meanings),
    )

    clip = [row for row, drawing in enumerate(drawings) if drawing.source == "openclipart" and drawing.held_out]
    clip_vectors, clip_flat = model.pictures([views.clean(pixels[row]) for row in clip], "openclipart")
    names = [drawings[row].name for row in clip]
    unique = sorted(set(names))
    line(
        "openclipart held out, by name",
        len(unique),
        len(clip),
        recall(model.texts(unique) @ clip_vectors.T, [{name} for name in unique], names),
    )

    with torch.inference_mode():
        classes = model.network.classes.vectors(torch.arange(1000)).numpy()
    first = [names[0] for names in read_classes()]
    keys = [str(index) for index in range(1000)]
    line(
        "class vectors by first name", 1000, 1000, recall(model.texts(first) @ classes.T, [{key} for key in keys], keys)
    )
    chinese = {index: names.chinese[0] for index, names in enumerate(class_names()) if names.chinese}
    line(
        "class vectors by Chinese name",
        len(chinese),
        1000,
        recall(model.texts(list(chinese.values())) @ classes.T, [{str(index)} for index in chinese], keys),
    )

    gate = 1 / (1 + np.exp(-(0.68 - np.concatenate([flat, clip_flat])) / 0.05))
    lines += [
        "",
        f"The gate on {len(gate)} drawings: mean {gate.mean():.3f}, above one half on {(gate > 0.5).mean():.1%}.",
        "",
    ]
    RESULTS.write_text("\n".join(lines))
    _into_card(lines[4:])
    print("\n".join(lines))


def _into_card(lines: list[str]) -> None:
    """Puts the figures into the model card, between its two marks."""
    card = BUNDLED / "MODEL_CARD.md"
    before, _, rest = card.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    card.write_text("\n".join([before + MARKS[0], *lines]) + MARKS[1] + after)


if __name__ == "__main__":
    main()
