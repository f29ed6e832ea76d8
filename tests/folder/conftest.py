from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    """An empty folder to watch, as raw bytes."""
    path = tmp_path / "memes"
    path.mkdir()
    return os.fsencode(path)


@pytest.fixture
def strict_root() -> Iterator[bytes]:
    """An empty folder that an ordinary user owns and can get to: root is refused nothing, so as root it's nobody's."""
    path = tempfile.mkdtemp()
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    yield os.fsencode(path)
    Path(path).chmod(0o700)
    for folder, subfolders, _ in os.walk(path):
        for name in subfolders:
            Path(folder, name).chmod(0o700)
    shutil.rmtree(path)


@pytest.fixture
def ordinary_user() -> Callable[[], AbstractContextManager[None]]:
    """While in this context we are an ordinary user, whom permissions can stop."""

    @contextmanager
    def become() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    return become


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
