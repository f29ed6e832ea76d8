"""Desktops without a screen, X11 and Wayland, over a daemon on the samples: keys are typed, the clipboard is read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from real_daemon import REPO, Daemon
from wayland_keyboard import Keyboard
from x_server import x_server

from memewatchd.cache_names import file_uri
from memewatchd.protocol import path_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 60.0
DEBIAN = {"Xvfb": "xvfb", "wl-copy": "wl-clipboard"}


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skips, with a word, where one of them isn't installed."""
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


def ended(picking: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    out, err = picking.communicate(timeout=PATIENCE_S)
    return picking.returncode, out, err


@contextmanager
def on_samples(home: Path) -> Iterator[Daemon]:
    """A daemon that has indexed the samples and a large picture, and made their thumbnails."""
    shutil.copytree(REPO / "samples", home / "Memes")
    Image.radial_gradient("L").resize((900, 600)).save(home / "Memes" / "large one.png")
    with Daemon(home, "--model", "bundled") as daemon:
        daemon.wait()
        # rofi complains of pictures that it can't read itself.
        thumbnails = home / ".cache" / "thumbnails" / "large"
        until("the thumbnails", lambda: len(list(thumbnails.glob("*.png"))) == daemon.status()["indexed"])
        yield daemon


class Desktop:
    """What is the same on both. ``variable``: of the environment, that says where its programs show themselves."""

    variable: str
    paste: tuple[str, ...]
    copy: tuple[str, ...]

    def __init__(self, daemon: Daemon, display: str) -> None:
        self.daemon = daemon
        self.environ = daemon.environ | {self.variable: display}
        daemon.environ[self.variable] = display

    def run(self, *command: str) -> bytes:
        done = subprocess.run(command, env=self.environ, capture_output=True, check=False, timeout=PATIENCE_S)
        return done.stdout

    def has_opened(self, picking: subprocess.Popen[bytes]) -> bool:
        raise NotImplementedError

    def type(self, text: str) -> None:
        raise NotImplementedError

    def key(self, name: str) -> None:
        raise NotImplementedError

    def focus(self, name: str) -> None:
        """The window of such a class gets the keyboard."""
        raise NotImplementedError

    def windows(self) -> str:
        """Which there are, for people who wonder where a key went."""
        return ""

    def targets(self) -> list[str]:
        raise NotImplementedError

    def pick(self, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        """`memewatch pick`, once the launcher has a window and the keyboard."""
        started = subprocess.Popen(
            [sys.executable, "-m", "memewatchd.client", "pick", *arguments],
            cwd=REPO,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        until("the launcher's window", lambda: started.poll() is not None or self.has_opened(started))
        assert started.poll() is None, started.communicate()
        time.sleep(1.0)  # it takes the keyboard a moment after its window is there, and nothing says when
        return started

    def clipboard(self, target: str) -> bytes:
        return self.run(*self.paste, target)

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
        """The clipboard's owner takes it over a moment after it has gone to the background."""
        until(f"{target} on the clipboard", lambda: target in self.targets() and expected(self.clipboard(target)))
        other = {"image/png": "text/uri-list", "text/uri-list": "image/png"}
        assert other[target] not in self.targets()

    def forget(self) -> None:
        """Put something else there."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(self.copy, input=b"before", env=self.environ, check=True, **quiet)  # type: ignore[call-overload]

    def meme(self, name: str) -> bytes:
        return os.fsencode(self.daemon.folder / name)


class XDesktop(Desktop):
    """xdotool types, xclip copies and pastes."""

    variable = "DISPLAY"
    paste = ("xclip", "-selection", "clipboard", "-o", "-t")
    copy = ("xclip", "-selection", "clipboard", "-i")

    def has_opened(self, picking: subprocess.Popen[bytes]) -> bool:
        return bool(self.run("xdotool", "search", "--class", "rofi"))

    def type(self, text: str) -> None:
        self.run("xdotool", "type", "--delay", "30", text)
        time.sleep(0.5)

    def key(self, name: str) -> None:
        self.run("xdotool", "key", name)

    def focus(self, name: str) -> None:
        windows = self.run("xdotool", "search", "--onlyvisible", "--class", name).split()
        assert windows, f"no window of {name}"
        for window in windows:
            self.run("xdotool", "windowfocus", window.decode())

    def targets(self) -> list[str]:
        return self.clipboard("TARGETS").decode().split()

    def step(self, picking: subprocess.Popen[bytes], name: str) -> None:
        """A key that has rofi run its script, and show what that gives."""
        self.key(name)
        time.sleep(0.5)
        (rofi,) = children(picking.pid)
        until("the script ends", lambda: not children(rofi))
        time.sleep(0.5)
        assert picking.poll() is None


class SwayDesktop(Desktop):
    """A virtual keyboard types, wl-copy copies, wl-paste pastes. The keyboard has no Chinese."""

    variable = "WAYLAND_DISPLAY"
    paste = ("wl-paste", "--no-newline", "--type")
    copy = ("wl-copy",)

    def has_opened(self, picking: subprocess.Popen[bytes]) -> bool:
        # Its window is no window of sway's, so nothing says when it is there.
        time.sleep(1.0)
        return bool(children(picking.pid))

    def __init__(self, daemon: Daemon, display: str, keyboard: Keyboard, ipc: str) -> None:
        super().__init__(daemon, display)
        self._keyboard = keyboard
        self._ipc = ipc

    def type(self, text: str) -> None:
        for letter in text:
            self._keyboard.press(letter)
        time.sleep(0.5)

    def key(self, name: str) -> None:
        self._keyboard.press(name)

    def step(self, picking: subprocess.Popen[bytes], name: str) -> None:
        """A key that has the launcher end, and another begin."""
        (before,) = children(picking.pid)
        self.key(name)
        until("another window", lambda: picking.poll() is not None or children(picking.pid) not in ([], [before]))
        time.sleep(2.0)

    def focus(self, name: str) -> None:
        self.run("swaymsg", "-s", self._ipc, f'[app_id="(?i){name}"] focus')

    def windows(self) -> str:
        tree = json.loads(self.run("swaymsg", "-s", self._ipc, "-r", "-t", "get_tree"))
        found, pending = [], [tree]
        while pending:
            node = pending.pop()
            pending += [*node["nodes"], *node["floating_nodes"]]
            if node.get("app_id"):
                found.append(f"{node['app_id']} {node['name']!r}{' (has the keyboard)' if node['focused'] else ''}")
        return ", ".join(found)

    def targets(self) -> list[str]:
        return self.run("wl-paste", "--list-types").decode().split()


@contextmanager
def x_desktop(daemon: Daemon) -> Iterator[XDesktop]:
    with x_server() as display:
        yield XDesktop(daemon, display)


@contextmanager
def sway_desktop(daemon: Daemon) -> Iterator[SwayDesktop]:
    """A sway that draws into memory, with a keyboard that stays plugged in."""
    with tempfile.TemporaryDirectory(prefix="sway-") as folder:
        yield from _sway_desktop(daemon, Path(folder))


def _sway_desktop(daemon: Daemon, folder: Path) -> Iterator[SwayDesktop]:
    environ = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "PATH": os.environ["PATH"]}
    environ |= {"WLR_BACKENDS": "headless", "WLR_RENDERER": "pixman", "WLR_LIBINPUT_NO_DEVICES": "1"}
    (folder / "config").write_text("xwayland disable\noutput * resolution 1280x720\n")
    folder.chmod(0o700)
    command = ["sway", "-c", str(folder / "config")]
    if os.getuid() == 0:  # which it refuses to run as
        nobody = 65534
        os.chown(folder, nobody, nobody)
        command = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups", *command]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sway:
        try:
            # To launchers first, and to swaymsg a moment later.
            both = ("wayland-*[0-9]", "sway-ipc.*")
            until("sway listens", lambda: sway.poll() is not None or all([*folder.glob(each)] for each in both))
            assert sway.poll() is None, f"sway ended with {sway.returncode}"
            (display,) = folder.glob("wayland-*[0-9]")
            (ipc,) = folder.glob("sway-ipc.*")
            with closing(Keyboard(str(display))) as keyboard:
                yield SwayDesktop(daemon, str(display), keyboard, str(ipc))
        finally:
            sway.terminate()
