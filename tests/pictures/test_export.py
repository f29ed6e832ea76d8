"""What is prepared for the clipboard, by a real child."""

from __future__ import annotations

import io
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from memewatchd.errors import BadRequest, Degraded, PictureError
from memewatchd.pictures import export as export_module
from memewatchd.pictures.export import Exporter
from memewatchd.pictures.renderer import Renderer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer()
    yield made
    made.close()


@pytest.fixture
def memes(tmp_path: Path) -> Path:
    folder = tmp_path / "memes"
    folder.mkdir()
    return folder


@pytest.fixture
def exporter(renderer: Renderer, tmp_path: Path, memes: Path) -> Exporter:
    return Exporter(renderer, str(tmp_path / "cache" / "paste"), [os.fsencode(memes)], 100)


def moving(path: Path, n: int = 4, size: tuple[int, int] = (60, 40), mode: str = "RGB", **options: Any) -> Path:
    frames = []
    for number in range(n):
        frame = Image.new(mode, size, (0, 0, 0, 0) if mode == "RGBA" else (250, 250, 250))
        frame.paste((200, 40 * number, 30, 255)[: len(mode)], (5 * number, 5, 5 * number + 20, 25))
        frames.append(frame)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=options.pop("duration", 80), **options)
    return path


def opened(file: bytes) -> Image.Image:
    with open(file, "rb") as stream:  # noqa: PTH123 - raw bytes
        image = Image.open(io.BytesIO(stream.read()))
    image.load()
    return image


def test_a_still_becomes_a_small_png_that_keeps_its_transparency(exporter: Exporter, memes: Path) -> None:
    path = memes / "生气 cat.webp"
    image = Image.new("RGBA", (400, 200), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (200, 0, 400, 200))
    image.save(path, lossless=True)
    made = exporter.export(os.fsencode(path))
    assert (made.mime, made.animated, made.as_file) == ("image/png", False, False)
    assert made.file.endswith("/生气 cat.png".encode())
    image = opened(made.file)
    assert (image.format, image.size, image.mode) == ("PNG", (100, 50), "RGBA")
    assert (image.getpixel((10, 20)), image.getpixel((90, 20))) == ((255, 0, 0, 255), (0, 0, 0, 0))
    assert os.stat(made.file).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(made.file)).st_mode & 0o777 == 0o700
    assert opened(exporter.export(os.fsencode(path), max_px=40).file).size == (40, 20)
    assert opened(exporter.export(os.fsencode(path), max_px=4000).file).size == (400, 200)


def test_it_is_made_once(exporter: Exporter, memes: Path, monkeypatch: pytest.MonkeyPatch, renderer: Renderer) -> None:
    path = memes / "a.jpg"
    Image.new("RGB", (30, 30)).save(path)
    first = exporter.export(os.fsencode(path))
    with monkeypatch.context() as patched:
        patched.setattr(renderer, "png", None)
        assert exporter.export(os.fsencode(path)) == first
    Image.new("RGB", (31, 30)).save(path)
    assert opened(exporter.export(os.fsencode(path)).file).size == (31, 30)


def test_a_gif_stays_as_it_is(exporter: Exporter, memes: Path) -> None:
    path = os.fsencode(moving(memes / "a.GIF"))
    made = exporter.export(path)
    assert (made.file, made.mime, made.animated, made.as_file) == (path, "image/gif", True, True)
    hidden = os.fsencode(moving(memes / "b.gif").rename(memes / "no extension.jpg"))
    made = exporter.export(hidden)
    assert made.file.endswith(b"/no extension.gif")
    with open(made.file, "rb") as copy, open(hidden, "rb") as original:  # noqa: PTH123
        assert copy.read() == original.read()


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_other_animations_become_gifs(exporter: Exporter, memes: Path, name: str, mode: str) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    path = os.fsencode(moving(memes / name, size=(300, 200), mode=mode, duration=[80, 120, 40, 200], **options))
    made = exporter.export(path)
    assert (made.mime, made.animated, made.as_file) == ("image/gif", True, True)
    image = opened(made.file)
    assert (image.format, image.size, image.n_frames, image.info["loop"]) == ("GIF", (100, 67), 4, 0)  # type: ignore[attr-defined]
    durations = []
    for number in range(4):
        image.seek(number)
        durations.append(image.info["duration"])
        frame = image.convert("RGBA")
        red, green, _, alpha = frame.getpixel(((5 * number + 10) // 3, 5))  # type: ignore[misc]
        assert (alpha, abs(int(red) - 200) < 12, abs(int(green) - 40 * number) < 12) == (255, True, True)
        assert frame.getpixel((90, 60))[3] == (0 if mode == "RGBA" else 255)  # type: ignore[index]
    assert durations == [80, 120, 40, 200]


def test_forms_that_are_asked_for(exporter: Exporter, memes: Path) -> None:
    gif = os.fsencode(moving(memes / "a.gif"))
    assert opened(exporter.export(gif, "png").file).format == "PNG"
    asked = exporter.export(gif, "uri")
    assert (asked.file, asked.mime, asked.as_file) == (gif, "text/uri-list", True)
    still = memes / "b.png"
    Image.new("RGB", (20, 20)).save(still)
    assert opened(exporter.export(os.fsencode(still), "gif").file).format == "GIF"


def test_a_film_stays_as_it_is(exporter: Exporter, memes: Path) -> None:
    film = memes / "a.mp4"
    film.write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + b"\0\0\0\x08mdat")
    made = exporter.export(os.fsencode(film))
    assert (made.file, made.mime, made.animated, made.as_file) == (os.fsencode(film), "text/uri-list", True, True)
    for how in ("png", "gif"):
        with pytest.raises(BadRequest, match="is a film"):
            exporter.export(os.fsencode(film), how)


def test_only_memes_of_the_folders(exporter: Exporter, memes: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "outside.png")
    (memes / "text.png").write_text("hello")
    (memes / "folder").mkdir()
    raw = os.fsencode(memes)
    for path, word in (
        (os.fsencode(tmp_path / "outside.png"), "no watched folder"),
        (raw + b"/../outside.png", "no watched folder"),
        (raw + b"/nothing.png", "No such file"),
        (raw + b"/text.png", "not a picture"),
        (raw + b"/folder", "no regular file"),
    ):
        with pytest.raises(BadRequest, match=word):
            exporter.export(path)


def test_old_ones_are_cleaned_away(
    renderer: Renderer, memes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "KEPT_FILES", 3)
    now = 1e9
    exporter = Exporter(renderer, str(tmp_path / "paste"), [os.fsencode(memes)], 100, now=lambda: now)
    made = []
    for number in range(5):
        path = memes / f"{number}.png"
        Image.new("RGB", (20 + number, 20)).save(path)
        made.append(exporter.export(os.fsencode(path)).file)
        os.utime(made[-1], (now + number, now + number))
    exporter.export(os.fsencode(memes / "4.png"))
    assert [os.path.exists(file) for file in made] == [False, False, True, True, True]
    now += 30 * 24 * 3600
    exporter.export(os.fsencode(memes / "4.png"))
    assert [os.path.exists(file) for file in made] == [False, False, False, False, True]
    assert len(os.listdir(tmp_path / "paste")) == 1


def test_where_nothing_can_be_written(renderer: Renderer, memes: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    exporter = Exporter(renderer, str(tmp_path / "file" / "paste"), [os.fsencode(memes)], 100)
    Image.new("RGB", (20, 20)).save(memes / "a.png")
    with pytest.raises(Degraded, match="can't prepare the picture"):
        exporter.export(os.fsencode(memes / "a.png"))
    assert exporter.export(os.fsencode(memes / "a.png"), "uri").file == os.fsencode(memes / "a.png")


def test_a_renderer_whose_child_was_killed_goes_on(memes: Path) -> None:
    path = memes / "a.png"
    Image.new("RGB", (20, 20)).save(path)
    renderer = Renderer()
    fd = os.open(path, os.O_RDONLY)
    try:
        assert renderer.look(fd).format == "png"
        (pid,) = renderer.pids
        os.kill(pid, signal.SIGKILL)
        assert renderer.png(fd, 10).data.startswith(b"\x89PNG")
        renderer.close()
        with pytest.raises(PictureError, match="stopping"):
            renderer.look(fd)
    finally:
        os.close(fd)
        renderer.close()


def test_very_many_frames_become_fewer_that_last_as_long(
    renderer: Renderer, memes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memewatchd.pictures import formats, render

    monkeypatch.setattr(render, "_GIF_FRAMES", 4)
    data = moving(memes / "a.webp", n=10, lossless=True).read_bytes()
    im, frames = formats.open_picture("webp", data, 10**6)
    assert frames == 10
    with Image.open(io.BytesIO(render.as_gif(im, frames, 512))) as gif:
        durations = []
        for number in range(gif.n_frames):  # type: ignore[attr-defined]
            gif.seek(number)
            durations.append(gif.info["duration"])
    assert durations == [240, 240, 240, 80]
