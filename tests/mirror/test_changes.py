"""One change at a time, with real decode children: what is looked at, what is encoded, and what comes out."""

from __future__ import annotations

import io
import os
import shutil
from typing import TYPE_CHECKING, Any

from PIL import Image

from memewatchd import outbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def test_what_is_there_at_the_start_and_what_comes_later(real_rig: Any, png: Callable[[int], bytes]) -> None:
    real_rig.write("a.png", png(1))
    real_rig.write("deep/er/b.png", png(2))
    real_rig.wait()
    assert set(real_rig.indexed) == {"a.png", "deep/er/b.png"}
    real_rig.write("new/c.png", png(3))
    real_rig.wait()
    real_rig.assert_equal_to_disk()
    assert sorted(real_rig.events) == [("added", "a.png"), ("added", "deep/er/b.png"), ("added", "new/c.png")]
    assert real_rig.progress.encoded == 3


def test_changes_are_found_without_being_asked(
    real_rig: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    """By the kernel's events alone: nobody waits, so nobody asks for a walk."""
    real_rig.wait()
    real_rig.write("a.png", png(1))
    until(lambda: "a.png" in real_rig.indexed)
    real_rig.move("a.png", "b.png")
    until(lambda: list(real_rig.indexed) == ["b.png"])
    os.unlink(real_rig.path("b.png"))
    until(lambda: not real_rig.indexed)
    assert real_rig.events == [("added", "a.png"), ("moved", "b.png"), ("removed", "b.png")]


def test_a_rename_keeps_its_vector_and_reads_nothing(real_rig: Any, png: Callable[[int], bytes]) -> None:
    real_rig.write("a.png", png(1))
    real_rig.wait()
    first_seen = real_rig.catalog.get(real_rig.path("a.png")).first_seen
    real_rig.reader.opened.clear()
    os.mkdir(real_rig.path("there"))
    real_rig.move("a.png", "there/angry cat.png")
    real_rig.wait()
    real_rig.assert_equal_to_disk()
    row = real_rig.catalog.get(real_rig.path("there/angry cat.png"))
    assert (row.text, row.first_seen, row.width) == ("angry cat", first_seen, 8)
    assert real_rig.reader.opened == []
    assert real_rig.model.batches == [1]
    assert real_rig.store.count("insert_pictures") == 1
    assert real_rig.events[1:] == [("moved", "there/angry cat.png")]


def test_a_folder_of_500_is_renamed_without_a_vector_moved(rig: Any, png: Callable[[int], bytes]) -> None:
    for number in range(500):
        rig.write(f"old/{number}.png", png(number))
    rig.wait()
    assert len(rig.indexed) == 500
    before = rig.store.count("insert_pictures"), rig.store.count("insert_files"), len(rig.reader.opened)
    rig.move("old", "new")
    rig.wait()
    rig.assert_equal_to_disk()
    after = rig.store.count("insert_pictures"), rig.store.count("insert_files"), len(rig.reader.opened)
    assert after[0] == before[0]
    assert after[2] == before[2]
    assert after[1] - before[1] <= 4  # a look may fall between the two events, no more
    assert sum(rig.model.batches) == 500


def test_copies_are_free(real_rig: Any, png: Callable[[int], bytes]) -> None:
    real_rig.write("a.png", png(1))
    real_rig.wait()
    shutil.copy2(real_rig.path("a.png"), real_rig.path("b.png"))
    shutil.copy(real_rig.path("a.png"), real_rig.path("c.jpg"))
    os.link(real_rig.path("a.png"), real_rig.path("d.png"))
    real_rig.wait()
    real_rig.assert_equal_to_disk()
    assert len(real_rig.indexed) == 4
    assert real_rig.progress.encoded == sum(real_rig.model.batches) == 1


def test_copies_that_come_at_once_go_through_the_tower_once(rig: Any, png: Callable[[int], bytes]) -> None:
    rig.decoder.gate.clear()
    for number in range(20):
        rig.write(f"{number}.png", png(1))
    walk = rig.ask()
    assert rig.decoder.began.acquire(timeout=30)
    rig.decoder.gate.set()
    walk.result(30)
    rig.assert_equal_to_disk()
    assert len(rig.indexed) == 20
    assert rig.model.batches == [1]
    assert rig.decoder.decoded.total() == 1


def test_copies_among_more_files_than_are_taken_at_once(rig: Any, png: Callable[[int], bytes]) -> None:
    """A copy may come when the first has been encoded and isn't written yet."""
    for number in range(90):
        rig.write(f"{number}.png", png(number % 30))
    rig.wait()
    rig.assert_equal_to_disk()
    assert sum(rig.model.batches) == rig.progress.encoded == 30
    assert rig.mirror._intake._unstored == {}  # frames are large


def test_what_was_deleted_and_comes_back_is_not_encoded_again(real_rig: Any, png: Callable[[int], bytes]) -> None:
    real_rig.write("a.png", png(1))
    real_rig.wait()
    os.unlink(real_rig.path("a.png"))
    real_rig.wait()
    assert real_rig.indexed == {}
    assert len(real_rig.catalog.tombstones()) == 1
    real_rig.restart()
    real_rig.write("back.png", png(1))
    real_rig.wait()
    real_rig.assert_equal_to_disk()
    assert real_rig.catalog.tombstones() == []
    assert real_rig.store.count("insert_pictures") == 1
    assert real_rig.model.batches == [1]


def test_two_files_swap_their_names(real_rig: Any, png: Callable[[int], bytes]) -> None:
    real_rig.write("a.png", png(1))
    real_rig.write("b.png", png(2))
    real_rig.wait()
    for here, there in ("a.png", ".spare"), ("b.png", "a.png"), (".spare", "b.png"):
        real_rig.move(here, there)
    real_rig.wait()
    real_rig.assert_equal_to_disk()
    assert sum(real_rig.model.batches) == 2


def test_new_content_under_an_old_name_replaces_it(
    real_rig: Any, png: Callable[[int], bytes], digest_of: Callable[[bytes], str]
) -> None:
    real_rig.write("a.png", png(1))
    real_rig.wait()
    real_rig.write("a.png", png(2))
    real_rig.wait()
    real_rig.assert_equal_to_disk()
    assert real_rig.indexed == {"a.png": digest_of(png(2))}
    writes = [call for call in real_rig.store.calls if call.startswith(("insert", "delete"))]
    assert writes[2:] == ["insert_pictures", "insert_files", "delete_files"]  # new first, deletions second


def test_an_open_file_is_pending_until_it_is_closed(
    real_rig: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    data = png(1)
    with open(real_rig.path("a.png"), "wb", buffering=0) as file:  # noqa: PTH123
        file.write(data[:20])
        walk = real_rig.ask()
        until(lambda: len(real_rig.reader.opened) >= 3)
        assert real_rig.progress.pending == 1
        assert real_rig.progress.state == "indexing"
        assert not walk.done()
        file.write(data[20:])
    walk.result(30)
    real_rig.assert_equal_to_disk()
    assert real_rig.events == [("added", "a.png")]


def test_written_then_renamed_is_one_change(real_rig: Any, png: Callable[[int], bytes]) -> None:
    real_rig.wait()
    for number in range(5):
        half, data = f"{number}.png.part", png(number)
        with open(real_rig.path(half), "wb") as file:  # noqa: PTH123
            file.write(data[:30])
            file.flush()
            real_rig.wait()  # the half is not so much as looked into
            file.write(data[30:])
        real_rig.move(half, f"{number}.png")
    real_rig.wait()
    real_rig.assert_equal_to_disk()
    assert sorted(real_rig.events) == [("added", f"{number}.png") for number in range(5)]


def test_an_editor_saves_over_a_picture_by_renaming(real_rig: Any, png: Callable[[int], bytes]) -> None:
    real_rig.write("a.png", png(1))
    real_rig.wait()
    real_rig.write("a.png.tmp", png(2))
    real_rig.move("a.png.tmp", "a.png")
    real_rig.wait()
    real_rig.assert_equal_to_disk()
    assert real_rig.events == [("added", "a.png"), ("added", "a.png")]


def test_a_file_that_changes_while_it_is_decoded_is_not_taken_for_what_it_was(
    rig: Any, png: Callable[[int], bytes]
) -> None:
    """The child reads the new bytes; what it makes of them says nothing of the old digest, which may come back."""
    rig.decoder.gate.clear()
    rig.write("a.png", png(1))
    walk = rig.ask()
    assert rig.decoder.began.acquire(timeout=30)
    rig.write("a.png", png(2))
    rig.decoder.gate.set()
    walk.result(30)
    rig.wait()
    rig.assert_equal_to_disk()
    rig.assert_vectors_are_true()
    rig.write("copy.png", png(1))
    rig.wait()
    rig.assert_equal_to_disk()
    rig.assert_vectors_are_true()


def test_what_a_link_leads_to_changes_while_it_is_decoded(
    rig: Any, tmp_path: Path, png: Callable[[int], bytes], digest_of: Callable[[bytes], str]
) -> None:
    """No event tells of that."""
    outside = tmp_path / "elsewhere.png"
    outside.write_bytes(png(1))
    os.symlink(outside, rig.path("link.png"))
    rig.decoder.gate.clear()
    walk = rig.ask()
    assert rig.decoder.began.acquire(timeout=30)
    outside.write_bytes(png(2))
    rig.decoder.gate.set()
    walk.result(30)
    assert rig.indexed == {"link.png": digest_of(png(2))}
    rig.assert_vectors_are_true()


def test_a_file_deleted_when_it_is_encoded_and_not_yet_written(
    rig: Any, png: Callable[[int], bytes], until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "WAIT_S", 60.0)
    rig.model.gate.clear()
    rig.write("a.png", png(1))
    rig.ask()
    assert rig.model.began.acquire(timeout=30)
    rig.decoder.gate.clear()
    rig.write("b.png", png(2))  # keeps it busy, so that it doesn't write
    rig.wait_until_read("b.png")
    until(lambda: rig.path("b.png") in rig.mirror._intake.paths)
    rig.model.gate.set()
    until(lambda: rig.mirror._outbox)
    os.unlink(rig.path("a.png"))
    walk = rig.ask()
    until(lambda: not rig.progress.waiting_walks())
    rig.decoder.gate.set()
    walk.result(30)
    rig.assert_equal_to_disk()
    assert set(rig.indexed) == {"b.png"}


def test_a_file_that_breaks_while_it_is_decoded_does_not_break_its_copies(
    rig: Any, png: Callable[[int], bytes]
) -> None:
    rig.decoder.gate.clear()
    rig.write("a.png", png(1))
    walk = rig.ask()
    assert rig.decoder.began.acquire(timeout=30)
    rig.write("copy.png", png(1))
    rig.write("a.png", png(1)[:30])
    rig.decoder.gate.set()
    walk.result(30)
    rig.wait()
    rig.assert_equal_to_disk()
    assert set(rig.indexed) == {"copy.png"}
    assert set(rig.failed) == {"a.png"}


def test_a_folder_renamed_and_renamed_back_while_its_file_is_decoded(
    rig: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    """The file itself looks as if nothing had happened: not even its ctime tells."""
    rig.decoder.gate.clear()
    rig.write("old/a.png", png(1))
    rig.ask()
    assert rig.decoder.began.acquire(timeout=30)
    rig.move("old", "new")
    until(lambda: rig.path("new/a.png") in rig.reader.opened)
    rig.move("new", "old")
    walk = rig.ask()
    rig.decoder.gate.set()
    walk.result(30)
    rig.assert_equal_to_disk()


def test_a_file_deleted_while_it_is_decoded_is_not_written(rig: Any, png: Callable[[int], bytes]) -> None:
    rig.decoder.gate.clear()
    rig.write("a.png", png(1))
    rig.ask()
    assert rig.decoder.began.acquire(timeout=30)
    os.unlink(rig.path("a.png"))
    rig.wait()
    assert rig.progress.pending == 0
    rig.decoder.gate.set()
    rig.write("b.png", png(2))
    rig.wait()
    rig.assert_equal_to_disk()
    assert rig.events == [("added", "b.png")]


def test_a_broken_picture_fails_with_a_reason_and_is_tried_again_only_once_it_changes(
    real_rig: Any, png: Callable[[int], bytes]
) -> None:
    real_rig.write("cut.png", png(1)[:45])
    real_rig.write("empty.png", b"")
    real_rig.write("text.jpg", b"no picture at all")
    real_rig.wait()
    assert set(real_rig.failed) == {"cut.png", "empty.png", "text.jpg"}
    assert all(real_rig.failed.values())
    assert sorted(real_rig.events) == [("failed", "cut.png"), ("failed", "empty.png"), ("failed", "text.jpg")]
    real_rig.reader.opened.clear()
    real_rig.wait()
    real_rig.restart()
    real_rig.wait()
    assert real_rig.reader.opened == []
    real_rig.write("cut.png", png(1))
    real_rig.wait()
    assert set(real_rig.failed) == {"empty.png", "text.jpg"}
    assert set(real_rig.indexed) == {"cut.png"}


def test_copies_of_a_broken_picture_are_not_decoded_again(
    rig: Any, png: Callable[[int], bytes], digest_of: Callable[[bytes], str]
) -> None:
    rig.write("cut.png", png(1)[:45])
    rig.wait()
    rig.write("copy.png", png(1)[:45])
    rig.wait()
    assert set(rig.failed) == {"copy.png", "cut.png"}
    assert rig.decoder.decoded[digest_of(png(1)[:45])] == 1


def test_what_is_no_meme_is_neither_listed_nor_failed(real_rig: Any, png: Callable[[int], bytes]) -> None:
    real_rig.write("notes.txt", b"words")
    real_rig.write("half.png.crdownload", png(1))
    real_rig.write(".hidden.png", png(2))
    real_rig.write("excluded/a.png", png(3))
    os.mkfifo(real_rig.path("fifo.png"))
    os.symlink("loop.png", real_rig.path("loop.png"))
    os.symlink("nowhere.png", real_rig.path("dangling.png"))
    os.symlink(real_rig.root, real_rig.path("round"))
    real_rig.wait()
    assert real_rig.catalog.rows() == []
    assert set(real_rig.reader.opened) == {real_rig.path("notes.txt")}
    real_rig.reader.opened.clear()
    real_rig.wait()
    assert real_rig.reader.opened == []  # once is enough
    real_rig.write("notes.txt", png(4))  # the bytes decide, not the name
    real_rig.wait()
    assert set(real_rig.indexed) == {"notes.txt"}
    real_rig.write("notes.txt", b"words again")
    real_rig.wait()
    assert real_rig.catalog.rows() == []
    assert real_rig.events == [("added", "notes.txt"), ("removed", "notes.txt")]


def test_a_gif_named_jpg_is_a_meme(real_rig: Any) -> None:
    data = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
    real_rig.write("dance.jpg", data.getvalue())
    real_rig.wait()
    assert real_rig.failed == {}
    assert real_rig.catalog.get(real_rig.path("dance.jpg")).frames == 3


def test_a_link_to_a_picture_outside_is_listed_under_its_own_path(
    real_rig: Any, tmp_path: Path, png: Callable[[int], bytes]
) -> None:
    outside = tmp_path / "elsewhere.png"
    outside.write_bytes(png(1))
    os.symlink(outside, real_rig.path("link.png"))
    real_rig.wait()
    assert set(real_rig.indexed) == {"link.png"}
    outside.unlink()  # no event here: a walk finds it
    real_rig.wait()
    assert real_rig.indexed == {}
