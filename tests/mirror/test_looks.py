"""What a picture looks like is kept with its row: over renames, copies, tags, restarts, and while the file is gone."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from memewatchd.pictures.fingerprint import of_still
from memewatchd.search.copies import Copies

if TYPE_CHECKING:
    from collections.abc import Callable


def drawn(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    rough = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((160, 120), Image.Resampling.BICUBIC)


def as_bytes(im: Image.Image, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    im.save(data, kind)
    return data.getvalue()


def looks_of(rig: Any) -> dict[str, str]:
    return {rig.name(row.path): row.look for row in rig.catalog.rows()}


def test_a_look_stays_with_its_picture(real_rig: Any, png: Callable[[int], bytes]) -> None:
    rig, im = real_rig, drawn(1)
    look = of_still(im, im.size)
    rig.write("a.png", as_bytes(im))
    rig.write("plain.png", png(1))
    rig.wait()
    assert looks_of(rig) == {"a.png": look, "plain.png": ""}
    rig.move("a.png", "b.png")
    rig.write("c.png", as_bytes(im))
    rig.wait()
    assert looks_of(rig) == {"b.png": look, "c.png": look, "plain.png": ""}
    rig.restart()
    rig.wait()
    assert looks_of(rig) == {"b.png": look, "c.png": look, "plain.png": ""}
    for name in ("b.png", "c.png"):
        os.unlink(rig.path(name))
    rig.wait()
    rig.restart()
    rig.write("back.png", as_bytes(im))
    rig.wait()
    assert looks_of(rig) == {"back.png": look, "plain.png": ""}, "it was buried with it"
    rig.assert_equal_to_disk()


def test_what_the_mirror_keeps_finds_the_copies(real_rig: Any) -> None:
    rig, im = real_rig, drawn(2)
    rig.write("a.png", as_bytes(im))
    rig.write("small/b.webp", as_bytes(im.resize((80, 60)), "WEBP"))
    rig.write("c.jpg", as_bytes(im, "JPEG"))
    rig.write("other.png", as_bytes(drawn(3)))
    rig.wait()
    copies = Copies(rig.catalog)
    ((best, *others),) = copies.groups()
    assert {rig.name(best.path), *(rig.name(row.path) for row in others)} == {"a.png", "c.jpg", "small/b.webp"}
    assert rig.name(others[-1].path) == "small/b.webp"
    os.unlink(rig.path("c.jpg"))
    rig.wait()
    assert [[rig.name(row.path) for row in rows] for rows in copies.groups()] == [["a.png", "small/b.webp"]]
