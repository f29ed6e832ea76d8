"""The model that ships: it loads as any other, it is the network it says it is, and its gate holds."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from memewatchd.encoders.bundled import FOLDER, register
from memewatchd.encoders.bundled.modeling import BundledModel
from memewatchd.encoders.bundled.towers import bigram_ids, flatness, photograph_gate
from memewatchd.errors import EncoderError
from training.textures import texture

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGE = 160
WHEEL_LIMIT = 25_000_000


@pytest.fixture(scope="module")
def model() -> BundledModel:
    from transformers import AutoModel

    register()
    loaded, info = AutoModel.from_pretrained(FOLDER, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert isinstance(loaded, BundledModel)
    loaded.train(False)
    return loaded


@pytest.fixture(scope="module")
def processor() -> Any:
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(FOLDER, backend="pil")  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


def texts(model: BundledModel, tokenizer: Any, words: list[str]) -> torch.Tensor:
    with torch.inference_mode():
        return model.get_text_features(**tokenizer(words, padding=True, truncation=True, return_tensors="pt"))


def pixels(processor: Any, pictures: list[Image.Image]) -> torch.Tensor:
    values: torch.Tensor = processor(images=pictures, return_tensors="pt")["pixel_values"]
    return values


def drawings() -> dict[str, Image.Image]:
    """Simple shapes in flat colours on white, two sizes each, as a drawing program makes them."""
    made = {}
    for name in ("smile", "red heart", "yellow star", "blue circle", "green square"):
        picture = Image.new("RGB", (480, 480), "white")
        pen = ImageDraw.Draw(picture)
        if name == "smile":
            pen.ellipse((30, 30, 450, 450), "#fbd02d", "#5a3a10", 12)
            for left in (140, 280):
                pen.ellipse((left, 150, left + 60, 230), "#5a3a10")
            pen.chord((120, 200, 360, 400), 0, 180, "#5a3a10")
        elif name == "red heart":
            pen.ellipse((50, 70, 250, 270), "#d8262f")
            pen.ellipse((230, 70, 430, 270), "#d8262f")
            pen.polygon([(62, 215), (418, 215), (240, 440)], "#d8262f")
        elif name == "yellow star":
            corners = [
                (240 + radius * math.sin(turn * math.pi / 5), 250 - radius * math.cos(turn * math.pi / 5))
                for turn, radius in ((turn, 210 if turn % 2 == 0 else 85) for turn in range(10))
            ]
            pen.polygon(corners, "#fbd02d")
        elif name == "blue circle":
            pen.ellipse((40, 40, 440, 440), "#2f6fd0")
        else:
            pen.rectangle((50, 50, 430, 430), "#3f9b3f")
        made[name] = picture
    return made


def test_the_folder_fits_the_wheel() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < WHEEL_LIMIT


def test_says_what_it_was_made_from() -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    notices = (FOLDER / "NOTICES.txt").read_text(encoding="utf-8")
    for source in (
        "Noto Emoji",
        "Twemoji",
        "Fluent",
        "FxEmoji",
        "Open Clip Art",
        "WordNet",
        "CC-CEDICT",
        "EfficientNet",
    ):
        assert source in card
        assert source in notices


def test_processor_is_pillow_backed_and_squares(processor: Any) -> None:
    assert type(processor).__name__ == "CLIPImageProcessorPil"
    values = pixels(processor, [Image.new("RGB", (300, 100), (127, 255, 0))])
    assert values.shape == (1, 3, EDGE, EDGE)
    expected = [0.0, 1.0, -127 / 128]
    assert values[0, :, 80, 80].tolist() == pytest.approx(expected, abs=1e-5)


def test_transformers_gives_the_same() -> None:
    """memewatchd runs it without transformers: to the bit the same vectors, and the same index goes on."""
    from memewatchd.encoders.bundled.encoder import BundledEncoder
    from memewatchd.encoders.clip import ClipEncoder
    from memewatchd.meme import FrameSpec

    register()
    reference = ClipEncoder.load(FOLDER, "bundled", device="cpu", threads=1)
    encoder = BundledEncoder.load(FOLDER, "bundled", device="cpu", threads=1)
    assert encoder.spec == reference.spec == FrameSpec("exact", EDGE, EDGE, 3)
    assert encoder.dim == reference.dim == 384
    assert encoder.fingerprint == reference.fingerprint
    assert encoder.is_english_only is reference.is_english_only is False
    noise = np.random.default_rng(1).integers(0, 256, (3, EDGE, EDGE, 3), dtype=np.uint8)
    frames = [np.full((EDGE, EDGE, 3), 127, np.uint8), *noise]
    pictures = encoder.encode_images(frames)
    assert np.linalg.norm(pictures, axis=1) == pytest.approx([1.0] * 4, abs=1e-5)
    assert np.array_equal(pictures, reference.encode_images(frames))
    for text in ("a cat", "不想上班", "生氣", "😀 So Tired", "", "word " * 500):
        assert np.array_equal(encoder.encode_text(text), reference.encode_text(text)), text


def test_each_tower_has_its_own_threads() -> None:
    """However the calls come: what one thread asks of torch isn't what another gets."""
    from memewatchd.encoders.bundled.encoder import BundledEncoder

    encoder = BundledEncoder.load(FOLDER, "bundled", device="cpu", threads=2)
    counts = {}

    def ask(name: str) -> None:
        if name == "pictures":
            encoder.encode_images([np.zeros((EDGE, EDGE, 3), np.uint8)])
        else:
            encoder.encode_text("a cat")
        counts[name] = torch.get_num_threads()

    for order in (("pictures", "words"), ("words", "pictures")):
        for name in order:
            thread = threading.Thread(target=ask, args=(name,))
            thread.start()
            thread.join()
        assert counts == {"pictures": 2, "words": 1}


def test_it_needs_no_transformers() -> None:
    """Whose import takes more time and memory than all else."""
    program = f"""
import sys
from pathlib import Path
from memewatchd.encoders.models import encoder_class
folder = Path({str(FOLDER)!r})
encoder = encoder_class(folder).load(folder, "bundled", device="cpu", threads=1)
encoder.encode_text("a cat")
print(*sorted({{"transformers", "torch._dynamo", "sympy"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"])
def test_a_broken_file_is_named_by_its_folder(name: str, tmp_path: Path) -> None:
    from memewatchd.encoders.bundled.encoder import BundledEncoder

    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    file = folder / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(EncoderError, match=re.escape(str(folder))):
        BundledEncoder.load(folder, "broken", device="cpu", threads=1)


def pattern(number: int, edge: int) -> NDArray[np.float32]:
    """The input of training/reference.py: a smooth coloured pattern in -1…1, (3, edge, edge)."""
    down, across = np.mgrid[0:edge, 0:edge] / edge
    planes = [
        np.sin((2 + number) * np.pi * (across * (1 + channel) + down * (2 - channel)) + number + channel)
        for channel in range(3)
    ]
    return np.stack(planes).astype(np.float32)


def test_network_gives_the_published_logits(model: BundledModel) -> None:
    """Against efficientnet-lite-pytorch 0.1.0 on the same inputs (written by training/reference.py).

    Ours are stored as bytes and in half precision, with the batch norms folded in: logits of up to 7 may
    differ by 0.4. A wrong padding, order or normalisation makes them differ by more than 1.
    """
    rows = json.loads((Path(__file__).parent / "efficientnet_logits.json").read_text())
    assert len(rows) == 4
    for row in rows:
        values = torch.from_numpy(pattern(row["number"], row["edge"]))[None]
        with torch.inference_mode():
            logits = model.classes.classifier(model.photographs(model.lower(values)))[0].numpy()
        np.testing.assert_allclose(logits, row["logits"], atol=0.4)
        assert int(logits.argmax()) == int(np.argmax(row["logits"]))


def test_photographs_have_the_classes_of_the_published_network(model: BundledModel) -> None:
    """On textures, for there are no photographs here: the published network's five likeliest classes of each."""
    published = json.loads((Path(__file__).parent / "efficientnet_classes.json").read_text())
    first = among = 0
    with torch.inference_mode():
        for number, wanted in enumerate(published):
            values = torch.from_numpy(texture(np.random.default_rng(number)))[None]
            logits = model.classes.classifier(model.photographs(model.lower(values)))[0]
            first += int(logits.argmax()) == wanted[0]
            among += wanted[0] in logits.topk(5).indices.tolist()
    assert first >= 0.95 * len(published)
    assert among == len(published)


def test_gate_leaves_drawings_alone(model: BundledModel, processor: Any) -> None:
    values = pixels(processor, list(drawings().values()))
    with torch.inference_mode():
        gate = photograph_gate(values, model.config)
        alone = torch.nn.functional.normalize(model.head(model.drawings(model.lower(values))), dim=-1)
        whole = model.get_image_features(values)
    assert gate.max() < 0.05
    assert (alone * whole).sum(-1).min() > 0.999


def test_gate_opens_for_textured_pictures(model: BundledModel, processor: Any) -> None:
    random = np.random.default_rng(5)
    rough = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC
    )
    grain = random.normal(0, 4, (480, 640, 3))
    picture = Image.fromarray(np.clip(np.asarray(rough) + grain, 0, 255).astype(np.uint8))
    assert photograph_gate(pixels(processor, [picture]), model.config).item() > 0.98


def test_flatness_counts_steps_of_two() -> None:
    steps = torch.zeros(1, 3, 4, 4)
    steps[0, 1, :, 2:] = 2 / 128
    assert flatness(steps, 128.0).item() == 1.0
    steps[0, 1, :, 2:] = 3 / 128
    assert flatness(steps, 128.0).item() == pytest.approx(20 / 24)


def picture_of(model: BundledModel, wanted: int) -> torch.Tensor:
    """A textured picture that the classifier takes for one class, found by following its gradient.

    It stands in for a photograph, of which this project ships none.
    """
    torch.manual_seed(wanted)
    coarse = torch.randn(1, 3, 40, 40).mul_(0.3).requires_grad_()
    fine = torch.randn(1, 3, EDGE, EDGE) * 0.05
    optimizer = torch.optim.Adam([coarse], lr=0.05)
    for _ in range(25):
        values = (torch.nn.functional.interpolate(coarse, EDGE, mode="bicubic") + fine).clamp(-1, 1)
        loss = -model.classes.classifier(model.photographs(model.lower(values))).log_softmax(-1)[0, wanted]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return values.detach()


@pytest.mark.parametrize(
    ("wanted", "english", "chinese"),
    [
        (207, "golden retriever", "金毛寻回犬"),
        (281, "tabby cat", "猫"),
        (817, "sports car", "跑车"),
        (963, "pizza", "披萨"),
    ],
)
def test_photographs_answer_to_their_class(
    model: BundledModel, tokenizer: Any, wanted: int, english: str, chinese: str
) -> None:
    others = "volcano,piano,goldfish,umbrella,strawberry,laptop,castle,bicycle,acoustic guitar,lighthouse,teapot,zebra"
    names = [*others.split(","), "golden retriever", "tabby cat", "sports car", "pizza"]
    values = picture_of(model, wanted)
    with torch.inference_mode():
        vector = model.get_image_features(values)
    scores = (texts(model, tokenizer, names) @ vector.T)[:, 0]
    assert names[int(scores.argmax())] == english
    asked = texts(model, tokenizer, [chinese, "火山", "钢琴", "雨伞", "草莓"]) @ vector.T
    assert int(asked.argmax()) == 0


def test_plain_drawings_are_found_in_both_languages(model: BundledModel, processor: Any, tokenizer: Any) -> None:
    made = drawings()
    del made["green square"]  # it takes the blue circle for one: see the model card on plain shapes
    with torch.inference_mode():
        vectors = model.get_image_features(pixels(processor, list(made.values())))
    chinese = ["微笑", "红心", "黄色的星星", "蓝色圆形"]
    for words in (list(made), chinese):
        best = (texts(model, tokenizer, words) @ vectors.T).argmax(1).tolist()
        assert best == list(range(len(made)))


def test_spellings_that_are_the_same_text(model: BundledModel, tokenizer: Any) -> None:
    pairs = [
        ("生氣的貓", "生气的猫"),
        ("Angry CAT", "angry cat"),
        ("ＡＢＣ１２３", "abc123"),
        ("café", "cafe"),
        ("😂😂", "😂 😂"),
    ]
    for one, other in pairs:
        assert tokenizer(one)["input_ids"] == tokenizer(other)["input_ids"]
        assert tokenizer.unk_token_id not in tokenizer(one)["input_ids"]


def test_padding_changes_nothing(model: BundledModel, tokenizer: Any) -> None:
    words = ["white cat", "猫", "a very long description of a dog that runs over a green field"]
    together = texts(model, tokenizer, words)
    alone = torch.cat([texts(model, tokenizer, [word]) for word in words])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("text", ["", " ", "\u200d", "x" * 5000, "\U000e0041"])
def test_odd_texts_give_finite_vectors(model: BundledModel, tokenizer: Any, text: str) -> None:
    tokens = tokenizer([text], truncation=True, max_length=128, return_tensors="pt")
    with torch.inference_mode():
        vector = model.get_text_features(**{name: ids.long() for name, ids in tokens.items()})
    assert torch.isfinite(vector).all()
    assert vector.norm().item() == pytest.approx(1.0, abs=1e-5)


def test_word_order_counts(model: BundledModel, tokenizer: Any) -> None:
    one, other = texts(model, tokenizer, ["dog bites man", "man bites dog"])
    assert float(one @ other) < 0.9999


def test_bigrams_stay_in_their_table() -> None:
    ids = torch.tensor([[0, 17_999, 17_999, 1]])
    buckets = bigram_ids(ids, 16_384)
    assert buckets.shape == (1, 3)
    assert int(buckets.min()) >= 0
    assert int(buckets.max()) < 16_384
