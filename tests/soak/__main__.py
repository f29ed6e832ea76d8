"""`make soak`: every campaign, one after the other, and the table of what came out.

    python tests/soak [--minutes 30] [--seed 1] [--only crash,away] [--write]

``--minutes`` is shared out among the campaigns; each goes on until its share is over, and at least until its least
count is reached where it has one (``--pictures``, ``--requests``, ``--events``, ``--queries``). ``--write``
puts the table into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
sys.path[:0] = [str(HERE), str(REPO / "tests" / "plugins")]

import report  # noqa: E402 - beside this file

SHARES = {"crash": 6, "steps": 2, "torrents": 4, "away": 2, "pictures": 4, "door": 4, "engine": 4, "long": 4}
"""Campaign (a module here with ``campaign(seconds, seed) -> Row``) → its share of the time."""

MARKS = ("<!-- table, written by make soak -->", "<!-- end of table -->")


def main() -> int:
    """Run, print, write; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(SHARES))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--pictures", type=int, default=2_000, help="bad ones, at least")
    parser.add_argument("--requests", type=int, default=100_000, help="bad ones, at least")
    parser.add_argument("--connections", type=int, default=500, help="that are open at once")
    parser.add_argument("--events", type=int, default=0, help="in the long run, at least")
    parser.add_argument("--queries", type=int, default=0, help="in the long run, at least (a million take an hour)")
    options = parser.parse_args()
    counts = {
        "pictures": {"least": options.pictures},
        "long": {"events": options.events, "queries": options.queries},
        "door": {"least": options.requests, "crowd": options.connections},
    }
    names = options.only.split(",")
    total = sum(SHARES[name] for name in names)
    rows = []
    for name in names:
        seconds = options.minutes * 60 * SHARES[name] / total
        print(f"{time.strftime('%H:%M:%S')} {name}: about {seconds:.0f} s", flush=True)
        began = time.monotonic()
        try:
            row = importlib.import_module(name).campaign(seconds, options.seed, **counts.get(name, {}))
        except Exception as error:  # noqa: BLE001 - one campaign's own end must not hide the others
            row = report.Row(name, "runs", 1, crashed=1, failures=[f"the campaign itself failed: {error!r}"])
        row.seconds = time.monotonic() - began
        rows.append(row)
        print(report.line(row), *(f"    {failure}" for failure in row.failures[:20]), sep="\n", flush=True)
    lines = [report.HEAD, *(report.line(row) for row in rows)]
    print("", *lines, sep="\n")
    if options.write:
        write(lines, f"`python tests/soak {shlex.join(sys.argv[1:])}`")
    return 0 if all(row.good for row in rows) else 1


def write(lines: list[str], command: str) -> None:
    """The table into docs/reliability.md, with where and when."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, text=True, check=False
    )
    page = REPO / "docs" / "reliability.md"
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    run = f"Run on {time.strftime('%Y-%m-%d')} at commit {commit.stdout.strip()}: {command}."
    page.write_text(f"{before}{MARKS[0]}\n{run}\n\n" + "\n".join(lines) + f"\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
