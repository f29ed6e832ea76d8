"""Children that crash, hang, or are orphaned; and what the parent keeps to itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from memewatchd.errors import MemewatchError, PictureError
from memewatchd.meme import FrameSpec
from memewatchd.pictures import wire
from memewatchd.pictures.child import Child
from memewatchd.pictures.pool import DecodePool, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.pictures.conftest import Decode, Encode

SPEC = FrameSpec("exact", 8, 8)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.png"
    Image.new("RGB", (20, 10), (1, 2, 3)).save(path)
    return path


@pytest.fixture
def slow(tmp_path: Path, slow_picture: bytes) -> Path:
    path = tmp_path / "slow.bmp"
    path.write_bytes(slow_picture)
    return path


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def holds(pid: int, path: Path) -> bool:
    """Whether a process has a file open: a child at work has its job's."""
    try:
        links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return False
    return str(path) in links


def at_work(pool: DecodePool, path: Path, but: int = 0) -> int:
    """Waits for a child (other than ``but``) that decodes ``path``."""
    found = 0

    def look() -> int:
        nonlocal found
        found = next((pid for pid in pool.pids if pid != but and holds(pid, path)), 0)
        return found

    wait_for(look)
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended. Nobody may reap an orphan here, so a zombie counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# -- what a caller may do ---------------------------------------------------------------------------


def test_the_caller_may_close_and_delete_at_once(small: Path, pool: DecodePool) -> None:
    with small.open("rb") as file:
        future = pool.submit(file.fileno(), SPEC)
    small.unlink()
    assert future.result(60).width == 20


def test_the_position_of_the_file_stays(small: Path, pool: DecodePool) -> None:
    with small.open("rb", buffering=0) as file:
        file.seek(5)
        assert pool.submit(file.fileno(), SPEC).result(60).height == 10
        assert file.tell() == 5


def test_many_at_once_by_several_children(small: Path) -> None:
    with DecodePool(2) as pool, small.open("rb") as file:
        futures = [pool.submit(file.fileno(), SPEC) for _ in range(60)]
        assert all(future.result(60).format == "png" for future in futures)
        assert len(set(pool.pids)) == 2


def test_only_regular_files(tmp_path: Path, pool: DecodePool) -> None:
    reading, writing = os.pipe()
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        for fd in (reading, folder):
            with pytest.raises(PictureError, match="not a regular file"):
                pool.submit(fd, SPEC).result(60)
    finally:
        for fd in (reading, writing, folder):
            os.close(fd)


def test_a_descriptor_that_is_not_for_reading(small: Path, pool: DecodePool) -> None:
    fd = os.open(small, os.O_WRONLY)
    try:
        with pytest.raises(PictureError, match="can't be read: Bad file descriptor"):
            pool.submit(fd, SPEC).result(60)
    finally:
        os.close(fd)


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty file"), (b"just text", "not a picture inside")])
def test_no_picture(data: bytes, reason: str, decode: Decode) -> None:
    with pytest.raises(PictureError) as caught:
        decode(data)
    assert str(caught.value) == reason


def test_the_name_plays_no_part(photo: Image.Image, tmp_path: Path, pool: DecodePool, encode: Encode) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(photo, "gif"))
    with path.open("rb") as file:
        assert pool.submit(file.fileno(), SPEC).result(60).format == "gif"


def test_heic_names_its_package(photo: Image.Image, encode: Encode, tmp_path: Path) -> None:
    """In a child's own code, but where the package can't be found."""
    path = tmp_path / "a.heic"
    path.write_bytes(encode(photo, "heic"))
    script = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from memewatchd.meme import FrameSpec\n"
        "from memewatchd.pictures import decode, wire\n"
        "try: decode.answer(0, wire.Job(FrameSpec('exact', 8, 8)), wire.Limits())\n"
        "except Exception as error: print(error)\n"
    )
    with path.open("rb") as file:
        done = subprocess.run([sys.executable, "-c", script], stdin=file, capture_output=True, text=True, check=True)
    assert done.stdout == "HEIC needs the pillow-heif package (pip install pillow-heif)\n"


# -- crashes ----------------------------------------------------------------------------------------


def test_a_child_killed_while_idle_is_replaced(small: Path) -> None:
    with DecodePool(1) as pool, small.open("rb") as file:
        pool.submit(file.fileno(), SPEC).result(60)
        (pid,) = pool.pids
        os.kill(pid, signal.SIGKILL)
        assert pool.submit(file.fileno(), SPEC).result(60).format == "png"
        assert pool.pids != [pid]


def test_one_death_is_not_the_pictures_fault(slow: Path) -> None:
    """Whatever chose the child (the OOM killer, say) leaves the picture another chance."""
    with DecodePool(1) as pool, slow.open("rb") as file:
        future = pool.submit(file.fileno(), SPEC)
        os.kill(at_work(pool, slow), signal.SIGKILL)
        assert future.result(60).format == "bmp"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGSEGV, "the decoder crashed (signal 11)"),
        (signal.SIGABRT, "the decoder crashed (signal 6)"),
        (signal.SIGKILL, "the decoder was killed (signal 9), perhaps because memory ran out"),
    ],
)
def test_a_picture_that_crashes_two_children_is_to_blame(
    number: signal.Signals, reason: str, slow: Path, small: Path
) -> None:
    with DecodePool(1) as pool, slow.open("rb") as file, small.open("rb") as next_file:
        future = pool.submit(file.fileno(), SPEC)
        following = pool.submit(next_file.fileno(), SPEC)
        first = at_work(pool, slow)
        os.kill(first, number)
        os.kill(at_work(pool, slow, but=first), number)
        with pytest.raises(PictureError) as caught:
            future.result(60)
        assert str(caught.value) == reason
        assert following.result(60).format == "png"


def test_a_decoder_that_cannot_start_is_not_the_pictures_fault(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[str]:
        return [sys.executable, "-c", "import sys; sys.exit('ModuleNotFoundError: No module named PIL')"]

    monkeypatch.setattr(Child, "_command", broken)
    with DecodePool(1) as pool, small.open("rb") as file:
        with pytest.raises(MemewatchError, match="can't be started: ModuleNotFoundError") as caught:
            pool.submit(file.fileno(), SPEC).result(60)
        assert type(caught.value) is MemewatchError
        monkeypatch.undo()
        assert pool.submit(file.fileno(), SPEC).result(60).format == "png"


@pytest.mark.parametrize(
    "answer",
    [
        '{"format": "png", "width": 1, "height": 1, "n_frames": 1, "frames": 9}',
        '{"format": "png", "width": 1, "height": 1, "n_frames": 1, "frames": "x"}',
        '{"format": "png", "frames": -1}',
        '{"format": "png", "width": 1, "height": 1, "n_frames": 3, "frames": 1}',
        '{"format": "png", "width": 1, "height": 1, "n_frames": 3, "frames": 1, "numbers": [3]}',
        '{"format": "png", "width": 1, "height": 1, "n_frames": 3, "frames": 1, "numbers": [-1]}',
        '{"format": "png", "width": 1, "height": 1, "n_frames": 3, "frames": 1, "numbers": [0, 1]}',
        '{"format": "png", "width": 1, "height": 1, "n_frames": 3, "frames": 1, "numbers": ["0"]}',
        "[]",
        "{",
    ],
)
def test_nonsense_from_a_child_is_not_believed(answer: str, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import socket, struct, sys\n"
        "s = socket.socket(fileno=int(sys.argv[1]))\n"
        "def say(text): s.sendall(struct.pack('<I', len(text)) + text.encode())\n"
        "say('{\"ready\": true}'); s.recv(4096); say(sys.argv[2]); s.recv(4096)\n"
    )
    monkeypatch.setattr(Child, "_command", lambda _, fd: [sys.executable, "-c", script, str(fd), answer])
    with DecodePool(1) as pool, small.open("rb") as file, pytest.raises(PictureError, match="nonsense"):
        pool.submit(file.fileno(), SPEC).result(60)


# -- the end ----------------------------------------------------------------------------------------


def test_close_in_the_middle_of_a_picture(slow: Path) -> None:
    pool = DecodePool(2)
    with slow.open("rb") as file:
        futures = [pool.submit(file.fileno(), SPEC) for _ in range(5)]
        at_work(pool, slow)
        pids = pool.pids
        pool.close()
        for future in futures:
            with pytest.raises(CancelledError):
                future.result(0)
        assert pool.pids == []
        for pid in pids:  # not even a zombie
            assert not Path(f"/proc/{pid}").exists()
        with pytest.raises(CancelledError):
            pool.submit(file.fileno(), SPEC).result(0)
    pool.close()


def test_close_before_use_and_right_after_the_start() -> None:
    DecodePool(2).close()
    pool = DecodePool(2)
    pool.start()
    pool.close()
    assert pool.pids == []


def test_nothing_is_left_open(small: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with DecodePool(2) as pool, small.open("rb") as file:
        for future in [pool.submit(file.fileno(), SPEC) for _ in range(10)]:
            future.result(60)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_waiting_submit_ends_when_the_pool_closes(slow: Path) -> None:
    from threading import Thread

    pool = DecodePool(1)
    futures = []
    with slow.open("rb") as file:

        def fill() -> None:
            futures.extend(pool.submit(file.fileno(), SPEC) for _ in range(30))

        thread = Thread(target=fill)
        thread.start()
        at_work(pool, slow)
        pool.close()
        thread.join(60)
    assert len(futures) == 30
    assert all(
        isinstance(future.exception(0) if not future.cancelled() else CancelledError(), CancelledError)
        for future in futures
    )


def test_children_die_with_their_parent(slow: Path) -> None:
    script = (
        "import sys, time\n"
        "from memewatchd.pictures.pool import DecodePool\n"
        "from memewatchd.meme import FrameSpec\n"
        "pool = DecodePool(2)\n"
        "pool.submit(0, FrameSpec('exact', 8, 8))\n"
        "while len(pool.pids) < 2: time.sleep(.01)\n"
        "print(*pool.pids, flush=True); time.sleep(600)\n"
    )
    with slow.open("rb") as file:
        parent = subprocess.Popen([sys.executable, "-c", script], stdin=file, stdout=subprocess.PIPE, text=True)
        assert parent.stdout
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        wait_for(lambda: any(holds(pid, slow) for pid in pids))
        parent.kill()
        parent.communicate()
    wait_for(lambda: all(gone(pid) for pid in pids))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_terminals_signals_are_the_parents(number: signal.Signals, slow: Path) -> None:
    with DecodePool(1) as pool, slow.open("rb") as file:
        future = pool.submit(file.fileno(), SPEC)
        pid = at_work(pool, slow)
        os.kill(pid, number)
        assert future.result(60).format == "bmp"
        assert pool.pids == [pid]
        assert os.getpgid(pid) != os.getpgid(0)


# -- what a child has and knows ---------------------------------------------------------------------


def test_a_child_is_bounded_and_polite(small: Path) -> None:
    limits = Limits(memory_bytes=300 << 20)
    with DecodePool(1, limits) as pool, small.open("rb") as file:
        pool.submit(file.fileno(), SPEC).result(60)
        (pid,) = pool.pids
        rows = [line.split("  ") for line in Path(f"/proc/{pid}/limits").read_text().splitlines()]
        hard = {row[0]: [cell.strip() for cell in row if cell.strip()][2] for row in rows}
        assert hard["Max core file size"] == "0"
        assert int(hard["Max open files"]) <= 64
        assert int(hard["Max file size"]) <= 65536
        assert 300 << 20 < int(hard["Max address space"]) < 900 << 20
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        # Its own socket, /dev/null twice, and the file for its complaints; the picture is closed again.
        wait_for(lambda: len(os.listdir(f"/proc/{pid}/fd")) == 4)


def test_a_child_inherits_neither_secrets_nor_traps(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken over')")
    (tmp_path / "PIL.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("MEMEWATCHD_MILVUS_TOKEN", "hush")
    with DecodePool(1) as pool, small.open("rb") as file:
        assert pool.submit(file.fileno(), SPEC).result(60).format == "png"
        environment = Path(f"/proc/{pool.pids[0]}/environ").read_bytes()
        assert b"hush" not in environment
        assert str(tmp_path).encode() not in environment


def loaded_after(statement: str) -> set[str]:
    script = f"{statement}\nimport sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_parent_imports_no_decoder() -> None:
    loaded = loaded_after("import memewatchd.pictures.pool, memewatchd.pictures.kinds")
    assert not loaded & {"PIL", "numpy", "pillow_heif", "torch"}


def test_the_child_imports_nothing_heavy() -> None:
    loaded = loaded_after("import memewatchd.pictures.decode")
    assert "PIL" in loaded
    assert not loaded & {"numpy", "pillow_heif", "torch", "transformers", "pymilvus", "click", "asyncio"}


def test_a_child_uses_no_module_of_the_package_that_it_does_not_need() -> None:
    script = (
        "import memewatchd.pictures.decode, sys\n"
        "print(*sorted(name for name in sys.modules if name.startswith('memewatchd')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in done.stdout.split() if "." in name}
    assert rooms == {"errors", "looks", "meme", "pictures", "priority"}


def test_warnings_are_quiet(
    decode: Decode, encode: Encode, photo: Image.Image, capfd: pytest.CaptureFixture[str]
) -> None:
    """Corrupt EXIF and odd TIFF tags make Pillow and libtiff complain; a picture is a picture."""
    data = encode(photo, "tiff", compression="tiff_lzw", tiffinfo={65000: "odd", 270: "x" * 100})
    assert decode(data).format == "tiff"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\xff\xff\xff\xff\xff\xff"
    assert decode(encode(photo, "jpeg", exif=exif)).format == "jpeg"
    assert capfd.readouterr() == ("", "")


# -- the wire ---------------------------------------------------------------------------------------


def test_messages_of_every_size_arrive_whole() -> None:
    import socket
    from threading import Thread

    ours, theirs = socket.socketpair()
    with ours, theirs:
        pixels = os.urandom(3_000_000)
        thread = Thread(target=wire.send, args=(theirs, {"n": 1, "pad": "é" * 5000}, pixels))
        thread.start()
        assert wire.receive(ours) == {"n": 1, "pad": "é" * 5000}
        assert wire.receive_bytes(ours, len(pixels)) == pixels
        thread.join()
        theirs.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(ValueError, match="4294967295"):
            wire.receive(ours)
        with pytest.raises(TimeoutError):
            wire.receive(ours, time.monotonic() + 0.01)
        theirs.close()
        with pytest.raises(wire.Closed):
            wire.receive(ours)


def test_a_message_in_drops_does_not_outlive_the_deadline() -> None:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"\x09\0\0\0{")
        with pytest.raises(TimeoutError):
            wire.receive(ours, time.monotonic() + 0.05)
