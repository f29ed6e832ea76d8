"""Says where to look again: by inotify where the kernel tells, by the clock where it doesn't.

The story of a change: the kernel tells watchdog's reader thread, :class:`RootWatch` marks a folder in the
:class:`DirtySet`, the mirror's thread takes the marks and scans. ``check()`` is the safety net: what makes
no event (a root renamed or unmounted, a disk mounted below it, a reader that died) is seen there.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from memewatchd.folder.inotify import Reader, RootWatch
from memewatchd.folder.mounts import Mount, MountTable, mounts_for
from memewatchd.folder.roots import Identity, identify, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from memewatchd.folder.dirty import DirtySet
    from memewatchd.folder.ignore import Ignore

logger = logging.getLogger(__name__)

_LIMITS = Path("/proc/sys/fs/inotify")


@dataclass(slots=True)
class _Root:
    path: bytes
    identity: Identity | None = None
    mounts: tuple[Mount, ...] = ()
    watch: RootWatch | None = None
    tried: float = 0.0


class Mounts(Protocol):
    """What the watcher needs of the table of mounts; :class:`MountTable` is one."""

    def look(self) -> list[Mount]: ...
    def close(self) -> None: ...


class Watcher:
    """Marks what has changed. All but :attr:`mode` belongs to one thread; marks come from another.

    ``poll_s``: how often the whole of a root is marked where inotify can't serve, in seconds. It is looked
    at in :meth:`check`, which the mirror calls every ten seconds; there is no timer here.
    """

    def __init__(
        self,
        roots: Sequence[bytes],
        ignore: Ignore,
        dirty: DirtySet,
        poll_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        mounts: Mounts | None = None,
    ) -> None:
        self._roots = [_Root(os.path.abspath(root)) for root in roots]
        self._ignore = ignore
        self._dirty = dirty
        self._poll_s = poll_s
        self._clock = clock
        self._table = mounts or MountTable()
        self._mounts: list[Mount] | None = None
        self._reader: Reader | None = None
        self._no_reader = ""
        self._mode_lock = threading.Lock()
        self._mode: tuple[str, str] = ("inotify", "")

    @property
    def mode(self) -> tuple[str, str]:
        """("inotify", "") or ("polling", why: a sentence for people). Any thread may ask."""
        with self._mode_lock:
            return self._mode

    @property
    def hears_all(self) -> bool:
        """Whether whatever changes is heard, so that :meth:`check` has nothing to poll or to heal."""
        return self._reader is not None and self._reader.is_alive() and self.mode[0] == "inotify"

    def start(self) -> None:
        """Watches first and marks everything then, so that the scan that follows misses nothing.

        Never fails for want of watches: it polls then, and :attr:`mode` says so.
        """
        self._open_reader()
        self._mounts = self._table.look()
        for root in self._roots:
            self._watch(root, self._mounts)
        self._tell_mode()

    def stop(self) -> None:
        """Ends the reader's thread. Nothing is marked afterwards."""
        for root in self._roots:
            self._unwatch(root)
        self._close_reader()
        self._table.close()

    def check(self) -> None:
        """Heals what events don't tell; marks roots that are polled and due. To be called every ten seconds."""
        if self._reader is None or not self._reader.is_alive():
            for root in self._roots:
                self._unwatch(root)
            self._close_reader()
            self._open_reader()
        mounts = self._table.look()
        are_new, self._mounts = mounts is not self._mounts, mounts
        for root in self._roots:
            self._check_root(root, mounts, are_new=are_new)
        self._tell_mode()

    def _check_root(self, root: _Root, mounts: list[Mount], *, are_new: bool) -> None:
        identity = identify(root.path)
        lost = root.watch is not None and not root.watch.holds_root and not root.watch.refused
        if identity != root.identity or lost or (root.watch is None and identity and self._reader):
            self._unwatch(root)
            self._watch(root, mounts)
        elif are_new and (here := _mounts_of(root.path, mounts)) != root.mounts:
            root.mounts = here
            if root.watch:
                root.watch.resync()
            else:
                self._dirty.mark_tree(root.path)
        elif identity and self._clock() - root.tried >= self._poll_s:
            self._poll(root)

    def _poll(self, root: _Root) -> None:
        """Marks what the kernel doesn't tell of, and tries again where watches were refused."""
        root.tried = self._clock()
        if root.watch is None:
            self._dirty.mark_tree(root.path)
        elif root.watch.refused:
            root.watch.resync()
        else:
            real = os.path.realpath(root.path)
            for mount in root.mounts:
                if mount.is_silent:
                    below = mount.point[len(real) :] if len(mount.point) > len(real) else b""
                    self._dirty.mark_tree(root.path + below)

    def _watch(self, root: _Root, mounts: list[Mount]) -> None:
        """Watches a root as it stands now, and marks it; one that is missing is marked too (it is away)."""
        root.identity = identify(root.path)
        root.mounts = _mounts_of(root.path, mounts)
        root.tried = self._clock()
        if self._reader is None or root.identity is None:
            self._dirty.mark_tree(root.path)
            return
        root.watch = RootWatch(self._reader, root.path, self._ignore, self._dirty)
        root.watch.open()

    def _unwatch(self, root: _Root) -> None:
        if root.watch:
            root.watch.close()
            root.watch = None

    def _open_reader(self) -> None:
        try:
            self._reader = Reader(self._dirty.wake)
        except OSError as error:
            self._reader = None
            limit = _read_limit("max_user_instances")
            self._no_reader = (
                f"the kernel gives no more inotify instances (fs.inotify.max_user_instances is {limit})"
                if error.errno == errno.EMFILE
                else f"inotify doesn't work here ({(error.strerror or 'unknown error').lower()})"
            )
            return
        self._no_reader = ""
        self._reader.name = "folder events"
        self._reader.start()

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.stop()
            self._reader.join()
            self._reader = None

    def _tell_mode(self) -> None:
        reasons = [reason for root in self._roots if (reason := self._why_polled(root))]
        mode = ("polling", "; ".join(dict.fromkeys(reasons))) if reasons else ("inotify", "")
        with self._mode_lock:
            before, self._mode = self._mode, mode
        if mode != before:
            logger.log(
                logging.WARNING if reasons else logging.INFO,
                "Changes are %s",
                f"looked for every {self._poll_s:g} s: {mode[1]}" if reasons else "heard at once (inotify)",
            )

    def _why_polled(self, root: _Root) -> str:
        if root.identity is None:
            return ""
        if self._reader is None:
            return self._no_reader
        for mount in root.mounts:
            if mount.is_silent:
                kind = mount.kind.decode("utf-8", "replace")
                place = root.path if len(mount.point) <= len(os.path.realpath(root.path)) else mount.point
                return f"{shown(place)} is on {kind}, where the kernel reports no changes made elsewhere"
        if root.watch is None or not root.watch.refused:
            return ""
        refused, watched = root.watch.refused, root.watch.watched
        if errno.ENOSPC in refused.values():
            return (
                f"only {watched} of {watched + len(refused)} folders below {shown(root.path)} can be watched "
                f"(the limit fs.inotify.max_user_watches is {_read_limit('max_user_watches')}, for all programs "
                "together): sudo sysctl fs.inotify.max_user_watches=1048576"
            )
        code = next(iter(refused.values()))
        return f"{len(refused)} folders below {shown(root.path)} can't be watched ({os.strerror(code).lower()})"


def _mounts_of(root: bytes, mounts: list[Mount]) -> tuple[Mount, ...]:
    return tuple(mounts_for(mounts, os.path.realpath(root)))


def _read_limit(name: str) -> str:
    try:
        return (_LIMITS / name).read_text().strip()
    except OSError:
        return "unknown"
