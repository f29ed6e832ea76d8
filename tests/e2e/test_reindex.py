"""`memewatch reindex` as people meet it: real models of one size and of two, real Milvus, restarts, and no mixing."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from milvus_server import ON_SERVER, MilvusServer
from real_daemon import REPO, Daemon, on_disk, picture, pictures
from warm import Nest, WarmDaemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

QUERY = "an angry cat"
Scores = dict[bytes, float]


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like the first, but for its weights: vectors of the same length, which would pass for the first's."""
    return tiny(tmp_path_factory.mktemp("model") / "other", "clip", 1)


@pytest.fixture(scope="module")
def wider_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of another family, with vectors of another length."""
    return tiny(tmp_path_factory.mktemp("model") / "wider", "siglip", 0)


def tiny(folder: Path, family: str, seed: int) -> Path:
    program = REPO / "tests" / "tiny_checkpoints.py"
    subprocess.run([sys.executable, program, family, folder, "--seed", str(seed)], check=True)
    return folder


@pytest.fixture
def remembers(
    nest: Nest, home: Path, tiny_model: Path, milvus: list[str], request: pytest.FixtureRequest
) -> Iterator[Daemon]:
    """A daemon whose settings say nothing of models, and whose index has been built with the tiny one. Started."""
    prefix = f"r{os.getpid()}_{abs(hash(request.node.nodeid)) % 10**8}_"
    daemon = WarmDaemon(nest, home, *milvus, MEMEWATCHD_COLLECTION_PREFIX=prefix, HF_HOME=str(home / "hub"))
    pictures(daemon.folder, range(40))
    daemon.start("--model", str(tiny_model))
    daemon.wait()
    assert daemon.stop() == 0
    daemon.start()
    daemon.wait()
    yield daemon
    if daemon.process is not None:
        daemon.process.kill()
        daemon.process.communicate()


def scores(daemon: Daemon) -> Scores:
    """What every file scores: it tells the models apart, and would tell a mixture from both."""
    reply = daemon.ask(op="search", text=QUERY, limit=1000, min_score=-1)
    assert not reply.get("partial"), "answered by names alone"
    return {os.fsencode(hit["path"]): hit["score"] for hit in reply["hits"]}


def is_done(daemon: Daemon) -> bool:
    status = daemon.status()
    assert not (status["reindex"] or {}).get("error"), status
    return status["reindex"] is None


class Asking:
    """Searches on and on in a thread of its own; ``answers``: those that differ from the one before."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers: list[Scores] = []
        self.errors: list[BaseException] = []

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                answer = scores(self._daemon)
            except BaseException as error:  # noqa: BLE001 - told in the test's own thread
                self.errors.append(error)
                return
            if not self.answers or answer != self.answers[-1]:
                self.answers.append(answer)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("model", ["other_model", "wider_model"])
def test_the_old_model_answers_until_the_new_one_does(
    remembers: Daemon, tiny_model: Path, model: str, request: pytest.FixtureRequest
) -> None:
    new: Path = request.getfixturevalue(model)
    before = scores(remembers)
    assert len(before) == 40
    with Asking(remembers) as asking:
        reply = remembers.ask(op="reindex", model=str(new))
        assert f"{tiny_model} answers" in reply["message"]
        assert "settings" not in reply["message"]
        remembers.until(lambda: is_done(remembers), "the new index")
        after = scores(remembers)
    assert asking.errors == []
    assert asking.answers in ([before, after], [before]), "a mixture, or a gap"
    assert after.keys() == before.keys()
    assert after != before
    status = remembers.status()
    assert (status["model"], status["state"], status["encoded"]) == (str(new), "settled", 0)


def test_afterwards_the_old_index_is_gone(remembers: Daemon, tiny_model: Path, other_model: Path) -> None:
    before = scores(remembers)
    remembers.ask(op="reindex", model=str(other_model))
    remembers.until(lambda: is_done(remembers), "the new index")
    after = scores(remembers)
    assert remembers.stop() == 0
    remembers.start()
    picture(remembers.folder / "new.png", 999)
    remembers.wait()
    assert remembers.status()["encoded"] == 1
    assert remembers.status()["model"] == str(other_model)
    again = scores(remembers)
    assert {path: again[path] for path in after} == after
    assert remembers.stop() == 0
    remembers.start("--model", str(tiny_model))
    remembers.wait()
    assert remembers.status()["encoded"] == 41
    assert {path: score for path, score in scores(remembers).items() if path in before} == before


def test_a_restart_in_the_middle_goes_on_where_it_was(remembers: Daemon, other_model: Path) -> None:
    pictures(remembers.folder / "more", range(100, 500))
    remembers.wait()
    before = scores(remembers)
    remembers.ask(op="reindex", model=str(other_model))

    def progress() -> dict[str, Any]:
        return remembers.status()["reindex"] or {"state": "over", "done": -1, "total": 0}

    remembers.until(lambda: progress()["done"] > 0 or progress()["state"] == "over", "some pictures")
    stood = progress()
    assert 0 < stood["done"] < stood["total"] == 440, "too fast to be caught in the middle"
    assert remembers.stop(signal.SIGKILL) == -signal.SIGKILL

    # While nobody looks: a file comes, one goes, one moves; and its model is still the old one.
    picture(remembers.folder / "new.png", 999)
    os.unlink(remembers.folder / "00000.png")
    os.rename(remembers.folder / "more", remembers.folder / "moved")
    remembers.start()
    remembers.wait()
    assert remembers.status()["encoded"] == 1, "the old index is complete all along"
    met = []

    def watched() -> bool:
        reindex = remembers.status()["reindex"]
        if reindex is not None and reindex["state"] == "building" and reindex["total"]:
            met.append(reindex["done"])
        return is_done(remembers)

    remembers.until(watched, "the new index")
    assert not met or met[0] >= stood["done"] - 1, "what was done is done again"
    assert remembers.status()["model"] == str(other_model)
    after = scores(remembers)
    assert after.keys() == on_disk(remembers.folder).keys()
    assert len(after) == len(before)
    assert remembers.listed() == on_disk(remembers.folder)


def test_what_happens_meanwhile_is_in_both(remembers: Daemon, other_model: Path) -> None:
    pictures(remembers.folder / "more", range(100, 400))
    remembers.wait()
    remembers.ask(op="reindex", model=str(other_model))
    pictures(remembers.folder / "new", range(1000, 1010))
    os.rename(remembers.folder / "more", remembers.folder / "moved")
    for number in range(10):
        os.unlink(remembers.folder / "moved" / f"{100 + 5 * number:05}.png")
    remembers.wait()
    assert set(scores(remembers)) == set(on_disk(remembers.folder))
    remembers.until(lambda: is_done(remembers), "the new index")
    remembers.wait()
    assert set(scores(remembers)) == set(on_disk(remembers.folder))
    assert remembers.status()["model"] == str(other_model)


def test_what_can_not_be_had_is_said_at_once_or_in_the_status(embedded: Daemon, other_model: Path) -> None:
    pictures(embedded.folder, range(5))
    with embedded as daemon:
        daemon.wait()
        for model, says in (("siglop2", b"did you mean siglip2?"), ("/nowhere", b"there is no folder /nowhere")):
            refused = daemon.memewatch("reindex", "--model", model)
            assert (refused.returncode, refused.stdout) == (2, b"")
            assert says in refused.stderr
        assert daemon.memewatch("reindex").returncode == 2
        assert daemon.status()["reindex"] is None

        # A model whose weights are damaged: the old one stays in use, and the status says so.
        broken = daemon.home / "broken"
        shutil.copytree(other_model, broken)
        (broken / "model.safetensors").write_bytes(b"\xff" * 64)
        begun = daemon.memewatch("reindex", "--model", str(broken))
        assert (begun.returncode, begun.stdout) == (0, b"")
        assert b"an index for" in begun.stderr
        daemon.until(lambda: (daemon.status()["reindex"] or {}).get("error"), "an error")
        status = daemon.status()
        assert (status["state"], status["reindex"]["state"]) == ("settled", "failed")
        assert b"failed, and is tried again later" in daemon.memewatch("status").stdout
        assert len(scores(daemon)) == 5

        # Asked for the one in use, it gives up; asked for another, it takes that, and says what the settings will do.
        using = status["model"]
        assert "is given up" in daemon.ask(op="reindex", model=using)["message"]
        assert "nothing is to be done" in daemon.ask(op="reindex", model=using)["message"]
        daemon.until(lambda: daemon.status()["reindex"] is None, "nothing is asked for")
        told = daemon.ask(op="reindex", model=str(other_model))["message"]
        assert f"model = {using}, which the next start opens" in told
        daemon.until(lambda: daemon.status()["model"] == str(other_model), "the other")
        assert len(scores(daemon)) == 5


def test_a_download_goes_on_after_a_restart(embedded: Daemon, other_model: Path) -> None:
    hub = hub_module()
    files = {path.name: path.read_bytes() for path in sorted(other_model.iterdir())}
    server = hub.Hub(files)
    weights = len(files["model.safetensors"])
    server.cut, server.stall = weights // 2, True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    embedded.environ |= {"MEMEWATCHD_HUB_ENDPOINT": server.url, "HF_HOME": str(embedded.home / "hub")}
    pictures(embedded.folder, range(5))
    try:
        embedded.start()
        embedded.wait()
        before = scores(embedded)
        message = embedded.ask(op="reindex", model=hub.REPO)["message"]
        assert f"{hub.REPO} is downloaded first" in message
        embedded.until(lambda: "goes to" in embedded.status()["reindex"]["detail"], "a word of the download")
        assert embedded.status()["reindex"]["state"] == "downloading"
        embedded.until(lambda: server.fetched("model.safetensors"), "the weights are asked for")
        part = embedded.home / "hub" / "hub" / f"models--{hub.REPO.replace('/', '--')}" / "blobs"
        halves = lambda: [path.stat().st_size for path in part.glob("*.incomplete")]  # noqa: E731
        embedded.until(lambda: weights // 2 in halves(), "half of the weights")
        assert scores(embedded) == before
        assert embedded.status()["state"] == "settled"
        assert embedded.stop(signal.SIGKILL) == -signal.SIGKILL

        server.cut = None
        server.over.set()
        embedded.start()
        embedded.until(lambda: is_done(embedded), "the new index")
        assert server.fetched("model.safetensors")[-1] == f"bytes={weights // 2}-"
        assert embedded.status()["model"] == hub.REPO
        after = scores(embedded)
        assert after.keys() == before.keys()
        assert after != before
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()


def hub_module() -> ModuleType:
    """The small hub that the downloads' own tests run."""
    spec = importlib.util.spec_from_file_location("loopback_hub", REPO / "tests" / "encoders" / "test_hub.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["loopback_hub"] = module
    spec.loader.exec_module(module)
    return module


def test_it_helps_where_the_model_in_use_can_not_be_loaded(
    nest: Nest, home: Path, tiny_model: Path, other_model: Path
) -> None:
    broken = home / "broken"
    shutil.copytree(tiny_model, broken)
    (broken / "model.safetensors").write_bytes(b"\xff" * 64)
    daemon = WarmDaemon(nest, home, "--model", str(broken))
    pictures(daemon.folder, range(5))
    with daemon:
        daemon.until(lambda: daemon.status()["model_state"] == "failed", "the model is broken")
        daemon.until(lambda: daemon.status()["state"] == "degraded", "and that is said")
        daemon.ask(op="reindex", model=str(other_model))
        daemon.until(lambda: daemon.status()["state"] == "settled", "all is well")
        daemon.wait()
        assert len(scores(daemon)) == 5
        assert daemon.status()["model"] == str(other_model)


def test_downloading_by_hand_finds_what_is_there(home: Path, tiny_model: Path) -> None:
    daemon = Daemon(home)
    done = subprocess.run(
        [sys.executable, "-m", "memewatchd.daemon", "--download", str(tiny_model)],
        cwd=REPO,
        env=daemon.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"memewatch reindex --model {tiny_model}" in done.stdout


def test_the_wish_is_written_before_it_is_answered(embedded: Daemon, other_model: Path) -> None:
    pictures(embedded.folder, range(3))
    embedded.start()
    embedded.ask(op="reindex", model=str(other_model))
    assert embedded.stop(signal.SIGKILL) == -signal.SIGKILL
    state = json.loads((embedded.home / ".local/state/memewatchd/state.json").read_text())
    assert state["reindex_model"] == str(other_model)
    with embedded:
        embedded.until(lambda: embedded.status()["model"] == str(other_model), "the other model")
        embedded.wait()
        assert len(scores(embedded)) == 3


@ON_SERVER
def test_the_index_moves_to_a_server_without_encoding(
    nest: Nest, home: Path, tiny_model: Path, milvus_server: MilvusServer
) -> None:
    token = home / "token"
    token.write_text(milvus_server.token)
    prefix = f"c{secrets.token_hex(6)}_"
    flags = ("--model", str(tiny_model), "--milvus-token-file", str(token))
    daemon = WarmDaemon(nest, home, *flags, MEMEWATCHD_COLLECTION_PREFIX=prefix)
    pictures(daemon.folder, range(30))
    with daemon:
        daemon.wait()
        before = scores(daemon)
        for wrong in ("localhost:19530", "http://", "http://root:secret@host:1", "index.db"):
            refused = daemon.memewatch("reindex", "--milvus", wrong)
            assert (refused.returncode, refused.stdout) == (2, b""), wrong
        begun = daemon.memewatch("reindex", "--milvus", milvus_server.uri)
        assert (begun.returncode, begun.stdout) == (0, b"")
        daemon.until(lambda: daemon.status()["reindex"]["state"] != "copying", "a copy")
        assert daemon.status()["reindex"]["error"] == ""
        assert f'set milvus = "{milvus_server.uri}"'.encode() in daemon.memewatch("status").stdout
        assert scores(daemon) == before
        # What changes until the restart is found by it.
        picture(daemon.folder / "later.png", 999)
        os.rename(daemon.folder / "00001.jpg", daemon.folder / "renamed.jpg")
        daemon.wait()
        assert daemon.stop() == 0
        daemon.start("--milvus", milvus_server.uri)
        daemon.wait()
        assert milvus_server.uri in daemon.status()["engine"]
        assert daemon.status()["encoded"] == 1
        assert daemon.listed() == on_disk(daemon.folder)
        after = scores(daemon)
        for path in before.keys() & after.keys():
            assert after[path] == pytest.approx(before[path], abs=2e-4)
        assert len(before.keys() & after.keys()) == 29
