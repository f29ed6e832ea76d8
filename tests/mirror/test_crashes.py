"""A power cut between any two calls to Milvus, or in the middle of one: the next start puts it right."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def prepare(rig: Any, png: Callable[[int], bytes]) -> None:
    """A folder that is indexed, and then changed in every way while nobody looks."""
    for number in range(4):
        rig.write(f"{number}.png", png(number))
    rig.write("unpacked.png", png(4))
    os.utime(rig.path("unpacked.png"), (1_000_000_000, 1_000_000_000))  # its time was set: no move is believed
    rig.write("gone.png", png(5))
    rig.write("bad.png", png(6)[:45])
    rig.start()
    rig.wait()
    os.unlink(rig.path("gone.png"))
    rig.wait()  # leaves a tombstone
    rig.stop()
    rig.write("0.png", png(10))  # new content
    rig.write("new.png", png(11))
    rig.write("copy.png", png(1))
    rig.write("back.png", png(5))
    os.unlink(rig.path("2.png"))  # leaves a tombstone
    rig.move("3.png", "moved.png")
    rig.move("unpacked.png", "moved too.png")
    rig.write("bad.png", png(6))  # mended


@pytest.mark.parametrize("when", ["before", "half", "after"])
def test_wherever_it_crashes_the_next_start_puts_it_right(
    new_rig: Callable[..., Any], png: Callable[[int], bytes], digest_of: Callable[[bytes], str], when: str
) -> None:
    for crash_at in range(100):
        rig = new_rig()
        prepare(rig, png)
        store = rig.store
        begins, crashed = len(store.calls), []

        def crash(
            number: int, name: str, crash_at: int = begins + crash_at, crashed: list[str] = crashed
        ) -> str | None:
            if number != crash_at:
                return None
            crashed.append(name)
            return when

        store.dies, store.fail = True, crash
        rig.start()
        walk = rig.ask()
        while not walk.done() and not rig.progress.problems:
            rig.mirror._stop.wait(0.002)
        rig.stop()
        if not crashed:
            assert walk.done()
            assert crash_at >= 8  # opening takes four calls; moves, pictures, new rows, old rows
            return
        store.revive()
        stored = {digest: rig.encoded(digest) for digest, _ in store.active}
        rig.start()
        rig.wait()
        rig.assert_equal_to_disk()
        rig.assert_vectors_are_true()
        assert {digest: rig.encoded(digest) for digest in stored} == stored, f"crashed {when} {crashed}"
        assert rig.encoded(digest_of(png(5))) == 1
        assert rig.encoded(digest_of(png(1))) == 1
    raise AssertionError("it never ran to its end")


def test_a_crash_while_the_first_picture_is_stored(new_rig: Callable[..., Any], png: Callable[[int], bytes]) -> None:
    """A picture without a file: used again, not encoded again. Its file's size must be read all the same."""
    rig = new_rig()
    rig.write("a.png", png(1))
    rig.store.dies = True
    rig.store.fail = lambda _, name: "after" if name == "insert_pictures" else None
    rig.start()
    rig.ask()
    while not rig.progress.problems:
        rig.mirror._stop.wait(0.002)
    rig.stop()
    rig.store.revive()
    rig.start()
    rig.wait()
    rig.assert_equal_to_disk()
    assert rig.model.batches == [1]
    assert rig.catalog.get(rig.path("a.png")).width == 8
