"""What would cost the image thread its pace: another thread's OpenMP helpers, and a heap that is given back each time.

In processes of their own: threads, faults and malloc's settings are a process's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from transformers import AutoConfig, AutoModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HELPERS = """
import os, sys, time
from pathlib import Path
import numpy as np
import torch
from memewatchd.encoders.bundled.encoder import BundledEncoder
from memewatchd.encoders.clip import ClipEncoder
from memewatchd.encoders import bundled, torch_library

def threads():
    return len(os.listdir("/proc/self/task"))

def go(to):  # the kernel lists one for a moment after it was joined
    deadline = time.monotonic() + 10
    while threads() > to:
        assert time.monotonic() < deadline, f"{threads()} threads, {to} before"
        time.sleep(0.001)

torch.set_num_threads(2)
before = threads()
torch.ones(1 << 20).sqrt()
assert threads() == before + 1, "this torch has no helpers of OpenMP: the test says nothing"
torch_library.dismiss_helpers()
go(before)
torch_library.dismiss_helpers()
"""
BUNDLED = """
encoder = BundledEncoder.load(bundled.FOLDER, "bundled", device="cpu", threads=4)
go(before)
frame = np.zeros((encoder.spec.crop, encoder.spec.crop, 3), np.uint8)
encoder.encode_images([frame] * 4, share=2)
assert threads() == before + 1, "half of four, one of them the caller, kept for the next batch"
encoder.encode_images([frame] * 4, share=2)
assert threads() == before + 1
encoder.pause()
go(before)
encoder.encode_images([frame])
go(before)
"""
CLIP = """
encoder = ClipEncoder.load(Path(sys.argv[1]), "wide", device="cpu", threads=2)
before = threads()  # transformers has some of its own
dismissed = []
dismiss = torch_library.dismiss_helpers
torch_library.dismiss_helpers = lambda: (dismissed.append(threads()), dismiss())
encoder.encode_text("an angry cat looks at a white dog, " * 20)
assert dismissed == [before + 1], dismissed
go(before)
"""
FAULTS = """
import resource, sys
import numpy as np
from memewatchd.encoders import resting
if sys.argv[1] == "ours":
    resting.set_up_heaps()
from memewatchd.encoders import bundled
from memewatchd.encoders.bundled.encoder import BundledEncoder

encoder = BundledEncoder.load(bundled.FOLDER, "bundled", device="cpu", threads=1)
frames = [np.zeros((encoder.spec.crop, encoder.spec.crop, 3), np.uint8)] * 4
def faults(batches):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(batches):
        encoder.encode_images(frames)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / batches
faults(3)
kept = sorted(faults(1) for _ in range(7))[3]  # the heap may still grow in one of them
encoder.pause()
print(kept, faults(1))
"""

RESIDENT = """
import os, threading
import numpy as np
from memewatchd.encoders import resting
resting.set_up_heaps()

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

def fill_and_free():
    arrays = [np.ones(1 << 20) for _ in range(20)]  # 168 MB

before = resident_mb()
threads = [threading.Thread(target=fill_and_free) for _ in range(3)]
for thread in threads:
    thread.start()
    thread.join()
kept = resident_mb()
resting.trim()
print(kept - before, resident_mb() - before)
"""


def said(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_helpers_stay_only_while_batches_come_and_only_as_many_as_there_are_cores() -> None:
    said(HELPERS + BUNDLED)


def test_a_query_with_several_threads_leaves_no_helper(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "wide"
    shutil.copytree(tiny("clip"), folder)
    config = AutoConfig.from_pretrained(folder)
    config.text_config.intermediate_size = 8192  # where torch shares the work
    AutoModel.from_config(config).save_pretrained(folder)
    said(HELPERS + CLIP, folder)


def test_a_batch_finds_the_memory_of_the_one_before_until_a_pause() -> None:
    kept, after_a_pause = map(float, said(FAULTS, "ours").split())
    assert kept < 100
    assert after_a_pause > 1000
    assert float(said(FAULTS, "glibc's").split()[0]) > 1000, "it is so without: set_up_heaps does nothing for it"


def test_what_threads_left_free_is_given_back_wherever_it_lies() -> None:
    kept, left = map(float, said(RESIDENT).split())
    assert kept > 100
    assert left < 10
