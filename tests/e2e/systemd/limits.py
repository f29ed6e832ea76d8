"""The limits of hardening.conf that only a control group's controllers can hold, where this kernel lends them.

Where it doesn't, that is said, and nothing is claimed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from machine import UID, same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hardening import Prober
    from machine import Machine

SMALL = {"MemoryMax": ("memory", "take_memory", "1G"), "TasksMax": ("pids", "start_many", "100")}
"""Property → the controller, what it stops, and a value to try it with: the drop-in's own would take the machine."""
CONTROLLERS = f"/sys/fs/cgroup/user.slice/user-{UID}.slice/user@{UID}.service/cgroup.controllers"


def check_all(machine: Machine, prober: Prober, lines: Sequence[str]) -> None:
    """``lines``: those of the drop-in that set limits."""
    lent = machine.user("cat", CONTROLLERS).stdout.split()
    for line in lines:
        name = line.partition("=")[0]
        if name not in SMALL:
            continue
        controller, attempt, value = SMALL[name]
        if controller not in lent:
            print(f"NOT TRIED: {line}: this kernel lends users no controller of {controller}", flush=True)
            continue
        same(prober.run([], [attempt])[attempt], "done", f"without {name}, {attempt}")
        # The whole service may end with it, and then there is no answer.
        held = prober.run([f"{name}={value}", "OOMPolicy=continue"], [attempt])[attempt]
        same(held == "done", False, f"{name}={value}: {attempt}: {held}")
