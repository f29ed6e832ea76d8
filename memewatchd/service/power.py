"""Whether the machine runs on its battery, as the kernel says in ``/sys/class/power_supply``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SUPPLIES = Path("/sys/class/power_supply")
LOOK_S = 30.0


class Battery:
    """Whether to hold back what can wait. Asks the kernel every :data:`LOOK_S` seconds at most. Not thread-safe."""

    def __init__(self, supplies: Path = SUPPLIES, clock: Callable[[], float] = time.monotonic) -> None:
        self._supplies = supplies
        self._clock = clock
        self._discharging = False
        self._look_at = 0.0

    def holds(self) -> str:
        """Why to hold back, in words; "" if there is no reason."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._discharging = on_battery(self._supplies)
        return "on battery" if self._discharging else ""


def on_battery(supplies: Path) -> bool:
    """Whether a battery of the machine's own is discharging and nothing is plugged in. No where nothing is known."""
    discharging = plugged = False
    try:
        found = sorted(supplies.iterdir())
    except OSError:
        return False
    for supply in found:
        if _read(supply / "scope") == "Device":
            continue  # a mouse's battery, say
        if _read(supply / "type") == "Battery":
            discharging |= _read(supply / "status") == "Discharging"
        else:
            plugged |= _read(supply / "online") not in ("", "0")
    return discharging and not plugged


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
