"""Yielding the disk to whoever else wants it: the kernel's I/O classes. A leaf; standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_WHO_PROCESS = 1
_CLASS_SHIFT = 13
_NONE, _IDLE = 0, 3
# ioprio_set and ioprio_get have no wrapper in libc, and a number on each machine.
_CALLS = {
    "x86_64": (251, 252),
    "aarch64": (30, 31),
    "riscv64": (30, 31),
    "loongarch64": (30, 31),
    "ppc64le": (273, 274),
    "s390x": (282, 283),
}


def yield_disk() -> bool:
    """Put the calling thread into the idle class: it is served when nobody else wants the disk, and what it starts is
    too. Says whether that worked; it needs no right, but not every kernel or sandbox has it."""
    return _set(_IDLE << _CLASS_SHIFT)


def io_class(who: int = 0) -> int | None:
    """The class of a process, or (0) of the calling thread: 0 none of its own, 1 real time, 2 best effort, 3 idle.

    None where it can't be told.
    """
    calls = _CALLS.get(os.uname().machine)
    if calls is None:
        return None
    value = ctypes.CDLL(None).syscall(calls[1], _WHO_PROCESS, who)
    return None if value < 0 else int(value) >> _CLASS_SHIFT


@contextlib.contextmanager
def yielding_disk() -> Iterator[None]:
    """As :func:`yield_disk`, for a while."""
    yields = yield_disk()
    try:
        yield
    finally:
        if yields:
            _set(_NONE << _CLASS_SHIFT)


def _set(value: int) -> bool:
    calls = _CALLS.get(os.uname().machine)
    return calls is not None and ctypes.CDLL(None).syscall(calls[0], _WHO_PROCESS, 0, value) == 0
