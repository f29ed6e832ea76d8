"""Draw the set, have it indexed, ask, count, and write results.md."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.search import memes, queries, report
from benchmarks.search.figures import Run

REPO = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.md")
RESULTS_ON_A_SERVER = RESULTS.with_name("results-server.md")
LAST_RUN = REPO / ".run" / "eval-search.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--model", default="bundled", help="what --model of memewatchd takes (bundled)")
    parser.add_argument("--home", type=Path, help="keep pictures and index in this folder for the next time")
    parser.add_argument("--server", action="store_true", help="on a Milvus server of its own, not the embedded one")
    parser.add_argument("--again", action="store_true", help="ask nothing: take what the last run was told")
    parser.add_argument("--sweep", action="store_true", help="try other constants, and print the best")
    parser.add_argument("--misses", metavar="KIND", help="print the queries whose kind begins so that fail, and stop")
    parser.add_argument("--no-write", action="store_true", help="only print; leave results.md as it is")
    options = parser.parse_args()
    if options.again:
        if not LAST_RUN.exists():
            parser.error("there is no last run yet")
        run = Run.read(LAST_RUN)
    else:
        run = _ask(options.model, options.home, options.server)
        LAST_RUN.parent.mkdir(mode=0o700, exist_ok=True)
        run.write(LAST_RUN)
    if options.misses is not None:
        print(report.misses(run, options.misses))
        return
    page = report.markdown(run, report.sweep(run) if options.sweep else "")
    print(page)
    if not options.no_write:
        (RESULTS_ON_A_SERVER if options.server else RESULTS).write_text(page, encoding="utf-8")


def _ask(model: str, kept: Path | None, on_server: bool) -> Run:
    """In a home of its own, which goes when all is asked."""
    try:
        from benchmarks.search import drawing
    except ImportError as error:
        raise SystemExit(f"{error}; what draws it: pip install -r training/requirements.txt") from None
    from benchmarks.search import asking

    # Short: the socket's path lies in it.
    home = kept.resolve() if kept is not None else Path(tempfile.mkdtemp(prefix="meme-"))
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        planned = memes.plan()
        drawing.fetch()
        print(f"drawing {len(planned)} pictures", file=sys.stderr, flush=True)
        tagged = drawing.draw_set(planned, home / "Memes")
        print("indexing them", file=sys.stderr, flush=True)
        with ExitStack() as alive:
            flags = asking.server_flags(home, alive) if on_server else []
            return asking.run(planned, queries.ask(planned), home, ["--model", model, *flags], tagged)
    finally:
        if kept is None:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
