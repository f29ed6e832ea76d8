"""All benchmarks in one table: `make bench`, which writes docs/benchmarks.md and its plots.

    python -m benchmarks [--only indexing searching …] [--quick] [--print]

Each program runs by itself, one after the other: let nothing else run meanwhile. --quick is for trying the programs,
not for figures. Hours in full; all is printed as it comes.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
DOCS = REPO / "docs"
sys.path.insert(0, str(HERE))

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
}
MODELS = "models"


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

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "HEAD") or "no commit") + (" and changes that are not committed" if changed else "")


def run(name: str, folder: Path, *, quick: bool) -> Report:
    """One program; its output is seen as it comes."""
    print(f"\n== {name}", flush=True)
    file = folder / f"{name}.json"
    given = QUICK[name].split() if quick else []
    subprocess.run([sys.executable, str(HERE / f"{name}.py"), "--json", str(file), *given], check=True, cwd=REPO)
    return Report.read(file)


def models_table() -> str:
    """What each model costs has a table of its own shape."""
    print("\n== models", flush=True)
    done = subprocess.run(
        [sys.executable, str(HERE / "models.py")], check=True, cwd=REPO, stdout=subprocess.PIPE, text=True
    )
    print(done.stdout, flush=True)
    return done.stdout.strip()


def page(reports: dict[str, Report], models: str, plots: dict[str, str]) -> str:
    """docs/benchmarks.md."""
    about = (
        "Written by `make bench`; not by hand. Every ratio is of two figures measured in the same run by the program "
        "of that name in `benchmarks/`, whose first lines say how. Another machine gives other figures; the ratios "
        "should hold."
    )
    parts = [
        "# Benchmarks",
        about,
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, commit {commit()}.\n\n{machine()}.",
    ]
    missed = [row.what for report in reports.values() for row in report.rows if not row.holds]
    if missed:
        parts.append("**Missed:** " + "; ".join(missed) + ".")
    for name, report in reports.items():
        parts += [f"## {PROGRAMS[name]}", "\n".join([HEAD, *(row.line() for row in report.rows)])]
        parts += [f"![{title}]({plots[title]})" for title in report.curves if title in plots]
        parts += report.notes
    if models:
        parts += ["## Models", models]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Run, then write. A missed bound is told, and is no error: the docs say why."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*PROGRAMS, MODELS], default=[*PROGRAMS, MODELS])
    parser.add_argument("--quick", action="store_true", help="small counts, to see whether the programs work")
    parser.add_argument("--print", action="store_true", help="print the page instead of writing it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="meme-") as temporary:
        reports = {name: run(name, Path(temporary), quick=options.quick) for name in PROGRAMS if name in options.only}
    models = models_table() if MODELS in options.only and not options.quick else ""
    curves = {title: series for report in reports.values() for title, series in report.curves.items()}
    plots = {title: f"benchmarks-{number}.svg" for number, title in enumerate(curves, 1)}
    text = page(reports, models, plots)
    if options.print:
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
