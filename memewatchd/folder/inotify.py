"""inotify for one root: which folders are watched, and what each event marks.

Built on watchdog's reader (``InotifyFD``), not on its observer. The observer pairs renames, which holds
events back for half a second, and has holes: it drops what was lost when the kernel's queue overflows, its
thread dies of a KeyError when folders of one name come and go, and a watch that the kernel refuses is passed
over in silence. Here events only *mark*, nothing is paired or queued, and what could not be watched is kept.

inotify can't hear everything: writes through a memory map, through a hard link outside, or to the target of
a symlink make no event here. A full walk finds those.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import threading
from typing import TYPE_CHECKING

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    Watch,
    WatchCallback,
    WatchDescriptor,
    inotify_add_watch,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from memewatchd.folder.dirty import DirtySet
    from memewatchd.folder.ignore import Ignore

logger = logging.getLogger(__name__)

MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVE
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MODIFY  # truncate(2) by name closes nothing
    | InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
)
"""Neither opening nor reading nor closing after reading: we would hear ourselves."""

_CAME = Mask(InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO | InotifyConstants.IN_ATTRIB)
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENAMETOOLONG})
"""Folders that a walk doesn't enter either: gone, no folder any more, or not ours to read."""


class Reader(InotifyFD):
    """One inotify instance and its thread, which sleeps until the kernel has something to say.

    Raises OSError where no more instances can be had. When its thread has died (``is_alive`` tells, and
    ``on_end`` is called), all is given back, so that another can be made.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        super().__init__()
        self._on_end = on_end

    def run(self) -> None:
        try:
            super().run()
        except Exception:
            logger.exception("The thread that hears changes has failed; another is started soon")
        finally:
            self._is_reading = False
            self.close()
            self._on_end()

    def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        """Watches a folder; raises OSError with the kernel's own error.

        watchdog's passes over EACCES, books the descriptor -1 for it, and warns where a folder is added
        twice, which is how we keep up with folders that move.
        """
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            wd = inotify_add_watch(self._inotify_fd, path, mask)
            if wd == -1:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
            watch = self._watch_for_wd.setdefault(wd, Watch(wd, mask, path))
            watch.callbacks[id_] = callback
            return wd


class RootWatch(WatchCallback):
    """Watches one root and all folders below it that aren't ignored.

    A folder is marked only after it is watched, so a scan that follows the mark misses nothing.
    """

    def __init__(self, reader: Reader, root: bytes, ignore: Ignore, dirty: DirtySet) -> None:
        self._reader = reader
        self._root = root
        self._prefix = root if root.endswith(b"/") else root + b"/"
        self._ignore = ignore
        self._dirty = dirty
        self._id = CallbackId(id(self))
        self._lock = threading.RLock()
        self._closed = False
        self._wd_of: dict[bytes, WatchDescriptor] = {}
        self._paths_of: dict[WatchDescriptor, set[bytes]] = {}
        """More than one path where the same folder is mounted twice, or has moved and we haven't heard yet."""
        self._children: dict[bytes, set[bytes]] = {}
        """Watched folder → watched folders in it."""
        self.refused: dict[bytes, int] = {}
        """Folders that the kernel would not watch, and its error number (ENOSPC: too few watches)."""

    @property
    def watched(self) -> int:
        """How many folders are watched."""
        return len(self._wd_of)

    @property
    def holds_root(self) -> bool:
        """Whether the root itself is watched (still)."""
        return self._root in self._wd_of

    def open(self) -> None:
        """Watches what is there and marks it all."""
        with self._lock:
            self._watch_tree(self._root)
        self._dirty.mark_tree(self._root)

    def resync(self) -> None:
        """Watches anew after events were lost, or to try refused folders again, and marks it all.

        Watches that are still right stay, because each one taken away is an event too: a queue that
        overflows while thousands are removed would never come to rest.
        """
        with self._lock:
            if self._closed:
                return
            self.refused.clear()
            seen = self._watch_tree(self._root)
            for path in self._wd_of.keys() - seen:
                self._unwatch(path)
        self._dirty.mark_tree(self._root)

    def close(self) -> None:
        """Takes all watches away; nothing is marked any more."""
        with self._lock:
            self._closed = True
            self._reader.remove_callbacks([(wd, self._id) for wd in self._paths_of])
            self._wd_of.clear()
            self._paths_of.clear()
            self._children.clear()

    # What the reader's thread calls.

    def on_queue_overflow(self) -> None:
        logger.warning("Too many changes at once below %s; looking at all of it", os.fsdecode(self._root))
        self.resync()

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """The kernel took the watch away: the folder is deleted, or its file system unmounted."""
        with self._lock:
            if self._closed:
                return
            for path in self._paths_of.pop(wd, ()):
                del self._wd_of[path]
                self._children.get(os.path.dirname(path), set()).discard(path)
                self._dirty.mark_tree(path)

    def on_event(self, event: InotifyEvent) -> None:
        with self._lock:
            if self._closed:
                return
            for folder in tuple(self._paths_of.get(event.wd, ())):
                self._hear(folder, event)

    def _hear(self, folder: bytes, event: InotifyEvent) -> None:
        if not event.name:
            self._hear_itself(folder, event)
            return
        path = os.path.join(folder, event.name)
        is_dir = bool(event.mask & InotifyConstants.IN_ISDIR)
        if self._ignore.match(path[len(self._prefix) :], is_dir):
            return
        if is_dir:
            if event.mask & _CAME:
                self._watch_tree(path)
            elif event.is_moved_from:
                self._unwatch_tree(path)
            self._dirty.mark_tree(path)
        self._dirty.mark_folder(folder)

    def _hear_itself(self, folder: bytes, event: InotifyEvent) -> None:
        """What happens to a folder below the root is heard by the one above; the root has none above."""
        if folder == self._root or not event.mask & (InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF):
            if event.is_attrib:
                self._watch_tree(folder)
            self._dirty.mark_tree(folder)

    # Watches. The lock is held.

    def _watch_tree(self, start: bytes) -> set[bytes]:
        """Watches a folder and those below; the watch comes first, then the listing. Returns those watched."""
        done: set[bytes] = set()
        pending = [start]
        while pending:
            folder = pending.pop()
            try:
                self._watch(folder)
                done.add(folder)
            except OSError as error:
                if error.errno in _VANISHED:
                    continue
                self.refused[folder] = error.errno or errno.EIO
            try:
                with os.scandir(folder) as entries:
                    pending.extend(
                        entry.path
                        for entry in entries
                        if entry.is_dir(follow_symlinks=False)
                        and not self._ignore.match(entry.path[len(self._prefix) :], is_dir=True)
                    )
            except OSError:
                continue  # the scan names what can't be listed
        return done

    def _watch(self, path: bytes) -> None:
        # Links below the root aren't followed; the root may be one.
        flags = MASK if path == self._root else Mask(MASK | InotifyConstants.IN_DONT_FOLLOW)
        wd = self._reader.add_callback(path, flags, self, self._id)
        if self._wd_of.get(path) != wd:
            self._unwatch(path)
            self._wd_of[path] = wd
            self._paths_of.setdefault(wd, set()).add(path)
            self._children.setdefault(os.path.dirname(path), set()).add(path)
        self.refused.pop(path, None)

    def _unwatch_tree(self, path: bytes) -> None:
        pending = [path]
        while pending:
            folder = pending.pop()
            pending.extend(self._children.pop(folder, ()))
            self._unwatch(folder)
            self.refused.pop(folder, None)

    def _unwatch(self, path: bytes) -> None:
        wd = self._wd_of.pop(path, None)
        if wd is None:
            return
        self._children.get(os.path.dirname(path), set()).discard(path)
        paths = self._paths_of[wd]
        paths.discard(path)
        if not paths:
            del self._paths_of[wd]
            self._reader.remove_callbacks([(wd, self._id)])
