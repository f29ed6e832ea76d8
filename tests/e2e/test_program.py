"""The two programs as people and scripts meet them: start, search, stop, exit codes, and `make run`."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from real_daemon import REPO, Daemon, picture, pictures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEN_LINES = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    lines = s.makefile("rw", encoding="utf-8", newline="\\n")
    print(json.dumps({"op": "search", "text": sys.argv[2], "limit": 1}), file=lines, flush=True)
    for hit in json.loads(lines.readline())["hits"]:
        print(hit["path"])
"""


@pytest.fixture
def nest() -> None:
    """Here all is as people have it: each daemon is a program of its own from the first."""


@pytest.fixture(scope="module")
def on_samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The real model that ships, on the samples that ship, as after a first `make run`."""
    home = tmp_path_factory.mktemp("h")
    shutil.copytree(REPO / "samples", home / "Memes")
    with Daemon(home, "--model", "bundled") as daemon:
        daemon.wait()
        yield daemon


def names(paths: list[bytes]) -> list[str]:
    return [os.path.basename(path).decode() for path in paths]


FITTING = {
    "white cat": {"7c9e6679f1d04ab2.png", "IMG_20240214_081530.jpg", "d3d9446802a44259.png"},
    "black dog": {"a5bfc9e07964f8dd.jpg", "mmexport1701230045127.jpg", "45c48cce2e2d7fbd.png"},
    "smile": {"9b2f41c07d3ea856.png", "IMG_20240102_183005.jpg", "smile.png", "cool.png", "c81e728d9d4c2f63.webp"},
    "angry": {"e4da3b7fbbce2345.png", "mmexport1699347201553.gif", "angry.webp", "生气.jpg"},
    "生气": {"e4da3b7fbbce2345.png", "mmexport1699347201553.gif", "angry.webp", "生气.jpg"},
    "猫": {
        *("7c9e6679f1d04ab2.png", "IMG_20240214_081530.jpg", "d3d9446802a44259.png"),
        *("black cat.png", "orange-cat.jpg", "grey cat walking.png", "grumpy cat face.png", "cat watching fish.jpg"),
    },
}


@pytest.mark.parametrize("query", FITTING)
def test_the_tutorials_queries_find_fitting_samples(on_samples: Daemon, query: str) -> None:
    assert set(names(on_samples.search(query, limit=3))) & FITTING[query]


def test_the_broken_sample_is_named(on_samples: Daemon) -> None:
    ((path, reason),) = on_samples.failed().items()
    assert path.endswith(b"/broken-on-purpose.png")
    assert "cut off" in reason


def test_a_name_is_found_by_part_of_a_word_and_comes_first(on_samples: Daemon) -> None:
    assert names(on_samples.search("umbrel"))[0] == "umbrella.tif"
    assert names(on_samples.search("不想"))[0] == "不想上班.png"
    # Machine-made names give no words.
    assert "IMG_20240214_081530.jpg" not in names(on_samples.search("081530"))[:1]


def test_shells_and_scripts_get_answers_without_a_client(on_samples: Daemon) -> None:
    first = on_samples.search("angry cat", limit=20)
    assert len(first) == 20
    commands = [["sh", "-c", f"echo 'angry cat' | nc -NU {shlex.quote(on_samples.socket)}"]]
    commands += [["sh", "-c", f"echo 'angry cat' | socat - UNIX-CONNECT:{shlex.quote(on_samples.socket)}"]]
    for command in commands:
        program = command[-1].split("| ")[1].split()[0]
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: apt install netcat-openbsd socat")
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
        assert done.stdout.split(b"\n") == [*first, b"", b""]
    command = [sys.executable, "-c", TEN_LINES, on_samples.socket, "angry cat"]
    assert subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.strip() == first[0]


def test_what_the_client_prints_and_how_it_ends(on_samples: Daemon) -> None:
    search = on_samples.memewatch("search", "-n", "2", "angry", "cat")
    assert (search.returncode, len(search.stdout.splitlines()), search.stderr) == (0, 2, b"")
    assert on_samples.memewatch("search", "--min-score", "2", "cat").returncode == 1
    gifs = on_samples.memewatch("search", "ext:gif", "cat").stdout.splitlines()
    assert len(gifs) == 7, "one of them is named .jpg"
    assert on_samples.memewatch("search", "ext:gfi", "cat").returncode == 2
    assert b"ext:gfi" in on_samples.memewatch("search", "ext:gfi", "cat").stderr
    read = on_samples.memewatch("search", "shengri")
    assert (read.returncode, read.stderr.decode()) == (0, "memewatch: searched: 生日\n")
    assert on_samples.memewatch("search", "cat", "--no-such-option").returncode == 2
    assert b".jpg\0icon\x1f/" in on_samples.memewatch("search", "--format", "rofi", "cat").stdout
    for later in ("copy", "add", "used", "reindex", "nonsense"):
        assert on_samples.memewatch(later).returncode == 2, later
    assert on_samples.memewatch("wait").returncode == 0
    assert on_samples.memewatch("list").stdout.count(b"\n") == 64
    assert b"settled: 64 memes" in on_samples.memewatch("status").stdout
    assert b"cut off" in on_samples.memewatch("failed").stdout
    quiet = f"{shlex.quote(sys.executable)} -m memewatchd.client search -n 20 cat | head -n 1"
    done = subprocess.run(["sh", "-c", quiet], env=on_samples.environ, cwd=REPO, capture_output=True, check=True)
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")


def test_without_a_daemon(embedded: Daemon) -> None:
    for command in ("search", "status", "list", "wait"):
        done = embedded.memewatch(command, *(["cat"] if command == "search" else []))
        assert (done.returncode, done.stdout) == (3, b"")
        assert done.stderr


def test_it_answers_before_the_model_is_there(embedded: Daemon) -> None:
    picture(embedded.folder / "distracted_boyfriend.jpg", 1)
    with embedded as daemon:
        daemon.wait()
    daemon.start()
    first = daemon.ask(op="search", text="distrac")
    assert names([os.fsencode(hit["path"]) for hit in first["hits"]]) == ["distracted_boyfriend.jpg"]
    # By its look it is found once the model is loaded, without having been asked again.
    assert names(daemon.search("something else")) == ["distracted_boyfriend.jpg"]
    assert "partial" not in daemon.ask(op="search", text="distrac")
    daemon.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_middle_of_indexing_is_clean(embedded: Daemon, number: signal.Signals) -> None:
    pictures(embedded.folder, range(500))
    daemon = embedded.start()
    daemon.until(lambda: daemon.status()["encoded"] > 20, "it encodes")
    assert daemon.stop(number) == 0
    assert "Traceback" not in daemon.log()
    assert not os.path.exists(daemon.socket)
    state = daemon.home / ".local" / "state" / "memewatchd"
    assert {file.name for file in state.iterdir()} == {".index.db.lock", "index.db", "lock", "state.json"}
    with daemon:
        daemon.wait()
        assert len(daemon.listed()) == 500


def ended(daemon: Daemon, *flags: str) -> tuple[int, str]:
    process = daemon.spawn(*flags)
    out, _ = process.communicate(timeout=60)
    return process.returncode, daemon.log() + out


def test_exit_codes(embedded: Daemon, home: Path) -> None:
    with embedded:
        code, said = ended(embedded)
        assert code == 75
        assert "another memewatchd" in said
        other = str(home / "other state")
        code, said = ended(embedded, "--state-dir", other)
        assert code == 75
        assert embedded.socket in said
    for flags, word in (
        (["--modle", "x"], "--model"),
        (["--log-level", "loud"], "loud"),
        (["--milvus", "index"], ".db"),
        (["--model", "siglop2"], "siglip2"),
        (["--folder", str(home), "--folder", str(home / "Memes")], "leave one out"),
        (["--socket", "/" + "x" * 120], "107"),
    ):
        code, said = ended(embedded, *flags)
        assert (code, word in said) == (78, True), (flags, said)
    (home / "settings.toml").write_text('modell = "clip"\n')
    code, said = ended(embedded, "--config", str(home / "settings.toml"))
    assert code == 78
    assert "did you mean model?" in said
    code, said = ended(embedded, "--check")
    assert code == 0
    assert "settle_ms = 300" in said
    code, said = ended(embedded, "--version")
    assert (code, "memewatchd, version" in said) == (0, True)


def test_reset_forgets_the_index_and_nothing_else(embedded: Daemon) -> None:
    pictures(embedded.folder, range(3))
    with embedded as daemon:
        daemon.wait()
        code, said = ended(embedded, "--reset")
        assert (code, "another memewatchd" in said) == (75, True)
    code, said = ended(embedded, "--reset")
    assert code == 0
    assert "collection memewatchd_files\n" in said
    assert "collection memewatchd_pictures_" in said
    assert len(list(embedded.folder.iterdir())) == 3
    with embedded as daemon:
        daemon.wait()
        assert (len(daemon.listed()), daemon.status()["encoded"]) == (3, 3)


def test_a_stale_socket_is_no_obstacle(embedded: Daemon) -> None:
    with embedded:
        embedded.stop(signal.SIGKILL)
        assert os.path.exists(embedded.socket)
    with embedded as daemon:
        daemon.wait()


def test_two_folders_and_excludes_from_the_settings(embedded: Daemon, home: Path) -> None:
    pictures(home / "a", range(3))
    pictures(home / "b" / "work", range(3, 6))
    picture(home / "b" / "x.png", 9)
    config = home / ".config" / "memewatchd"
    config.mkdir(parents=True)
    (config / "config.toml").write_text('folder = ["~/a", "~/b"]\nexclude = ["work/"]\n')
    with embedded as daemon:
        daemon.wait()
        assert len(daemon.listed()) == 4


def test_the_log_never_says_what_was_searched_for(embedded: Daemon) -> None:
    with embedded as daemon:
        daemon.wait()
        daemon.search("zebra crossing")
        next(daemon.lines(op="search", text="zebra ext:crossing"))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(daemon.socket)
            sock.sendall(b"zebra crossing\n{zebra\n")
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1000)
    assert "zebra" not in daemon.log()


def lines_of_make_run(home: Path, stop_at: str, *arguments: str) -> list[str]:
    """What `make run` prints on a terminal until ``stop_at``, and after the Ctrl-C that follows."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "MEME"))}
    environment |= {"HOME": str(home), "XDG_RUNTIME_DIR": "", "XDG_STATE_HOME": "", "XDG_CONFIG_HOME": ""}
    master, slave = pty.openpty()
    command = ["make", "run", *arguments]
    with subprocess.Popen(
        command, cwd=REPO, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    ) as process:
        os.close(slave)
        said = b""
        deadline = time.monotonic() + 240
        stopped = False
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 1)[0]:
                continue
            try:
                chunk = os.read(master, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
            said += chunk
            if not stopped and stop_at.encode() in said:
                os.killpg(process.pid, signal.SIGINT)
                stopped = True
        os.close(master)
        process.wait(timeout=30)
        assert stopped, said.decode(errors="replace")
    text = said.decode(errors="replace").replace("\r\n", "\n")
    return [line.rpartition("\x1b[K")[2] for line in text.split("\n")]


@pytest.mark.skipif(not (REPO / ".venv/setup/run.stamp").exists(), reason="only where `make run` was set up")
def test_make_run_on_a_folder(home: Path) -> None:
    pictures(home / "Memes", range(30))
    lines = lines_of_make_run(home, "siglip2", f"FOLDER={home}/Memes")
    order = [".venv/bin/memewatch search angry cat", "settled: 30 memes", "siglip2", "Stopped. Nothing is lost"]
    places = [next(at for at, line in enumerate(lines) if words in line) for words in order]
    assert places == sorted(places), lines
    assert (home / ".local" / "state" / "memewatchd" / "index.db").exists()
