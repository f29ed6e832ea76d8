"""`memewatch pick` and `copy` as people meet them: the real rofi and xclip on an X server of their own, fzf in tmux.

Keys are typed, a picture is chosen, and the clipboard's bytes are compared.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from real_daemon import REPO, Daemon
from x_server import x_server

from memewatchd.cache_names import file_uri, path_of_uri
from memewatchd.protocol import path_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("desktop")

PATIENCE_S = 60.0
DEBIAN = {"Xvfb": "xvfb"}


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name) is None]
    packages = " ".join(DEBIAN.get(name, name) for name in missing)
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} missing: apt install {packages}")


def until(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as stream:  # noqa: PTH123
        return [int(child) for child in stream.read().split()]


class Desktop:
    """An X server, and a daemon on the samples."""

    def __init__(self, daemon: Daemon, display: str) -> None:
        self.daemon = daemon
        self.environ = daemon.environ | {"DISPLAY": display}
        daemon.environ["DISPLAY"] = display

    def run(self, *command: str) -> bytes:
        done = subprocess.run(command, env=self.environ, capture_output=True, check=False, timeout=PATIENCE_S)
        return done.stdout

    def pick(self, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        """`memewatch pick`, once rofi has a window and the keyboard."""
        command = [sys.executable, "-m", "memewatchd.client", "pick", *arguments]
        started = subprocess.Popen(
            command,
            cwd=REPO,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        until("rofi's window", lambda: started.poll() is not None or self.run("xdotool", "search", "--class", "rofi"))
        assert started.poll() is None, started.communicate()
        time.sleep(1.0)  # it takes the keyboard a moment after its window is there, and nothing says when
        return started

    def type(self, text: str) -> None:
        self.run("xdotool", "type", "--delay", "30", text)
        time.sleep(0.5)

    def key(self, name: str) -> None:
        self.run("xdotool", "key", name)

    def targets(self) -> list[str]:
        return self.run("xclip", "-selection", "clipboard", "-o", "-t", "TARGETS").decode().split()

    def clipboard(self, target: str) -> bytes:
        return self.run("xclip", "-selection", "clipboard", "-o", "-t", target)

    def step(self, picking: subprocess.Popen[bytes], name: str) -> None:
        """A key that has rofi run its script, and show what that gives."""
        self.key(name)
        time.sleep(0.5)
        (rofi,) = children(picking.pid)
        until("the script ends", lambda: not children(rofi))
        time.sleep(0.5)
        assert picking.poll() is None

    def holds(self, path: bytes) -> None:
        """The clipboard has this meme, in its form and to the byte."""
        made = self.daemon.ask(op="export", **path_fields(path))
        if made["as_file"]:
            uri = file_uri(os.fsencode(made["file"])).encode() + b"\r\n"
            self.offers("text/uri-list", lambda data: data == uri)
        else:
            with open(made["file"], "rb") as stream:  # noqa: PTH123
                bitmap = stream.read()
            self.offers("image/png", lambda data: data == bitmap)

    def offers(self, target: str, expected: Callable[[bytes], bool]) -> None:
        """xclip takes the clipboard over a moment after it has gone to the background."""
        until(f"{target} on the clipboard", lambda: target in self.targets() and expected(self.clipboard(target)))
        other = {"image/png": "text/uri-list", "text/uri-list": "image/png"}
        assert other[target] not in self.targets()

    def forget(self) -> None:
        subprocess.run(
            ["xclip", "-selection", "clipboard", "-i"],
            input=b"before",
            env=self.environ,
            stdout=-3,
            stderr=-3,
            check=True,
        )

    def meme(self, name: str) -> bytes:
        return os.fsencode(self.daemon.folder / name)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("p")
    shutil.copytree(REPO / "samples", home / "Memes")
    Image.radial_gradient("L").resize((900, 600)).save(home / "Memes" / "large one.png")
    with Daemon(home, "--model", "bundled") as daemon:
        daemon.wait()
        # rofi complains of pictures that it can't read itself.
        thumbnails = home / ".cache" / "thumbnails" / "large"
        until("the thumbnails", lambda: len(list(thumbnails.glob("*.png"))) == daemon.status()["indexed"])
        yield daemon


@pytest.fixture(scope="module")
def desktop(samples: Daemon) -> Iterator[Desktop]:
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is missing: apt install xvfb")
    with x_server() as display:
        yield Desktop(samples, display)


def ended(picking: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    out, err = picking.communicate(timeout=PATIENCE_S)
    return picking.returncode, out, err


def largest_png(data: bytes) -> tuple[str, int]:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.format or "", max(image.size)


@needs("xclip")
def test_copy_a_still(desktop: Desktop) -> None:
    desktop.forget()
    path = desktop.meme("large one.png")
    done = desktop.daemon.memewatch("copy", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    desktop.offers("image/png", lambda data: largest_png(data) == ("PNG", 512))
    assert desktop.daemon.memewatch("copy", "--max-px", "64", path).returncode == 0
    desktop.offers("image/png", lambda data: largest_png(data) == ("PNG", 64))


@needs("xclip")
def test_copy_what_moves(desktop: Desktop) -> None:
    gif = desktop.meme("reactions/crying.gif")
    assert desktop.daemon.memewatch("copy", gif).returncode == 0
    desktop.offers("text/uri-list", lambda data: data == file_uri(gif).encode() + b"\r\n")
    # Another animation becomes a real GIF, with its name.
    assert desktop.daemon.memewatch("copy", desktop.meme("reactions/mind-blown.webp")).returncode == 0
    desktop.offers("text/uri-list", lambda data: data.endswith(b"/mind-blown.gif\r\n"))
    file = path_of_uri(desktop.clipboard("text/uri-list").decode().strip())
    with Image.open(os.fsdecode(file)) as image:
        assert (image.format, getattr(image, "n_frames", 1) > 1) == ("GIF", True)
    # Unless asked otherwise.
    assert desktop.daemon.memewatch("copy", "--as", "png", gif).returncode == 0
    desktop.offers("image/png", lambda data: largest_png(data)[0] == "PNG")
    still = desktop.meme("pizza.png")
    assert desktop.daemon.memewatch("copy", "--as=uri", file_uri(still)).returncode == 0
    desktop.offers("text/uri-list", lambda data: data == file_uri(still).encode() + b"\r\n")


def test_copy_says_what_is_missing(samples: Daemon, tmp_path: Path) -> None:
    def said(**environ: str) -> str:
        command = [sys.executable, "-m", "memewatchd.client", "copy", str(samples.folder / "pizza.png")]
        kept = {key: value for key, value in samples.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
        done = subprocess.run(command, cwd=REPO, env=kept | environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        return done.stderr

    assert "neither WAYLAND_DISPLAY nor DISPLAY" in said()
    assert "apt install xclip" in said(DISPLAY=":7", PATH=str(tmp_path))
    assert "apt install wl-clipboard" in said(WAYLAND_DISPLAY="w", PATH=str(tmp_path))
    if shutil.which("xclip"):
        assert "xclip could not copy" in said(DISPLAY=":1999")


@needs("rofi", "xclip", "xdotool")
def test_rofi_filters_by_pinyin_as_one_types(desktop: Desktop) -> None:
    desktop.forget()
    picking = desktop.pick("--with", "rofi")
    desktop.type("shengqi")
    desktop.key("Return")
    assert ended(picking) == (0, b"", b"")
    desktop.holds(desktop.meme("reactions/生气.jpg"))
    # It counts as used, and so comes before what nobody picked.
    *files, _ = desktop.daemon.lines(op="list", order="used")
    assert os.fsdecode(desktop.meme("reactions/生气.jpg")) in [each["file"]["path"] for each in files[:5]]


@needs("rofi", "xclip", "xdotool")
def test_rofi_gives_what_moves_as_a_file(desktop: Desktop) -> None:
    desktop.forget()
    picking = desktop.pick("--with", "rofi")
    desktop.type("xiaosiwole")
    desktop.key("Return")
    assert ended(picking) == (0, b"", b"")
    desktop.offers("text/uri-list", lambda data: data == file_uri(desktop.meme("笑死我了.gif")).encode() + b"\r\n")


@needs("rofi", "xclip", "xdotool")
def test_rofi_asks_the_encoder_for_what_no_row_has(desktop: Desktop) -> None:
    desktop.forget()
    best = desktop.daemon.search("angry cat")[0]
    picking = desktop.pick("--with", "rofi")
    desktop.type("angry cat")
    desktop.step(picking, "Return")
    desktop.key("Return")
    assert ended(picking) == (0, b"", b"")
    desktop.holds(best)


@needs("rofi", "xclip", "xdotool")
def test_rofi_shows_similar_ones(desktop: Desktop) -> None:
    desktop.forget()
    path = desktop.meme("reactions/生气.jpg")
    best = desktop.daemon.memewatch("search", "-n", "1", "--like", path).stdout.rstrip(b"\n")
    assert best
    picking = desktop.pick("--with", "rofi")
    desktop.type("shengqi")
    desktop.step(picking, "alt+s")
    desktop.key("Return")
    assert ended(picking) == (0, b"", b"")
    desktop.holds(best)


@needs("rofi", "xclip", "xdotool")
def test_rofi_opens_the_file(desktop: Desktop, tmp_path: Path) -> None:
    desktop.forget()
    opener = tmp_path / "xdg-open"
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > {shlex.quote(str(tmp_path))}/opened\n')
    opener.chmod(0o755)
    picking = desktop.pick("--with", "rofi", PATH=f"{tmp_path}:{os.environ['PATH']}")
    desktop.type("shengqi")
    desktop.key("alt+o")
    assert ended(picking) == (1, b"", b""), "nothing was copied"
    until("it is opened", lambda: (tmp_path / "opened").exists() and (tmp_path / "opened").read_text())
    assert (tmp_path / "opened").read_text() == file_uri(desktop.meme("reactions/生气.jpg"))


@needs("rofi", "xclip", "xdotool")
def test_words_given_are_searched_and_escape_copies_nothing(desktop: Desktop) -> None:
    desktop.forget()
    picking = desktop.pick("--with", "rofi", "angry", "cat")
    desktop.key("Escape")
    assert ended(picking) == (1, b"", b"")
    assert desktop.clipboard("UTF8_STRING") == b"before"
    best = desktop.daemon.search("angry cat")[0]
    picking = desktop.pick("--with", "rofi", "angry", "cat")
    desktop.key("Return")
    assert ended(picking) == (0, b"", b"")
    desktop.holds(best)


@needs("fzf", "tmux", "xclip")
def test_fzf_in_a_terminal(desktop: Desktop, tmp_path: Path) -> None:
    desktop.forget()
    server = ["tmux", "-f", os.devnull, "-S", str(tmp_path / "tmux")]
    inner = shlex.join([sys.executable, "-m", "memewatchd.client", "pick", "--with", "fzf"])
    command = f"cd {shlex.quote(str(REPO))}; {inner}; echo done=$? > {shlex.quote(str(tmp_path / 'done'))}"
    environ = desktop.environ | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    subprocess.run(
        [*server, "new-session", "-d", "-x", "120", "-y", "40", "sh", "-c", command], env=environ, check=True
    )
    try:

        def screen() -> str:
            return subprocess.run([*server, "capture-pane", "-p"], capture_output=True, text=True, check=True).stdout

        until("the list", lambda: ".png" in screen())
        subprocess.run([*server, "send-keys", "-l", "shengqi"], check=True)
        until("the answer", lambda: "> 生气.jpg" in screen())
        subprocess.run([*server, "send-keys", "Enter"], check=True)
        until("the end", lambda: (tmp_path / "done").exists() and (tmp_path / "done").read_text())
        assert (tmp_path / "done").read_text() == "done=0\n"
    finally:
        subprocess.run([*server, "kill-server"], check=False, capture_output=True)
    desktop.holds(desktop.meme("reactions/生气.jpg"))


@needs("xclip")
def test_add_puts_a_new_meme_into_the_folder(desktop: Desktop, tmp_path: Path) -> None:
    """From a file, then again, and from the clipboard; what was added is found."""
    source = tmp_path / "green square.jpg"
    Image.new("RGB", (80, 80), (20, 200, 40)).save(source, "PNG")
    added = desktop.daemon.memewatch("add", str(source))
    path = desktop.meme("green square.png")
    assert (added.returncode, added.stdout, added.stderr) == (0, path + b"\n", b"")
    with open(path, "rb") as stream:  # noqa: PTH123
        assert stream.read() == source.read_bytes()
    desktop.daemon.wait()
    again = desktop.daemon.memewatch("add", str(source), "--name", "another")
    assert (again.returncode, again.stdout) == (0, path + b"\n")
    assert b"already there" in again.stderr

    bitmap = io.BytesIO()
    Image.new("RGB", (80, 80), (200, 20, 40)).save(bitmap, "PNG")
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = ["xclip", "-selection", "clipboard", "-t", "image/png", "-i"]
    subprocess.run(command, input=bitmap.getvalue(), env=desktop.environ, check=True, **nowhere)
    desktop.offers("image/png", lambda data: data == bitmap.getvalue())
    pasted = desktop.daemon.memewatch("add", "--clipboard", "--name", "红色 square")
    assert (pasted.returncode, pasted.stdout) == (0, desktop.meme("红色 square.png") + b"\n")
    desktop.daemon.wait()
    assert desktop.daemon.search("hongse")[0] == desktop.meme("红色 square.png")
    # What moves is on the clipboard as an address, and comes back as it was.
    assert desktop.daemon.memewatch("copy", desktop.meme("笑死我了.gif")).returncode == 0
    desktop.offers("text/uri-list", lambda data: data.endswith(b".gif\r\n"))
    there = desktop.daemon.memewatch("add", "--clipboard")
    assert (there.returncode, there.stdout) == (0, desktop.meme("笑死我了.gif") + b"\n")
    desktop.forget()
    assert b"no picture" in desktop.daemon.memewatch("add", "--clipboard").stderr
