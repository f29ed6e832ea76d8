"""Runs as a service's program and tries what the hardening is to forbid; standard library only.

    probe.py HOME PORT ATTEMPT...

Prints one JSON object: for each attempt "done", or why not. Each is made in a child of its own, since a refusal may
be the end of it. What they look for (another's home, a set-uid program, a device) is put there by hardening.py.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HOME = Path(sys.argv[1])
PORT = int(sys.argv[2])
STATE = HOME / ".local/state/memewatchd"
ELSEWHERE = Path("/srv/soak")
OTHER = Path("/home/other/secret")
NOTE = Path("/tmp/soak-note")
SET_UID = Path("/usr/local/bin/soak-id")
DEVICE = Path("/dev/soak-camera")
SEGMENT = 0x6D656D65
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER = 0x10000000
ADDR_NO_RANDOMIZE = 0x0040000
# asm/unistd_64.h and asm-generic/unistd.h: those of x86-64, then everywhere else.
CALLS = {"ptrace": (101, 117), "keyctl": (250, 219), "io_uring_setup": (425, 425)}
MEMORY = 2 << 30
THREADS = 2500


def call(name: str, *arguments: int) -> int:
    """A system call by name. Raises OSError."""
    number = CALLS[name][0 if platform.machine() == "x86_64" else 1]
    return checked(LIBC.syscall(number, *(ctypes.c_long(each) for each in arguments)))


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def write_home() -> None:
    (HOME / "soak-written").write_text("")


def change_picture() -> None:
    with next((HOME / "Memes").glob("*.png")).open("r+b"):
        pass


def add_picture() -> None:
    (HOME / "Memes" / "soak-written.txt").write_text("")


def write_elsewhere() -> None:
    """A folder that is the user's, but in no home: a disk, say."""
    (ELSEWHERE / "written").write_text("")


def write_state() -> None:
    (STATE / "soak-written").write_text("")


def use_cache() -> None:
    (HOME / ".cache/milvus").mkdir(exist_ok=True)
    (HOME / ".cache/milvus/soak").write_text("")


def share_cache() -> None:
    for name in ("memewatchd", "thumbnails"):
        (HOME / ".cache" / name / "soak").write_text("")


def read_pictures() -> None:
    next((HOME / "Memes").glob("*.png")).read_bytes()


def read_model() -> None:
    (HOME / ".cache/huggingface/soak").read_bytes()


def change_model() -> None:
    (HOME / ".cache/huggingface/soak").write_text("")


def read_other_home() -> None:
    OTHER.read_bytes()


def read_keys() -> None:
    (HOME / ".ssh/id_soak").read_bytes()


def read_tmp() -> None:
    NOTE.read_bytes()


def run_set_uid() -> None:
    if os.getuid() == 0 or subprocess.check_output([SET_UID, "-u"]) != b"0\n":
        raise PermissionError("it runs as the user")


def own_set_uid() -> None:
    file = STATE / "soak-set-uid"
    file.write_text("")
    file.chmod(0o4755)


def run_from_state() -> None:
    run_from(STATE)


def run_from_tmp() -> None:
    run_from(Path("/tmp"))


def run_from_memory() -> None:
    run_from(Path("/dev/shm"))


def run_from(folder: Path) -> None:
    file = folder / f"soak-program-{os.getpid()}"
    file.write_bytes(Path("/usr/bin/true").read_bytes())
    file.chmod(0o700)
    try:
        subprocess.check_call([file])
    finally:
        file.unlink()


def ask_manager() -> None:
    """Whoever reaches it can have it start a program outside of the sandbox."""
    connect(f"/run/user/{os.getuid()}/systemd/private")


def ask_session_bus() -> None:
    connect(f"/run/user/{os.getuid()}/bus")


def ask_system_bus() -> None:
    connect("/run/dbus/system_bus_socket")


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def open_internet_socket() -> None:
    socket.socket(socket.AF_INET).close()


def open_netlink_socket() -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()


def open_packet_socket() -> None:
    """The kernel itself would want a right for it; to be asked for that is to have come through."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except PermissionError:
        return


def connect_loopback() -> None:
    with socket.create_connection(("127.0.0.1", PORT), timeout=5):
        pass


def see_network() -> None:
    if {name for _, name in socket.if_nameindex()} == {"lo"}:
        raise PermissionError("there is only lo")


def make_namespace() -> None:
    checked(LIBC.unshare(CLONE_NEWUSER))


def change_personality() -> None:
    checked(LIBC.personality(ADDR_NO_RANDOMIZE))


def go_realtime() -> None:
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def trace() -> None:
    call("ptrace", 0, 0, 0, 0)


def read_keyring() -> None:
    # KEYCTL_GET_KEYRING_ID of the user's keyring
    call("keyctl", 0, ctypes.c_int(-4).value, 1)


def use_io_uring() -> None:
    """It makes sockets behind the back of a filter of system calls."""
    parameters = ctypes.create_string_buffer(120)
    call("io_uring_setup", 1, ctypes.addressof(parameters))


def use_other_architecture() -> None:
    """getpid by i386's gate, from x86-64 code."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    if ctypes.CFUNCTYPE(ctypes.c_int)(address)() != os.getpid():
        raise OSError("the gate answers otherwise")


def list_symbols() -> None:
    with Path("/proc/kallsyms").open("rb") as file:
        file.read(64)


def list_modules() -> None:
    os.listdir("/usr/lib/modules/soak")


def make_control_group() -> None:
    line = Path("/proc/self/cgroup").read_text().splitlines()[-1]
    below = Path("/sys/fs/cgroup" + line.split("::")[1]) / "soak"
    below.mkdir()
    below.rmdir()


def open_device() -> None:
    DEVICE.open("rb").close()


def attach_segment() -> None:
    checked(LIBC.shmget(SEGMENT, 0, 0))


def leave_readable() -> None:
    file = STATE / f"soak-mode-{os.getpid()}"
    file.touch()
    if file.stat().st_mode & 0o077 == 0:
        raise PermissionError("others get no right to a new file")


def be_spared() -> None:
    if int(Path("/proc/self/oom_score_adj").read_text()) >= 500:
        raise PermissionError("the kernel ends us early when memory runs out")


def take_memory() -> None:
    block = mmap.mmap(-1, MEMORY)
    for page in range(0, MEMORY, mmap.PAGESIZE):
        block[page] = 1


def start_many() -> None:
    threading.stack_size(1 << 16)
    over = threading.Event()
    try:
        for _ in range(THREADS):
            threading.Thread(target=over.wait, daemon=True).start()
    finally:
        over.set()


def attempt(function: Callable[[], None]) -> str:
    """ "done", or what came of it."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            function()
            said = "done"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            said = f"{type(error).__name__}: {error}"
        os.write(theirs, said.encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return said


def main() -> int:
    print(json.dumps({name: attempt(globals()[name]) for name in sys.argv[3:]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
