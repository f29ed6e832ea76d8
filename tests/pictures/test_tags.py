"""Tags and comments as desktops keep them: in extended attributes, on a real file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memewatchd.pictures import tags
from memewatchd.pictures.tags import NO_WORDS, OwnWords, clean, read_tags


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that can be tagged. These tests need a file system with extended attributes where temporary files are
    made (ext4, btrfs, xfs, a tmpfs of Linux 6.6 or later); without one they fail here and say so."""
    path = tmp_path / "cat.png"
    path.touch()
    try:
        os.setxattr(path, "user.memewatchd.probe", b"x")
    except OSError as error:
        pytest.fail(f"{tmp_path} lies on a file system without extended attributes ({error}); choose one by TMPDIR")
    os.removexattr(path, "user.memewatchd.probe")
    return path


def read(path: Path) -> OwnWords:
    """By a descriptor, and by the path, which must agree."""
    fd = os.open(path, os.O_RDONLY)
    try:
        by_descriptor = read_tags(fd)
    finally:
        os.close(fd)
    assert read_tags(os.fsencode(path)) == by_descriptor
    return by_descriptor


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"cat", ("cat",)),
        (b"cat,angry bird,Fav", ("cat", "angry bird", "Fav")),
        (b" cat , dog ,, ,cat", ("cat", "dog")),
        ("生气,猫".encode(), ("生气", "猫")),
        (b"cat\0", ("cat",)),
        (b"a\nb\tc\x1b[31m,d\x7f", ("a b c [31m", "d")),
        ("cafe\u0301".encode(), ("café",)),
        (b"\xff\xfecat,dog", ("cat", "dog")),
        ("👨\u200d👩\u200d👧".encode(), ("👨\u200d👩\u200d👧",)),
        (b"reactions/cats", ("reactions/cats",)),
        (b",", ()),
        (b"x" * 1000 + b",y", ("x" * tags.MAX_TAG_CHARS, "y")),
    ],
)
def test_tags(file: Path, value: bytes, expected: tuple[str, ...]) -> None:
    os.setxattr(file, tags.TAGS, value)
    assert read(file) == OwnWords(expected)


def test_a_comment(file: Path) -> None:
    os.setxattr(file, tags.COMMENT, b"my  boss, on\nMonday\0")
    assert read(file) == OwnWords((), "my boss, on Monday")
    os.setxattr(file, tags.TAGS, b"work")
    assert read(file) == OwnWords(("work",), "my boss, on Monday")


def test_no_words(file: Path) -> None:
    assert read(file) == NO_WORDS == OwnWords()
    os.setxattr(file, tags.TAGS, b"")
    os.setxattr(file, tags.COMMENT, b" \n")
    assert read(file) == NO_WORDS


def test_where_there_can_be_none(tmp_path: Path) -> None:
    assert read(Path("/proc/version")) == NO_WORDS  # a file system without attributes
    assert read_tags(os.fsencode(tmp_path / "gone")) == NO_WORDS
    os.mkfifo(tmp_path / "fifo")
    assert read_tags(os.fsencode(tmp_path / "fifo")) == NO_WORDS


def test_a_link_has_the_words_of_its_file(file: Path) -> None:
    os.setxattr(file, tags.TAGS, b"cat")
    link = file.with_name("link.png")
    link.symlink_to(file)
    assert read(link) == OwnWords(("cat",))


def test_what_is_far_too_much_is_cut(file: Path) -> None:
    os.setxattr(file, tags.COMMENT, b"y" * 3000)
    assert read(file).comment == "y" * tags.MAX_COMMENT_CHARS


def test_not_more_tags_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger than ext4 can hold: as xfs would give them."""
    value = ",".join(f"tag {number}" for number in range(8000)).encode()
    monkeypatch.setattr(os, "getxattr", lambda _file, _name: value)
    monkeypatch.setattr(os, "listxattr", lambda _file: [tags.TAGS])
    found = read_tags(0).tags
    assert found[:2] == ("tag 0", "tag 1")
    assert tags.MAX_TAGS_CHARS - 9 < sum(len(tag) + 1 for tag in found) <= tags.MAX_TAGS_CHARS


@given(st.text(), st.integers(1, 40))
def test_clean_text_is_clean(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert len(cleaned) <= limit
    assert cleaned == " ".join(cleaned.split())
    assert clean(cleaned, limit) == cleaned
    cleaned.encode()
