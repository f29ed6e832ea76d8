"""`make lock`: resolve again what setup.cfg asks for, into packaging/lock/, with hashes, for Python 3.11 to 3.14.

torch isn't in there: its build is the user's choice (CPU or a GPU's) and comes from another index; what it needs is.
Needs `uv` (the extra `dev`). Names no index: the files hold whatever pip is configured with.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bootstrap import EXTRAS, LOCKS, ROOT

OVERRIDE = 'torch ; sys_platform == "never"\n'
# The requirements of torch's CPU build (its METADATA), but for setuptools, which is pinned by setup.cfg.
FOR_TORCH = "filelock\nfsspec\njinja2\nnetworkx\nsympy\ntyping-extensions\n"
COMMAND = (
    *("uv", "pip", "compile", "--quiet", "--upgrade", "--universal", "--python-version", "3.11", "--generate-hashes"),
    *("--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-package", "torch"),
)


def main() -> None:
    """Write every lock file; the later ones agree with the first."""
    goals = {"base": (), **EXTRAS}
    with tempfile.TemporaryDirectory() as temporary:
        override, more, agreed = (Path(temporary) / name for name in ("override.txt", "more.in", "agreed.txt"))
        override.write_text(OVERRIDE)
        more.write_text(FOR_TORCH)
        agreed.touch()
        for goal in sorted(goals, key=lambda goal: -len(goals[goal])):
            extras = [part for extra in goals[goal] for part in ("--extra", extra)]
            out = LOCKS / f"{goal}.txt"
            out.unlink(missing_ok=True)
            command = [
                sys.executable,
                "-m",
                *COMMAND,
                "--override",
                str(override),
                "--constraint",
                str(agreed),
                *extras,
            ]
            command += ["setup.cfg", str(more), "--output-file", str(out)]
            subprocess.run(command, cwd=ROOT, check=True)
            kept = [line for line in out.read_text().splitlines() if not line.startswith("# ")]
            out.write_text("\n".join(kept) + "\n")
            agreed.write_text(agreed.read_text() + names_only(out.read_text()))
            print(f"{out.relative_to(ROOT)}: {sum(not line.startswith(' ') for line in kept)} packages")


def names_only(lock: str) -> str:
    """The pins without their hashes, as constraints."""
    return "".join(line.removesuffix(" \\") + "\n" for line in lock.splitlines() if line[:1].isalpha())


if __name__ == "__main__":
    main()
