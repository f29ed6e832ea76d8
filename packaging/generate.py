"""`make generated`: write completions and man pages anew, from the programs' own tables. With --check, only compare."""

from __future__ import annotations

import sys
from pathlib import Path

import man_pages
import shell_completions

HERE = Path(__file__).resolve().parent


def made() -> dict[Path, str]:
    """Every generated file and what belongs into it."""
    files = {HERE / "completions" / name: make() for name, make in shell_completions.MADE.items()}
    return files | {HERE / "man" / name: make() for name, make in man_pages.MADE.items()}


def main(argv: list[str]) -> int:
    """Exit code 1 where --check finds a file that is not up to date."""
    stale = [file for file, text in made().items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    for file in stale:
        print(f"{file.relative_to(HERE.parent)} {'is not up to date' if argv else 'written'}")
        if not argv:
            file.parent.mkdir(exist_ok=True)
            file.write_text(made()[file], encoding="utf-8")
    return 1 if argv and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
