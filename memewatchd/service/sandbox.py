"""Whether the kernel holds us to the service's hardening: what /proc says, not what the unit promises."""

from __future__ import annotations

from pathlib import Path

PROC_STATUS = Path("/proc/self/status")
_FILTERED = "2"  # SECCOMP_MODE_FILTER of linux/seccomp.h


def sandbox(proc_status: Path = PROC_STATUS) -> str:
    """ "applied" where system calls are filtered and new privileges are impossible (proc(5)), else "absent"."""
    try:
        lines = proc_status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return "absent"
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    held = fields.get("Seccomp", "").strip() == _FILTERED and fields.get("NoNewPrivs", "").strip() == "1"
    return "applied" if held else "absent"
