"""Draws every picture once: emoji of six sets to learn from, openmoji to measure with, openclipart for both."""

from __future__ import annotations

import io
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import resvg_py
from PIL import Image

from training.clipart import read_clipart
from training.concepts import concept_key, icon_sequences, is_toned, load_concepts
from training.downloads import folder
from training.paths import CACHE, finished, progress
from training.textures import EDGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRAINING_SETS = ("noto", "noto-v1", "twemoji", "fluent-emoji", "fluent-emoji-flat", "fxemoji")
VALIDATION_SET = "openmoji"

DRAWINGS = CACHE / "drawings.npy"
LIST = CACHE / "drawings.json"


@dataclass
class Drawing:
    """One picture. ``concept`` is the key of an emoji's meaning, "" for clip-art; ``name`` is the set's own."""

    source: str
    name: str
    concept: str
    category: str
    held_out: bool
    svg: str = ""


def list_drawings() -> list[Drawing]:
    """All there is to draw, in a fixed order; ``svg`` is a document, or for clip-art a path."""
    concepts = load_concepts()
    drawings = []
    for icon_set in (*TRAINING_SETS, VALIDATION_SET):
        data = json.loads((folder(f"@iconify-json/{icon_set}") / "icons.json").read_text())
        known = icon_sequences("fluent-emoji-flat" if icon_set == "fluent-emoji" else icon_set)
        validation = icon_set == VALIDATION_SET
        for name, icon in sorted(data["icons"].items()):
            points = known.get(name)
            key = concept_key(points) if points else ""
            # Skin tones are the same answer: one drawing is enough to learn from. All of openmoji is measured.
            if not validation and (key not in concepts or (points and is_toned(points))):
                continue
            box = [icon.get(side, data.get(side, 0)) for side in ("left", "top", "width", "height")]
            svg = (
                '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="{" ".join(map(str, box))}">{icon["body"]}</svg>'
            )
            drawings.append(Drawing(icon_set, name, key if key in concepts else "", "", validation, svg))
    drawings.extend(
        Drawing("openclipart", clipart.name, "", clipart.category, clipart.held_out, str(clipart.path))
        for clipart in read_clipart()
    )
    return drawings


def draw_one(drawing: Drawing) -> NDArray[np.uint8] | None:
    """RGBA (EDGE, EDGE, 4), the drawing's own shape centred; None where it can't be drawn or is blank."""
    source: dict[str, Any] = {"svg_path" if drawing.source == "openclipart" else "svg_string": drawing.svg}
    try:
        for side in ("width", "height"):
            data = resvg_py.svg_to_bytes(**{**source, side: EDGE}, dpi=96, skip_system_fonts=True)
            with Image.open(io.BytesIO(bytes(data))) as image:
                picture = image.convert("RGBA")
            if max(picture.size) <= EDGE:
                break
        else:
            picture.thumbnail((EDGE, EDGE))
    except (ValueError, OSError, RuntimeError):
        return None
    canvas = Image.new("RGBA", (EDGE, EDGE))
    canvas.paste(picture, ((EDGE - picture.width) // 2, (EDGE - picture.height) // 2))
    pixels = np.asarray(canvas)
    return pixels if (pixels[..., 3] > 32).mean() > 0.005 else None


def draw_all() -> None:
    """Writes ``drawings.npy`` uint8 (n, EDGE, EDGE, 4) and ``drawings.json``, one entry each."""
    drawings = list_drawings()
    kept: list[Drawing] = []
    with finished(DRAWINGS) as path:
        pixels = np.lib.format.open_memmap(path, "w+", np.uint8, (len(drawings), EDGE, EDGE, 4))
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            results = pool.map(draw_one, drawings, chunksize=16)
            for drawing, picture in progress(zip(drawings, results, strict=True), "drawing", len(drawings)):
                if picture is not None:
                    pixels[len(kept)] = picture
                    kept.append(drawing)
        pixels.flush()
    with finished(LIST) as path:
        path.write_text(json.dumps([{**asdict(drawing), "svg": ""} for drawing in kept]))


def read_drawings() -> tuple[list[Drawing], NDArray[np.uint8]]:
    """The list, and the pixels as a read-only memory map (which has room for the few that failed)."""
    return [Drawing(**entry) for entry in json.loads(LIST.read_text())], np.load(DRAWINGS, mmap_mode="r")
