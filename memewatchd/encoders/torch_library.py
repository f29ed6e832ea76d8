"""What torch's libraries need to be told: before they are loaded, and once a thread is done with them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_OMP_PAUSE_SOFT = 1
"""Of ``omp_pause_resource_t``, of OpenMP 5.0."""


def prepare() -> None:
    """Set what torch's libraries read when they are loaded, and load the largest of them. Any number of times.

    Python's lock is held while ``import`` loads a library, and this one takes a quarter of a second, in which nobody
    would be answered. Called as a C function by ctypes, dlopen(3) lets other threads run; ``import torch`` then finds
    it loaded. Where that fails, the import itself says why.
    """
    # How long OpenMP's threads spin while they wait for each other. By default it is milliseconds, in the way of
    # whoever else wants the processor; where it is nothing, a small model loses a third of its pace.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    dlopen = getattr(ctypes.CDLL(None), "dlopen", None)
    if dlopen is None:  # before glibc 2.34 it was in a library of its own
        return
    dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    for library in _libraries():
        dlopen(os.fsencode(library), os.RTLD_NOW)


def dismiss_helpers() -> None:
    """End the threads that OpenMP keeps for the calling thread; its next parallel call makes new ones.

    They are kept for as long as that thread lives. GNU's OpenMP counts them all, and where they are more than
    processors none of them spins any more: of two threads that each have run the model once, the one that runs it now
    gets half of its pace. To be called once torch is imported.
    """
    if (pause := _omp_pause()) is not None:
        pause(_OMP_PAUSE_SOFT)


@functools.cache
def _omp_pause() -> Callable[[int], int] | None:
    """Of the OpenMP that torch is linked with: sentencepiece, for one, brings another of the same name."""
    for library in _libraries():
        with contextlib.suppress(OSError, AttributeError):  # a torch built without it, or with that of GCC 8
            pause: Callable[[int], int] = ctypes.CDLL(str(library)).omp_pause_resource_all
            return pause
    return None


def _libraries() -> list[Path]:
    """torch's largest library, which all its work on the CPU is in; none where there is no torch."""
    spec = importlib.util.find_spec("torch")
    folders = (spec.submodule_search_locations if spec else None) or ()
    return [Path(folder, "lib", "libtorch_cpu.so") for folder in folders]
