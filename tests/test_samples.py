"""The pictures that ship: few, small, of every kind, and found by their look with the model that ships."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from memewatchd.errors import PictureError
from memewatchd.pictures.kinds import HEAD_BYTES, has_picture_extension, sniff
from memewatchd.pictures.pool import DecodePool
from memewatchd.words import is_literal, name_words, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from memewatchd.encoders.clip import ClipEncoder
    from memewatchd.meme import Decoded

SAMPLES = Path(__file__).parents[1] / "samples"
BROKEN = "broken-on-purpose.png"
FILES = sorted(str(path.relative_to(SAMPLES)) for path in SAMPLES.rglob("*") if path.is_file())
PICTURES = [name for name in FILES if name != "SOURCES.txt"]

WHITE_CATS = {"7c9e6679f1d04ab2.png", "IMG_20240214_081530.jpg", "animals/d3d9446802a44259.png"}
BLACK_DOGS = {"a5bfc9e07964f8dd.jpg", "mmexport1701230045127.jpg", "animals/45c48cce2e2d7fbd.png"}
SMILES = {"9b2f41c07d3ea856.png", "IMG_20240102_183005.jpg", "reactions/smile.png", "reactions/cool.png"}
ANGRY_ONES = {
    "e4da3b7fbbce2345.png", "mmexport1699347201553.gif", "reactions/angry.webp", "reactions/生气.jpg",
    "animals/grumpy cat face.png",
}  # fmt: skip
CATS = WHITE_CATS | {
    "animals/black cat.png", "animals/grey cat walking.png", "animals/grumpy cat face.png", "animals/orange-cat.jpg",
    "cat watching fish.jpg",
}  # fmt: skip
FITTING = {
    "white cat": WHITE_CATS, "black dog": BLACK_DOGS, "smile": SMILES, "angry": ANGRY_ONES, "生气": ANGRY_ONES,
    "猫": CATS,
}  # fmt: skip
"""What a person would agree to, looking at the pictures."""


@pytest.fixture(scope="module")
def encoder() -> Iterator[ClipEncoder]:
    import torch

    from memewatchd.encoders import bundled
    from memewatchd.encoders.clip import ClipEncoder

    bundled.register()
    before = torch.get_num_threads()
    yield ClipEncoder.load(bundled.FOLDER, "bundled", device="cpu", threads=1)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def decoded(encoder: ClipEncoder) -> dict[str, Future[Decoded]]:
    """Every sample through a decode child, as the daemon does it."""
    futures: dict[str, Future[Decoded]] = {}
    with DecodePool(1) as pool:
        for name in PICTURES:
            fd = os.open(SAMPLES / name, os.O_RDONLY)
            try:
                futures[name] = pool.submit(fd, encoder.spec)
            finally:
                os.close(fd)
        for future in futures.values():
            future.exception(timeout=60)
    return futures


@pytest.fixture(scope="module")
def vectors(encoder: ClipEncoder, decoded: dict[str, Future[Decoded]]) -> dict[str, NDArray[np.float32]]:
    good = {name: future.result().frames[0] for name, future in decoded.items() if name != BROKEN}
    return dict(zip(good, encoder.encode_images(list(good.values())), strict=True))


@pytest.mark.parametrize("query", FITTING)
def test_the_first_three_by_look_fit(query: str, encoder: ClipEncoder, vectors: dict[str, NDArray[np.float32]]) -> None:
    asked = encoder.encode_text(query)
    first = sorted(vectors, key=lambda name: -float(vectors[name] @ asked))[:3]
    found = FITTING[query].intersection(first)
    assert found, f"{query}: {first}"
    # The point of it: at least one of them bears a name that doesn't say so.
    assert any(not is_literal(words_of(query), name_words(os.fsencode(name))) for name in found), first


def test_everything_named_here_is_there() -> None:
    assert set().union(*FITTING.values()) <= set(PICTURES)


def test_all_but_one_are_whole(decoded: dict[str, Future[Decoded]]) -> None:
    failed = {name: error for name, future in decoded.items() if (error := future.exception())}
    assert set(failed) == {BROKEN}
    assert isinstance(failed[BROKEN], PictureError)
    assert "cut off" in str(failed[BROKEN])


def test_animations_move(decoded: dict[str, Future[Decoded]]) -> None:
    moving = [name for name, future in decoded.items() if name != BROKEN and future.result().n_frames > 1]
    assert sum(name.endswith(".gif") for name in moving) >= 3
    assert any(name.endswith(".webp") for name in moving)


def test_there_is_every_kind() -> None:
    kinds = set()
    for name in PICTURES:
        data = (SAMPLES / name).read_bytes()
        kind = sniff(data[:HEAD_BYTES])
        assert kind, name
        kinds.add(kind)
        if name == BROKEN:
            continue
        with Image.open(SAMPLES / name) as im:
            if kind == "png":
                kinds.add({"RGBA": "alpha", "P": "palette", "I;16": "16 bit"}.get(im.mode, ""))
                kinds.add("72 dpi" if round(im.info.get("dpi", (0, 0))[0]) == 72 else "")
            elif kind == "jpeg":
                kinds.add("turned" if im.getexif().get(0x0112, 1) != 1 else "")
            elif kind == "gif" and not name.endswith(".gif"):
                kinds.add("misnamed gif")
        if not has_picture_extension(os.fsencode(name)):
            kinds.add("without an extension")
    assert kinds - {""} == {
        "png", "jpeg", "gif", "webp", "bmp", "tiff", "alpha", "palette", "16 bit", "72 dpi", "turned", "misnamed gif",
        "without an extension",
    }  # fmt: skip


def test_they_are_few_and_small() -> None:
    sizes = {name: (SAMPLES / name).stat().st_size for name in FILES}
    assert 55 <= len(PICTURES) <= 70
    assert max(sizes.values()) <= 40 * 1024
    assert sum(sizes.values()) <= 1_200_000
    for name in PICTURES:
        if name != BROKEN:
            with Image.open(SAMPLES / name) as im:
                assert 128 <= max(im.size) <= 320, name


def test_many_names_say_nothing() -> None:
    silent = [name for name in PICTURES if not name_words(os.fsencode(name))]
    assert len(silent) >= 15
    assert any("/" in name for name in silent)


def test_the_sources_name_every_file() -> None:
    text = (SAMPLES / "SOURCES.txt").read_text(encoding="utf-8")
    assert [name for name in PICTURES if f"\n{name}: " not in text] == []
