"""Films, written by PyAV and read through a real child."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from memewatchd.errors import PictureError
from memewatchd.meme import FrameSpec
from memewatchd.pictures import video
from memewatchd.pictures.kinds import HEAD_BYTES, sniff
from memewatchd.pictures.pool import DecodePool, Limits

if TYPE_CHECKING:
    from pathlib import Path

    from tests.pictures.conftest import Decode, Encode

EXACT = FrameSpec("exact", 8, 8, 4)
CONTAINERS = [("mp4", "libx264"), ("mov", "libx264"), ("webm", "libvpx-vp9"), ("webm", "libvpx"), ("mp4", "libsvtav1")]


def film(
    pictures: list[Image.Image], kind: str = "mp4", codec: str = "libx264", rate: int = 10, **options: str
) -> bytes:
    # In a thread of its own: as root SVT-AV1 makes its caller a real-time one, and with it all that is started from
    # there, before which nothing else on the machine runs.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_film, pictures, kind, codec, rate, options).result()


def _film(pictures: list[Image.Image], kind: str, codec: str, rate: int, options: dict[str, str]) -> bytes:
    import av

    alpha = pictures[0].mode == "RGBA"
    out = io.BytesIO()
    with av.open(out, "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuva420p" if alpha else "yuv420p"
        for im in pictures:
            frame: Any = av.VideoFrame.from_ndarray(np.asarray(im), format="rgba" if alpha else "rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    return out.getvalue()


def scenes(*lengths: int, size: tuple[int, int] = (96, 64)) -> list[Image.Image]:
    """Scenes of plain colours, in each of which a small dot moves."""
    pictures = []
    for length, colour in zip(lengths, ("red", "blue", "white", "black", "yellow", "magenta"), strict=False):
        for number in range(length):
            im = Image.new("RGB", size, colour)
            ImageDraw.Draw(im).rectangle((number % size[0], 10, number % size[0] + 1, 11), fill="gray")
            pictures.append(im)
    return pictures


@pytest.mark.parametrize(("kind", "codec"), CONTAINERS)
def test_a_frame_of_each_scene(kind: str, codec: str, decode: Decode) -> None:
    data = film(scenes(6, 5, 4), kind, codec)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert sniff(data[:HEAD_BYTES], videos=True) == kind
    decoded = decode(data, EXACT, max_frames=8)
    assert (decoded.format, decoded.width, decoded.height, decoded.n_frames) == (kind, 96, 64, 15)
    assert decoded.numbers == (0, 6, 11)
    for frame, colour in zip(decoded.frames, ((255, 0, 0), (0, 0, 255), (255, 255, 255)), strict=True):
        assert np.abs(frame[4:].astype(int) - colour).max() <= 25


def test_only_the_first_frame_where_one_is_asked_for(decode: Decode) -> None:
    decoded = decode(film(scenes(6, 5, 4)), EXACT)
    assert (decoded.n_frames, decoded.numbers) == (15, (0,))


def test_a_film_that_stands_still_is_one_frame(decode: Decode) -> None:
    assert decode(film(scenes(30)), EXACT, max_frames=8).numbers == (0,)


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_a_stickers_transparency_is_white(codec: str, decode: Decode) -> None:
    """Telegram's animated stickers are WebM with alpha; what lies under it is black."""
    nothing, sticker = Image.new("RGBA", (64, 64)), Image.new("RGBA", (64, 64))
    sticker.paste((0, 0, 255, 255), (0, 0, 32, 64))
    options: dict[str, Any] = {"auto-alt-ref": "0"} if codec == "libvpx" else {}
    decoded = decode(film([nothing, nothing, sticker, sticker], "webm", codec, **options), EXACT, max_frames=8)
    assert (decoded.n_frames, decoded.numbers) == (4, (2,))
    (frame,) = decoded.frames
    assert (frame[:, 5:] > 240).all()
    assert (frame[:, :3, 2] > 200).all()
    assert (frame[:, :3, :2] < 60).all()


@pytest.mark.parametrize(
    ("matrix", "corner"), [((0, 1, -1, 0), (0, 1)), ((-1, 0, 0, -1), (1, 1)), ((0, -1, 1, 0), (1, 0))]
)
def test_a_phones_film_stands_upright(
    matrix: tuple[int, int, int, int], corner: tuple[int, int], decode: Decode
) -> None:
    """Stored with a dark top left quarter; the track's matrix (ISO/IEC 14496-12 §8.3.2) turns it."""
    stored = Image.new("RGB", (128, 64), "white")
    stored.paste("black", (0, 0, 64, 32))
    data = bytearray(film([stored] * 3))
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    for index, value in zip((0, 1, 3, 4), matrix, strict=True):
        data[at + 4 * index : at + 4 * index + 4] = (value << 16).to_bytes(4, "big", signed=True)
    decoded = decode(bytes(data), EXACT, max_frames=8)
    assert (decoded.width, decoded.height) == ((128, 64) if matrix[0] else (64, 128))
    quarters = decoded.frames[0].reshape(2, 4, 2, 4, 3).mean((1, 3, 4))
    assert np.unravel_index(quarters.argmin(), (2, 2)) == corner


def test_of_a_long_film_the_key_frames(decode: Decode, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than may be decoded: what changes late is found all the same."""
    data = film(scenes(300, 50, 30), rate=25, preset="veryfast")
    path = io.BytesIO(data)
    from memewatchd.pictures.wire import Job

    monkeypatch.setattr(video, "_FILM_PIXELS", 100 * (96 * 64 + 20_000))
    found = video.read("mp4", path.getvalue(), Job(EXACT, 8), Limits(), 1e9)
    assert [number for number, _ in found.chosen] == [0, 300, 350]
    assert found.n_frames == 380


def test_a_film_that_is_too_long(decode: Decode) -> None:
    pictures = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")] * 35
    assert decode(film(pictures[:58], rate=1), EXACT, max_frames=8).n_frames == 58
    with pytest.raises(PictureError) as caught:
        decode(film(pictures, rate=1), EXACT, max_frames=8)
    assert str(caught.value) == "too long: a film of 70 s or more (limit 60 s)"


def test_a_recording_that_does_not_say_how_long_it_is(decode: Decode) -> None:
    pictures = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")] * 35
    live = {"live": "1"}
    import av

    def record(count: int) -> bytes:
        out = io.BytesIO()
        with av.open(out, "w", format="webm", options=live) as container:
            stream: Any = container.add_stream("libvpx", rate=1)
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
            for im in pictures[:count]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(im), format="rgb24")))
            container.mux(stream.encode())
        return out.getvalue()

    decoded = decode(record(20), EXACT, max_frames=8)
    assert (decoded.n_frames, decoded.numbers) == (20, (0, 1))
    with pytest.raises(PictureError, match=r"^too long: a film of 61 s or more"):
        decode(record(70), EXACT, max_frames=8)


def test_only_sound(decode: Decode) -> None:
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream: Any = container.add_stream("aac", rate=8000, layout="mono")
        sound: Any = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(PictureError, match=r"^a film without a picture$"):
        decode(out.getvalue(), EXACT, max_frames=8)


@pytest.mark.parametrize(("kind", "codec"), CONTAINERS[:3])
def test_cut_off_anywhere(kind: str, codec: str, decode: Decode) -> None:
    rng = np.random.default_rng(4)
    noise = [Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)) for _ in range(6)]
    data = film(noise, kind, codec)
    for cut in (HEAD_BYTES, len(data) // 4, len(data) // 2, len(data) - 5):
        with pytest.raises(PictureError, match=r"cut off|damaged"):
            decode(data[:cut], EXACT, max_frames=8)


@pytest.mark.parametrize(("kind", "codec"), CONTAINERS[:3])
def test_damaged_anywhere(kind: str, codec: str, decode: Decode, photo: Image.Image, encode: Encode) -> None:
    """Whatever the bytes are, the answer is a film or a reason, and the child lives on."""
    data = film([photo.resize((64, 64)).rotate(90 * turn) for turn in range(8)], kind, codec)
    rng = np.random.default_rng(5)
    with DecodePool(1, Limits(memory_bytes=512 << 20, cpu_s=10)) as pool:
        for _ in range(25):
            damaged = bytearray(data)
            for at in rng.integers(HEAD_BYTES, len(data), 6):
                damaged[at] = rng.integers(0, 256)
            try:
                assert 1 <= len(decode(bytes(damaged), EXACT, max_frames=8, pool=pool).frames) <= 8
            except PictureError as error:
                assert "nonsense" not in str(error)
                assert 5 < len(str(error)) < 300
        assert decode(encode(photo, "png"), EXACT, pool=pool).width == 67


def test_too_large(decode: Decode) -> None:
    data = film(scenes(3, size=(640, 480)))
    with DecodePool(1, Limits(max_pixels=100_000)) as pool, pytest.raises(PictureError, match=r"^too large: 640×480"):
        decode(data, EXACT, max_frames=8, pool=pool)


def test_names_its_package(tmp_path: Path) -> None:
    """In a child's own code, but where the package can't be found."""
    path = tmp_path / "a.mp4"
    path.write_bytes(film(scenes(3)))
    script = (
        "import sys; sys.modules['av'] = None\n"
        "from memewatchd.meme import FrameSpec\n"
        "from memewatchd.pictures import decode, wire\n"
        "try: decode.answer(0, wire.Job(FrameSpec('exact', 8, 8)), wire.Limits())\n"
        "except Exception as error: print(error)\n"
    )
    with path.open("rb") as file:
        done = subprocess.run([sys.executable, "-c", script], stdin=file, capture_output=True, text=True, check=True)
    assert done.stdout == "films need the av package (pip install av)\n"
