"""The state file, the lock, and the folder they lie in."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from memewatchd.errors import AlreadyRunning, ConfigError
from memewatchd.index.state import STATE_FILE, State, ensure_private_dir, lock_state, read_state, write_state

if TYPE_CHECKING:
    from pathlib import Path

STATE = State(
    "0123456789abcdef",
    "bundled",
    {b"/memes": (2049, 7), b"/\xff\n\"not\\utf-8'": (2**63, 2**64 - 1), "/表情".encode(): (1, 2)},
    reindex_model="/home/u/模型",
    reindex_loads=1,
    replaced="fedcba9876543210",
)


def test_what_an_earlier_version_wrote_is_read(state_dir: Path) -> None:
    (state_dir / STATE_FILE).write_text('{"version": 1, "fingerprint": "aa", "model": "clip", "roots": []}')
    assert read_state(state_dir) == State("aa", "clip")


def test_what_was_written_is_read(state_dir: Path) -> None:
    assert read_state(state_dir) == State()
    write_state(state_dir, State("aa"))
    write_state(state_dir, STATE)
    assert read_state(state_dir) == STATE
    assert [path.name for path in state_dir.iterdir()] == [STATE_FILE]
    assert stat.S_IMODE((state_dir / STATE_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "null", "[" * 100_000, "\0" * 50),
        '{"version": 2, "fingerprint": "", "model": "", "roots": []}',
        '{"version": 1, "fingerprint": 3, "model": "", "roots": []}',
        '{"version": 1, "fingerprint": "", "model": "", "roots": [{"path": 1, "dev": 1, "ino": 1}]}',
        '{"version": 1, "fingerprint": ""}',
    ],
)
def test_a_damaged_state_counts_as_none(state_dir: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (state_dir / STATE_FILE).write_text(content)
    assert read_state(state_dir) == State()
    assert STATE_FILE in caplog.text
    write_state(state_dir, STATE)
    assert read_state(state_dir) == STATE


def test_a_failed_write_leaves_the_old_state(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_state(state_dir, STATE)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_state(state_dir, State("bb"))
    assert read_state(state_dir) == STATE
    assert [path.name for path in state_dir.iterdir()] == [STATE_FILE]


def test_one_daemon_at_a_time(state_dir: Path) -> None:
    with lock_state(state_dir), pytest.raises(AlreadyRunning, match=f"process {os.getpid()}.*{state_dir}"):
        lock_state(state_dir)
    with lock_state(state_dir) as lock:
        lock.release()
        lock_state(state_dir).release()


def test_the_lock_goes_with_the_process_and_no_child_keeps_it(state_dir: Path) -> None:
    script = (
        "import sys, subprocess; from pathlib import Path; from memewatchd.index.state import lock_state;"
        "lock = lock_state(Path(sys.argv[1]));"
        "child = subprocess.Popen(['sleep', '60'], close_fds=False, stdout=subprocess.DEVNULL);"
        "print(child.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(AlreadyRunning):
                lock_state(state_dir)
            holder.kill()
            holder.wait()
            lock_state(state_dir).release()
        finally:
            os.kill(child, 9)


def test_a_missing_folder_is_made_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ensure_private_dir(tmp_path / "a" / "b")
        ensure_private_dir(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("a", "a/b")] == [0o700, 0o700]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777, 0o720])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigError, match=r"open: others can write to it.*chmod go-w"):
        ensure_private_dir(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == mode
    folder.chmod(0o755)
    ensure_private_dir(folder)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "below", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match=f"{path}.*another"):
            ensure_private_dir(path)


def test_the_state_needs_nothing_heavy() -> None:
    script = "import sys, memewatchd.index.state; print({'pymilvus', 'numpy', 'grpc'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
