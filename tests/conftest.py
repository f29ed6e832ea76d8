"""What every room's tests may ask for."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

# import-mode=importlib puts no test folder on sys.path.
sys.path.insert(0, str(Path(__file__).parent / "plugins"))

from caches import CACHE

pytest_plugins = ["milvus_server", "namespaces"]

os.environ["XDG_CACHE_HOME"] = str(CACHE)

# A shell has what it puts into the background ignore Ctrl-C, and all programs that we start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
