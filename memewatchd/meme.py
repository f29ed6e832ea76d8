"""The frozen values that pass between the rooms. Knows nothing of how they are made or kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

Digest = NewType("Digest", str)
"""BLAKE2b-256 of a whole file, 64 lower-case hex digits. Same digest, same vectors."""

MAX_FRAMES = 8
"""So many frames of one file get a vector at most."""

DIGEST_BYTES = 32
_INT64_MAX = (1 << 63) - 1


def _within(number: int) -> int:
    return max(-_INT64_MAX - 1, min(number, _INT64_MAX))


def new_digest() -> blake2b:
    """The hash that makes a :data:`Digest`; feed it the whole file, then ``hexdigest()``."""
    return blake2b(digest_size=DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class FileStat:
    """What ``stat`` says of a file: sizes in bytes, times in nanoseconds since the epoch."""

    size: int
    mtime_ns: int
    ctime_ns: int
    ino: int

    @classmethod
    def of(cls, result: os.stat_result) -> FileStat:
        """Times beyond INT64 (the year 2262; btrfs and tmpfs go further) stand at its end, as they do in Milvus."""
        return cls(result.st_size, _within(result.st_mtime_ns), _within(result.st_ctime_ns), result.st_ino)

    @property
    def content_key(self) -> tuple[int, int, int]:
        """What a rename leaves as it was: inode, size, mtime (ctime changes)."""
        return (self.ino, self.size, self.mtime_ns)


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file as the index knows it. Rows are immutable: a change is a new row, then a deletion.

    ``path`` is absolute, raw bytes. ``digest`` is "" where the file could not be read at all.
    ``error`` is "" for a good file, else the reason for people. ``text`` is what the file can be
    found by besides its look, as :func:`~memewatchd.words.searchable_text` makes it.
    ``first_seen`` is seconds since the epoch; ``width``/``height`` are pixels after EXIF orientation,
    ``frames`` the number of frames in the file (1 for a still), all 0 if failed; ``kind`` is the real
    type ("png", "gif", …), "" if failed. ``tags`` are compared as :func:`~memewatchd.words.tag_key` makes them.
    ``inner`` is the description inside the file, as it was written: a copy or a move takes it along unread.
    ``look`` is how the whole picture looks, by which its copies are found (see :mod:`memewatchd.looks`); "" where
    that says nothing.
    """

    path: bytes
    stat: FileStat
    digest: Digest
    first_seen: int
    width: int = 0
    height: int = 0
    frames: int = 0
    error: str = ""
    text: str = ""
    kind: str = ""
    tags: tuple[str, ...] = ()
    inner: str = ""
    look: str = ""

    @property
    def id(self) -> str:
        """The primary key: a hash over all that makes this row this row (64 hex digits)."""
        hasher = blake2b(digest_size=DIGEST_BYTES)
        stat = self.stat
        for part in (
            self.path,
            f"{stat.size} {stat.mtime_ns} {stat.ctime_ns} {stat.ino}".encode(),
            self.digest.encode(),
            self.error.encode(),
            self.text.encode(),
            "\n".join(self.tags).encode(),
            self.inner.encode(),
            self.look.encode(),
        ):
            hasher.update(len(part).to_bytes(8, "little"))
            hasher.update(part)
        return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class FrameSpec:
    """How a decode child prepares a frame for a model: its preprocessing up to, and without, normalisation.

    ``mode``: "shortest" scales so that the shorter side is ``resize`` (then a centre crop of
    ``crop`` x ``crop`` follows), "exact" scales to ``resize`` x ``resize`` whatever the shape,
    "pad" scales so that the longer side is ``resize`` and centres it on white. ``resample`` is
    Pillow's filter number (2 bilinear, 3 bicubic, 1 Lanczos). Frames come out as uint8 RGB arrays
    of shape (``crop``, ``crop``, 3).
    """

    mode: str
    resize: int
    crop: int
    resample: int = 3


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded picture: its real ``format`` ("png", "gif", "mp4", …), size and sampled frames.

    ``frames``: uint8 RGB arrays (crop, crop, 3), at least one, at most as many as were asked for; ``numbers``: the
    place of each in the file, from 0, rising; ``n_frames`` counts those in the file.
    ``description``: what somebody wrote about it inside the file, "" if nothing. ``look``: see :class:`FileRow`.
    """

    format: str
    width: int
    height: int
    n_frames: int
    frames: list[NDArray[np.uint8]] = field(default_factory=list, compare=False, repr=False)
    numbers: tuple[int, ...] = (0,)
    description: str = ""
    look: str = ""


@dataclass(frozen=True, slots=True)
class PictureHit:
    """A picture that Milvus found: cosine similarity in [-1, 1]."""

    digest: Digest
    frame: int
    score: float


@dataclass(frozen=True, slots=True)
class HostHit:
    """A file of another ``host`` that shares the Milvus server: its row there, and the frame that was found."""

    host: str
    row: FileRow
    frame: int
    score: float


@dataclass(frozen=True, slots=True)
class PictureWords:
    """The words read in a picture, its lines joined by a newline ("": none were found).

    ``reader`` is a short fingerprint of what has read them: of the same reader, the same words.
    """

    digest: Digest
    text: str
    reader: str


@dataclass(frozen=True, slots=True)
class WordsHit:
    """A picture whose words Milvus found: BM25's score, above 0, comparable within one search only."""

    digest: Digest
    score: float
