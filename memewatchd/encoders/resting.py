"""Gives the memory of a model's picture tower back to the system while nobody needs it.

A checkpoint in float32 isn't read when it is loaded: its tensors are a private mapping of its file. Its pages are
never written, so the kernel can be told that we don't need them (``MADV_DONTNEED``), and brings those that are
touched back from the file, or from its cache, by itself: nothing is loaded again, and no vector can change.
What was converted while it was loaded (weights in half precision) is memory of our own, and stays.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

log = logging.getLogger(__name__)

WORTH_BYTES = 100 << 20
"""A tower of less than this isn't worth the page faults of the next picture."""

ARENAS = 1
"""Heaps: glibc makes eight for each processor, one for each thread that finds the others busy. What is free in one is
of no use to another: with two, a daemon at rest held some 30 MB more, and indexed no faster."""
KEPT_FREE_BYTES = 256 << 20
"""What may lie free at a heap's end until :func:`trim`. By default glibc gives back what a batch took after each one,
and the next begins with thousands of page faults, up to a third of its time."""
LARGEST_ON_HEAP_BYTES = 32 << 20
"""A tensor up to this size is taken from a heap, a larger one is a mapping of its own: the most that glibc allows."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Of mallopt(3)."""

_PICTURE_PARTS = ("vision", "visual", "image")
"""What the names of a picture tower's modules begin with, in every family of transformers."""


def picture_weights(model: Any) -> list[Any]:
    """The tensors that only pictures need, of a two-tower ``model`` of transformers."""
    return [tensor for name, tensor in model.named_parameters() if name.startswith(_PICTURE_PARTS)]


def give_back(tensors: Iterable[Any], files: Iterable[Path], worth: int = WORTH_BYTES) -> int:
    """Tell the kernel that these tensors of these weights' files won't be needed soon.

    Returns how many bytes that was about: 0 where it would be less than ``worth``. May be called while they are read.
    """
    inside = list(_mappings({os.path.realpath(path) for path in files}))
    spans = []
    for tensor in tensors:
        start, size = tensor.data_ptr(), tensor.numel() * tensor.element_size()
        # Whole pages only: the first and the last may hold another tensor's end.
        low, high = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, (start + size) // mmap.PAGESIZE * mmap.PAGESIZE
        if high > low and any(begin <= low and high <= end for begin, end in inside):
            spans.append((low, high - low))
    try:
        clean = [span for span in spans if not _is_written(*span)]
    except OSError as error:  # a kernel or a sandbox without it
        log.debug("nothing is given back: %s", error)
        return 0
    total: int = sum(length for _, length in clean)
    if total < worth:
        return 0
    libc = ctypes.CDLL(None)
    for low, length in clean:
        libc.madvise(ctypes.c_void_p(low), ctypes.c_size_t(length), mmap.MADV_DONTNEED)
    return total


def set_up_heaps() -> None:
    """Let all threads share one heap, which keeps what is free until :func:`trim`; to be called before there are
    more."""
    with contextlib.suppress(AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, ARENAS)
        mallopt(_M_MMAP_THRESHOLD, LARGEST_ON_HEAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_FREE_BYTES)


def trim() -> None:
    """Give back what is free on the heap, such as that of the last pictures' activations."""
    with contextlib.suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _mappings(files: set[str]) -> Iterator[tuple[int, int]]:
    """Where these files are mapped privately, from address to address."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        where, mode, _, _, _, *path = line.split(maxsplit=5)
        if path and mode.endswith("p") and path[0] in files:
            begin, _, end = where.partition("-")
            yield int(begin, 16), int(end, 16)


def _is_written(low: int, length: int) -> bool:
    """Whether a page there is no longer the file's own: what was written (as some models are while they are loaded)
    would be lost. Raises OSError."""
    import numpy as np  # late: the main thread needn't wait for it

    with Path("/proc/self/pagemap").open("rb") as pagemap:
        pagemap.seek(low // mmap.PAGESIZE * 8)
        pages = np.frombuffer(pagemap.read(length // mmap.PAGESIZE * 8), dtype=np.uint64)
    there, swapped, of_file = (pages >> np.uint64(bit) & np.uint64(1) for bit in (63, 62, 61))
    return bool(np.any((there | swapped) & ~of_file & np.uint64(1)))
