"""Downloads, from a small hub on the loopback that speaks as much of the API as the library asks for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from huggingface_hub import try_to_load_from_cache

from memewatchd.encoders import hub, models
from memewatchd.encoders.checkpoint import missing_files
from memewatchd.encoders.clip import ClipEncoder
from memewatchd.encoders.hub_files import lacking, needed
from memewatchd.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPO = "tiny/clip-16"
COMMIT = "c0ffee" + "0" * 34
PATIENCE_S = 30
JUNK = ("model.onnx", "tf_model.h5", "flax_model.msgpack", "modeling_own.py", "README.md", "pytorch_model.bin")


class Hub(ThreadingHTTPServer):
    """``files``: what the one repository holds. ``asked``: (method, path, Range) of every request.

    ``cut``: bytes of the weights after which a connection that asks for them ends; ``stall``: it stays silent.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.asked: list[tuple[str, str, str]] = []
        self.cut: int | None = None
        self.stall = False
        self.ranges = True
        self.damaged = False
        self.sizes_told = True
        self.status = 0
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fetched(self, name: str) -> list[str]:
        """The Range of each GET of a file."""
        return [span for method, path, span in self.asked if method == "GET" and path.endswith(f"/{name}")]

    def handle_error(self, *_: Any) -> None:
        """A client that was killed hangs up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = re.sub(r"^http://[^/]*", "", self.path)  # as a proxy is asked
        self.server.asked.append((self.command, path, self.headers.get("Range", "")))
        if self.server.status:
            return self._send(self.server.status, b"busy", {})
        if path.split("?")[0] == f"/api/models/{REPO}":
            return self._send(200, json.dumps(self._listing()).encode(), {"Content-Type": "application/json"})
        found = re.fullmatch(rf"/{REPO}/resolve/(?:main|{COMMIT})/(.+)", path)
        if found is None or found[1] not in self.server.files:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        return self._file(found[1])

    def _listing(self) -> dict[str, Any]:
        siblings = []
        for name, data in self.server.files.items():
            one: dict[str, Any] = {"rfilename": name}
            if self.server.sizes_told:
                one |= {"size": len(data), "blobId": git_digest(data)}
                if is_big(name):
                    one["lfs"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 134}
            siblings.append(one)
        return {"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings}

    def _file(self, name: str) -> None:
        data = self.server.files[name]
        digest = hashlib.sha256(data).hexdigest() if is_big(name) else git_digest(data)
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}
        if self.server.damaged and is_big(name):
            data = data[:-1] + bytes([data[-1] ^ 1])
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        status, start = (206, int(span[1])) if span and self.server.ranges else (200, 0)
        if start >= len(data) and span:
            return self._send(416, b"", headers)
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._send(status, data[start:], headers, self.server.cut if is_big(name) else None)

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body if cut is None else body[:cut])
        self.wfile.flush()
        if cut is not None and cut < len(body):
            if self.server.stall:
                self.server.over.wait(PATIENCE_S)
            self.close_connection = True


def is_big(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


def git_digest(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@pytest.fixture
def server(tiny: Callable[[str], Path]) -> Iterator[Hub]:
    files = {path.name: path.read_bytes() for path in sorted(tiny("clip").iterdir())}
    made = Hub(files | dict.fromkeys(JUNK, b"not to be fetched"))
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    made.over.set()
    made.shutdown()
    made.server_close()
    thread.join(PATIENCE_S)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}


class Watcher:
    """The callbacks of one download, and what they heard."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.beats = 0
        self.stop = threading.Event()

    def beat(self) -> None:
        self.beats += 1

    def download(self, server: Hub, environ: dict[str, str], repo: str = REPO, **settings: Any) -> Path:
        given = {"endpoint": server.url, "proxy": ""} | settings
        return hub.download(
            repo, environ=environ, say=self.said.append, beat=self.beat, stopping=self.stop.is_set, **given
        )


def until(happened: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def blobs(environ: dict[str, str]) -> Path:
    return hub.cache_dir(environ) / "models--tiny--clip-16" / "blobs"


def parts(environ: dict[str, str]) -> list[Path]:
    return list(blobs(environ).glob("*.incomplete"))


def sizes(paths: list[Path]) -> list[int]:
    """In bytes, of those that are still there."""
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found.append(path.stat().st_size)
    return found


def children(parent: int | None = None) -> list[Path]:
    """The /proc folders of the downloading processes that this one, or another, started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                ours = f"\nPPid:\t{parent or os.getpid()}\n" in (folder / "status").read_text(encoding="utf-8")
            except OSError:
                continue
            if ours and "hub_child" in line:
                found.append(folder)
    return found


def test_a_model_is_downloaded_and_loads(server: Hub, environ: dict[str, str], tiny: Callable[[str], Path]) -> None:
    watcher = Watcher()
    assert hub.cached(REPO, environ) is None
    folder = watcher.download(server, environ)
    assert missing_files(folder) == []
    assert hub.cached(REPO, environ) == folder
    assert {path.name for path in folder.iterdir()} == {path.name for path in tiny("clip").iterdir()} - {
        "generation_config.json"
    }
    for name in JUNK:
        assert server.fetched(name) == []
    assert watcher.beats > 0
    assert any(re.search(r"MB.*goes to .* free.*MB of memory", line) for line in watcher.said), watcher.said
    # The library finds it, too; and weights are hashed by their name.
    cache = hub.cache_dir(environ)
    assert try_to_load_from_cache(REPO, "config.json", cache_dir=cache) == str(folder / "config.json")
    assert (folder / "model.safetensors").is_symlink()

    choice = models.choose(REPO, "", environ)
    assert choice == models.Choice(REPO, folder, REPO)
    encoder = models.load(
        choice, endpoint="", proxy="", environ=environ, say=print, beat=watcher.beat, stopping=lambda: False
    )
    same = ClipEncoder.load(tiny("clip"), "tiny", device="cpu", threads=1)
    assert (encoder.name, encoder.fingerprint) == (REPO, same.fingerprint)
    np.testing.assert_allclose(encoder.encode_text("cat"), same.encode_text("cat"), atol=1e-6)

    before = len(server.asked)
    assert watcher.download(server, environ) == folder
    assert [path for _, path, _ in server.asked[before:]] == [f"/api/models/{REPO}?blobs=true"]


def test_load_downloads_what_is_not_there(server: Hub, environ: dict[str, str]) -> None:
    encoder = models.load(
        models.Choice(REPO, None, REPO),
        endpoint=server.url,
        proxy="",
        environ=environ,
        say=print,
        beat=lambda: None,
        stopping=lambda: False,
    )
    assert encoder.dim == 24


def test_a_cut_connection_is_taken_up_where_it_ended(server: Hub, environ: dict[str, str]) -> None:
    size = len(server.files["model.safetensors"])
    server.cut = size // 3 + 1
    Watcher().download(server, environ)
    spans = server.fetched("model.safetensors")
    assert spans == ["", f"bytes={size // 3 + 1}-", f"bytes={2 * (size // 3 + 1)}-"]


def test_a_stopped_download_goes_on_in_another_process(server: Hub, environ: dict[str, str]) -> None:
    server.cut, server.stall = 5000, True
    watcher = Watcher()
    outcome: list[str] = []

    def run() -> None:
        try:
            watcher.download(server, environ)
        except EncoderError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: 5000 in sizes(parts(environ)))
    assert len(children()) == 1
    began = time.monotonic()
    watcher.stop.set()
    thread.join(PATIENCE_S)
    assert outcome == ["memewatchd is stopping"]
    assert time.monotonic() - began < 5
    assert children() == []
    assert hub.cached(REPO, environ) is None

    server.cut = None
    server.asked.clear()
    again = Watcher()
    folder = again.download(server, environ)
    assert server.fetched("model.safetensors") == ["bytes=5000-"]
    assert server.fetched("config.json") == []
    assert any("here already" in line for line in again.said)
    assert (folder / "model.safetensors").read_bytes() == server.files["model.safetensors"]
    assert parts(environ) == []


@pytest.mark.parametrize("lie", ["no ranges", "too long", "another file"])
def test_a_part_that_is_of_no_use_is_fetched_afresh(lie: str, server: Hub, environ: dict[str, str]) -> None:
    data = server.files["model.safetensors"]
    blobs(environ).mkdir(parents=True)
    part = blobs(environ) / f"{hashlib.sha256(data).hexdigest()}.incomplete"
    part.write_bytes(data[:1000] if lie == "no ranges" else b"x" * (len(data) + (lie == "too long")))
    server.ranges = lie != "no ranges"
    if lie == "another file":
        with pytest.raises(EncoderError, match=r"model\.safetensors arrived damaged"):
            Watcher().download(server, environ)
        assert not part.exists()
    folder = Watcher().download(server, environ)
    assert (folder / "model.safetensors").read_bytes() == data


def test_damaged_bytes_are_not_kept(server: Hub, environ: dict[str, str]) -> None:
    server.damaged = True
    with pytest.raises(EncoderError, match="damaged; try again"):
        Watcher().download(server, environ)
    assert hub.cached(REPO, environ) is None
    server.damaged = False
    Watcher().download(server, environ)


def test_a_mirror_that_lists_no_sizes_is_asked_for_each_file(server: Hub, environ: dict[str, str]) -> None:
    server.sizes_told = False
    folder = Watcher().download(server, environ)
    assert hub.cached(REPO, environ) == folder
    assert ("HEAD", f"/{REPO}/resolve/{COMMIT}/model.safetensors", "") in server.asked


def test_a_stall_ends_with_what_to_do_by_hand(server: Hub, environ: dict[str, str]) -> None:
    server.cut, server.stall = 5000, True
    with pytest.raises(EncoderError) as caught:
        Watcher().download(server, environ, stall_s=2.5)
    message = str(caught.value)
    for part in ("no byte", "hub_endpoint", "proxy", "--model FOLDER", f"{server.url}/{REPO}/tree/main"):
        assert part in message
    listed = message.rsplit(": ", maxsplit=1)[-1].split(", ")
    assert sorted(listed) == sorted(needed(server.files))
    assert "model.safetensors" in listed
    assert children() == []


def test_no_hub_at_all_says_which_files_too(server: Hub, environ: dict[str, str]) -> None:
    with pytest.raises(EncoderError, match=r"can't be reached.*config\.json.*model\.safetensors"):
        Watcher().download(server, environ, endpoint="http://127.0.0.1:9")
    server.status = 503
    with pytest.raises(EncoderError, match=r"answered 503.*hub_endpoint"):
        Watcher().download(server, environ)


def test_a_proxy_is_used(server: Hub, environ: dict[str, str]) -> None:
    """The name can't be resolved: only the proxy, which is the hub here, can have answered."""
    folder = Watcher().download(server, environ, endpoint="http://hub.invalid", proxy=server.url)
    assert missing_files(folder) == []
    with pytest.raises(EncoderError, match=r"can't be reached"):
        Watcher().download(server, environ, endpoint="http://hub.invalid", proxy="http://127.0.0.1:9")


def test_an_unknown_model(server: Hub, environ: dict[str, str]) -> None:
    with pytest.raises(EncoderError, match=r"the hub has no model tiny/other"):
        Watcher().download(server, environ, repo="tiny/other")
    del server.files["preprocessor_config.json"]
    with pytest.raises(EncoderError, match=r"not a model that memewatchd can use: it has no preprocessor_config"):
        Watcher().download(server, environ)


def test_a_disk_too_small_is_refused_before_anything_is_fetched(server: Hub, environ: dict[str, str]) -> None:
    seen: list[Path] = []

    def free(folder: Path) -> int:
        seen.append(folder)
        return hub.SPARE_DISK

    with pytest.raises(EncoderError, match=r"needs .* MB more in .* HF_HOME"):
        Watcher().download(server, environ, free=free)
    assert seen[0].is_dir()
    assert server.fetched("config.json") == []


def test_a_cache_that_cannot_be_written(server: Hub, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    environ["HF_HOME"] = str(tmp_path / "file")
    with pytest.raises(EncoderError, match="can't be written"):
        Watcher().download(server, environ)


def test_two_at_once_do_not_write_into_one_file(server: Hub, environ: dict[str, str]) -> None:
    server.cut, server.stall = 5000, True
    first = Watcher()

    def run() -> None:
        with pytest.raises(EncoderError, match="stopping"):
            first.download(server, environ)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: 5000 in sizes(parts(environ)))
    with pytest.raises(EncoderError, match="another program"):
        Watcher().download(server, environ)
    first.stop.set()
    thread.join(PATIENCE_S)


def test_the_child_dies_with_its_parent(server: Hub, environ: dict[str, str]) -> None:
    server.cut, server.stall = 5000, True
    program = (
        "import sys; from memewatchd.encoders import hub; "
        f"hub.download({REPO!r}, endpoint={server.url!r}, proxy='', environ={environ!r}, say=print, "
        "beat=lambda: None, stopping=lambda: False)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=Path(hub.__file__).parents[2])
    until(lambda: 5000 in sizes(parts(environ)))
    (child,) = children(parent.pid)
    parent.kill()
    parent.wait(PATIENCE_S)

    def gone() -> bool:
        try:
            return (child / "cmdline").read_bytes() == b""  # a zombie's is empty
        except OSError:
            return True

    until(gone)


def test_a_child_that_crashes_is_told_of(server: Hub, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(EncoderError, match=r"without a word: exit code 1"):
        Watcher().download(server, environ)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EncoderError, match=r"can't be started"):
        Watcher().download(server, environ)


def test_settings_reach_the_library() -> None:
    made = hub._environment({"HF_HUB_OFFLINE": "1", "https_proxy": "http://old", "A": "b"}, "", "http://new")
    assert (made["HF_HUB_OFFLINE"], made["HF_HUB_DISABLE_XET"], made["A"]) == ("0", "1", "b")
    assert {made[name] for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy")} == {"http://new"}
    assert "HF_ENDPOINT" not in made
    assert hub._environment({"https_proxy": "http://old"}, "http://e", "")["HF_ENDPOINT"] == "http://e"


def test_progress_says_rate_and_time_left_now_and_then() -> None:
    progress = hub._Progress("a/b", 1_500_000_000)
    now = progress._said
    assert progress.line(1_000_000, now + 1) == ""
    assert progress.line(50_000_000, now + 5) == "a/b: 50 of 1,500 MB, 10.0 MB/s, 2 min 25 s left"
    assert progress.line(51_000_000, now + 6) == ""
    assert progress.line(1_500_000_000, now + 20) == "a/b: checking what came"
    assert (hub._duration(7.4), hub._duration(7300)) == ("7 s", "2 h 1 min")


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HOME": "/h"}, "/h/.cache/huggingface/hub"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x", "HF_HOME": "/f"}, "/f/hub"),
        ({"HOME": "/h", "HF_HOME": "/f", "HF_HUB_CACHE": "/c"}, "/c"),
        ({"HOME": "/h", "HF_HOME": "/f", "HF_HUB_CACHE": ""}, "/f/hub"),
    ],
)
def test_the_cache_is_where_the_library_has_it(environ: dict[str, str], folder: str) -> None:
    assert hub.cache_dir(environ) == Path(folder)


def test_the_cached_snapshot_is_the_main_one_or_else_a_complete_one(
    environ: dict[str, str], tiny: Callable[[str], Path]
) -> None:
    home = hub.cache_dir(environ) / "models--tiny--clip-16"
    old, new = home / "snapshots" / "aa", home / "snapshots" / "bb"
    for age, folder in ((100, old), (0, new)):
        shutil.copytree(tiny("clip"), folder)
        os.utime(folder, (time.time() - age,) * 2)
    assert hub.cached(REPO, environ) == new
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("aa", encoding="ascii")
    assert hub.cached(REPO, environ) == old
    (old / "model.safetensors").unlink()
    (old / "model.safetensors").symlink_to("../../blobs/gone")
    assert hub.cached(REPO, environ) == new
    (new / "config.json").unlink()
    assert hub.cached(REPO, environ) is None
    (old / "model.safetensors").unlink()
    (old / "model.safetensors.index.json").write_text("{", encoding="ascii")
    assert hub.cached(REPO, environ) is None


@pytest.mark.parametrize(
    ("found", "weights"),
    [
        ("model.safetensors pytorch_model.bin", "model.safetensors"),
        ("model.fp16.safetensors pytorch_model.bin", "pytorch_model.bin"),
        (
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json x.bin",
            "model.safetensors.index.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors",
        ),
        (
            "pytorch_model-1-of-1.bin pytorch_model.bin.index.json",
            "pytorch_model.bin.index.json pytorch_model-1-of-1.bin",
        ),
        ("onnx/model.onnx tf_model.h5 flax_model.msgpack modeling.py", ""),
    ],
)
def test_one_set_of_weights_is_needed(found: str, weights: str) -> None:
    assert needed(["config.json", "vocab.txt", *found.split()]) == ["config.json", "vocab.txt", *weights.split()]


def test_what_a_repository_lacks() -> None:
    assert lacking(["config.json", "processor_config.json", "vocab.txt", "model.safetensors"]) == []
    assert lacking(["vocab.json"]) == [
        "config.json",
        "preprocessor_config.json",
        "a tokenizer's files",
        "model.safetensors or pytorch_model.bin",
    ]
