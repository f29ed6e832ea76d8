"""What a virtual machine's memory costs that lay still, and how to keep it from lying still.

On some virtual machines the first touch of a page that lay still for seconds costs tens of microseconds, which the
guest counts as its own processor time; why isn't known for sure. A program that wakes every ten seconds then seems to
use many times what it does elsewhere.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = os.sysconf("SC_PAGE_SIZE")
PAGES = 4096
STILL_S = 10.0
PAUSE_S = 0.3
TAKEN_US = 5.0
"""A page that is there costs some 0.01 µs, up to 3 with nested page tables; one that was taken back 20 to 50."""
_GROUP = 1024  # IOV_MAX


def cost_of_still_pages(still_s: float = STILL_S) -> float:
    """Microseconds of processor time for the first touch of a page after ``still_s`` seconds."""
    with mmap.mmap(-1, PAGES * PAGE) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        pages = np.frombuffer(memory, dtype=np.uint8)[::PAGE]
        pages.sum()
        time.sleep(still_s)
        began = time.thread_time()
        pages.sum()
        spent = time.thread_time() - began
        del pages
    return spent / PAGES * 1e6


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@contextmanager
def touched(pids: list[int]) -> Iterator[None]:
    """Meanwhile a byte of every page of these processes is read, a few times a second, so that all stays where it is.

    They are our descendants, else the kernel may refuse (process_vm_readv(2)): PermissionError.
    """
    groups = {pid: _groups(pid) for pid in pids}
    _read(groups)
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(PAUSE_S):
            with suppress(OSError):  # one has ended
                _read(groups)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _groups(pid: int) -> list[ctypes.Array[_Vector]]:
    """A vector for the first byte of every page that is there, as proc_pid_pagemap(5) says."""
    there: list[int] = []
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/pagemap").open("rb", 0) as pagemap:
        for line in maps:
            span, mode, *_ = line.split()
            if not mode.startswith("r") or "[v" in line:
                continue
            start, end = (int(number, 16) // PAGE for number in span.split("-"))
            entries = np.frombuffer(os.pread(pagemap.fileno(), (end - start) * 8, start * 8), dtype=np.uint64)
            there += ((np.flatnonzero(entries >> np.uint64(63)) + start) * PAGE).tolist()
    parts = [there[first : first + _GROUP] for first in range(0, len(there), _GROUP)]
    return [(_Vector * len(part))(*[_Vector(address, 1) for address in part]) for part in parts]


def _read(groups: dict[int, list[ctypes.Array[_Vector]]]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_GROUP)
    ours = _Vector(ctypes.addressof(buffer), _GROUP)
    for pid, parts in groups.items():
        for part in parts:
            # What has been unmapped meanwhile ends a group early (EFAULT, or fewer bytes): the others matter.
            if libc.process_vm_readv(pid, ctypes.byref(ours), 1, part, len(part), 0) < 0:
                code = ctypes.get_errno()
                if code in (1, 3):  # EPERM, ESRCH
                    raise OSError(code, os.strerror(code))
