"""A slice of each campaign on the index, for every run of the tests; `make soak` goes on for half an hour."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

import crash
import engine
import steps
from milvus_server import ON_SERVER, MilvusServer

if TYPE_CHECKING:
    from report import Row


def assert_good(row: Row) -> None:
    assert row.good, "\n".join(row.failures) or f"lost {row.lost}, stale {row.stale}, tried {row.tried}"


def test_the_daemon_and_its_milvus_are_killed_under_constant_change() -> None:
    assert_good(crash.campaign(90, 1, kills=2, parts=("lite", "engine")))


def test_an_end_at_some_of_the_calls() -> None:
    """A picture, and a row."""
    row = steps.campaign(60, 1, steps=(10, 11))
    assert_good(row)
    assert row.tried == 4


def test_an_index_that_is_ruined_or_of_a_later_program() -> None:
    assert_good(engine.campaign(0, 1, only=(engine.damaged_while_open, engine.newer)))


@ON_SERVER
def test_the_daemon_is_killed_on_a_server(milvus_server: MilvusServer) -> None:
    assert_good(crash.campaign(60, 1, kills=2, parts=("server",), server=(milvus_server.uri, milvus_server.token)))
