"""A short slice of the campaigns on folders, real in all its parts. All of them: ``make soak``."""

from __future__ import annotations

import sys
from pathlib import Path

# import-mode=importlib puts no test folder on sys.path.
sys.path.insert(0, str(Path(__file__).parent))

import away
import long
import torrents
from report import Row, line


def good(row: Row) -> None:
    print(line(row))
    assert row.good, "\n".join([line(row), *row.failures])


def test_torrents() -> None:
    # The kernel's queue is a setting of the whole machine, on which other tests run at the same time.
    good(torrents.campaign(4, seed=1, lower_queue=False))


def test_away() -> None:
    good(away.campaign(3, seed=1))


def test_long() -> None:
    good(long.campaign(16, seed=1))
