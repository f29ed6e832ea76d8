"""Anything may happen to the folder, to the mirror and to Milvus: after a ``wait``, the index equals the disk."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

if TYPE_CHECKING:
    from collections.abc import Callable

# Few, so that things get in each other's way; any of them may be a file or a folder.
NAMES = ["a.png", "b.png", "c", "d.txt", ".hidden", "e.part"]

paths = st.lists(st.sampled_from(NAMES[:4]), min_size=1, max_size=3).map("/".join)
any_paths = st.one_of(paths, st.sampled_from(NAMES[4:]))
contents = st.integers(0, 7)


class Anything(RuleBasedStateMachine):
    """What the kernel refuses (a folder over a file) just doesn't happen."""

    new_rig: Callable[..., Any]
    png: Callable[[int], bytes]

    def __init__(self) -> None:
        super().__init__()
        self.rig = self.new_rig()
        self.rig.start()

    def teardown(self) -> None:
        try:
            self.wait()
        finally:
            self.rig.close()

    def content(self, number: int) -> bytes:
        """0 to 3 are pictures, all of one size; the others are two halves of one, nothing, and no picture."""
        data = self.png(number % 4)
        return (data[:45], data[:30], b"", b"words")[number - 4] if number >= 4 else data

    # The folder.

    @rule(path=any_paths, number=contents)
    def write(self, path: str, number: int) -> None:
        with suppress(OSError):
            self.rig.write(path, self.content(number))

    @rule(path=any_paths, to=paths, number=contents)
    def write_then_rename(self, path: str, to: str, number: int) -> None:
        with suppress(OSError):
            self.rig.write(path + ".tmp", self.content(number))
            self.rig.move(path + ".tmp", to)

    @rule(path=any_paths, to=any_paths)
    def move(self, path: str, to: str) -> None:
        with suppress(OSError):
            self.rig.move(path, to)

    @rule(path=paths, to=paths)
    def swap(self, path: str, to: str) -> None:
        with suppress(OSError):
            self.rig.move(path, ".spare")
            try:
                self.rig.move(to, path)
            finally:
                self.rig.move(".spare", to)

    @rule(path=paths, to=paths)
    def copy(self, path: str, to: str) -> None:
        with suppress(OSError, shutil.Error):
            shutil.copyfile(self.rig.path(path), self.rig.path(to))

    @rule(path=paths, to=paths)
    def link(self, path: str, to: str) -> None:
        with suppress(OSError):
            os.link(self.rig.path(path), self.rig.path(to))

    @rule(leads_to=st.sampled_from([".", "..", "nowhere", *NAMES[:3]]), path=paths)
    def symlink(self, leads_to: str, path: str) -> None:
        with suppress(OSError):
            os.symlink(leads_to, self.rig.path(path))

    @rule(path=paths)
    def delete(self, path: str) -> None:
        with suppress(OSError):
            os.unlink(self.rig.path(path))

    @rule(path=paths)
    def delete_tree(self, path: str) -> None:
        with suppress(OSError):
            shutil.rmtree(self.rig.path(path))

    @rule(path=paths)
    def make_folder(self, path: str) -> None:
        with suppress(OSError):
            os.makedirs(self.rig.path(path))

    @rule(path=paths, mode=st.sampled_from([0o600, 0o644]))
    def chmod(self, path: str, mode: int) -> None:
        if not os.path.isdir(self.rig.path(path)):
            with suppress(OSError):
                os.chmod(self.rig.path(path), mode)

    @rule(path=paths, when=st.sampled_from([None, (1_000_000_000, 1_000_000_000)]))
    def touch(self, path: str, when: tuple[int, int] | None) -> None:
        with suppress(OSError):
            os.utime(self.rig.path(path), when)

    @rule()
    def take_the_root_away_and_back(self) -> None:
        os.rename(self.rig.root, self.rig.root + b".away")
        self.rig.mirror.wake()
        os.rename(self.rig.root + b".away", self.rig.root)

    # The mirror, and what it works with.

    @rule()
    def wait(self) -> None:
        if self.rig.progress.paused:
            self.rig.mirror.set_paused(False)
        self.rig.decoder.gate.set()
        self.rig.wait()
        self.rig.store.fail = lambda _number, _name: None
        self.rig.wait()
        self.rig.assert_equal_to_disk()
        self.rig.assert_vectors_are_true()

    @rule()
    def restart(self) -> None:
        self.rig.restart()

    @precondition(lambda self: not self.rig.progress.paused)
    @rule()
    def pause(self) -> None:
        self.rig.mirror.set_paused(True)

    @precondition(lambda self: self.rig.progress.paused)
    @rule()
    def resume(self) -> None:
        self.rig.mirror.set_paused(False)

    @rule()
    def hold_up_the_decoders(self) -> None:
        """Until the next ``wait``: what happens meanwhile happens to files that are under way."""
        self.rig.decoder.gate.clear()

    @rule()
    def let_it_work(self) -> None:
        """For a moment; where it stands then is anybody's guess."""
        self.rig.decoder.began.acquire(timeout=0.1)

    @rule(calls=st.integers(0, 5), when=st.sampled_from(["before", "half", "after"]))
    def fail_soon(self, calls: int, when: str) -> None:
        fails = len(self.rig.store.calls) + calls
        self.rig.store.fail = lambda number, _name: when if number == fails else None


def test_the_index_equals_the_disk(new_rig: Callable[..., Any], png: Callable[[int], bytes]) -> None:
    machine = type("Machine", (Anything,), {"new_rig": staticmethod(new_rig), "png": staticmethod(png)})
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=20, deadline=None))
