"""How many threads a model may use. Linux's ``/sys`` only; no torch."""

from __future__ import annotations

import os
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def physical_cores(topology: str = _TOPOLOGY) -> int:
    """Physical cores among the CPUs that this process may use, at least 1.

    Two hardware threads of one core only take turns at matrix products. ``topology``: where the
    kernel lists the siblings of a CPU's core.
    """
    cores = set()
    for cpu in os.sched_getaffinity(0):
        try:
            cores.add(Path(topology.format(cpu)).read_text(encoding="ascii").strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))
