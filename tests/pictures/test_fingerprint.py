"""What is a copy and what is not: every pair of what is made here is tried, and of the samples."""

from __future__ import annotations

import io
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from memewatchd import looks
from memewatchd.pictures import fingerprint, preprocess
from memewatchd.pictures.fingerprint import Motion, of_still
from memewatchd.search import alike
from memewatchd.search.copies import QUARTERS_APART

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.pictures.conftest import Decode

    Size = tuple[int, int]

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
BICUBIC, BOX, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.BOX, Image.Resampling.LANCZOS
SCALES = (0.25, 0.33, 0.5, 0.75, 1.5, 2, 4)
Known = tuple[str, "Size"]


def known(im: Image.Image) -> Known:
    return of_still(im, im.size), im.size


def are_copies(one: Known, other: Known) -> bool:
    """Asked both ways, which must agree."""
    first, second = alike.see(one[0]), alike.see(other[0])
    if first is None or second is None:
        return False
    there = bool(alike.are_alike(first, one[1], [second], np.array([other[1]]))[0])
    back = bool(alike.are_alike(second, other[1], [first], np.array([one[1]]))[0])
    if there:
        apart = first.coarse - second.coarse
        assert np.abs(apart).max() <= alike.COARSE_APART, "they would not even be compared"
        assert np.abs(apart.reshape(2, 4, 2, 4).mean((1, 3))).max() <= QUARTERS_APART
    return there and back


def on_white(im: Image.Image) -> Image.Image:
    return preprocess.to_rgb(im)


def again(im: Image.Image, kind: str, **options: Any) -> Image.Image:
    data = io.BytesIO()
    im.save(data, kind, **options)
    read = Image.open(io.BytesIO(data.getvalue()))
    read.load()
    return read


def scaled(im: Image.Image, by: float, filter_: Image.Resampling = LANCZOS) -> Image.Image:
    width, height = (max(1, round(side * by)) for side in im.size)
    return im.resize((width, height), filter_)


def copies(im: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """What people and programs do to a picture on its way from chat to chat."""
    flat, clear = on_white(im), im.convert("RGBA")
    for quality in (30, 50, 75, 95):
        yield f"jpeg {quality}", again(flat, "JPEG", quality=quality)
    for quality in (30, 75):
        yield f"webp {quality}", again(clear, "WEBP", quality=quality)
    yield "png", again(clear, "PNG")
    yield "gif", again(flat, "GIF")
    yield "palette", again(flat.quantize(256, dither=Image.Dither.NONE), "PNG")
    for by in SCALES:
        yield f"scaled {by}", scaled(flat, by)
        yield f"scaled {by} smoothly", scaled(clear, by, BICUBIC)
    yield "halved, jpeg", again(scaled(flat, 0.5), "JPEG", quality=50)
    yield "quartered, jpeg", again(scaled(flat, 0.25), "JPEG", quality=75)
    yield "a little brighter", flat.point(lambda value: min(255, value + 4))


@cache
def photograph(seed: int, size: Size = (640, 480)) -> Image.Image:
    """Soft shapes over finer ones, in all colours."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3), np.float32)
    for cells in (4, 8, 16, 32, 64, 128):
        grain = random.normal(0, 60 / cells**0.6, (3, cells * size[1] // size[0] + 1, cells)).astype(np.float32)
        pixels += np.stack([np.asarray(Image.fromarray(part).resize(size, BICUBIC)) for part in grain], -1)
    return Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8))


def captioned(im: Image.Image, text: str, tall: float = 0.1) -> Image.Image:
    """White with a black rim, at the bottom."""
    out = im.copy()
    font = ImageFont.load_default(size=im.height * tall)
    where = (im.width / 2, im.height * 0.97)
    ImageDraw.Draw(out).text(where, text, "white", font, anchor="ms", stroke_width=2, stroke_fill="black")
    return out


@cache
def drawn(draw: Callable[[ImageDraw.ImageDraw], object], side: int = 300, ground: str = "white") -> Image.Image:
    out = Image.new("RGB", (2 * side, 2 * side), ground)
    draw(ImageDraw.Draw(out))
    return out.resize((side, side), BOX)


def heart(colour: str) -> Callable[[ImageDraw.ImageDraw], object]:
    def draw(on: ImageDraw.ImageDraw) -> None:
        on.ellipse((60, 100, 320, 360), colour)
        on.ellipse((280, 100, 540, 360), colour)
        on.polygon([(80, 290), (520, 290), (300, 540)], colour)

    return draw


def flag(*colours: str, upright: bool = False) -> Callable[[ImageDraw.ImageDraw], object]:
    def draw(on: ImageDraw.ImageDraw) -> None:
        for number, colour in enumerate(colours):
            start, end = (600 * part // len(colours) for part in (number, number + 1))
            on.rectangle((start, 100, end, 500) if upright else (0, start, 600, end), colour)

    return draw


def face(mouth: str, eyes: str = "open", skin: str = "#ffcc22") -> Callable[[ImageDraw.ImageDraw], object]:
    def draw(on: ImageDraw.ImageDraw) -> None:
        on.ellipse((20, 20, 580, 580), skin)
        for x in (190, 410):
            if eyes == "open":
                on.ellipse((x - 35, 180, x + 35, 270), "#442200")
            else:
                on.arc((x - 45, 190, x + 45, 270), 180, 360, "#442200", 22)
        if mouth == "smile":
            on.arc((160, 240, 440, 480), 20, 160, "#442200", 26)
        elif mouth == "sad":
            on.arc((180, 400, 420, 600), 200, 340, "#442200", 26)
        elif mouth == "flat":
            on.line((190, 430, 410, 430), "#442200", 26)
        else:
            on.ellipse((240, 350, 360, 500), "#442200")

    return draw


CAPTIONS = (
    *("ONE DOES NOT SIMPLY WALK", "ONE DOES NOT SIMPLY TALK", "WHEN THE TEST FAILS", "WHEN THE CODE WORKS"),
    *("IT IS FRIDAY", "IT IS MONDAY", "I LOVE CATS", "I LOVE DOGS", ""),
)


def different() -> dict[str, Image.Image]:
    """No two of these are copies, and of none is the mirror image or a part."""
    made = {f"photograph {seed}": photograph(seed) for seed in range(8)}
    made |= {f"photograph 20, {text or 'bare'}": captioned(photograph(20), text) for text in CAPTIONS}
    made |= {f"small, {text or 'bare'}": captioned(photograph(21, (300, 300)), text, 0.07) for text in CAPTIONS}
    made |= {f"{colour} heart": drawn(heart(colour)) for colour in ("red", "blue", "green", "gold", "black", "pink")}
    made |= {
        f"{mouth}, {eyes}, {skin}": drawn(face(mouth, eyes, skin))
        for mouth in ("smile", "sad", "flat", "round")
        for eyes in ("open", "closed")
        for skin in ("#ffcc22", "#f2a08a")
    }
    made |= {
        " ".join(map(str, colours)) + (" upright" if upright else ""): drawn(flag(*colours, upright=upright))
        for upright in (True, False)
        for colours in (
            *(("blue", "white", "red"), ("green", "white", "red"), ("red", "white", "blue"), ("black", "red", "gold")),
            *(("red", "white"), ("white", "red"), ("blue", "gold"), ("green", "white", "orange")),
        )
    }
    made["ring"] = drawn(lambda on: on.ellipse((40, 40, 560, 560), outline="#404040", width=10))
    made["smaller ring"] = drawn(lambda on: on.ellipse((60, 60, 540, 540), outline="#404040", width=10))
    made["fainter ring"] = drawn(lambda on: on.ellipse((40, 40, 560, 560), outline="#a0a0a0", width=10))
    return made


def samples() -> dict[str, Image.Image]:
    found = {}
    for path in sorted(SAMPLES.rglob("*")):
        try:
            with Image.open(path) as im:
                im.load()
                found[path.name] = im.copy() if im.mode != "I;16" else preprocess.to_rgb(im)
        except OSError:
            continue
    assert len(found) > 50
    return found


MAKERS = {"made": different, "samples": samples}


@pytest.mark.parametrize("maker", MAKERS)
def test_no_two_pictures_are_copies(maker: str) -> None:
    made = {name: known(im) for name, im in MAKERS[maker]().items()}
    assert all(look for look, _ in made.values())
    wrong = [(a, b) for a, b in combinations(made, 2) if are_copies(made[a], made[b])]
    assert wrong == []


@pytest.mark.parametrize("maker", MAKERS)
def test_every_copy_is_known_by_the_original(maker: str) -> None:
    wrong = [
        (name, what)
        for name, im in MAKERS[maker]().items()
        for original in [known(im)]
        for what, copy in copies(im)
        if not are_copies(original, known(copy))
    ]
    assert wrong == []


@pytest.mark.parametrize("maker", MAKERS)
def test_a_part_of_a_picture_is_no_copy(maker: str) -> None:
    def parts(im: Image.Image) -> Iterator[Image.Image]:
        width, height = im.size
        for share in (0.06, 0.1, 0.3):
            x, y = round(width * share), round(height * share)
            yield im.crop((x, 0, width, height))
            yield im.crop((0, 0, width, height - y))
            yield im.crop((0, 0, width - x, height - y))

    for name, im in MAKERS[maker]().items():
        if name not in {"red white upright", "white red upright"}:  # of a flag in two halves
            original = known(im)
            assert not any(are_copies(original, known(part)) for part in parts(im)), name


@pytest.mark.parametrize("number", range(8))
def test_a_mirrored_or_turned_or_grey_picture_is_no_copy(number: int) -> None:
    im = photograph(number)
    original = known(im)
    for how in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_180):
        assert not are_copies(original, known(im.transpose(how)))
    assert not are_copies(original, known(im.convert("L")))
    assert not are_copies(original, known(im.point(lambda value: 255 - value)))
    assert not are_copies(original, known(im.resize((480, 480)))), "squeezed"


def test_plain_and_tiny_pictures_are_known_by_nothing() -> None:
    for colour in ("red", "blue", "white", "black", "#808080"):
        assert known(Image.new("RGB", (300, 200), colour))[0] == ""
    assert known(Image.new("RGBA", (300, 200)))[0] == ""
    assert known(photograph(1).resize((15, 20)))[0] == ""
    assert known(photograph(1).resize((16, 16)))[0] != ""


def test_what_was_packed_comes_back_and_nonsense_does_not() -> None:
    cells = bytes(range(64)) * 38
    still = looks.Looks(cells)
    moving = looks.Looks(cells + bytes(512), 1234)
    for each in (still, moving):
        assert looks.unpack(looks.pack(each)) == each
    noise = looks.Looks(np.random.default_rng(1).integers(0, 64, looks.MOVING_BYTES, np.uint8).tobytes(), 9)
    assert looks.unpack(looks.pack(noise)) == noise
    longer, brighter, timed = looks.Looks(cells + b"\0"), looks.Looks(b"\x40" + cells[1:]), looks.Looks(cells, 5)
    for nonsense in ("", "x", "A" * 100, "é" * 100, "A" * 5000, *map(looks.pack, (longer, brighter, timed))):
        assert looks.unpack(nonsense) is None
        assert alike.see(nonsense) is None


# Animations ------------------------------------------------------------------------------------


def animation(colours: list[str], side: int = 200) -> list[Image.Image]:
    """A disc that changes its colour."""

    def draw(on: ImageDraw.ImageDraw, colour: str) -> None:
        on.ellipse((100, 100, 400, 400), colour)

    return [scaled(drawn(partial(draw, colour=colour)), side / 300) for colour in colours]


def as_bytes(frames: list[Image.Image], kind: str, ms: int | list[int]) -> bytes:
    data = io.BytesIO()
    frames[0].save(data, kind, save_all=True, append_images=frames[1:], duration=ms, loop=0)
    return data.getvalue()


DANCE = ["red", "blue", "green", "red", "gold", "black", "red", "navy"]


def test_animations_are_copies_only_where_they_go_on_alike(decode: Decode) -> None:
    def look(colours: list[str], kind: str = "GIF", ms: int | list[int] = 100, side: int = 200) -> Known:
        found = decode(as_bytes(animation(colours, side=side), kind, ms), max_frames=8)
        return found.look, (found.width, found.height)

    dance = look(DANCE)
    assert dance[0]
    for what, copy in {
        "webp": look(DANCE, "WEBP"),
        "png": look(DANCE, "PNG"),
        "smaller": look(DANCE, side=100),
        "every frame in two": look([colour for colour in DANCE for _ in range(2)], "WEBP", 50),
        "other delays of one length": look(DANCE, ms=[100, 90, 110, 100, 100, 110, 90, 100]),
    }.items():
        assert are_copies(dance, copy), what
    for what, other in {
        "another end": look([*DANCE[:-1], "gold"]),
        "another middle": look([*DANCE[:4], "navy", *DANCE[5:]]),
        "begins alike": look(DANCE[:4]),
        "twice": look(DANCE * 2),
        "slower": look(DANCE, ms=200),
        "backwards but for the first": look([DANCE[0], *DANCE[:0:-1]]),
        "its first frame": known(animation(DANCE)[0]),
    }.items():
        assert not are_copies(dance, other), what


def as_mp4(frames: list[Image.Image], turn: Image.Transpose | None = None) -> bytes:
    """Ten frames a second."""
    import av

    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        drawn_so = [frame if turn is None else frame.transpose(turn) for frame in frames]
        stream.width, stream.height = drawn_so[0].size
        stream.pix_fmt = "yuv420p"
        for frame in drawn_so:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return data.getvalue()


def test_a_film_is_a_copy_of_the_animation_it_was_made_of(decode: Decode) -> None:
    def look(data: bytes) -> Known:
        found = decode(data, max_frames=8)
        return found.look, (found.width, found.height)

    dance = look(as_bytes(animation(DANCE), "GIF", 100))
    assert are_copies(dance, look(as_mp4(animation(DANCE))))
    assert are_copies(dance, look(as_mp4(animation(DANCE, side=120))))
    assert not are_copies(dance, look(as_mp4(animation([*DANCE[:-1], "gold"]))))
    assert not are_copies(dance, look(as_mp4(animation(DANCE), Image.Transpose.FLIP_TOP_BOTTOM)))


def test_an_animation_that_was_not_seen_whole_is_known_by_nothing(decode: Decode) -> None:
    assert decode(as_bytes(animation(DANCE), "GIF", 100), max_frames=1).look == ""
    motion = Motion()
    assert motion.of_moving(photograph(1), (640, 480), 5) == ""


def test_a_child_tells_what_a_picture_looks_like(decode: Decode) -> None:
    im = photograph(3)
    data = io.BytesIO()
    im.save(data, "PNG")
    assert decode(data.getvalue()).look == fingerprint.of_still(im, im.size)
    sideways = Image.Exif()
    sideways[0x0112] = 6
    data = io.BytesIO()
    im.transpose(Image.Transpose.ROTATE_90).save(data, "JPEG", quality=90, exif=sideways)
    found = decode(data.getvalue())
    assert (found.width, found.height) == im.size
    assert are_copies(known(im), (found.look, im.size)), "as it stands upright"
    large = im.resize((3200, 2400), BICUBIC)
    data = io.BytesIO()
    large.save(data, "JPEG", quality=80)
    assert are_copies(known(im), (decode(data.getvalue()).look, large.size)), "of which only a draft is decoded"
