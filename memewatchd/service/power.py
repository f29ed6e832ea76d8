"""Whether the machine runs on its battery, as the kernel says in ``/sys/class/power_supply``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
