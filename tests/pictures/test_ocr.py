"""Reading words, with the real RapidOCR on pictures that are drawn here.

Latin letters are drawn in Pillow's own font. Chinese needs a font with Han characters (Debian: fonts-noto-cjk), and is
skipped, with a word, where fc-match finds none.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageDraw, ImageFont

from memewatchd.errors import MemewatchError, PictureError
from memewatchd.pictures import lines, ocr_child
from memewatchd.pictures.child import LateError
from memewatchd.pictures.lines import Kept, Line
from memewatchd.pictures.ocr import INSTALL, LIMITS, ReadingChild, WordReader, is_installed, reader_id
from memewatchd.pictures.wire import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.pictures.conftest import Encode

PATIENCE_S = 240.0


def han_font() -> str:
    """A font's file with Han characters, "" for none."""
    try:
        command = ["fc-match", "--format=%{file}\n%{lang}", ":lang=zh-cn"]
        file, _, languages = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("\n")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return file if "zh-cn" in languages.split("|") else ""


HAN = han_font()
needs_han = pytest.mark.skipif(not HAN, reason="needs a font with Han characters: apt install fonts-noto-cjk")


def font(size: int, text: str = "") -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.truetype(HAN, size) if any(ord(char) > 0x2E80 for char in text) else ImageFont.load_default(size)


def meme(*texts: str, size: tuple[int, int] = (640, 480), letters: int = 40) -> Image.Image:
    """Captions as memes have them, white with a black outline, from top to bottom over something colourful."""
    im = Image.radial_gradient("L").resize(size)
    im = Image.merge("RGB", (im, im.transpose(Image.Transpose.ROTATE_180), im.point(lambda level: 255 - level)))
    draw = ImageDraw.Draw(im)
    for number, text in enumerate(texts):
        y = 20 + number * (size[1] - 40 - letters) // max(1, len(texts) - 1)
        draw.text(
            (size[0] // 2, y),
            text,
            "white",
            font(letters, text),
            "ma",
            stroke_width=max(1, letters // 20),
            stroke_fill="black",
        )
    return im


def png(im: Image.Image) -> bytes:
    out = io.BytesIO()
    im.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="session")
def reader() -> Iterator[WordReader]:
    with WordReader() as reader:
        yield reader


@pytest.fixture
def read(reader: WordReader, tmp_path: Path) -> Callable[[Image.Image | bytes], str]:
    """Writes a picture into a file and has a real child read it."""

    def run(picture: Image.Image | bytes) -> str:
        path = tmp_path / "picture"
        path.write_bytes(picture if isinstance(picture, bytes) else png(picture))
        with path.open("rb") as file:
            reading = reader.submit(file.fileno())
        return reading.result(PATIENCE_S)

    return run


# -- what is read -----------------------------------------------------------------------------------


def test_a_meme_in_english(read: Callable[..., str]) -> None:
    words = read(meme("ONE DOES NOT SIMPLY", "WALK INTO MORDOR"))
    assert words.split("\n") == ["ONE DOES NOT SIMPLY", "WALK INTO MORDOR"]


@needs_han
def test_a_meme_in_chinese_of_both_scripts(read: Callable[..., str]) -> None:
    words = read(meme("我真的裂开了", "老闆說今晚加班"))
    assert words.split("\n") == ["我真的裂开了", "老闆說今晚加班"]


def test_a_picture_without_words(read: Callable[..., str]) -> None:
    assert read(meme()) == ""


@pytest.mark.parametrize("kind", ["jpeg", "webp", "gif", "bmp"])
def test_other_kinds(kind: str, read: Callable[..., str], encode: Encode) -> None:
    assert read(encode(meme("it is what it is"), kind)) == "it is what it is"


def test_a_large_photograph(read: Callable[..., str], encode: Encode) -> None:
    assert read(encode(meme("so large a picture", size=(5000, 4000), letters=240), "jpeg")) == "so large a picture"


def test_a_small_sticker(read: Callable[..., str]) -> None:
    assert read(meme("no way", size=(160, 160), letters=22)) == "no way"


def test_one_that_lies_on_its_side(read: Callable[..., str]) -> None:
    lying = meme("turn me round", "please do it").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    lying.save(out, "JPEG", exif=exif)
    assert read(out.getvalue()) == "turn me round\nplease do it"


@pytest.mark.parametrize("colour", ["white", "black"])
def test_writing_on_a_transparent_picture(colour: str, read: Callable[..., str]) -> None:
    im = Image.new("RGBA", (480, 240), (255, 255, 255, 0))
    ImageDraw.Draw(im).text((40, 90), "sticker words", colour, font(50))
    assert read(im) == "sticker words"


def test_a_long_strip_is_read_to_its_end_and_each_line_once(read: Callable[..., str]) -> None:
    said = [f"panel number {number}" for number in ("one", "two", "three", "four", "five", "six", "seven")]
    strip = meme(*said, size=(700, 6000), letters=36)
    assert read(strip).split("\n") == said
    assert (
        read(meme("a banner with a few words in it", size=(1600, 70), letters=44)) == "a banner with a few words in it"
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (2000, 9), (30, 9000)])
def test_odd_shapes_cost_nothing(size: tuple[int, int], read: Callable[..., str]) -> None:
    assert read(Image.new("RGB", size, "grey")) == ""


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_every_frame_of_an_animation_that_differs(kind: str, read: Callable[..., str]) -> None:
    frames = [meme(text) for text in ("first you see this", "first you see this", "then you see that", "the end of it")]
    out = io.BytesIO()
    frames[0].save(out, kind.upper(), save_all=True, append_images=frames[1:], duration=500)
    assert read(out.getvalue()).split("\n") == ["first you see this", "then you see that", "the end of it"]


def test_a_film(read: Callable[..., str]) -> None:
    av = pytest.importorskip("av", reason="PyAV isn't installed")
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 640, 480, "yuv420p", 4_000_000
        for number in range(20):
            im = meme("before the cut" if number < 10 else "after the cut")
            for packet in stream.encode(av.VideoFrame.from_image(im)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    assert read(out.getvalue()).split("\n") == ["before the cut", "after the cut"]


@pytest.mark.parametrize("data", [b"", b"no picture at all", png(meme("cut"))[:900]])
def test_what_is_no_picture_is_an_error_and_the_next_is_read(data: bytes, read: Callable[..., str]) -> None:
    with pytest.raises(PictureError):
        read(data)
    assert read(meme("still here")) == "still here"


# -- what is kept of it -----------------------------------------------------------------------------


def line(text: str, score: float = 0.95) -> Line:
    return Line(text, score, 0, 0, 1, 1)


def test_texture_that_looks_like_writing_is_left_out() -> None:
    kept = Kept()
    assert not kept.add([line("wxq", 0.55), line("E", 0.7), line("——", 0.99), line(" ", 0.99)])
    assert kept.add([line("NO", 0.9), line("well  well\x00", 0.61)])
    assert [text for text, _ in kept.result()] == ["NO", "well well"]


def test_what_an_earlier_frame_said_is_not_said_again_but_may_be_read_better() -> None:
    kept = Kept()
    kept.add([line("hello there", 0.7), line("general")])
    assert kept.add([line("Hello There", 0.9)])
    assert kept.result() == [("Hello There", 0.9), ("general", 0.95)]


def test_a_picture_full_of_writing_fits_into_one_message() -> None:
    kept = Kept()
    kept.add([line(f"{number} " + "龘" * 95) for number in range(1000)])
    assert 7_900 < sum(len(text) for text, _ in kept.result()) <= 8_000


def test_a_strip_is_scaled_by_its_shorter_side() -> None:
    assert ocr_child.fitting((800, 600)) == (800, 600)
    assert ocr_child.fitting((4000, 3000)) == (1280, 960)
    assert ocr_child.fitting((1000, 9000)) == (640, 5760)
    assert ocr_child.fitting((100, 100_000))[1] == 8 * 1280


# -- the child --------------------------------------------------------------------------------------


def test_it_runs_when_nobody_else_wants_to(reader: WordReader, read: Callable[..., str]) -> None:
    read(meme("anything"))
    (pid,) = reader.pids
    assert os.sched_getscheduler(pid) == os.SCHED_IDLE
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    # One thread, so that what is spent on waiting for each other isn't.
    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1


def test_it_has_no_socket_but_ours_and_can_have_none(reader: WordReader, read: Callable[..., str]) -> None:
    read(meme("anything"))
    (pid,) = reader.pids
    sockets = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if os.readlink(fd).startswith("socket:")]
    assert len(sockets) == 1
    program = (
        "import socket, threading\n"
        "from memewatchd.pictures import decode, ocr_child\n"
        "import os; decode.depend_on(os.getppid()); ocr_child.forbid_network()\n"
        "def attempt(family):\n"
        "    try: socket.socket(family)\n"
        "    except PermissionError: print('refused')\n"
        "for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX): attempt(family)\n"
        "thread = threading.Thread(target=attempt, args=[socket.AF_INET]); thread.start(); thread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused"] * 4, done.stderr


def test_onnxruntime_keeps_no_number_for_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with WordReader() as reader:
        (tmp_path / "a.png").write_bytes(png(meme("quiet please")))
        with (tmp_path / "a.png").open("rb") as file:
            assert reader.submit(file.fileno()).result(PATIENCE_S) == "quiet please"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_it_is_let_go_when_there_is_nothing_to_read_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(meme("again and again")))
    with WordReader(idle_s=0.2) as reader, path.open("rb") as file:
        assert reader.pids == []
        for _ in range(2):
            assert reader.submit(file.fileno()).result(PATIENCE_S) == "again and again"
            deadline = time.monotonic() + PATIENCE_S
            while reader.pids:
                assert time.monotonic() < deadline
                time.sleep(0.02)


def state(pid: int) -> str:
    """One letter, as in ps(1); T: it stands still."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until_still(pid: int, still: bool, within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while (state(pid) == "T") != still:
        assert time.monotonic() < deadline, state(pid)
        time.sleep(0.005)


def test_it_stands_still_while_somebody_searches_and_then_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "meme.png"
    path.write_bytes(png(meme("stand still")))
    with WordReader(still_s=0.3) as reader, path.open("rb") as file:
        reader.make_way()  # it doesn't run yet: nothing happens
        assert reader.submit(file.fileno()).result(PATIENCE_S) == "stand still"
        [pid] = reader.pids
        waiting = reader.submit(file.fileno())
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            reader.make_way()
            until_still(pid, True)
            time.sleep(0.05)
        assert not waiting.done()
        until_still(pid, False)
        assert waiting.result(PATIENCE_S) == "stand still"
        assert reader.pids == [pid]


def test_searches_without_end_leave_it_a_share(tmp_path: Path) -> None:
    path = tmp_path / "meme.png"
    path.write_bytes(png(meme("my turn")))
    with WordReader(still_s=0.2, longest_s=0.3, then_s=0.3) as reader, path.open("rb") as file:
        reader.submit(file.fileno()).result(PATIENCE_S)
        waiting = reader.submit(file.fileno())
        deadline = time.monotonic() + PATIENCE_S
        stood = False
        while not waiting.done():
            reader.make_way()
            stood = stood or state(reader.pids[0]) == "T"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert stood
        assert waiting.result() == "my turn"


def test_one_that_stands_still_is_ended_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "meme.png"
    path.write_bytes(png(meme("the end")))
    with WordReader(still_s=60) as reader, path.open("rb") as file:
        reader.submit(file.fileno()).result(PATIENCE_S)
        [pid] = reader.pids
        reader.make_way()
        until_still(pid, True)
        started = time.monotonic()
    assert time.monotonic() - started < 1
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_that_dies_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(meme("back again")))
    with WordReader() as reader, path.open("rb") as file:
        assert reader.submit(file.fileno()).result(PATIENCE_S) == "back again"
        os.kill(reader.pids[0], signal.SIGKILL)
        assert reader.submit(file.fileno()).result(PATIENCE_S) == "back again"


@pytest.mark.parametrize(
    ("limits", "error", "says"),
    [
        (Limits(cpu_s=1), PictureError, "took more than 1 s of processor time to read"),
        (Limits(deadline_s=0.3), LateError, "took longer than 0.3 s to read"),
        (Limits(max_pixels=1_000_000), PictureError, "too large"),
    ],
)
def test_a_picture_that_costs_too_much(
    limits: Limits, error: type[PictureError], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long, and full of small writing.
    strip = meme(*(f"line {number} of very many lines of writing" for number in range(200)), size=(1000, 9000))
    (tmp_path / "strip.png").write_bytes(png(strip))
    with WordReader(limits) as reader, (tmp_path / "strip.png").open("rb") as file:
        with pytest.raises(error, match=says) as caught:
            reader.submit(file.fileno()).result(PATIENCE_S)
        assert type(caught.value) is error


def test_a_reader_that_cannot_start_is_not_the_pictures_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadingChild, "MODULE", "memewatchd.pictures.no_such_module")
    (tmp_path / "a.png").write_bytes(png(meme("x")))
    with WordReader() as reader, (tmp_path / "a.png").open("rb") as file:
        with pytest.raises(MemewatchError, match=r"can't be started: .*no_such_module") as caught:
            reader.submit(file.fileno()).result(PATIENCE_S)
        assert type(caught.value) is MemewatchError


def test_close_in_the_middle(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(meme("x")))
    reader = WordReader()
    with (tmp_path / "a.png").open("rb") as file:
        readings = [reader.submit(file.fileno()) for _ in range(3)]
        reader.close()
        for reading in readings:
            with pytest.raises(CancelledError):
                reading.result(PATIENCE_S)
    assert reader.pids == []


def test_nothing_is_left_open() -> None:
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    WordReader(LIMITS).close()
    assert set(os.listdir("/proc/self/fd")) == before


# -- whether, and by what ---------------------------------------------------------------------------


def test_who_reads_is_known_without_loading_it() -> None:
    program = (
        "import sys\nfrom memewatchd.pictures import ocr\n"
        "print(ocr.is_installed(), ocr.reader_id())\n"
        "print(*{'rapidocr', 'onnxruntime', 'cv2', 'numpy', 'PIL'} & sys.modules.keys())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"True {reader_id()}\n\n"
    assert is_installed()
    assert reader_id().startswith("rapidocr-")
    assert len(reader_id()) < 40


def test_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    for name in ("rapidocr", "onnxruntime"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert not is_installed()
    assert reader_id() == ""
    assert "memewatchd[ocr]" in INSTALL


def test_the_sample_has_a_line_to_read(read: Callable[..., str]) -> None:
    assert read(lines.sample()) == "memewatchd"
