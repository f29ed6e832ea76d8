"""Where the tests keep what takes long to make: in the clone, for all runs."""

from __future__ import annotations

from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".run" / "tests"
