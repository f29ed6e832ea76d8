from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from memewatchd.folder.roots import RootState, identify, look_at_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


def fill(root: bytes) -> None:
    os.close(os.open(os.path.join(root, b"a.png"), os.O_CREAT | os.O_WRONLY))


def test_a_root_with_files_is_there_whatever_it_was(root: bytes) -> None:
    fill(root)
    for known in (None, (1, 1), identify(root)):
        look = look_at_root(root, known, holds_files=True)
        assert (look.away, look.identity) == ("", identify(root))


def test_a_missing_root_is_away(root: bytes) -> None:
    os.rmdir(root)
    look = look_at_root(root, None, holds_files=False)
    assert "missing" in look.away
    assert look.identity is None


def test_a_file_is_no_root(root: bytes) -> None:
    fill(root)
    assert "not a folder" in look_at_root(os.path.join(root, b"a.png"), None, holds_files=False).away


def test_a_link_that_leads_nowhere_is_away_and_one_to_a_folder_is_there(root: bytes) -> None:
    fill(root)
    link = root + b"-link"
    os.symlink(root, link)
    assert not look_at_root(link, None, holds_files=True).away
    shutil.rmtree(root)
    assert "missing" in look_at_root(link, None, holds_files=True).away


def test_a_root_that_may_not_be_read_is_away(
    strict_root: bytes, ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    with ordinary_user():
        os.chmod(strict_root, 0)
        assert "permission denied" in look_at_root(strict_root, None, holds_files=False).away


def test_the_same_root_emptied_is_there(root: bytes) -> None:
    assert not look_at_root(root, identify(root), holds_files=True).away


def test_empty_and_another_one_is_away_while_the_index_holds_files(root: bytes) -> None:
    """What an unmounted disk leaves: the empty folder that it was mounted on."""
    for known in ((1, 1), None):
        assert "stands empty" in look_at_root(root, known, holds_files=True).away
        assert not look_at_root(root, known, holds_files=False).away


def test_hidden_names_alone_are_empty(root: bytes) -> None:
    os.mkdir(os.path.join(root, b".Trash-1000"))
    assert look_at_root(root, (1, 1), holds_files=True).away


def test_a_name_that_is_not_utf8_can_be_shown(root: bytes) -> None:
    assert look_at_root(root + b"/\xff", None, holds_files=False).away.encode()


def test_a_state_remembers_the_root_until_it_is_back(root: bytes) -> None:
    fill(root)
    state = RootState(root)
    assert not state.look(holds_files=True).away
    known = state.identity
    os.rename(root, root + b"-disk")
    assert state.look(holds_files=True).away
    os.mkdir(root)  # the empty mount point
    assert state.look(holds_files=True).away
    assert (state.away != "", state.identity) == (True, known)
    os.rmdir(root)
    os.rename(root + b"-disk", root)
    assert not state.look(holds_files=True).away
    assert not state.away


def test_a_root_that_is_gone_for_good_can_be_accepted(root: bytes) -> None:
    state = RootState(root, identity=(1, 1))
    assert state.look(holds_files=True).away
    state.accept()
    assert not state.look(holds_files=True).away
