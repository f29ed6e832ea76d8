"""A real X server without a screen (Xvfb), for the length of a ``with``."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def x_server(size: tuple[int, int] = (1280, 800), *options: str) -> Iterator[str]:
    """The name of its display. It listens on no TCP port."""
    read, write = os.pipe()
    screen = f"{size[0]}x{size[1]}x24"
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", screen, "-nolisten", "tcp", *options]
    with subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.DEVNULL) as server:
        try:
            os.close(write)
            with os.fdopen(read) as stream:
                number = stream.readline().strip()
            assert number
            yield f":{number}"
        finally:
            server.terminate()
