"""A short slice of the campaigns on what comes in, pictures and requests, real in all its parts: ``make soak``."""

from __future__ import annotations

import sys
from pathlib import Path

# import-mode=importlib puts no test folder on sys.path.
sys.path.insert(0, str(Path(__file__).parent))

import door
import pictures
from report import Row, line


def good(row: Row) -> None:
    print(line(row))
    assert row.good, "\n".join([line(row), *row.failures])


def test_pictures() -> None:
    good(pictures.campaign(1, seed=1, least=150, a_round=200, fuzzed=0, big=False))


def test_door() -> None:
    good(door.campaign(1, seed=1, least=3_000, crowd=100, fuzzed=0, patient=False))
