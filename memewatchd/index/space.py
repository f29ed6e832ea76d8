"""Whether there is room left to index: an index that grows into a full disk takes everybody else's room with it."""

from __future__ import annotations

import os
from typing import Final

FLOOR: Final = 64 * 2**20
"""Bytes that must stay free where the embedded index lies. What is under way then still fits many times over."""


def shortage(folder: str) -> str:
    """A sentence with the remedy where less than :data:`FLOOR` is free for us; else, or if nobody can tell, ""."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return ""  # the engine says what is wrong with it
    free = found.f_bavail * found.f_frsize
    if not found.f_blocks or free >= FLOOR:
        return ""
    return (
        f"{free / 2**20:.0f} MiB are free in {folder}, and {FLOOR / 2**20:.0f} must stay free: indexing is paused, "
        "searching is not. Free some space, and it goes on by itself"
    )
