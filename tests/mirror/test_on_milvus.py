"""The mirror on the real embedded Milvus with real decode children: the parts fit, and it heals as with the fakes."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

import numpy as np

from memewatchd.index.engine import Engine
from memewatchd.index.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from memewatchd.pictures.pool import DecodePool


def test_a_life_with_milvus(
    new_rig: Callable[..., Any], pool: DecodePool, tmp_path: Path, png: Callable[[int], bytes]
) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with Engine.open(str(state / "index.db"), "", state) as engine:
        store = Store(engine)

        def open_index() -> None:
            engine.revive()
            store.open_files()

        rig = new_rig(decoder=pool, store=store, open_index=open_index)
        for number in range(10):
            rig.write(f"{number}.png", png(number))
        rig.write("bad\n\udcff.png", b"")
        rig.start()
        rig.wait()
        rig.assert_equal_to_disk()
        assert (len(rig.indexed), len(rig.failed)) == (10, 1)

        rig.move("1.png", "renamed.png")
        shutil.copy(rig.path("2.png"), rig.path("copy.png"))
        rig.write("3.png", png(30))
        os.unlink(rig.path("4.png"))
        rig.wait()
        rig.assert_equal_to_disk()
        assert sum(rig.model.batches) == 11

        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        rig.write("after the crash.png", png(31))
        rig.write("back.png", png(4))
        rig.wait()
        rig.assert_equal_to_disk()
        assert rig.progress.problems == {}

        encoded = sum(rig.model.batches)
        assert encoded in (12, 13)  # what Milvus didn't take before it died, once more
        rig.stop()
        rig.move("5.png", "moved meanwhile.png")
        rig.start()
        rig.wait()
        rig.assert_equal_to_disk()
        assert rig.reader.opened == []
        assert sum(rig.model.batches) == encoded

        # The vectors of what was deleted or replaced are kept, each once.
        hits = [hit.digest for hit in store.search_pictures(np.ones(32, np.float32), 100)]
        assert len(hits) == len(set(hits)) == 12
        assert set(rig.indexed.values()) < set(hits)
        rig.stop()
