from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest

from memewatchd.service.journal import PriorityFormatter, log_handler, priority

if TYPE_CHECKING:
    from pathlib import Path


def record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord("memewatchd.sync", level, __file__, 1, text, None, None)


def test_levels_are_syslogs() -> None:
    assert [priority(level) for level in (10, 20, 30, 40, 50)] == [7, 6, 4, 3, 2]


def test_each_line_carries_its_level() -> None:
    text = PriorityFormatter("%(name)s: %(message)s").format(record(logging.ERROR, "one\ntwo"))
    assert text == "<3>memewatchd.sync: one\n<3>two"


def test_a_terminal_or_file_gets_the_time(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as out:
        handler = log_handler({"JOURNAL_STREAM": "1:2"}, out)
        handler.handle(record(logging.WARNING, "odd"))
    line = (tmp_path / "log").read_text()
    assert line.startswith("20")
    assert line.endswith(" WARNING memewatchd.sync: odd\n")


def test_without_the_library_the_journal_still_sees_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "systemd.journal", None)
    with (tmp_path / "log").open("w") as out:
        found = os.fstat(out.fileno())
        handler = log_handler({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, out)
        handler.handle(record(logging.WARNING, "odd"))
    assert (tmp_path / "log").read_text() == "<4>memewatchd.sync: odd\n"


def test_with_the_library_records_go_to_the_journal_itself(tmp_path: Path) -> None:
    journal = pytest.importorskip("systemd.journal", reason="systemd-python isn't installed", exc_type=ImportError)
    with (tmp_path / "log").open("w") as out:
        found = os.fstat(out.fileno())
        handler = log_handler({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, out)
    assert isinstance(handler, journal.JournalHandler)
