"""Where the kernel can't tell what changes, because others change it: network, shared and FUSE file systems."""

from __future__ import annotations

import os
import re
import select
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOUNTINFO = Path("/proc/self/mountinfo")

# Names as the kernel gives them in the third-last group of a mountinfo line (proc_pid_mountinfo(5)).
_SHARED = frozenset(
    b"nfs nfs4 cifs smb3 smbfs ncpfs afs coda ceph glusterfs lustre beegfs orangefs gfs2 ocfs2 gpfs panfs "
    b"9p virtiofs vboxsf vmhgfs prl_fs fuse".split()
)


@dataclass(frozen=True, slots=True)
class Mount:
    """``point`` is where it is mounted (raw bytes), ``kind`` the file system's type (b"ext4", b"fuse.sshfs")."""

    id: int
    parent: int
    point: bytes
    kind: bytes

    @property
    def is_silent(self) -> bool:
        """Whether changes can happen that inotify doesn't report.

        Any FUSE file system counts: even a local one may change underneath. ``fuseblk`` (NTFS by
        ntfs-3g) is a disk of this machine.
        """
        return self.kind in _SHARED or self.kind.startswith(b"fuse.")


class MountTable:
    """The mounts as this process sees them, read again only when the kernel says that they have changed.

    proc_pid_mountinfo(5) doesn't tell, proc_pid_mounts(5) does: poll(2) marks the file as having an exceptional
    condition after each change. One thread only.
    """

    def __init__(self, file: Path = MOUNTINFO) -> None:
        self._file = file
        self._fd: int | None = None
        self._poll = select.poll()
        self._mounts: list[Mount] = []

    def look(self) -> list[Mount]:
        """The mounts now: the very list of before where nothing has changed. Empty where they can't be read."""
        try:
            if self._fd is None:
                self._fd = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
                self._poll.register(self._fd, select.POLLPRI)
            elif not self._poll.poll(0):
                return self._mounts
            os.lseek(self._fd, 0, os.SEEK_SET)
            with open(self._fd, "rb", closefd=False) as stream:
                self._mounts = parse_mountinfo(stream.read())
        except OSError:
            self.close()
        return self._mounts

    def close(self) -> None:
        """Nothing is kept; :meth:`look` begins anew."""
        if self._fd is not None:
            self._poll.unregister(self._fd)
            os.close(self._fd)
        self._fd, self._mounts = None, []


def parse_mountinfo(text: bytes) -> list[Mount]:
    """The lines of /proc/self/mountinfo, see proc_pid_mountinfo(5)."""
    mounts = []
    for line in text.splitlines():
        left, dash, right = line.partition(b" - ")
        fields = left.split(b" ")
        if dash and len(fields) >= 5:
            point = _unescape(fields[4])
            mounts.append(Mount(int(fields[0]), int(fields[1]), point, right.split(b" ", 1)[0]))
    return mounts


def mounts_for(mounts: Sequence[Mount], root: bytes) -> list[Mount]:
    """The mount that ``root`` (its real path) lies on, and those below it; the lines' order doesn't matter.

    Goes down from "/" as the kernel does when it resolves a path: what is mounted on a folder hides
    what was mounted below before, and of several at one point the last one is seen.
    """
    known = {mount.id for mount in mounts}
    down: dict[int, list[Mount]] = {}
    for mount in mounts:
        down.setdefault(mount.parent if mount.parent in known else 0, []).append(mount)
    own: Mount | None = None
    while onward := [mount for mount in down.get(own.id if own else 0, ()) if _is_within(root, mount.point)]:
        own = min(onward, key=lambda mount: len(mount.point))
    found = [own] if own else []
    pending = list(down.get(own.id if own else 0, ()))
    while pending:
        mount = pending.pop()
        if _is_within(mount.point, root):
            found.append(mount)
            pending.extend(down.get(mount.id, ()))
    return found


def _is_within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder if folder.endswith(b"/") else folder + b"/")


def _unescape(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
