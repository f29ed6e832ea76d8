"""Man pages and completions: up to date, complete, accepted by the programs that read them, and of use in a shell."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memewatchd import config
from memewatchd.desktop import arguments
from memewatchd.setting_values import KEYS

ROOT = Path(__file__).resolve().parent.parent
MAN = ROOT / "packaging" / "man"
COMPLETIONS = ROOT / "packaging" / "completions"
PAGES = ("memewatch.1", "memewatchd.1", "memewatchd.toml.5")
PATIENCE_S = 30.0


def test_everything_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "packaging" / "generate.py"), "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nmake generated writes them anew"


def rendered(page: str) -> str:
    """As people read it, in one line."""
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "400", "MANPAGER": "cat"}
    command = ["man", "--no-hyphenation", "--no-justification", "-l", str(MAN / page)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    return " ".join(re.sub(r".\x08", "", done.stdout).split())


NEEDS_MAN = pytest.mark.skipif(shutil.which("man") is None, reason="needs man: apt install man-db")


@NEEDS_MAN
@pytest.mark.parametrize("page", PAGES)
def test_man_has_no_complaints(page: str) -> None:
    command = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(MAN / page)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout) > 2000


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc: apt install mandoc")
@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_no_complaints(page: str) -> None:
    command = ["mandoc", "-Tlint", "-Wwarning", str(MAN / page)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@NEEDS_MAN
def test_every_command_and_option_of_memewatch_is_in_its_page() -> None:
    text = rendered("memewatch.1")
    for command, (options, _, usage, what) in arguments.COMMANDS.items():
        assert usage.replace("…", "...") in text
        assert what[1:] in text, command
        assert all(f" {option} " in text for option in options)


@NEEDS_MAN
def test_every_flag_of_memewatchd_is_in_its_page() -> None:
    environ = os.environ | {"COLUMNS": "200"}
    command = [sys.executable, "-m", "memewatchd.daemon", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environ).stdout
    text = rendered("memewatchd.1")
    flags = re.findall(r"^  (?:-h, )?(--\S+)", said, re.MULTILINE)
    assert len(flags) > 10
    for flag in flags:
        assert f" {flag} " in text


@NEEDS_MAN
def test_every_setting_is_in_its_page_with_its_default(tmp_path: Path) -> None:
    text = rendered("memewatchd.toml.5")
    settings = config.load({}, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    for key in KEYS:
        described = re.search(rf" {key} (?:(?! Default: ).)+ Default: (.*?)\. ", text)
        assert described is not None, key
        value = getattr(settings, key, None)
        if isinstance(value, bool):
            assert described[1] == str(value).lower(), key
        elif isinstance(value, int):
            assert described[1] == str(value), key


# ---- completions


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, *command: str, home: Path) -> None:
        environ = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", "PS1": "> ", "LC_ALL": "C.UTF-8"}
        self.process, self._terminal = pty.fork()
        if self.process == 0:
            try:
                os.chdir(home)
                os.execvpe(command[0], command, environ)
            finally:
                os._exit(127)  # never go on with the tests a second time

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def read_until(self, wanted: str) -> str:
        """What has come since the last call, once it holds ``wanted``."""
        seen, deadline = "", time.monotonic() + PATIENCE_S
        while wanted not in seen:
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{wanted!r} didn't come: {seen!r}"
            seen += os.read(self._terminal, 1 << 16).decode(errors="replace")
        return seen

    def close(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self._terminal)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(tmp_path: Path) -> None:
    (tmp_path / "a picture.png").touch()
    (tmp_path / "folder").mkdir()
    bash = Terminal("bash", "--norc", "--noprofile", "-i", home=tmp_path)
    try:
        # What is run is only shown, with all that was completed in its own brackets.
        setup = 'memewatch() { printf \'<%s>\' "$@"; echo; }; memewatchd() { memewatch "$@"; }'
        bash.type(f"{setup}; bind 'set bell-style none'; . {COMPLETIONS / 'memewatch.bash'}; echo rea''dy\n")
        bash.read_until("ready\r\n")
        for typed, arguments_ in [
            ("memewatch sta\t", ["status"]),
            ("memewatch sea\t-n 5 --form\ttsv --j\t", ["search", "-n", "5", "--format", "tsv", "--json"]),
            ("memewatch search --format=ro\t", ["search", "--format=rofi"]),
            ("memewatch --socket fol\t sea\t", ["--socket", "folder/", "search"]),
            ("memewatch copy a\t --as g\t", ["copy", "a picture.png", "--as", "gif"]),
            ("memewatch search a\t", ["search", "a"]),
            ("memewatch wait --l\t", ["wait", "--l"]),
            ("memewatch reindex --model sig\t", ["reindex", "--model", "siglip2"]),
            ("memewatchd --folder f\t --log-l\tdeb\t", ["--folder", "folder/", "--log-level", "debug"]),
        ]:
            bash.type(typed + "\n")
            wanted = "".join(f"<{argument}>" for argument in arguments_)
            shown = bash.read_until(">\r\n")
            assert wanted in shown, shown
    finally:
        bash.close()


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish: apt install fish")
def test_fish_completes(tmp_path: Path) -> None:
    def offered(typed: str) -> list[str]:
        script = f"source '{COMPLETIONS / 'memewatch.fish'}'; complete -C '{typed}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", script],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )
        return [line.split("\t")[0] for line in done.stdout.splitlines()]

    (tmp_path / "a.png").touch()
    assert offered("memewatch sea") == ["search"]
    assert offered("memewatch search --format ") == sorted(arguments.FORMATS)
    assert offered("memewatch copy a") == ["a.png"]
    assert offered("memewatch search a") == []
    assert offered("memewatchd --log-l") == ["--log-level"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh: apt install zsh")
def test_zsh_completes(tmp_path: Path) -> None:
    zsh = Terminal("zsh", "-f", "-i", home=tmp_path)
    try:
        setup = "memewatch() { printf '<%s>' \"$@\"; echo }; unsetopt beep"
        zsh.type(f"{setup}; fpath=({COMPLETIONS} $fpath); autoload -U compinit; compinit -u -D; echo rea''dy\n")
        zsh.read_until("ready\r\n")
        for typed, arguments_ in [
            ("memewatch sta\t", ["status"]),
            ("memewatch sea\t--forma\t ts\t", ["search", "--format", "tsv"]),
            ("memewatch search --format=ro\t", ["search", "--format=rofi"]),
        ]:
            zsh.type(typed + "\n")
            shown = zsh.read_until(">\r\n")
            assert "".join(f"<{argument}>" for argument in arguments_) in shown, shown
    finally:
        zsh.close()
