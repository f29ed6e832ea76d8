from __future__ import annotations

import pytest

from memewatchd.errors import ConfigError
from memewatchd.folder.ignore import Ignore


@pytest.mark.parametrize(
    "name",
    [b".hidden.png", b"sub/.hidden.png", b"a.png.part", b"a.crdownload", b"A.PART", b"a.png~", b"sub/a.opdownload"],
)
def test_hidden_and_half_written_files_are_ignored(name: bytes) -> None:
    assert Ignore().match(name, is_dir=False)


@pytest.mark.parametrize(
    "name", [b"a.png", b"a", b"part", b"a.part.png", b"\xff\xfe.png", b"a\nb.png", b"sub.x/a~b.png"]
)
def test_other_files_are_not(name: bytes) -> None:
    assert not Ignore().match(name, is_dir=False)


def test_folders_are_ignored_for_being_hidden_but_not_for_their_ending() -> None:
    assert Ignore().match(b"a/.git", is_dir=True)
    assert not Ignore().match(b"a/old~", is_dir=True)


@pytest.mark.parametrize(
    ("patterns", "name", "is_dir", "ignored"),
    [
        (["private/"], b"private", True, True),
        (["private/"], b"private", False, False),
        (["private/"], b"a/private", True, True),
        (["/private"], b"a/private", True, False),
        (["*.gif"], b"a/b.gif", False, True),
        (["*.gif", "!keep.gif"], b"a/keep.gif", False, False),
        (["a/**/z.png"], b"a/b/c/z.png", False, True),
        (["# a comment", "", "x.png"], b"x.png", False, True),
        (["猫*"], "猫.png".encode(), False, True),
        (["*.png"], b"\xff\xfe.png", False, True),
        (["*.png"], b"a\nb.png", False, True),
        (["a?.png"], b"a\xff.png", False, True),
        (["excluded"], b"new\nline/excluded", False, True),
        (["excluded"], b"excluded\n", False, False),
        (["a/**/z.png"], b"a/x\ny/z.png", False, True),
        (["a\nb.png"], b"a\nb.png", False, True),
        (["a\nb.png"], b"a b.png", False, False),
    ],
)
def test_exclude_takes_gitignores_syntax(patterns: list[str], name: bytes, is_dir: bool, ignored: bool) -> None:
    assert Ignore(patterns).match(name, is_dir) is ignored


def test_a_pattern_that_makes_no_sense_is_named() -> None:
    with pytest.raises(ConfigError, match="exclude: '!'"):
        Ignore(["*.gif", "!"])
