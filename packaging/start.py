"""What `make run` does once all is set up: become the daemon, on $MEMES or, without, on samples/.

Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from bootstrap import PRIVATE, ROOT, VENV, fail, set_up

# sun_path holds 108 bytes, its NUL included.
SOCKET_PATH_MAX = 107


def start(folder: str) -> NoReturn:
    """Become the daemon, on ``folder`` as the user wrote it ("" for the samples)."""
    environment = dict(os.environ)
    program = str(VENV / "bin" / "memewatchd")
    client = [".venv/bin/memewatch"]
    if folder:
        path = Path(os.path.abspath(os.path.expanduser(folder)))
        if not path.is_dir():
            fail(f"FOLDER={folder}: there is no such folder. Make it first: mkdir -p {shlex.quote(str(path))}")
        flags = ["--folder", str(path)]
    else:
        PRIVATE.mkdir(mode=0o700, exist_ok=True)
        config = PRIVATE / "config.toml"
        config.touch()
        socket = samples_socket()
        # Neither the user's settings nor their Milvus: the samples are only a look round.
        for name in ("FOLDER", "MILVUS", "MILVUS_TOKEN_FILE", "COLLECTION_PREFIX", "CONFIG"):
            environment.pop(f"MEMEWATCHD_{name}", None)
        flags = ["--folder", str(ROOT / "samples"), "--config", str(config)]
        flags += ["--state-dir", str(PRIVATE / "state"), "--socket", str(socket)]
        inside = socket.relative_to(ROOT) if socket.is_relative_to(ROOT) else socket
        client += ["--socket", str(inside)]
    set_up("run")
    environment["MEMEWATCHD_CLIENT"] = shlex.join(client)
    sys.stdout.flush()
    os.execve(program, [program, *flags], environment)


def samples_socket() -> Path:
    """Where the samples' daemon listens: in the clone, or, where that path is too long for a socket, elsewhere."""
    name = f"memewatchd-samples-{hashlib.blake2b(os.fsencode(ROOT), digest_size=6).hexdigest()}"
    bases = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]
    places = [PRIVATE, *(Path(base) / f"{name}-{os.getuid()}" for base in bases if base.startswith("/"))]
    sockets = [place / "memewatchd.sock" for place in places]
    return next((socket for socket in sockets if len(os.fsencode(socket)) <= SOCKET_PATH_MAX), sockets[-1])


if __name__ == "__main__":
    try:
        start(os.environ.get("MEMES", ""))
    except KeyboardInterrupt:
        print("\nStopped. The next run goes on from here.", file=sys.stderr)
        sys.exit(130)
