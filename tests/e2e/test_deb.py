"""The Debian package's client, unpacked, against the real daemon."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from real_daemon import REPO, picture

if TYPE_CHECKING:
    from pathlib import Path

    from real_daemon import Daemon


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb: apt install dpkg")
def test_it_searches(embedded: Daemon, tmp_path: Path) -> None:
    subprocess.run([sys.executable, REPO / "packaging/deb/build.py", tmp_path], check=True, capture_output=True)
    (deb,) = tmp_path.glob("*.deb")
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
    # The program's own line names the machine's Python, which doesn't look in here.
    code = f"""
import runpy, sys
sys.path.insert(0, {str(root / "usr/lib/python3/dist-packages")!r})
sys.argv[0] = {str(root / "usr/bin/memewatch")!r}
runpy.run_path(sys.argv[0])
"""

    def memewatch(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", "-c", code, "--socket", embedded.socket, *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)

    made = embedded.folder / "angry cat.png"
    picture(made, 1)
    with embedded:
        assert memewatch("wait").returncode == 0
        found = memewatch("search", "-n", "1", "angry", "cat")
        assert (found.returncode, found.stdout, found.stderr) == (0, f"{made}\n", "")
        assert "1 meme can be found" in memewatch("status").stdout
    assert memewatch("search", "cat").returncode == 3
