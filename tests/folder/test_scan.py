"""Looking at real folders. What a look doesn't cover, it must not let anybody forget."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.folder.dirty import Dirty
from memewatchd.folder.ignore import Ignore
from memewatchd.folder.scan import Disk, Look
from memewatchd.meme import FileStat

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


def write(*parts: bytes, data: bytes = b"x") -> bytes:
    path = os.path.join(*parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.write(fd, data)
    os.close(fd)
    return path


def look(disk: Disk, *, folders: tuple[bytes, ...] = (), trees: tuple[bytes, ...] = ()) -> Look:
    found = disk.look(Dirty.of(folders, trees))
    assert all(found.scope.covers(path) for path in found.files)
    return found


def names(root: bytes, found: Look) -> set[bytes]:
    return {path[len(root) + 1 :] for path in found.files}


@pytest.fixture
def disk(root: bytes) -> Disk:
    return Disk([root], Ignore(["private/"]))


def test_it_finds_files_in_every_folder_with_their_stat(root: bytes, disk: Disk) -> None:
    path = write(root, b"a", b"b", b"c.png")
    write(root, b"d.png", data=b"12345")
    found = look(disk, trees=(root,))
    assert names(root, found) == {b"a/b/c.png", b"d.png"}
    there = os.stat(path)
    assert found.files[path] == FileStat(there.st_size, there.st_mtime_ns, there.st_ctime_ns, there.st_ino)
    assert not found.unreadable


def test_names_of_any_bytes(root: bytes, disk: Disk) -> None:
    odd = {b"\xff\xfe.png", b"new\nline.png", "猫.png".encode(), b"\"quo'tes\\.png", b" ", b"d\xff/x", b"-rf"}
    for name in odd:
        write(root, name)
    assert names(root, look(disk, trees=(root,))) == odd


def test_hidden_temporary_and_excluded_names_are_passed_over(root: bytes, disk: Disk) -> None:
    for name in (b".a.png", b".d/a.png", b"a.png.part", b"a.png~", b"private/a.png", b"d/private/a.png", b"b.png"):
        write(root, name)
    assert names(root, look(disk, trees=(root,))) == {b"b.png"}


def test_only_regular_files_count(root: bytes, disk: Disk) -> None:
    os.mkfifo(os.path.join(root, b"fifo.png"))
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(root, os.O_RDONLY)
        try:
            listener.bind(f"/proc/self/fd/{here}/socket.png")  # the path itself may be too long for a socket
        finally:
            os.close(here)
        assert set(os.listdir(root)) == {b"fifo.png", b"socket.png"}
        assert look(disk, trees=(root,)).files == {}


def test_a_link_to_a_file_counts_under_its_own_path_with_the_targets_stat(
    root: bytes, disk: Disk, tmp_path: os.PathLike[str]
) -> None:
    target = write(os.fsencode(tmp_path), b"elsewhere", b"t.png", data=b"target")
    os.symlink(target, os.path.join(root, b"link.png"))
    os.symlink(b"link.png", os.path.join(root, b"link to link.png"))
    found = look(disk, trees=(root,))
    assert names(root, found) == {b"link.png", b"link to link.png"}
    assert {stat.ino for stat in found.files.values()} == {os.stat(target).st_ino}


def test_links_to_folders_loops_and_broken_links_are_passed_over(root: bytes, disk: Disk) -> None:
    write(root, b"d", b"a.png")
    os.symlink(b".", os.path.join(root, b"d", b"here"))
    os.symlink(root, os.path.join(root, b"d", b"up"))
    os.symlink(b"loop", os.path.join(root, b"loop"))
    os.symlink(b"nowhere.png", os.path.join(root, b"broken.png"))
    os.symlink(b"x" * 300, os.path.join(root, b"too long.png"))
    os.symlink(b"d/a.png/x", os.path.join(root, b"not a folder.png"))
    os.symlink(b"/dev/null", os.path.join(root, b"null.png"))
    found = look(disk, trees=(root,))
    assert names(root, found) == {b"d/a.png"}
    assert not found.unreadable


def test_a_link_that_breaks_is_forgotten(root: bytes, disk: Disk) -> None:
    path = os.path.join(root, b"broken.png")
    os.symlink(b"nowhere.png", path)
    assert look(disk, folders=(root,)).scope.covers(path)


def test_the_root_itself_may_be_a_link(root: bytes) -> None:
    write(root, b"d", b"a.png")
    link = root + b"-link"
    os.symlink(root, link)
    disk = Disk([link], Ignore())
    assert set(look(disk, trees=(link,)).files) == {link + b"/d/a.png"}
    os.unlink(os.path.join(root, b"d", b"a.png"))
    gone = look(disk, folders=(link + b"/d",))
    assert gone.scope.covers(link + b"/d/a.png")
    assert not gone.files


# The scope of a look.


def test_a_folder_alone_is_looked_at_without_its_known_subfolders(root: bytes, disk: Disk) -> None:
    write(root, b"d", b"a.png")
    look(disk, trees=(root,))
    write(root, b"b.png")
    found = look(disk, folders=(root,))
    assert names(root, found) == {b"b.png"}
    assert found.scope.covers(root + b"/gone.png")
    assert not found.scope.covers(root + b"/d/a.png")


def test_a_folder_never_seen_is_walked(root: bytes, disk: Disk) -> None:
    look(disk, trees=(root,))
    write(root, b"new", b"deep", b"a.png")
    assert names(root, look(disk, folders=(root,))) == {b"new/deep/a.png"}
    write(root, b"other", b"deep", b"a.png")
    assert names(root, look(disk, folders=(root + b"/other",))) == {b"other/deep/a.png"}


def test_the_first_look_at_a_folder_is_a_walk(root: bytes, disk: Disk) -> None:
    write(root, b"d", b"deep", b"a.png")
    assert names(root, look(disk, folders=(root,))) == {b"d/deep/a.png"}


def test_a_subfolder_that_is_gone_is_covered_to_its_bottom(root: bytes, disk: Disk) -> None:
    path = write(root, b"d", b"deep", b"a.png")
    look(disk, trees=(root,))
    os.rename(os.path.join(root, b"d"), root + b"-out")
    assert look(disk, folders=(root,)).scope.covers(path)


def test_a_subfolder_that_is_another_now_is_walked(root: bytes, disk: Disk) -> None:
    path = write(root, b"d", b"a.png")
    write(root, b"e", b"b.png")
    look(disk, trees=(root,))
    os.rename(os.path.join(root, b"d"), root + b"-out")
    os.rename(os.path.join(root, b"e"), os.path.join(root, b"d"))
    found = look(disk, folders=(root,))
    assert names(root, found) == {b"d/b.png"}
    assert found.scope.covers(path)


def test_a_marked_folder_that_is_gone_covers_all_that_lay_below(root: bytes, disk: Disk) -> None:
    found = look(disk, folders=(root + b"/was/here",))
    assert found.scope.covers(root + b"/was/here/deep/a.png")
    assert not found.scope.covers(root + b"/was/a.png")
    assert not found.files


@pytest.mark.parametrize("kind", ["hidden", "excluded", "link", "below a link", "file"])
def test_a_marked_folder_that_a_walk_would_not_enter_counts_as_gone(kind: str, root: bytes, disk: Disk) -> None:
    write(root, b"real", b"sub", b"a.png")
    os.symlink(b"real", os.path.join(root, b"link"))
    marked = {
        "hidden": write(root, b".d", b"a.png")[: -len(b"/a.png")],
        "excluded": write(root, b"private", b"deep", b"a.png")[: -len(b"/a.png")],
        "link": root + b"/link",
        "below a link": root + b"/link/sub",
        "file": write(root, b"plain"),
    }[kind]
    found = look(disk, trees=(marked,))
    assert not found.files
    assert found.scope.covers(marked + b"/a.png")


def test_a_folder_that_became_a_file_and_back(root: bytes, disk: Disk) -> None:
    inside = write(root, b"x", b"a.png")
    look(disk, trees=(root,))
    os.unlink(inside)
    os.rmdir(os.path.join(root, b"x"))
    path = write(root, b"x")
    found = look(disk, folders=(root,))
    assert set(found.files) == {path}
    assert found.scope.covers(inside)
    os.unlink(path)
    write(root, b"x", b"a.png")
    found = look(disk, folders=(root,))
    assert set(found.files) == {inside}
    assert found.scope.covers(path)


def test_a_mark_outside_every_root_is_nothing(root: bytes, disk: Disk) -> None:
    write(root + b"-beside", b"a.png")
    found = look(disk, trees=(root + b"-beside", b"/"))
    assert not found.files
    assert not found.scope.covers(root + b"-beside/a.png")


def test_two_roots_are_looked_at_apart(root: bytes) -> None:
    other = root + b"2"
    a, b = write(root, b"a.png"), write(other, b"b.png")
    disk = Disk([root, other], Ignore())
    assert set(look(disk, trees=(root, other)).files) == {a, b}
    found = look(disk, trees=(other,))
    assert set(found.files) == {b}
    assert not found.scope.covers(a)


# What can't be looked at.


def test_a_missing_root_lets_nothing_be_forgotten(root: bytes, disk: Disk) -> None:
    path = write(root, b"d", b"a.png")
    look(disk, trees=(root,))
    os.rename(root, root + b"-out")
    found = look(disk, folders=(root + b"/d",), trees=(root,))
    assert not found.scope.covers(path)
    assert set(found.unreadable) == {root}
    assert not found.identities
    os.rename(root + b"-out", root)
    assert set(look(disk, folders=(root,)).files) == {path}


def test_a_look_tells_which_folder_it_was(root: bytes, disk: Disk) -> None:
    there = os.stat(root)
    assert look(disk, trees=(root,)).identities == {root: (there.st_dev, there.st_ino)}


def test_a_root_exchanged_while_we_look_lets_nothing_be_forgotten(
    root: bytes, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a disk is unmounted in the middle of a walk: the rest of it looks empty."""
    path = write(root, b"d", b"a.png")
    scandir = os.scandir

    def unmounted(folder: bytes) -> object:
        os.rename(root, root + b"-out")
        os.mkdir(root)
        return scandir(folder)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", unmounted)
        found = look(disk, trees=(root,))
    assert not found.scope.covers(path)
    assert not found.identities


def test_a_folder_that_may_not_be_listed_is_named_and_kept(
    strict_root: bytes, ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    with ordinary_user():
        path = write(strict_root, b"locked", b"deep", b"a.png")
        beside = write(strict_root, b"b.png")
        locked = os.path.join(strict_root, b"locked")
        disk = Disk([strict_root], Ignore())
        os.chmod(locked, 0)
        found = look(disk, trees=(strict_root,))
        assert set(found.files) == {beside}
        assert found.unreadable == {locked: "permission denied"}
        assert not found.scope.covers(path)
        assert found.scope.covers(beside)
        assert not look(disk, folders=(os.path.join(locked, b"deep"),)).scope.covers(path)
        os.chmod(locked, 0o700)
        assert path in look(disk, folders=(strict_root,)).files


def test_files_that_may_not_be_looked_at_are_named_and_kept(
    strict_root: bytes, ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    """A folder that can be listed and not entered."""
    with ordinary_user():
        path = write(strict_root, b"listed", b"a.png")
        os.chmod(os.path.join(strict_root, b"listed"), 0o400)
        found = look(Disk([strict_root], Ignore()), trees=(strict_root,))
        assert found.unreadable == {path: "permission denied"}
        assert not found.scope.covers(path)
        assert found.scope.covers(strict_root + b"/listed/gone.png")


def test_a_root_that_may_not_be_listed_lets_nothing_be_forgotten(
    strict_root: bytes, ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    with ordinary_user():
        path = write(strict_root, b"a.png")
        for mode in (0, 0o100, 0o400):
            os.chmod(strict_root, mode)
            found = look(Disk([strict_root], Ignore()), trees=(strict_root,))
            assert not found.scope.covers(path)
            assert found.unreadable


def test_a_folder_whose_listing_breaks_off_is_kept(root: bytes, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    path, beside = write(root, b"d", b"a.png"), write(root, b"b.png")
    scandir = os.scandir

    def failing(folder: bytes) -> object:
        if folder.endswith(b"/d"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return scandir(folder)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", failing)
        found = look(disk, trees=(root,))
    assert set(found.files) == {beside}
    assert not found.scope.covers(path)
    assert found.unreadable == {os.path.dirname(path): "input/output error"}


def test_what_vanishes_while_we_look_is_not_there(root: bytes, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, beside = write(root, b"d", b"a.png"), write(root, b"b.png")
    stat, scandir = os.stat, os.scandir

    def slow_stat(path: bytes) -> os.stat_result:
        if path == beside:
            os.unlink(path)
        return stat(path)

    def slow_scandir(folder: bytes) -> object:
        if folder == os.path.dirname(inside):
            os.unlink(inside)
            os.rmdir(folder)
        return scandir(folder)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", slow_stat)
        patched.setattr(os, "scandir", slow_scandir)
        found = look(disk, trees=(root,))
    assert not found.files
    assert not found.unreadable
    assert found.scope.covers(inside)
    assert found.scope.covers(beside)


def test_the_longest_path_is_found_and_a_longer_one_is_named(root: bytes, disk: Disk) -> None:
    """PATH_MAX is 4,096 bytes with the closing NUL; deeper files can exist, but no path leads to them."""
    step = b"d" * 200
    here = os.open(root, os.O_RDONLY)
    folder = root
    while len(folder) + 1 + len(step) <= 4_000:
        os.mkdir(step, dir_fd=here)
        below = os.open(step, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, folder = below, folder + b"/" + step
    longest = b"n" * (4_095 - len(folder) - 1)
    for name in (longest, longest + b"x"):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    found = look(disk, trees=(root,))
    assert [len(path) for path in found.files] == [4_095]
    assert {len(path): reason for path, reason in found.unreadable.items()} == {4_096: "file name too long"}


@pytest.mark.parametrize("where", [b"", b"/a", b"/a/b"])
def test_a_root_that_is_elsewhere_just_while_we_look_lets_nothing_be_forgotten(
    root: bytes, disk: Disk, monkeypatch: pytest.MonkeyPatch, where: bytes
) -> None:
    """A folder above is renamed, and back at once: neither before nor afterwards is there anything to be seen of it."""
    paths = {write(root, b"a", b"b", b"c.png"), write(root, b"a", b"d.png"), write(root, b"e.png")}
    assert look(disk, trees=(root,)).files.keys() == paths
    scandir, lstat = os.scandir, os.lstat

    def away(call: Callable[..., Any], path: bytes, **more: Any) -> Any:
        if path != root + where or more:
            return call(path, **more)
        os.rename(root, root + b".away")
        try:
            return call(path)
        finally:
            os.rename(root + b".away", root)

    for marks in ({"trees": (root,)}, {"folders": (root + where,)}):
        with monkeypatch.context() as patched:
            patched.setattr(os, "scandir", lambda path: away(scandir, path))
            patched.setattr(os, "lstat", lambda path, **more: away(lstat, path, **more))
            found = look(disk, **marks)
        assert not [path for path in paths if found.scope.covers(path)]
        assert not found.files
        assert found.restless == {root}
        found = look(disk, trees=(root,))
        assert found.files.keys() == paths
        assert not found.restless
