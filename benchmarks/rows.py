"""What every benchmark prints: what was measured, ours and the reference in the same run, and what was asked for.

    | what | ours | reference | ratio | asked for |

Nothing here measures; run the others, each alone, or all with `make bench`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD = "| what | ours | reference | ratio | asked for |\n| --- | --- | --- | --- | --- |"


@dataclass(frozen=True)
class Row:
    """``unit``: of both figures. ``reference``: None where a figure has none. ``at_least``, ``at_most``: the bound of
    the ratio; neither where nothing was asked for."""

    what: str
    ours: float
    reference: float | None = None
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours over the reference."""
        return self.ours / self.reference if self.reference else None

    @property
    def holds(self) -> bool:
        """Whether the bound is kept; so it is where there is none."""
        ratio = self.ratio
        if ratio is None:
            return True
        low = self.at_least is None or ratio >= self.at_least
        return low and (self.at_most is None or ratio <= self.at_most)

    def line(self) -> str:
        """A line of the table."""
        asked = ""
        if self.at_least is not None:
            asked = f"≥ {self.at_least:.2f}"
        elif self.at_most is not None:
            asked = f"≤ {self.at_most:.2f}"
        if asked and not self.holds:
            asked += " **missed**"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        reference = "" if self.reference is None else f"{figure(self.reference)} {self.unit}"
        return f"| {self.what} | {figure(self.ours)} {self.unit} | {reference} | {ratio} | {asked} |"


@dataclass
class Report:
    """All that one program found. ``curves``: title → series → points (x, y); ``notes``: sentences below the table;
    ``measured``: when, and on which commit; ``machine``: on what."""

    rows: list[Row] = field(default_factory=list)
    curves: dict[str, dict[str, list[tuple[float, float]]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    measured: str = ""
    machine: str = ""

    def add(self, *rows: Row) -> None:
        """Print as it comes: the whole takes long."""
        for row in rows:
            if not self.rows:
                print(HEAD)
            self.rows.append(row)
            print(row.line(), flush=True)

    def note(self, text: str) -> None:
        """For what a row can't say."""
        print(f"\n{text}\n", flush=True)
        self.notes.append(text)

    def save(self, file: Path | None) -> None:
        """For `make bench`, which puts all together."""
        if file is not None:
            file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Report:
        """What :meth:`save` wrote."""
        return cls.of(json.loads(file.read_text(encoding="utf-8")))

    @classmethod
    def of(cls, found: dict[str, Any]) -> Report:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(**{**found, "rows": [Row(**row) for row in found["rows"]]})


def figure(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them don't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with what all programs have."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


if __name__ == "__main__":
    print(__doc__)
