"""The pixels that a model sees are, bit for bit, those of transformers' own Pillow-backed processors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from memewatchd.meme import FrameSpec
from memewatchd.pictures import preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.pictures.conftest import Decode, Encode

# Width, height: square, odd, smaller than the crop in one side or both, slivers.
SIZES = [
    (1, 1),
    (1, 50),
    (50, 1),
    (3, 2),
    (31, 33),
    (32, 32),
    (63, 97),
    (97, 63),
    (640, 481),
    (333, 1000),
    (224, 5),
]


def random_picture(size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(size[0] * 1009 + size[1]).integers(0, 256, (size[1], size[0], 3))
    return Image.fromarray(pixels.astype(np.uint8))


def ours(im: Image.Image, spec: FrameSpec) -> NDArray[np.uint8]:
    return np.asarray(preprocess.fit(im, spec))


def theirs(processor: Any, im: Image.Image) -> NDArray[np.uint8]:
    values = processor(im, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
    assert values.dtype == np.uint8
    return np.moveaxis(values, 0, -1)


def clip(**settings: Any) -> Any:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil(**settings)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resample", [2, 3])
def test_equals_clips_processor(size: tuple[int, int], resample: int) -> None:
    processor = clip(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}, resample=resample)
    im = random_picture(size)
    np.testing.assert_array_equal(ours(im, FrameSpec("shortest", 64, 64, resample)), theirs(processor, im))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("edge", "crop"), [(36, 31), (31, 36), (30, 36), (33, 33)])
def test_equals_clips_processor_where_crop_and_size_differ(size: tuple[int, int], edge: int, crop: int) -> None:
    processor = clip(size={"shortest_edge": edge}, crop_size={"height": crop, "width": crop})
    im = random_picture(size)
    np.testing.assert_array_equal(ours(im, FrameSpec("shortest", edge, crop)), theirs(processor, im))


@pytest.mark.parametrize("size", SIZES)
def test_equals_chinese_clips_processor(size: tuple[int, int]) -> None:
    from transformers.models.chinese_clip.image_processing_pil_chinese_clip import (
        ChineseCLIPImageProcessorPil,
    )

    im = random_picture(size)
    by_edge = ChineseCLIPImageProcessorPil()
    np.testing.assert_array_equal(ours(im, FrameSpec("shortest", 224, 224)), theirs(by_edge, im))
    # What OFA-Sys' checkpoints ask for.
    by_box = ChineseCLIPImageProcessorPil(size={"height": 224, "width": 224}, do_center_crop=False)
    np.testing.assert_array_equal(ours(im, FrameSpec("exact", 224, 224)), theirs(by_box, im))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resample", [1, 2, 3])
def test_equals_siglips_processor(size: tuple[int, int], resample: int) -> None:
    """SigLIP 2's checkpoints of fixed resolution name this processor too."""
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    processor = SiglipImageProcessorPil(size={"height": 48, "width": 48}, resample=resample)
    im = random_picture(size)
    np.testing.assert_array_equal(ours(im, FrameSpec("exact", 48, 48, resample)), theirs(processor, im))


@pytest.mark.parametrize("size", [*SIZES, (64, 64)])
def test_pad_equals_pillows_pad(size: tuple[int, int]) -> None:
    im = random_picture(size)
    if round(min(size) / max(size) * 64) > 0:  # Pillow's own fails where a side rounds to nothing
        pillow = ImageOps.pad(im, (64, 64), Image.Resampling.BICUBIC, color="white")
        np.testing.assert_array_equal(ours(im, FrameSpec("pad", 64, 64)), np.asarray(pillow))
    assert ours(im, FrameSpec("pad", 64, 64)).shape == (64, 64, 3)


@pytest.mark.parametrize("size", [(2, 5000), (5000, 2), (7, 9000), (9000, 7), (100, 7001), (7001, 100)])
@pytest.mark.parametrize("resample", [1, 2, 3])
def test_a_sliver_is_not_scaled_in_full(size: tuple[int, int], resample: int, monkeypatch: pytest.MonkeyPatch) -> None:
    im = random_picture(size)
    spec = FrameSpec("shortest", 64, 60, resample)
    in_full = ours(im, spec).astype(int)
    monkeypatch.setattr(preprocess, "_MAX_SCALED_PIXELS", 64 * 64)
    difference = np.abs(ours(im, spec) - in_full)
    if min(size) < 64:
        assert difference.max() <= 1
    assert difference.mean() < 0.5


def test_a_long_sliver_through_a_real_child(decode: Decode, encode: Encode) -> None:
    """In full it would be 224 x 4,480,000 pixels."""
    im = Image.new("RGB", (2, 40_000), (10, 200, 30))
    decoded = decode(encode(im, "png"), FrameSpec("shortest", 224, 224))
    assert (decoded.width, decoded.height) == (2, 40_000)
    assert (decoded.frames[0] == (10, 200, 30)).all()


@pytest.mark.parametrize("mode", ["shortest", "exact", "pad"])
def test_a_child_gives_the_same_pixels(mode: str, photo: Image.Image, decode: Decode, encode: Encode) -> None:
    spec = FrameSpec(mode, 40, 40)
    decoded = decode(encode(photo, "png"), spec)
    np.testing.assert_array_equal(decoded.frames[0], ours(photo, spec))


def test_a_mode_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="stretch"):
        preprocess.scaled_size(FrameSpec("stretch", 8, 8), (5, 5))
