"""A user namespace of one's own, for tests of limits and mounts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def in_namespace() -> Callable[..., str]:
    """Runs Python code in a user namespace of its own, where it is root and may change limits and mounts.

    Skips, and says so, where the kernel or its settings don't let us make one.
    """

    def run(code: str, *arguments: str, mounts: bool = False) -> str:
        flags = "-Urm" if mounts else "-Ur"
        unshare = shutil.which("unshare")
        if unshare is None:
            pytest.skip("util-linux's unshare is not installed: this hole of the kernel's watches is NOT TESTED")
        probe = subprocess.run([unshare, flags, "true"], capture_output=True, text=True, check=False, timeout=30)
        if probe.returncode != 0:
            pytest.skip(f"user namespaces aren't permitted, so this is NOT TESTED: {probe.stderr.strip()}")
        done = subprocess.run(
            [unshare, flags, sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
