"""The benchmarks' table, plots and programs: that they work, not what they measure."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = Path(__file__).parents[1]
PROGRAMS = (
    "indexing",
    "searching",
    "starting",
    "reaction",
    "resting",
    "engines",
    "scaling",
    "peers",
    "floor",
    "models",
)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The programs find each other by lying in one folder."""
    monkeypatch.syspath_prepend(str(REPO / "benchmarks"))
    yield
    for name in ("rows", "plot"):
        sys.modules.pop(name, None)


@pytest.fixture
def rows(beside: None) -> Any:
    import rows

    return rows


@pytest.fixture
def plot(beside: None) -> Any:
    import plot

    return plot


@pytest.mark.parametrize(
    ("bound", "holds"),
    [
        ({}, True),
        ({"at_least": 0.5}, True),
        ({"at_least": 0.51}, False),
        ({"at_most": 0.5}, True),
        ({"at_most": 0.49}, False),
    ],
)
def test_a_bound_is_of_the_ratio(rows: Any, bound: dict[str, float], holds: bool) -> None:
    row = rows.Row("what", 10.0, 20.0, "ms", **bound)
    assert row.ratio == 0.5
    assert row.holds is holds
    assert ("**missed**" in row.line()) is not holds
    assert row.line().startswith("| what | 10 ms | 20 ms | 0.50 |")


def test_what_has_no_reference_keeps_no_bound(rows: Any) -> None:
    assert rows.Row("what", 1234.5, None, "s").line() == "| what | 1,234 s |  |  |  |"
    assert rows.Row("what", 3.0, 0.0, at_most=1.0).holds


def test_a_report_is_read_as_it_was_saved(rows: Any, tmp_path: Path) -> None:
    report = rows.Report()
    report.add(rows.Row("a", 1.0, 2.0, "s", at_least=0.9), rows.Row("b", 3.0))
    report.note("so it is")
    report.curves["c"] = {"ours": [[1, 2.0]]}
    report.save(tmp_path / "found.json")
    assert rows.Report.read(tmp_path / "found.json") == report


def test_percentiles(rows: Any) -> None:
    assert rows.percentile(list(range(100)), 0.95) == 95
    assert rows.percentile([7.0], 0.95) == 7.0


def test_a_plot_is_a_picture_with_every_point(plot: Any) -> None:
    series = {"ours & theirs": [[1000, 3.0], [20_000, 8.0], [100_000, 24.0]], "bare": [[1000, 0.02]]}
    root = ET.fromstring(plot.svg("ms < by size", series))
    name = "{http://www.w3.org/2000/svg}"
    dots = root.findall(f"{name}circle")
    assert len(dots) == 4
    for dot in dots:
        assert plot.LEFT <= float(dot.attrib["cx"]) <= plot.WIDTH - plot.RIGHT
        assert plot.TOP <= float(dot.attrib["cy"]) <= plot.HEIGHT - plot.BOTTOM
    texts = [text.text for text in root.findall(f"{name}text")]
    assert {"ms < by size", "ours & theirs", "bare", "1,000", "0.01"} <= set(texts)


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_says_how_it_is_used(program: str) -> None:
    done = subprocess.run(
        [sys.executable, str(REPO / "benchmarks" / f"{program}.py"), "--help"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "--json" in done.stdout
