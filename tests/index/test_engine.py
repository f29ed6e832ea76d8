"""Opening, losing, reviving and closing Milvus."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from milvus_server import ON_SERVER, MilvusServer

from memewatchd.errors import StoreError, StoreUnavailable
from memewatchd.index import engine as engine_module
from memewatchd.index import lite as lite_module
from memewatchd.index import pymilvus_client, space
from memewatchd.index.engine import Engine
from memewatchd.index.store import Store
from memewatchd.meme import Digest, FileRow, FileStat

if TYPE_CHECKING:
    from collections.abc import Callable

ROW = FileRow(b"/a.png", FileStat(1, 2, 3, 4), Digest("ab" * 32), 5)
VECTOR = np.array([1, 0, 0], np.float32)


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def runs(pid: int) -> bool:
    """Whether a process runs; a zombie doesn't."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def filled(engine: Engine) -> Store:
    store = Store(engine)
    store.open_files()
    store.open_pictures("aa", 3)
    store.insert_files([ROW])
    store.insert_pictures([(ROW.digest, 0, VECTOR)])
    return store


def test_what_was_stored_is_there_after_reopening(state_dir: Path) -> None:
    uri = str(state_dir / "index.db")
    with Engine.open(uri, "", state_dir) as engine:
        filled(engine)
    with Engine.open(uri, "", state_dir) as engine:
        store = Store(engine)
        store.open_files()
        store.open_pictures("aa", 3)
        assert list(store.read_files()) == [ROW]
        assert store.picture_digests() == {ROW.digest}
        assert store.search_pictures(VECTOR, 5)[0].digest == ROW.digest


def test_after_the_child_was_killed_the_index_says_so_and_can_be_revived(lite: Engine) -> None:
    store = filled(lite)
    assert lite.alive()
    assert lite.pid is not None
    os.kill(lite.pid, signal.SIGKILL)
    assert eventually(lambda: not lite.alive())
    with pytest.raises(StoreUnavailable):
        store.check(quick=True)
    with pytest.raises(StoreUnavailable):
        list(store.read_files())
    with pytest.raises(StoreUnavailable):
        store.search_pictures(VECTOR, 5)
    with pytest.raises(StoreUnavailable):
        store.insert_files([ROW])
    lite.revive()
    store.check(quick=True)
    assert lite.alive()
    assert store.search_pictures(VECTOR, 5)[0].digest == ROW.digest
    store.insert_files([ROW])
    assert list(store.read_files()) == [ROW]


def test_a_child_that_has_only_just_begun_is_asked_again(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymilvus.exceptions import MilvusException

    told = ['Assert "init_flag_ == true"  => Mmap manager has not been init. at MmapManager.h:96'] * 2

    def create(client: object) -> str:
        if told:
            raise MilvusException(message=told.pop())
        return "made"

    assert lite.call("create a collection", create) == "made"
    monkeypatch.setattr(engine_module, "BEGIN_S", 0.0)
    told.append("Mmap manager has not been init.")
    with pytest.raises(StoreError, match="has not been init"):
        lite.call("create a collection", create)


def test_calls_in_flight_while_the_child_dies_end_with_store_unavailable(lite: Engine) -> None:
    store = filled(lite)
    ends: list[BaseException] = []

    def search_on() -> None:
        try:
            while True:
                store.search_pictures(VECTOR, 5)
        except BaseException as error:  # noqa: BLE001  its type is what is tested
            ends.append(error)

    threads = [threading.Thread(target=search_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert lite.pid is not None
    os.kill(lite.pid, signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    assert [type(error) for error in ends] == [StoreUnavailable] * 3


def test_an_engine_that_nobody_asks_is_let_be(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(lite)
    lite.rest()
    assert not lite.is_resting, "it has just been asked"
    monkeypatch.setattr(engine_module, "REST_S", 0.0)
    store.check(quick=True)
    assert lite.is_resting
    assert lite.alive()
    store.check()
    assert lite.is_resting, "a look doesn't wake it"
    assert store.search_pictures(VECTOR, 5)[0].digest == ROW.digest
    assert not lite.is_resting
    lite.rest()
    store.insert_files([ROW])
    assert list(store.read_files()) == [ROW]
    lite.rest()
    lite.revive()
    assert not lite.is_resting
    assert store.search_pictures(VECTOR, 5)[0].digest == ROW.digest
    lite.rest()
    lite.close()
    assert not lite.is_resting
    with pytest.raises(StoreUnavailable, match="not open"):
        store.search_pictures(VECTOR, 5)


def test_who_only_looks_whether_it_is_well_does_not_keep_it_awake(
    lite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(lite)
    monkeypatch.setattr(engine_module, "REST_S", 0.3)
    time.sleep(0.4)
    store.check()
    lite.rest()
    assert lite.is_resting


def stands_still(pid: int | None) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_what_is_let_be_stands_still_until_somebody_asks(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "REST_S", 0.0)
    store = filled(lite)
    lite.rest()
    assert eventually(lambda: stands_still(lite.pid))
    assert lite.alive()
    assert store.search_pictures(VECTOR, 5)[0].digest == ROW.digest
    assert not stands_still(lite.pid)
    lite.rest()
    lite.revive()
    assert not stands_still(lite.pid)
    lite.rest()
    began = time.monotonic()
    monkeypatch.setattr("memewatchd.index.lite.STOP_S", 20.0)
    lite.close()
    assert time.monotonic() - began < 15, "it was waited for until it was killed"


RESTING = """
import sys, time
from pathlib import Path
from memewatchd.index import engine
engine.REST_S = 0.0
state = Path(sys.argv[1])
opened = engine.Engine.open(str(state / "index.db"), "", state)
opened.rest()
print(opened.pid, flush=True)
time.sleep(60)
"""


def test_what_stands_still_does_not_outlive_us(state_dir: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", RESTING, state_dir], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert eventually(lambda: stands_still(child))
        process.kill()
    # Where nobody reaps orphans, one that has ended stays as a zombie, which has no program.
    assert eventually(lambda: not os.path.exists(f"/proc/{child}/exe"))


def test_where_nobody_would_wake_it_it_never_stands_still(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "REST_S", 0.0)
    monkeypatch.setenv("PATH", str(state_dir))  # there is no setpriv
    lite_module._woken_by_our_death.cache_clear()
    try:
        with Engine.open(str(state_dir / "index.db"), "", state_dir) as engine:
            store = filled(engine)
            engine.rest()
            assert engine.is_resting
            time.sleep(0.2)
            assert not stands_still(engine.pid)
            assert store.search_pictures(VECTOR, 5)[0].digest == ROW.digest
    finally:
        lite_module._woken_by_our_death.cache_clear()


def test_a_resting_engine_whose_child_was_killed(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "REST_S", 0.0)
    store = filled(lite)
    lite.rest()
    assert lite.pid is not None
    os.kill(lite.pid, signal.SIGKILL)
    assert eventually(lambda: not lite.alive())
    with pytest.raises(StoreUnavailable, match="has ended"):
        store.check(quick=True)
    with pytest.raises(StoreUnavailable, match="has ended"):
        store.search_pictures(VECTOR, 5)
    lite.revive()
    assert store.search_pictures(VECTOR, 5)[0].digest == ROW.digest


def test_calls_by_many_threads_while_it_is_put_to_rest_again_and_again(
    lite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "REST_S", 0.0)
    store = filled(lite)
    ended = threading.Event()
    errors: list[Exception] = []
    found = [0]

    def ask() -> None:
        while not ended.is_set():
            try:
                assert store.search_pictures(VECTOR, 5)[0].digest == ROW.digest
                found[0] += 1
            except Exception as error:  # noqa: BLE001 - told below
                errors.append(error)
            time.sleep(0.003)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    rests = 0
    deadline = time.monotonic() + 20
    while rests < 20 and time.monotonic() < deadline:
        lite.rest()
        rests += lite.is_resting
        time.sleep(0.002)
    ended.set()
    for thread in asking:
        thread.join(20)
    assert errors == []
    assert (rests, found[0] > 20) == (20, True)


@ON_SERVER
def test_a_server_is_never_let_go(
    milvus_server: MilvusServer, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "REST_S", 0.0)
    with Engine.open(milvus_server.uri, milvus_server.token, state_dir) as engine:
        engine.rest()
        assert not engine.is_resting


def test_a_child_that_hangs_does_not_hang_us(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("store.SEARCH_S", "words.SEARCH_S", "tables.READ_S", "tables.WRITE_S"):
        monkeypatch.setattr(f"memewatchd.index.{limit}", 0.5)
    store = filled(lite)
    pid = lite.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            store.search_pictures(VECTOR, 5)
        with pytest.raises(StoreUnavailable):
            list(store.read_files())
        with pytest.raises(StoreUnavailable):
            store.delete_files([ROW.id])
        store.check(quick=True)  # it runs
        with pytest.raises(StoreUnavailable):
            store.check()
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_child_that_hangs_is_ended_by_close(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memewatchd.index.lite.STOP_S", 0.2)
    pid = lite.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    lite.close()
    assert not runs(pid)


def test_close_leaves_no_process_and_only_the_database(lite: Engine, state_dir: Path) -> None:
    filled(lite)
    pid = lite.pid
    assert pid is not None
    lite.close()
    lite.close()
    assert not runs(pid)
    assert sorted(path.name for path in state_dir.iterdir()) == [".index.db.lock", "index.db"]
    with pytest.raises(StoreUnavailable, match="not open"):
        lite.call("list", lambda client: client.list_collections(timeout=5))
    with pytest.raises(StoreError, match="closed"):
        lite.revive()


def test_searches_write_nothing_to_the_disk(lite: Engine, state_dir: Path) -> None:
    """By itself the child logs a kilobyte a search, in a file that nobody ever shortens."""
    store = filled(lite)

    def size() -> int:
        return sum(path.stat().st_size for path in state_dir.rglob("*") if path.is_file())

    store.search_pictures(VECTOR, 5)
    before = size()
    for _ in range(100):
        store.search_pictures(VECTOR, 5)
    assert size() - before < 5_000


def test_all_files_are_private(state_dir: Path) -> None:
    before = os.umask(0)
    try:
        with Engine.open(str(state_dir / "index.db"), "", state_dir) as engine:
            filled(engine)
            modes = {
                path.relative_to(state_dir): stat.S_IMODE(path.lstat().st_mode)
                for path in state_dir.rglob("*")
                if not path.is_symlink()
            }
            assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert any(path.suffix == ".sock" for path in modes)
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    state_dir = tmp_path / ("a long name " * 9) / "#?%41 ünïcode"
    state_dir.mkdir(parents=True)
    with Engine.open(str(state_dir / "my memes' index — 1.db"), "", state_dir) as engine:
        assert list(filled(engine).read_files()) == [ROW]
        assert list(state_dir.glob("milvus-lite-*/*.sock")) != []


CHILD = """
import sys, time
from pathlib import Path
from memewatchd.index.engine import Engine
engine = Engine.open(sys.argv[1], "", Path(sys.argv[1]).parent)
try:
    print(engine.pid, flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    assert engine.alive()
    print(engine.call("list", lambda client: client.list_collections(timeout=5)), flush=True)
    engine.close()
    print("closed", flush=True)
"""


@pytest.fixture
def other(state_dir: Path) -> Callable[[], tuple[subprocess.Popen[str], int]]:
    """Starts another program that holds ``index.db`` open; gives it and its child's process id."""

    def start() -> tuple[subprocess.Popen[str], int]:
        program = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(state_dir / "index.db")],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert program.stdout is not None
        return program, int(program.stdout.readline())

    return start


@pytest.mark.parametrize("also", [signal.SIGTERM, signal.SIGHUP, None])
def test_ctrl_c_leaves_the_child_to_us(
    other: Callable[[], tuple[subprocess.Popen[str], int]], also: signal.Signals | None
) -> None:
    program, child = other()
    with program:
        assert os.getpgid(child) != program.pid
        for signum in filter(None, (signal.SIGINT, also)):
            os.kill(child, signum)  # as a terminal, or systemd, would
        os.killpg(program.pid, signal.SIGINT)
        assert program.stdout is not None
        assert program.stdout.read().splitlines() == ["[]", "closed"]
        assert program.wait(20) == 0
    assert not runs(child)


def test_the_child_ends_when_we_are_killed_and_the_next_start_is_clean(
    other: Callable[[], tuple[subprocess.Popen[str], int]], state_dir: Path
) -> None:
    program, child = other()
    with program:
        program.kill()
    with Engine.open(str(state_dir / "index.db"), "", state_dir) as engine:
        filled(engine)
        assert len(list(state_dir.glob("milvus-lite-*/*.sock"))) == 1
    assert eventually(lambda: not runs(child))


def test_a_log_of_errors_does_not_grow_for_ever(lite: Engine, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus Lite complains of each search for words among none: a million left 160 MB."""
    monkeypatch.setattr(lite_module, "LOG_BYTES", 1000)
    store = Store(lite, "t_")
    store.open_words()
    (log,) = state_dir.glob("milvus-lite-*/stderr.log")
    sizes = []
    for _ in range(30):
        store.search_words("cat", 5)
        sizes.append(log.stat().st_size)
    assert max(sizes) > 1000 - 400, "it complains"
    assert max(sizes) < 1000 + 400
    assert sizes != sorted(sizes), "and begins anew"


def test_a_file_in_use_is_refused_and_its_user_not_disturbed(
    other: Callable[[], tuple[subprocess.Popen[str], int]], state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memewatchd.index.lite.ORPHAN_S", 0.2)
    program, child = other()
    with program:
        with pytest.raises(StoreError, match=r"index\.db is in use by another program"):
            Engine.open(str(state_dir / "index.db"), "", state_dir)
        os.killpg(program.pid, signal.SIGINT)
        assert program.stdout is not None
        assert program.stdout.read().splitlines() == ["[]", "closed"]
    assert not runs(child)


def test_a_file_is_opened_once_in_a_program(lite: Engine, state_dir: Path) -> None:
    store = filled(lite)
    link = state_dir / "link.db"
    link.symlink_to("index.db")
    for uri in (state_dir / "index.db", link):
        with pytest.raises(StoreError, match="already open"):
            Engine.open(str(uri), "", state_dir)
    assert list(store.read_files()) == [ROW]


@pytest.mark.parametrize("content", [b"not a database" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_not_milvus_lites_is_named_and_left_as_it_is(
    tmp_path: Path, state_dir: Path, content: bytes
) -> None:
    file = tmp_path / "index.db"  # not in the state folder: anybody's, perhaps
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"index\.db.*move it away"):
        Engine.open(str(file), "", state_dir)
    assert file.read_bytes() == content


def test_another_programs_sqlite_file_is_left_as_it_is(state_dir: Path) -> None:
    file = state_dir / "photos #1.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE photos (name)")
        connection.commit()
    content = file.read_bytes()
    with pytest.raises(StoreError, match="not a Milvus Lite database"):
        Engine.open(str(file), "", state_dir)
    assert file.read_bytes() == content


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def ruined_in_the_middle(content: bytes) -> bytes:
    """Milvus Lite opens this, leaves out what it can't read, and says nothing."""
    middle = len(content) // 2
    return content[:middle] + secrets.token_bytes(8192) + content[middle + 8192 :]


@pytest.mark.parametrize("ruin", [truncated, ruined_in_the_middle, lambda _: b"not a database" * 1000])
def test_a_damaged_index_of_ours_is_set_aside_and_not_trusted(
    state_dir: Path, ruin: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    file = state_dir / "index.db"
    with Engine.open(str(file), "", state_dir) as engine:
        store = filled(engine)
        store.insert_files([FileRow(b"/%d.png" % n, FileStat(n, 2, 3, 4), ROW.digest, 5) for n in range(200)])
    ruined = ruin(file.read_bytes())
    file.write_bytes(ruined)
    journal = state_dir / "index.db-journal"
    journal.write_bytes(b"of the ruined one")
    with Engine.open(str(file), "", state_dir) as engine:
        # The ruined journal was moved along, or SQLite has seen that it is none.
        (aside,) = state_dir.glob("index.db.broken-*[0-9]")
        assert aside.read_bytes() == ruined
        assert not journal.exists()
        assert aside.name in engine.description
        assert str(aside) in caplog.text
        store = Store(engine)
        store.open_files()
        assert list(store.read_files()) == []
        file.unlink()
        engine.close()
    file.write_bytes(ruined)
    with Engine.open(str(file), "", state_dir):
        kept = [path for path in state_dir.glob("index.db.broken-*") if not path.name.endswith("-journal")]
        assert len(kept) == 2
        assert aside.read_bytes() == ruined


def test_the_journal_of_a_child_that_was_killed_is_no_damage(state_dir: Path) -> None:
    """What a half-done write leaves: pages of the new state in the file, and of the old one in the journal."""
    file, journal = state_dir / "index.db", state_dir / "index.db-journal"
    with Engine.open(str(file), "", state_dir) as engine:
        filled(engine)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.execute("DELETE FROM collection_meta")
        connection.execute("CREATE TABLE junk AS SELECT randomblob(100000)")
        left = file.read_bytes(), journal.read_bytes()
        connection.execute("ROLLBACK")
    file.write_bytes(left[0])
    journal.write_bytes(left[1])
    with Engine.open(str(file), "", state_dir) as engine:
        store = Store(engine)
        store.open_files()
        assert list(store.read_files()) == [ROW]
    assert not list(state_dir.glob("*.broken*"))


def test_what_milvus_lite_takes_and_does_not_write_is_no_success(lite: Engine, state_dir: Path) -> None:
    """It says that all is well where SQLite couldn't write."""
    store = filled(lite)
    journal = state_dir / "index.db-journal"
    journal.mkdir()  # stands for a full disk, and for a folder that is read-only
    lost = FileRow(b"/lost.png", FileStat(2, 2, 3, 4), ROW.digest, 5)
    with pytest.raises(StoreError, match=r"could not write to .*index\.db; free space"):
        store.insert_files([lost])
    journal.rmdir()
    lite.revive()
    assert list(store.read_files()) == [ROW]
    for _ in range(2):
        store.insert_files([lost])
        store.delete_files([lost.id])
    store.insert_files([lost])
    lite.revive()
    assert sorted(row.path for row in store.read_files()) == [ROW.path, lost.path]


def test_a_read_only_file_is_refused(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root is refused nothing, so this asks with its eyes shut."""
    file = state_dir / "index.db"
    with Engine.open(str(file), "", state_dir) as engine:
        filled(engine)
    file.chmod(0o400)
    if os.geteuid() == 0:
        monkeypatch.setattr(lite_module.os, "access", lambda path, mode: not (path == file and mode == os.W_OK))
    with pytest.raises(StoreError, match=r"index\.db is read-only; make it writable"):
        Engine.open(str(file), "", state_dir)


def test_a_nearly_full_disk_is_said_with_what_to_do(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(str(state_dir / "index.db"), "", state_dir)
    assert engine.shortage() == ""
    monkeypatch.setattr(space, "FLOOR", 2**62)
    assert re.match(rf"\d+ MiB are free in {state_dir}, and \d+ must stay free: .*Free some space", engine.shortage())
    assert Engine("http://127.0.0.1:1", "", state_dir).shortage() == ""  # its disk is not ours to look at


def test_a_folder_and_a_missing_folder_are_named(state_dir: Path) -> None:
    (state_dir / "index.db").mkdir()
    with pytest.raises(StoreError, match=r"index\.db is a folder"):
        Engine.open(str(state_dir / "index.db"), "", state_dir)
    with pytest.raises(StoreError, match="nowhere: no such folder"):
        Engine.open(str(state_dir / "nowhere" / "index.db"), "", state_dir)


@pytest.mark.parametrize("uri", ["", "index", "ftp://host:1", "http://", "localhost:19530"])
def test_an_address_that_is_none_is_refused(state_dir: Path, uri: str) -> None:
    with pytest.raises(StoreError, match="--milvus"):
        Engine.open(uri, "", state_dir)


def test_a_server_that_is_not_there(state_dir: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match=f"{uri} did not answer.*start it"):
            Engine.open(uri, "", state_dir)


def test_a_server_that_never_answers(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pymilvus_client, "CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match="did not answer") as caught:
            Engine.open(uri, "", state_dir)
        assert "secret" not in str(caught.value)


@ON_SERVER
def test_a_wrong_token_is_said_to_be_one(milvus_server: MilvusServer, state_dir: Path) -> None:
    for token in ("", "root:wrong"):
        with pytest.raises(StoreError, match=r"refuses the token.*--milvus-token-file") as caught:
            Engine.open(milvus_server.uri, token, state_dir)
        assert not isinstance(caught.value, StoreUnavailable)
    engine = Engine(milvus_server.uri, "root:wrong", state_dir)
    with pytest.raises(StoreError, match="refuses the token"):
        engine.revive()
    engine.revive(milvus_server.token)  # somebody has mended the file
    engine.close()
    with Engine.open(milvus_server.uri, milvus_server.token + "\n", state_dir) as engine:
        assert engine.kind == "server"
        assert engine.alive()
        assert milvus_server.uri in engine.description


@ON_SERVER
def test_a_server_is_connected_to_anew(milvus_server: MilvusServer, state_dir: Path) -> None:
    with Engine.open(milvus_server.uri, milvus_server.token, state_dir) as engine:
        store = Store(engine, f"t{secrets.token_hex(6)}_")
        store.open_files()
        store.insert_files([ROW])
        engine.revive()
        assert list(store.read_files()) == [ROW]
        engine.client.drop_collection(f"{store._prefix}files", timeout=30)


def test_opening_is_silent_and_heeds_no_surroundings(state_dir: Path) -> None:
    """pymilvus refuses to be imported with such a MILVUS_URI, and logs failures by itself."""
    script = (
        "import sys; from pathlib import Path; from memewatchd.index.engine import Engine;"
        "from memewatchd.index.store import Store; import memewatchd.index.state;"
        "assert 'pymilvus' not in sys.modules;"
        "e = Engine.open(sys.argv[1], '', Path(sys.argv[1]).parent); s = Store(e); s.open_files();"
        "list(s.read_files()); e._lite._process.kill(); e._lite._process.wait(); e._lite.alive = lambda: True\n"
        "try: list(s.read_files())\n"
        "except Exception as error: assert type(error).__name__ == 'StoreUnavailable', error\n"
        "else: raise SystemExit('it answered')\n"
        "assert 'pkg_resources' not in sys.modules; e.close()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(state_dir / "index.db")],
        env=os.environ | {"MILVUS_URI": "./notes.db"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
