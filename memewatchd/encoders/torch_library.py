"""What is to be done before torch is first imported."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from pathlib import Path


def prepare() -> None:
    """Set what torch's libraries read when they are loaded, and load the largest of them. Any number of times.

    Python's lock is held while ``import`` loads a library, and this one takes a quarter of a second, in which nobody
    would be answered. Called as a C function by ctypes, dlopen(3) lets other threads run; ``import torch`` then finds
    it loaded. Where that fails, the import itself says why.
    """
    # How long OpenMP's threads spin while they wait for each other. By default it is milliseconds, in the way of
    # whoever else wants the processor; where it is nothing, a small model loses a third of its pace.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    spec = importlib.util.find_spec("torch")
    dlopen = getattr(ctypes.CDLL(None), "dlopen", None)
    if spec is None or dlopen is None:  # before glibc 2.34 it was in a library of its own
        return
    dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    for folder in spec.submodule_search_locations or ():
        dlopen(os.fsencode(Path(folder, "lib", "libtorch_cpu.so")), os.RTLD_NOW)
