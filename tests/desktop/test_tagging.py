"""`memewatch tag`, the program, on a real file system with extended attributes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.desktop import tagging
from memewatchd.desktop.arguments import UsageError
from memewatchd.pictures import tags as daemons
from memewatchd.words import tag_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Said = tuple[int, str, str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a.png and b.png, which can be tagged. Needs extended attributes where temporary files are made (ext4,
    btrfs, xfs, a tmpfs of Linux 6.6 or later); without them these tests fail here and say so."""
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    try:
        os.setxattr(tmp_path / "a.png", "user.memewatchd.probe", b"x")
    except OSError as error:
        pytest.fail(f"{tmp_path} lies on a file system without extended attributes ({error}); choose one by TMPDIR")
    return tmp_path


@pytest.fixture
def tag(folder: Path) -> Callable[..., Said]:
    """``memewatch tag …`` in that folder: exit code, output, complaints. No daemon is there, nor needed."""

    def run(*words: str | bytes) -> Said:
        command = [sys.executable, "-m", "memewatchd.client", "--socket", "nowhere", "tag", *words]
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LANG": "C.UTF-8"}
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, timeout=60, check=False)
        assert b"Traceback" not in done.stderr
        return done.returncode, os.fsdecode(done.stdout), done.stderr.decode()

    return run


def on(path: Path) -> bytes | None:
    try:
        return os.getxattr(path, tagging.ATTRIBUTE)
    except OSError as error:
        assert error.errno == errno.ENODATA
        return None


def test_set_show_take_away(folder: Path, tag: Callable[..., Said]) -> None:
    assert tag("a.png") == (0, "a.png:\n", "")
    assert tag("a.png", "+cat", "+fav", "+angry bird") == (0, "", "")
    assert on(folder / "a.png") == b"cat,fav,angry bird"
    assert tag("a.png", "b.png") == (0, "a.png: cat, fav, angry bird\nb.png:\n", "")
    assert tag("a.png", "-CAT", "+dog") == (0, "", "")
    assert tag("a.png") == (0, "a.png: fav, angry bird, dog\n", "")
    assert tag("a.png", "-fav", "-angry bird", "-dog", "-never there") == (0, "", "")
    assert on(folder / "a.png") is None


def test_several_files_at_once(folder: Path, tag: Callable[..., Said]) -> None:
    assert tag("+x", "a.png", "b.png", "+y,z") == (0, "", "")
    assert on(folder / "a.png") == on(folder / "b.png") == b"x,y,z"


def test_json(tag: Callable[..., Said], folder: Path) -> None:
    (folder / os.fsdecode(b"\xff.png")).touch()
    code, out, err = tag("--json", "a.png", b"\xff.png", "+生气")
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"path": "a.png", "tags": ["生气"]},
        {"path": "\ufffd.png", "path_b64": "/y5wbmc=", "tags": ["生气"]},
    ]
    assert json.loads(tag("a.png", "--json")[1]) == {"path": "a.png", "tags": ["生气"]}


def test_what_others_have_written_stays_as_it_is(folder: Path, tag: Callable[..., Said]) -> None:
    os.setxattr(folder / "a.png", tagging.ATTRIBUTE, b"Fav,\xff\xfe,work/Boss")
    assert tag("a.png", "+FAV", "+new") == (0, "", "")
    assert on(folder / "a.png") == b"Fav,\xff\xfe,work/Boss,new"
    assert tag("a.png") == (0, "a.png: Fav, ??, work/Boss, new\n", "")


def test_nothing_is_written_where_nothing_changes(folder: Path, tag: Callable[..., Said]) -> None:
    tag("a.png", "+cat")
    before = os.stat(folder / "a.png").st_ctime_ns
    assert tag("a.png", "+Cat", "-dog") == (0, "", "")
    assert os.stat(folder / "a.png").st_ctime_ns == before


def test_full_width_signs_and_minus_words_after_two_minuses(folder: Path, tag: Callable[..., Said]) -> None:
    assert tag("a.png", "＋猫", "+n", "+0") == (0, "", "")
    assert tag("a.png", "--", "-n", "-0", "+json") == (0, "", "")
    assert on(folder / "a.png") == "猫,json".encode()
    assert tag("a.png", "－猫") == (0, "", "")
    assert on(folder / "a.png") == b"json"


def test_a_link_tags_the_picture_behind_it(folder: Path, tag: Callable[..., Said]) -> None:
    (folder / "link.png").symlink_to("a.png")
    assert tag("link.png", "+cat") == (0, "", "")
    assert on(folder / "a.png") == b"cat"


def test_the_rest_is_tagged_where_one_cannot_be(folder: Path, tag: Callable[..., Said]) -> None:
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    code, out, err = tag("gone.png", "folder", "fifo", "/proc/version", "a.png", "+cat")
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[:3] == [
        "memewatch: gone.png: no such file",
        "memewatch: folder: it is a folder; name the pictures in it",
        "memewatch: fifo: it is no regular file",
    ]
    assert lines[3].startswith("memewatch: /proc/version: the proc file system at /proc keeps no extended attributes")
    assert "ext4" in lines[3]
    assert on(folder / "a.png") == b"cat"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "tag which file?"),
        (("+cat",), "tag which file?"),
        (("a.png", "+"), "no tag behind the +"),
        (("a.png", "+,"), "no tag behind the +"),
        (("a.png", "+a\x1bb"), "control characters"),
        (("a.png", b"+\xff"), "not UTF-8"),
        (("a.png", "+" + "x" * 129), "at most 128 characters, not 129"),
        (("-cat", "a.png"), "goes after another word"),
        (("a.png", "--format", "json"), "tag has no option --format"),
    ],
)
def test_what_is_wrong(folder: Path, tag: Callable[..., Said], words: Any, says: str) -> None:
    code, out, err = tag(*words)
    assert (code, out) == (2, "")
    assert says in err
    assert on(folder / "a.png") is None


def test_a_file_named_like_a_change(folder: Path, tag: Callable[..., Said]) -> None:
    (folder / "+1.png").touch()
    code, _, err = tag("+1.png", "a.png", "+reaction")
    assert code == 2
    assert "./+1.png means the file" in err
    assert on(folder / "a.png") is None
    assert tag("./+1.png", "+reaction") == (0, "", "")
    assert on(folder / "+1.png") == b"reaction"


def test_more_than_there_is_room_for(folder: Path, tag: Callable[..., Said]) -> None:
    words = [f"+{number}{'x' * 100}" for number in range(40)]
    code, _, err = tag("a.png", *words)
    assert code == 2
    assert "too many" in err
    os.setxattr(folder / "b.png", "user.much", b"y" * 3500)
    code, _, err = tag("b.png", *words[:30])
    if code:  # ext4 has 4 kB for all attributes of a file; others have room
        assert "no room for its tags: too many of them for the ext" in err


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EROFS, "is mounted read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EPERM, "permission denied"),
        (errno.ENOTSUP, "keeps no extended attributes"),
        (errno.ENOSPC, "no room"),
        (errno.E2BIG, "no room"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_each_refusal_of_the_kernel(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(tagging.CannotTagError, match=says):
        tagging.tag(os.fsencode(folder / "a.png"), [(True, "cat")])


def test_many_at_once_lose_nothing(folder: Path) -> None:
    path = os.fsencode(folder / "a.png")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: tagging.tag(path, [(True, f"t{number}")]), range(64)))
    assert sorted(tagging.tag(path)) == sorted(f"t{number}" for number in range(64))


@pytest.mark.parametrize("word", ["Cat", "Good_one", "ＣＡＴ", "生气cat", "★", "a-b", "Straße", "work/Boss", "  x  y "])
def test_tags_are_compared_as_the_daemon_does(word: str) -> None:
    assert tagging.key(word) == tag_key(word)


def test_the_daemon_reads_all_that_may_be_written() -> None:
    assert (tagging.ATTRIBUTE, tagging.MAX_TAG_CHARS) == (daemons.TAGS, daemons.MAX_TAG_CHARS)
    assert tagging.MAX_TAGS_CHARS <= daemons.MAX_TAGS_CHARS


def test_changes_are_made_in_their_order() -> None:
    assert tagging.changed(["a", "B"], [(True, "c"), (False, "b"), (True, "b"), (False, "c")]) == ["a", "b"]
    assert tagging.read(["x.png", "+a,b", "-c d", "y.png"]) == (
        ["x.png", "y.png"],
        [(True, "a"), (True, "b"), (False, "c d")],
    )
    with pytest.raises(UsageError):
        tagging.read(["+a"])
