"""What files there are, by stat alone: nothing is opened, nothing is read.

Whatever vanishes while we look is simply not there. Whatever can't be looked at (no permission, an input
error, a path too long) is *unknown*: it is named, and the scope leaves it out, so that nothing of it is
forgotten.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memewatchd.folder.dirty import Dirty, ancestors
from memewatchd.folder.roots import Identity, identify
from memewatchd.meme import FileStat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memewatchd.folder.ignore import Ignore

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
_BROKEN_LINK = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


@dataclass(slots=True)
class Scope:
    """Which paths a look can speak for: those that it would have found."""

    folders: set[bytes] = field(default_factory=set)
    """Folders whose own files were all seen."""
    trees: set[bytes] = field(default_factory=set)
    """Folders below which everything was seen, or that are gone."""
    blind: set[bytes] = field(default_factory=set)
    """Files and folders, roots too, that could not be looked at."""

    def covers(self, path: bytes) -> bool:
        """Whether a row of this path may be forgotten when the look didn't find it."""
        above = list(ancestors(path))
        if path in self.blind or any(folder in self.blind for folder in above):
            return False
        return above[0] in self.folders or any(folder in self.trees for folder in above)


@dataclass(slots=True)
class Look:
    """What :meth:`Disk.look` found. Every path in ``files`` is covered by ``scope``.

    ``files``: regular files and symlinks to one (with the target's stat), neither hidden nor ignored, not
    yet known to be pictures. ``unreadable``: path → reason for people. ``identities``: device and inode of
    each root that was looked at and stayed the same meanwhile; a caller that expected another one must not
    believe the look (a disk was mounted or unmounted). ``restless``: roots that were mounted, unmounted or moved
    meanwhile, even if all is as before by now; they are to be looked at again.
    """

    files: dict[bytes, FileStat] = field(default_factory=dict)
    scope: Scope = field(default_factory=Scope)
    unreadable: dict[bytes, str] = field(default_factory=dict)
    identities: dict[bytes, Identity] = field(default_factory=dict)
    restless: set[bytes] = field(default_factory=set)


class Disk:
    """The watched folders. Remembers which subfolders it has seen, and nothing else. One thread uses it."""

    def __init__(self, roots: Sequence[bytes], ignore: Ignore) -> None:
        self.roots = tuple(os.path.abspath(root) for root in roots)
        self._ignore = ignore
        self._subfolders: dict[bytes, dict[bytes, int]] = {}
        """Folder → its subfolders' paths and inodes. A folder is a key once it has been listed."""
        self._root_fd = -1
        """The root that is being looked at, held: whatever its path leads to meanwhile."""

    def look(self, dirty: Dirty) -> Look:
        """Looks at what is marked.

        A folder that is marked alone is listed without its subfolders, except those never seen before, or
        seen as another inode, and itself where it was never listed: these are walked. What lay below
        subfolders that are gone is covered too, and so is all below a marked folder that is gone,
        provided its root is there.
        """
        look = Look()
        for root in self.roots:
            inside = _prefix(root)
            marks = [path for path in dirty.folders | dirty.trees if path == root or path.startswith(inside)]
            if marks:
                self._look_below(root, marks, dirty, look)
        return look

    def _look_below(self, root: bytes, marks: list[bytes], dirty: Dirty, look: Look) -> None:
        found = Look()
        before = identify(root)
        try:
            self._root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            before = None
        if before is None:
            reason = "it is missing, no folder, or can't be entered"
        else:
            try:
                self._look_inside(root, marks, dirty, found)
            finally:
                os.close(self._root_fd)
            if identify(root) == before and not found.restless:
                # A mark below a folder that turned out to be unreadable may still have found something.
                look.files.update((path, stat) for path, stat in found.files.items() if found.scope.covers(path))
                look.unreadable.update(found.unreadable)
                look.identities[root] = before
                look.scope.folders |= found.scope.folders
                look.scope.trees |= found.scope.trees
                look.scope.blind |= found.scope.blind
                return
            reason = "it was mounted, unmounted or moved meanwhile"
            look.restless.add(root)
        look.unreadable[root] = reason
        look.scope.blind.add(root)
        self._forget(root)

    def _look_inside(self, root: bytes, marks: list[bytes], dirty: Dirty, found: Look) -> None:
        # Outer ones come first, so that nothing is looked at twice.
        for path in sorted(marks, key=len):
            seen = found.scope.trees
            if path in seen or any(folder in seen for folder in ancestors(path)):
                continue
            if self._is_folder_of_ours(root, path, found):
                self._list(root, path, path in dirty.trees or path not in self._subfolders, found)

    def _believe_gone(self, root: bytes, path: bytes, look: Look) -> None:
        """No such file, says the path; but if the root holds it, its path led elsewhere for a moment."""
        try:
            os.lstat(path[len(_prefix(root)) :] or b".", dir_fd=self._root_fd)
        except OSError:
            return
        look.restless.add(root)

    def _is_folder_of_ours(self, root: bytes, path: bytes, look: Look) -> bool:
        """Whether a walk from the root would come here. If not, all below ``path`` is gone, or unknown."""
        if path == root:
            return True
        steps = [path, *(folder for folder in ancestors(path) if len(folder) > len(root))]
        for folder in reversed(steps):
            try:
                there = modes.S_ISDIR(os.lstat(folder).st_mode)
            except OSError as error:
                if error.errno not in _GONE:
                    _blind(look, folder, error)
                    return False
                self._believe_gone(root, folder, look)
                there = False
            if not there or self._ignored(root, folder, is_dir=True):
                look.scope.trees.add(path)
                self._forget(path)
                return False
        return True

    def _list(self, root: bytes, start: bytes, whole: bool, look: Look) -> None:
        """Lists ``start``, and what is below it: all of it if ``whole``, else what is new."""
        (look.scope.trees if whole else look.scope.folders).add(start)
        pending = [(start, whole)]
        while pending:
            folder, whole = pending.pop()
            try:
                files, subfolders = self._entries(root, folder, look)
            except OSError as error:
                if error.errno in _GONE:
                    self._believe_gone(root, folder, look)
                if error.errno in _GONE and folder != root:
                    look.scope.trees.add(folder)
                else:
                    _blind(look, folder, error)
                self._forget(folder)
                continue
            look.files.update(files)
            known = self._subfolders.get(folder, {})
            for subfolder in known.keys() - subfolders.keys():
                look.scope.trees.add(subfolder)
                self._forget(subfolder)
            self._subfolders[folder] = subfolders
            for subfolder, inode in subfolders.items():
                if whole or known.get(subfolder) != inode or subfolder not in self._subfolders:
                    if not whole:
                        look.scope.trees.add(subfolder)
                    pending.append((subfolder, True))

    def _entries(self, root: bytes, folder: bytes, look: Look) -> tuple[dict[bytes, FileStat], dict[bytes, int]]:
        """Files and subfolders of one folder. Raises OSError when it can't be listed to its end."""
        files: dict[bytes, FileStat] = {}
        subfolders: dict[bytes, int] = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                is_dir = entry.is_dir(follow_symlinks=False)
                if self._ignored(root, entry.path, is_dir):
                    continue
                if is_dir:
                    subfolders[entry.path] = entry.inode()
                    continue
                is_link = entry.is_symlink()
                if not is_link and not entry.is_file(follow_symlinks=False):
                    continue  # FIFOs, sockets, devices
                try:
                    found = os.stat(entry.path)
                except OSError as error:
                    if error.errno not in (_BROKEN_LINK if is_link else _GONE):
                        _blind(look, entry.path, error)
                    elif not is_link:
                        self._believe_gone(root, entry.path, look)
                    continue
                if modes.S_ISREG(found.st_mode):
                    files[entry.path] = FileStat.of(found)
        return files, subfolders

    def _ignored(self, root: bytes, path: bytes, is_dir: bool) -> bool:
        return self._ignore.match(path[len(_prefix(root)) :], is_dir)

    def _forget(self, folder: bytes) -> None:
        """Drops what is remembered of a folder and of all below it."""
        pending = [folder]
        while pending:
            pending.extend(self._subfolders.pop(pending.pop(), ()))


def _prefix(root: bytes) -> bytes:
    return root if root.endswith(b"/") else root + b"/"


def _blind(look: Look, path: bytes, error: OSError) -> None:
    look.scope.blind.add(path)
    look.unreadable[path] = (error.strerror or "unknown error").lower()
