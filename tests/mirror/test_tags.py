"""Words of people's own through the mirror: tags and comments on the file, descriptions in it."""

from __future__ import annotations

import io
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, PngImagePlugin

from memewatchd.desktop import tagging
from memewatchd.pictures.tags import COMMENT, TAGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def _attributes(tmp_path: Path) -> None:
    """Needs extended attributes where temporary files are made (ext4, btrfs, xfs, a tmpfs of Linux 6.6 or later)."""
    try:
        os.setxattr(tmp_path, "user.memewatchd.probe", b"x")
    except OSError as error:
        pytest.fail(f"{tmp_path} lies on a file system without extended attributes ({error}); choose one by TMPDIR")


def described(text: str, seed: int = 0) -> bytes:
    """A picture that says something of itself."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Description", text)
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (seed, 0, 0)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def words(rig: Any, name: str) -> tuple[str, tuple[str, ...]]:
    row = rig.catalog.get(rig.path(name))
    assert row is not None
    return row.text, row.tags


def test_words_that_are_there_at_the_start(real_rig: Any, png: Callable[[int], bytes]) -> None:
    path = real_rig.write("a.png", png(1))
    os.setxattr(path, TAGS, "Fav,生氣,angry bird".encode())
    os.setxattr(path, COMMENT, b"my boss, on Monday")
    real_rig.wait()
    expected = ("a / fav / 生气 / angry bird / my boss on monday", ("fav", "生气", "angry bird"))
    assert words(real_rig, "a.png") == expected
    real_rig.assert_equal_to_disk()
    real_rig.restart()
    real_rig.wait()
    assert words(real_rig, "a.png") == expected


def test_a_tag_set_later_is_heard_and_nothing_is_encoded(
    real_rig: Any, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    """By the kernel's event alone: nobody asks for a walk."""
    real_rig.write("deep/a.png", png(1))
    real_rig.wait()
    assert words(real_rig, "deep/a.png") == ("a", ())
    tagging.tag(real_rig.path("deep/a.png"), [(True, "Cat"), (True, "fav")])
    until(lambda: words(real_rig, "deep/a.png") == ("a / cat / fav", ("cat", "fav")))
    tagging.tag(real_rig.path("deep/a.png"), [(False, "cat")])
    until(lambda: words(real_rig, "deep/a.png") == ("a / fav", ("fav",)))
    os.setxattr(real_rig.path("deep/a.png"), COMMENT, b"so true")
    until(lambda: words(real_rig, "deep/a.png") == ("a / fav / so true", ("fav",)))
    real_rig.wait()
    real_rig.assert_equal_to_disk()
    assert sum(real_rig.model.batches) == real_rig.progress.encoded == 1
    assert real_rig.store.count("insert_pictures") == 1
    assert real_rig.events == [("added", "deep/a.png")] * 4


def test_a_tag_decodes_nothing(rig: Any, png: Callable[[int], bytes]) -> None:
    rig.write("a.png", png(1))
    rig.wait()
    tagging.tag(rig.path("a.png"), [(True, "cat")])
    rig.wait()
    assert words(rig, "a.png") == ("a / cat", ("cat",))
    assert rig.decoder.decoded.total() == 1
    assert rig.stored() == {rig.path("a.png"): 1}


def test_what_changes_no_word_is_no_news(real_rig: Any, png: Callable[[int], bytes]) -> None:
    path = real_rig.write("a.png", png(1))
    os.setxattr(path, TAGS, b"cat")
    real_rig.wait()
    os.chmod(path, 0o600)
    os.setxattr(path, "user.other", b"x")
    real_rig.wait()
    real_rig.assert_equal_to_disk()
    assert real_rig.events == [("added", "a.png")]


def test_a_rename_keeps_the_words_and_reads_nothing(real_rig: Any) -> None:
    path = real_rig.write("a.png", described("Grumpy, in the rain"))
    os.setxattr(path, TAGS, b"cat")
    os.setxattr(path, COMMENT, b"so true")
    real_rig.wait()
    assert words(real_rig, "a.png") == ("a / cat / so true / grumpy in the rain", ("cat",))
    real_rig.reader.opened.clear()
    real_rig.move("a.png", "b two.png")
    real_rig.wait()
    assert words(real_rig, "b two.png") == ("b two / cat / so true / grumpy in the rain", ("cat",))
    assert real_rig.reader.opened == []


def test_renamed_and_tagged_at_once(rig: Any, png: Callable[[int], bytes]) -> None:
    """One look sees both: the row moves, and the new words must not be lost with it."""
    rig.write("a.png", png(1))
    rig.wait()
    rig.stop()
    rig.move("a.png", "b.png")
    tagging.tag(rig.path("b.png"), [(True, "cat")])
    rig.start()
    rig.wait()
    assert words(rig, "b.png") == ("b / cat", ("cat",))
    assert rig.events == [("moved", "b.png")]


def test_a_copy_has_the_description_undecoded_and_tags_of_its_own(real_rig: Any) -> None:
    path = real_rig.write("a.png", described("Grumpy"))
    os.setxattr(path, TAGS, b"cat")
    real_rig.wait()
    real_rig.restart()  # what is known comes from the index alone
    real_rig.wait()
    shutil.copyfile(path, real_rig.path("b.png"))
    shutil.copy2(path, real_rig.path("c.png"))  # with attributes
    real_rig.wait()
    assert words(real_rig, "b.png") == ("b / grumpy", ())
    assert words(real_rig, "c.png") == ("c / cat / grumpy", ("cat",))
    assert real_rig.progress.encoded == 0
    assert sum(real_rig.model.batches) == 1


def test_copies_that_come_at_once_have_each_their_own(real_rig: Any) -> None:
    real_rig.stop()
    for name in ("a", "b", "c"):
        os.setxattr(real_rig.write(f"{name}.png", described("Grumpy")), TAGS, f"tag of {name}".encode())
    real_rig.start()
    real_rig.wait()
    for name in ("a", "b", "c"):
        assert words(real_rig, f"{name}.png") == (f"{name} / tag of {name} / grumpy", (f"tag of {name}",))
    assert sum(real_rig.model.batches) == 1


def test_a_file_that_comes_back_has_its_description(real_rig: Any) -> None:
    real_rig.write("a.png", described("Grumpy"))
    real_rig.wait()
    os.unlink(real_rig.path("a.png"))
    real_rig.wait()
    real_rig.restart()
    real_rig.write("back.png", described("Grumpy"))
    real_rig.wait()
    assert words(real_rig, "back.png") == ("back / grumpy", ())
    assert real_rig.progress.encoded == 0


def test_another_description_is_another_picture(real_rig: Any) -> None:
    real_rig.write("a.png", described("Grumpy"))
    real_rig.wait()
    real_rig.write("a.png", described("Merry"))
    real_rig.wait()
    assert words(real_rig, "a.png") == ("a / merry", ())
    real_rig.assert_equal_to_disk()
