"""What is done before torch is first imported, in a process that hasn't."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import os, sys
from pathlib import Path
from memewatchd.encoders import torch_library

def is_loaded():
    return "libtorch_cpu.so" in Path("/proc/self/maps").read_text()

assert not is_loaded()
torch_library.prepare()
torch_library.prepare()
assert is_loaded() and "torch" not in sys.modules
import torch
print(float(torch.ones(3).sum()), os.environ["GOMP_SPINCOUNT"])
"""
MISSING = """
import importlib.util
from memewatchd.encoders import torch_library
importlib.util.find_spec = lambda name: None
torch_library.prepare()
print("fine")
"""


def said(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_library_is_loaded_before_torch_is_imported_and_serves_it() -> None:
    assert said(LOADED) == "3.0 20000"


def test_without_torch_it_does_nothing() -> None:
    assert said(MISSING) == "fine"
