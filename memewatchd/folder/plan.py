"""Disk and index side by side: what to read, what has moved, what to forget. Pure: touches neither.

A rename is *found*, never trusted to an event: the same inode, size and mtime under another path, while
the old path no longer holds that file.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from os.path import basename
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from memewatchd.meme import FileRow, FileStat

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Move:
    """The file that ``row`` tells of now lies at ``path`` with ``stat`` (at least its ctime is new).

    The caller writes a row for ``path`` with the same digest, size in pixels and ``first_seen``, and a
    text made anew from the new name, and then deletes ``row``.
    """

    row: FileRow
    path: bytes
    stat: FileStat


@dataclass(slots=True)
class Plan:
    """Each file of the disk is in exactly one of ``keep``, ``moves``, ``read``; each row given in exactly one
    of ``keep``, ``moves``, ``forget``.

    A row in ``forget`` whose path is in ``read`` is what that read replaces: new first, deletions second.
    """

    keep: list[FileRow] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    read: dict[bytes, FileStat] = field(default_factory=dict)
    forget: list[FileRow] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.moves or self.read or self.forget)


def _nowhere(stat: FileStat) -> FileRow | None:
    return None


def make_plan(
    disk: Mapping[bytes, FileStat],
    rows: Iterable[FileRow],
    moved_from: Callable[[FileStat], FileRow | None] = _nowhere,
) -> Plan:
    """Compares the files found with the rows of the same scope.

    - A row is kept when size, mtime, ctime and inode are as they were. Of two rows of one path the one
      that fits is kept.
    - The same size, mtime and inode with another ctime at the same path is read again: a chmod, a new tag,
      or a change that put the mtime back. The digest decides.
    - A path without a fitting row is a move, when a row that has lost its file has the same inode, size and
      mtime; one row is the origin of one path. Two kinds of rows are no origins, so that the path is read
      (and, if the digest is known, not encoded): failed ones, since whether they are listed at all depends
      on the name; and those with an mtime in whole seconds, since that time was *set* (unpacked, copied
      with its time) and inodes are used again: two such files of one size could not be told apart.

    ``moved_from`` may offer a row from outside the scope whose path no longer holds its file.
    """
    plan = Plan()
    kept: dict[bytes, FileRow] = {}
    lost: list[FileRow] = []
    for row in rows:
        rival = kept.get(row.path)
        if disk.get(row.path) != row.stat or (rival is not None and (row.error or not rival.error)):
            lost.append(row)
            continue
        if rival is not None:
            lost.append(rival)
        kept[row.path] = row
    plan.keep.extend(kept.values())

    origins: dict[tuple[int, int, int], list[FileRow]] = defaultdict(list)
    for row in lost:
        there = disk.get(row.path)
        if _can_move(row) and (there is None or there.content_key != row.stat.content_key):
            origins[row.stat.content_key].append(row)

    used: set[int] = set()  # by identity: a row's id is a hash, made anew each time
    for path, stat in disk.items():
        if path in kept:
            continue
        origin = _choose(origins.get(stat.content_key), path) or moved_from(stat)
        if (
            origin is not None
            and _can_move(origin)
            and origin.stat.content_key == stat.content_key
            and origin.path != path
            and id(origin) not in used
        ):
            used.add(id(origin))
            plan.moves.append(Move(origin, path, stat))
        else:
            plan.read[path] = stat
    plan.forget.extend(row for row in lost if id(row) not in used)
    return plan


def _can_move(row: FileRow) -> bool:
    return not row.error and row.stat.mtime_ns % _SECOND_NS != 0


def _choose(rows: list[FileRow] | None, path: bytes) -> FileRow | None:
    """Takes one out; of several (hard links that moved together) the one of the same name."""
    if not rows:
        return None
    name = basename(path)
    index = next((i for i, row in enumerate(rows) if basename(row.path) == name), -1)
    return rows.pop(index)
