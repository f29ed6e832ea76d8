"""All benchmarks in one table: `make bench`, which writes docs/benchmarks.md and its plots.

    python -m benchmarks [--only indexing searching …] [--quick] [--print]

Each program runs by itself, one after the other: let nothing else run meanwhile. Hours in full; all is printed as it
comes, and kept in docs/benchmarks.json: with --only, the other sections are what their programs last found, and say of
which commit and, where that differs, on which machine. So that is also how to go on after an interruption; --only
without a name writes the page anew from what is kept. --quick is for trying the programs, not for figures: it keeps
nothing.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
DOCS = REPO / "docs"
KEPT = DOCS / "benchmarks.json"
sys.path[:0] = [str(HERE), str(REPO / "tests" / "plugins")]

from caches import CACHE  # noqa: E402 - where a benchmark's daemon looks, too
from plot import svg  # noqa: E402 - beside this, as every program here finds it
from rows import HEAD, Report  # noqa: E402

PROGRAMS = {
    "indexing": "Indexing",
    "searching": "Searching",
    "starting": "Starting",
    "reaction": "Reaction",
    "resting": "At rest",
    "engines": "Engines",
    "scaling": "Past one machine",
    "peers": "Peers",
    "floor": "The floor",
    "models": "Models",
}
QUICK = {
    "indexing": "--count 40 --batches 3 --models bundled b32",
    "searching": "--sizes 300 600 --queries 20 --pictures 100",
    "starting": "--rounds 1 --files 500",
    "reaction": "--drops 3 --renamed 300",
    "resting": "--models bundled --idle 3 --rest 0 --calls 3",
    "engines": "--sizes 300 600 --engines lite2 lite3 lite3hnsw",
    "scaling": "--sizes 3000 --searches 20 --hosts 2 --each 500",
    "peers": "--count 40 --queries 2",
    "floor": "--models bundled b32 --pictures 16 --queries 10 --rounds 2",
    "models": "--models bundled",
}


def machine() -> str:
    """What it was measured on, in a sentence."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = names[0].partition(":")[2].strip() if names else platform.machine()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "pymilvus", "pillow"))
    return (
        f"{len(os.sched_getaffinity(0))} CPUs ({processor}), {memory:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def commit() -> str:
    """The commit, and whether the tree was another."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=REPO, check=False, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/benchmarks*")  # those are ours
    return (git("rev-parse", "HEAD") or "no commit") + (" and changes that are not committed" if changed else "")


def digest_dictionaries() -> None:
    """What a user's first daemon does, in some ten seconds of one core, so that none of those measured does it."""
    asked = "encoders.glossary import glossary", "search.input_method import lexicon", "search.readings import readings"
    code = [*(f"from memewatchd.{one}" for one in asked), "glossary(); lexicon(); readings()"]
    kept = {"XDG_CACHE_HOME": str(CACHE)}
    subprocess.run([sys.executable, "-c", "; ".join(code)], check=True, cwd=REPO, env=os.environ | kept)


def run(name: str, *, quick: bool) -> Report:
    """One program; its output is seen as it comes."""
    print(f"\n== {name}", flush=True)
    began_with = commit()
    with tempfile.TemporaryDirectory(prefix="meme-") as temporary:
        file = Path(temporary) / "found.json"
        given = QUICK[name].split() if quick else []
        subprocess.run([sys.executable, str(HERE / f"{name}.py"), "--json", str(file), *given], check=True, cwd=REPO)
        report = Report.read(file)
    report.measured = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, commit {began_with}"
    report.machine = machine()
    return report


def page(reports: dict[str, Report], plots: dict[str, str]) -> str:
    """docs/benchmarks.md."""
    about = (
        "Written by `make bench`; not by hand. Every ratio is of two figures measured in the same run by the program "
        "of that name in `benchmarks/`, whose first lines say how. Another machine gives other figures; the ratios "
        "should hold."
    )
    machines = {report.machine for report in reports.values()}
    parts = ["# Benchmarks", about, *(f"{only}." for only in machines if len(machines) == 1)]
    missed = [row.what for report in reports.values() for row in report.rows if not row.holds]
    if missed:
        parts.append("**Missed:** " + "; ".join(missed) + ".")
    for name, report in reports.items():
        where = "" if len(machines) == 1 else f", on {report.machine}"
        parts += [f"## {PROGRAMS[name]}", f"{report.measured}{where}."]
        if report.rows:
            parts.append("\n".join([HEAD, *(row.line() for row in report.rows)]))
        parts += [f"![{title}]({plots[title]})" for title in report.curves if title in plots]
        parts += report.notes
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Run, then write. A missed bound is told, and is no error: the docs say why."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--quick", action="store_true", help="small counts, to see whether the programs work")
    parser.add_argument("--print", action="store_true", help="print the page instead of writing it")
    options = parser.parse_args()
    kept: dict[str, Any] = {}
    if not options.quick and KEPT.exists():
        kept = json.loads(KEPT.read_text(encoding="utf-8"))
    if options.only:
        digest_dictionaries()
    for name in PROGRAMS:
        if name in options.only:
            kept[name] = asdict(run(name, quick=options.quick))
            if not options.quick:
                KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    reports = {name: Report.of(kept[name]) for name in PROGRAMS if name in kept}
    curves = {title: series for report in reports.values() for title, series in report.curves.items()}
    plots = {title: f"benchmarks-{number}.svg" for number, title in enumerate(curves, 1)}
    text = page(reports, plots)
    if options.print or options.quick:
        print(text)
    else:
        for title, name in plots.items():
            (DOCS / name).write_text(svg(title, curves[title]), encoding="utf-8")
        (DOCS / "benchmarks.md").write_text(text, encoding="utf-8")
        print(f"\nwritten: docs/benchmarks.md and {len(plots)} plots")
    missed = [row for report in reports.values() for row in report.rows if not row.holds]
    for row in missed:
        print(f"missed: {row.what}: {row.ratio:.2f}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
