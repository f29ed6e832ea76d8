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
from typing import TYPE_CHECKING

import pytest
from desktops import XDesktop, ended, needs, on_samples, until, x_desktop
from PIL import Image
from real_daemon import REPO, Daemon

from memewatchd.cache_names import file_uri, path_of_uri

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("desktop")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with on_samples(tmp_path_factory.mktemp("p")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def desktop(samples: Daemon) -> Iterator[XDesktop]:
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is missing: apt install xvfb")
    with x_desktop(samples) as found:
        yield found


def largest_png(data: bytes) -> tuple[str, int]:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.format or "", max(image.size)


@needs("xclip")
def test_copy_a_still(desktop: XDesktop) -> None:
    desktop.forget()
    path = desktop.meme("large one.png")
    done = desktop.daemon.memewatch("copy", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    desktop.offers("image/png", lambda data: largest_png(data) == ("PNG", 512))
    assert desktop.daemon.memewatch("copy", "--max-px", "64", path).returncode == 0
    desktop.offers("image/png", lambda data: largest_png(data) == ("PNG", 64))


@needs("xclip")
def test_copy_what_moves(desktop: XDesktop) -> None:
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
def test_rofi_filters_by_pinyin_as_one_types(desktop: XDesktop) -> None:
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
def test_rofi_gives_what_moves_as_a_file(desktop: XDesktop) -> None:
    desktop.forget()
    picking = desktop.pick("--with", "rofi")
    desktop.type("xiaosiwole")
    desktop.key("Return")
    assert ended(picking) == (0, b"", b"")
    desktop.offers("text/uri-list", lambda data: data == file_uri(desktop.meme("笑死我了.gif")).encode() + b"\r\n")


@needs("rofi", "xclip", "xdotool")
def test_rofi_asks_the_encoder_for_what_no_row_has(desktop: XDesktop) -> None:
    desktop.forget()
    best = desktop.daemon.search("angry cat")[0]
    picking = desktop.pick("--with", "rofi")
    desktop.type("angry cat")
    desktop.step(picking, "Return")
    desktop.key("Return")
    assert ended(picking) == (0, b"", b"")
    desktop.holds(best)


@needs("rofi", "xclip", "xdotool")
def test_rofi_shows_similar_ones(desktop: XDesktop) -> None:
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
def test_rofi_opens_the_file(desktop: XDesktop, tmp_path: Path) -> None:
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
def test_words_given_are_searched_and_escape_copies_nothing(desktop: XDesktop) -> None:
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
def test_fzf_in_a_terminal(desktop: XDesktop, tmp_path: Path) -> None:
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
def test_add_puts_a_new_meme_into_the_folder(desktop: XDesktop, tmp_path: Path) -> None:
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
    # Without a name it is called what it shows.
    bitmap = io.BytesIO()
    with Image.open(desktop.meme("animals/panda.png")) as panda:
        panda.resize((200, 200)).save(bitmap, "PNG")
    subprocess.run(command, input=bitmap.getvalue(), env=desktop.environ, check=True, **nowhere)
    desktop.offers("image/png", lambda data: data == bitmap.getvalue())
    pasted = desktop.daemon.memewatch("add", "--clipboard")
    assert (pasted.returncode, pasted.stdout) == (0, desktop.meme("panda.png") + b"\n")
    # What moves is on the clipboard as an address, and comes back as it was.
    assert desktop.daemon.memewatch("copy", desktop.meme("笑死我了.gif")).returncode == 0
    desktop.offers("text/uri-list", lambda data: data.endswith(b".gif\r\n"))
    there = desktop.daemon.memewatch("add", "--clipboard")
    assert (there.returncode, there.stdout) == (0, desktop.meme("笑死我了.gif") + b"\n")
    desktop.forget()
    assert b"no picture" in desktop.daemon.memewatch("add", "--clipboard").stderr
