"""What a campaign brings home, and the table of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Row:
    """One campaign's result.

    ``tried``: how often; of ``what``. ``lost``: files or rows that should have been found and weren't; ``stale``:
    rows of what isn't there (any more); ``crashed``: deaths, hangs and broken promises, each said in ``failures``.
    ``notes``: what else came out, a short phrase each.
    """

    name: str
    what: str
    tried: int = 0
    lost: int = 0
    stale: int = 0
    crashed: int = 0
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether every promise was kept, and something was tried at all."""
        return self.tried > 0 and not (self.lost or self.stale or self.crashed or self.failures)

    def check(self, holds: object, failure: str) -> None:
        """Count a broken promise."""
        if not holds:
            self.crashed += 1
            self.failures.append(failure)

    def compare(self, wanted: dict[bytes, str], found: dict[bytes, str], when: str) -> None:
        """Count what the index lacks of the disk, and what it has beyond it (path → digest)."""
        lost = [path for path, digest in wanted.items() if found.get(path) != digest]
        stale = [path for path in found if path not in wanted]
        self.lost += len(lost)
        self.stale += len(stale)
        if lost or stale:
            self.failures.append(f"{when}: lost {lost[:3]!r}, stale {stale[:3]!r}")


HEAD = "| campaign | tried | lost | stale | crashed | took, s | what came out |\n" + "| --- " * 7 + "|"


def line(row: Row) -> str:
    """A row of the table, in Markdown."""
    notes = "; ".join(row.notes) or "as it should"
    cells = (row.name, f"{row.tried:,} {row.what}", row.lost, row.stale, row.crashed, f"{row.seconds:.0f}", notes)
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
