"""The embedded engine: Milvus Lite 2.5's server program as a child of ours, on a Unix socket.

``milvus_lite``'s own Python wrapper isn't used. It puts socket and logs into the shared temporary
folder, leaves the child in our process group (a Ctrl-C kills it before we have closed), needs
``pkg_resources``, and would have us change umask and environment of the whole process. The wheel's
program is started here instead, with a session, a signal mask, a umask and an environment of its own.

The life line between the two is a POSIX lock on ``.NAME.db.lock`` beside the file, the wrapper's own
protocol: the child waits for it and ends as soon as it gets it. So it ends when we close, and within
a second of our death, and a program that opens the same file through the wrapper is refused.
A child that stands still (:meth:`LiteServer.pause`) would not get it: so the kernel wakes it when its
parent dies, where setpriv(1) of util-linux can ask for that; where it can't, the child never stands still.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import itertools
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from memewatchd.errors import StoreError, StoreUnavailable
from memewatchd.index import lite_file

_log = logging.getLogger(__name__)

START_S = 30.0
"""How long the child may take until it answers on its socket (0.1 s on an idle machine)."""
STOP_S = 1.0
"""How long the child may take to end by itself before it is killed. It takes 3 to 30 ms, or 10 s: its gRPC
then waits for a poller of its own, when all is written and served."""
ORPHAN_S = 15.0
"""How long to wait for the child of a daemon that was killed; it may take those 10 s too."""

LOG_BYTES = 1 << 20

_BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_sockets = itertools.count(1)
_open_files: set[str] = set()
_open_files_lock = threading.Lock()


class LiteServer:
    """One child that serves one ``.db`` file. Owned by the engine, which serialises its calls."""

    def __init__(self, file: Path, state_dir: Path) -> None:
        """A folder of our own in ``state_dir`` is for the socket and the logs. Nothing is done before :meth:`start`."""
        self.file = Path(os.path.realpath(file))
        self.folder = os.fspath(self.file.parent)
        name = hashlib.blake2b(os.fsencode(self.file), digest_size=4).hexdigest()
        self._lock_file = self.file.with_name(f".{self.file.name}.lock")
        self._run_dir = state_dir.absolute() / f"milvus-lite-{name}"
        self.is_ours = self.file.parent == Path(os.path.realpath(state_dir))
        """Whether the file can only be what we wrote; one elsewhere may be anybody's, named by mistake."""
        self._run_fd: int | None = None
        self._lock_fd: int | None = None
        self._errors_fd: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owned = False
        self._through = _woken_by_our_death()

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._process.pid if self._process is not None else None

    def alive(self) -> bool:
        """Whether the child runs."""
        return self._process is not None and self._process.poll() is None

    def pause(self) -> None:
        """Let the child stand still, which wakes once a second otherwise, until :meth:`resume`.

        What was written is safe meanwhile, whatever happens to it. To be called by whoever has just disconnected.
        """
        if self._through and self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the child go on, whoever stopped it. Any state is fine."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def trim_log(self) -> None:
        """Empty the child's log where it has grown: one error again and again would fill the disk. Only what it said
        before it listened is of use."""
        with contextlib.suppress(OSError):  # it has just been stopped
            if self._errors_fd is not None and os.fstat(self._errors_fd).st_size > LOG_BYTES:
                os.ftruncate(self._errors_fd, 0)

    def commits(self) -> int:
        """SQLite's own count of the transactions that have reached the file; -1 while that can't be read."""
        try:
            with self.file.open("rb") as stream:
                return int.from_bytes(os.pread(stream.fileno(), 4, 24), "big")
        except OSError:
            return -1

    def start(self) -> str:
        """Start the child and wait until it listens; returns pymilvus' address of it.

        Raises :class:`StoreError` if the file is in use, another program's, or can't be opened, and
        :class:`StoreDamaged` if it isn't a database or isn't whole.
        """
        program = _program()
        if not self.file.parent.is_dir():
            raise StoreError(f"{self.file.parent}: no such folder; create it, or choose another file with --milvus")
        self._own_file()
        try:
            self._take_lock()
            lite_file.refuse_foreign(self.file)
            lite_file.refuse_damaged(self.file)
            return self._start(program)
        except OSError as error:
            self.stop()
            raise StoreError(f"can't start Milvus Lite: {error.filename}: {error.strerror}") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the child, quickly and whatever state it is in, and remove what it left. Idempotent."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None
        if self._process is not None:
            self.resume()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._errors_fd is not None:
            os.close(self._errors_fd)
            self._errors_fd = None
        if self._run_fd is not None:
            os.close(self._run_fd)
            self._run_fd = None
            shutil.rmtree(self._run_dir, ignore_errors=True)
        if self._owned:
            with _open_files_lock:
                _open_files.discard(str(self.file))
            self._owned = False

    def _own_file(self) -> None:
        # POSIX locks don't exclude within one process, and closing any descriptor of the lock file
        # would give up the lock of the other engine.
        with _open_files_lock:
            if str(self.file) in _open_files:
                raise StoreError(f"{self.file} is already open in this program")
            _open_files.add(str(self.file))
            self._owned = True

    def _take_lock(self) -> None:
        path = self._lock_file
        try:
            self._lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"{path}: {error.strerror}; make its folder writable, or choose another file with --milvus"
            ) from error
        deadline = time.monotonic() + ORPHAN_S
        while True:
            try:
                fcntl.lockf(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if not _held_by_orphan(self._lock_fd) or time.monotonic() > deadline:
                    raise StoreError(
                        f"{self.file} is in use by another program; stop it, or choose another file with --milvus"
                    ) from error
                time.sleep(0.05)
            else:
                return

    def _start(self, program: Path) -> str:
        shutil.rmtree(self._run_dir, ignore_errors=True)  # what a daemon that was killed left
        self._run_dir.mkdir(mode=0o700)
        self._run_fd = os.open(self._run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # A fresh name each time: gRPC holds back from an address that has just failed, and pymilvus keeps
        # schemas by address.
        name = f"{next(_sockets)}.sock"
        errors = self._run_dir / "stderr.log"
        environment = dict(os.environ)
        libraries = (str(program.parent), environment.get("LD_LIBRARY_PATH", ""))
        environment["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
        environment["TMPDIR"] = str(self._run_dir)
        environment["RUST_LOG"] = "off"
        environment.setdefault("MALLOC_ARENA_MAX", "2")  # 10 MB less, and no slower
        environment["GLOG_minloglevel"] = "2"  # errors; by itself it writes a kilobyte for each search, for ever
        # Appending, so that what is written after it was emptied begins anew.
        self._errors_fd = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # The mask is this thread's alone; the child inherits it. Its own session keeps the terminal's
        # Ctrl-C and hang-up away, the mask a SIGTERM for our whole control group.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        try:
            self._process = subprocess.Popen(
                [
                    *self._through,
                    program,
                    self.file,
                    f"unix:{name}",
                    "ERROR",
                    self._lock_file,
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._errors_fd,
                stderr=self._errors_fd,
                cwd=self._run_dir,
                env=environment,
                umask=0o077,
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # A socket's address has 108 bytes, and gRPC unescapes it: so the child binds a name in its working
        # folder, and we go through a descriptor of that folder, wherever it lies and whatever it is called.
        address = f"/proc/self/fd/{self._run_fd}/{name}"
        self._wait_until_it_listens(address, errors)
        return f"unix:{address}"

    def _wait_until_it_listens(self, address: str, errors: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                with contextlib.suppress(OSError):
                    probe.connect(address)
                    return
            if self._process.poll() is not None:
                raise _start_failed(self.file, errors.read_text("utf-8", "replace"))
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"Milvus Lite did not open {self.file} within {START_S:.0f} s")
            time.sleep(0.01)


def _program() -> Path:
    """The server program in milvus-lite's wheel, found without importing the wheel's Python code."""
    spec = importlib.util.find_spec("milvus_lite")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        program = Path(folder, "lib", "milvus")
        if program.is_file():
            return program
    raise StoreError("milvus-lite 2.5 isn't installed here: pip install milvus-lite==2.5.1, or use --milvus http://…")


@functools.cache
def _woken_by_our_death() -> tuple[str, ...]:
    """What to start a program with so that it is continued when the thread that started it ends: PR_SET_PDEATHSIG of
    prctl(2), which Python can't set without running code of ours in the forked child. Empty where there is no such."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    through = (setpriv, "--pdeathsig", "SIGCONT", "--")
    with contextlib.suppress(OSError):
        if not subprocess.run([*through, "true"], capture_output=True, check=False).returncode:
            return through
    return ()


def _held_by_orphan(lock_fd: int) -> bool:
    """Whether a Milvus Lite child holds the lock, not a program that has one: then its parent is gone, and it
    is about to end. True too if nobody holds it any more."""
    layout = "hhqqi"  # struct flock: type, whence, start, length, pid
    asked = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = struct.unpack(layout, fcntl.fcntl(lock_fd, fcntl.F_GETLK, asked))
    if kind == fcntl.F_UNLCK:
        return True
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)").endswith("/milvus_lite/lib/milvus")
    except OSError:
        return False


def _start_failed(file: Path, output: str) -> StoreError:
    reason = output.partition("errs: ")[2].splitlines() or output.partition("err: ")[2].splitlines()
    if reason and ("not a database" in reason[0] or "malformed" in reason[0]):
        return lite_file.damaged(file)
    what = reason[0] if reason else (output.strip().splitlines() or ["it gave no reason"])[-1]
    return StoreError(f"Milvus Lite can't open {file}: {what}. Free space, make it writable, or move it away")
