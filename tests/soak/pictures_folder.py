"""A folder that is filled with bad files of every sort, good ones among them, and what is expected of each."""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pictures_forged import (
    BAD,
    GOOD,
    IGNORED,
    LAYOUTS,
    MAGICS,
    MEME,
    SUFFIXES,
    bombs,
    encode,
    giant,
    picture,
    spoilt_margin,
)

from memewatchd.pictures.kinds import EXTENSIONS, HEAD_BYTES, can_read_videos, has_picture_extension, sniff

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

SOMEBODY = 65_534

NAMES = [
    *(b"@\n", b"@\nerror: internal: x\n", b"@\x01\x02\x1b[31m\x7f", b"@\t", b"@\\", b"@'\"`$(touch x)", b"-@", b"@ "),
    *(b"@\xff\xfe", b"@\xc3\x28\xed\xa0\x80", b"@\xf0\x9f\x98", "@猫 生气".encode(), "@\u202egnp".encode()),
    *("@\u200b".encode(), b"@*?[a]", b"@%s%n", b"@;rm", b"@" + b"x" * 255),
    *(b"@" + "猫".encode() * 90, b"@" + b"\xff" * 255, b"@.part.x", b"@~x"),
]

LINKS = [
    *((b"@", IGNORED), (b"@@", IGNORED), (b"nowhere", IGNORED), (b".", IGNORED), (b"..", IGNORED)),
    *((b"/dev/zero", IGNORED), (b"/dev/null", IGNORED), (b"/", IGNORED), (b"/etc/passwd", BAD), (b"/etc/shadow", BAD)),
    *((b"/proc/version", BAD), (b"x" * 255 + b"/" + b"x" * 255, IGNORED), (b"/proc/self", IGNORED)),
]


class Folder:
    """What was put there: path → what is expected, and of which sort it is."""

    def __init__(self, path: Path, chance: random.Random, big: bool) -> None:
        self.path = os.fsencode(path)
        self.chance = chance
        self.permissions = True
        self.expected: dict[bytes, tuple[str, str]] = {}
        self.rewritten: list[bytes] = []
        self._bombs = bombs(big)
        self._sorts: list[tuple[int, Callable[[bytes, int], int]]] = [
            (22, self._truncated),
            (22, self._flipped),
            (6, self._wrong_extension),
            (4, self._empty),
            (6, self._garbage),
            (10, self._giant),
            (8, self._broken_margin),
            (8, self._named),
            (4, self._special),
            (4, self._link),
            (2, self._unreadable),
            (2, self._rewritten),
        ]

    def fill(self, number: int, count: int) -> int:
        """Put ``count`` files, about a fifth of them good, into a folder of their own. Returns how many aren't."""
        base = os.path.join(self.path, b"%03d" % number)
        os.mkdir(base)
        weights = [weight for weight, _ in self._sorts]
        makers = [maker for _, maker in self._sorts]
        bad = 0
        for serial in range(count):
            unique = number * 100_000 + serial
            if self.chance.random() < 0.2:
                kind, data = self.good(unique)
                self._put(base, b"good%08d%s" % (unique, SUFFIXES[kind]), data, GOOD, "good")
            else:
                (maker,) = self.chance.choices(makers, weights)
                bad += maker(base, unique)
        for name, expected, data in self._bombs:
            tail = b"%03d" % number if number else b""  # another round's have another digest
            self._put(base, b"bomb%03d-%s" % (number, name), data + tail, expected, "bomb")
            bad += 1
        return bad

    def good(self, unique: int) -> tuple[str, bytes]:
        """A small picture that no other number gives."""
        kind = self.chance.choice(list(SUFFIXES))
        return kind, encode(picture(unique), kind)

    def whole(self, unique: int) -> tuple[str, bytes]:
        """A picture of any kind, mode and layout, to be spoilt."""
        kind, mode, options = self.chance.choice(LAYOUTS)
        return kind, encode(picture(unique).convert(mode), kind, **options)

    def _put(self, base: bytes, name: bytes, data: bytes, expected: str, sort: str) -> int:
        path = os.path.join(base, name)
        Path(os.fsdecode(path)).write_bytes(data)
        if os.geteuid() == 0 and self.chance.random() < 0.2:
            os.chown(path, SOMEBODY, SOMEBODY)  # without special rights, no lease can be had on another's file
            os.chmod(path, 0o644)
        videos = can_read_videos()
        if expected == MEME and sniff(data[:HEAD_BYTES], videos=videos) is None:
            expected = BAD if has_picture_extension(name, videos=videos) else IGNORED
        self.expected[path] = expected, sort
        return int(expected != GOOD)

    # ---- the sorts

    def _truncated(self, base: bytes, unique: int) -> int:
        kind, data = self.whole(unique)
        cut = data[: self.chance.randrange(len(data))]
        # With so much gone, pixels are.
        expected = BAD if len(cut) < 0.7 * len(data) else MEME
        return self._put(base, b"cut%08d%s" % (unique, SUFFIXES[kind]), cut, expected, "truncated")

    def _flipped(self, base: bytes, unique: int) -> int:
        kind, data = self.whole(unique)
        spoilt = bytearray(data)
        for _ in range(self.chance.choice((1, 1, 2, 8, 64))):
            at = self.chance.randrange(min(len(spoilt), self.chance.choice((64, 1 << 20))))
            spoilt[at] = self.chance.choice((0, 0x7F, 0x80, 0xFF, spoilt[at] ^ 1 << self.chance.randrange(8)))
        suffix = SUFFIXES[kind] if self.chance.random() < 0.9 else b".dat"
        return self._put(base, b"flip%08d%s" % (unique, suffix), bytes(spoilt), MEME, "bit-flipped")

    def _wrong_extension(self, base: bytes, unique: int) -> int:
        kind, data = self.good(unique)
        other = self.chance.choice([b".txt", b".mp4", b"", b".png", b".webp", b".jpeg", b".\xff"])
        self._put(base, b"good%08d-%s%s" % (unique, kind.encode(), other), data, GOOD, "wrong extension")
        return 1

    def _empty(self, base: bytes, unique: int) -> int:
        suffix = self.chance.choice([b".png", b".jpg", b".HEIC", b".txt", b""])
        return self._put(base, b"empty%08d%s" % (unique, suffix), b"", MEME, "zero bytes")

    def _garbage(self, base: bytes, unique: int) -> int:
        head = self.chance.choice(MAGICS)
        suffix = self.chance.choice([*sorted(EXTENSIONS), b".txt", b".mp4"])
        body = self.chance.randbytes(self.chance.choice((1, 40, 4000)))
        return self._put(base, b"noise%08d%s" % (unique, suffix), head + body, MEME, "noise")

    def _giant(self, base: bytes, unique: int) -> int:
        kind, data = giant(self.chance)
        return self._put(base, b"giant%08d%s" % (unique, SUFFIXES[kind]), data, BAD, "huge dimensions")

    def _broken_margin(self, base: bytes, unique: int) -> int:
        kind, data = spoilt_margin(self.chance, picture(unique))
        return self._put(base, b"margin%08d%s" % (unique, SUFFIXES[kind]), data, MEME, "broken EXIF or ICC")

    def _named(self, base: bytes, unique: int) -> int:
        token = b"name%08d" % unique
        name = self.chance.choice(NAMES).replace(b"@", token) + b".png"
        if len(name) > 255:
            name = name[: 251 - len(token)] + token + b".png"
        data = encode(picture(unique), "PNG")
        if self.chance.random() < 0.5:
            return self._put(base, name, data[:-60], BAD, "name")
        self._put(base, name, data, GOOD, "name")
        return 1

    def _special(self, base: bytes, unique: int) -> int:
        path = os.path.join(base, b"special%08d.png" % unique)
        sort = self.chance.choice(["FIFO", "socket", "device"])
        try:
            if sort == "FIFO":
                os.mkfifo(path)
            elif sort == "socket":
                self._bind(base, path)
            else:
                os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, self.chance.choice((3, 5, 7, 8))))
        except PermissionError:  # device nodes are root's
            sort = "FIFO"
            os.mkfifo(path)
        self.expected[path] = IGNORED, sort
        return 1

    def _bind(self, base: bytes, path: bytes) -> None:
        folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
        bound = socket.socket(socket.AF_UNIX)
        try:
            bound.bind(b"/proc/self/fd/%d/%s" % (folder, os.path.basename(path)))
        finally:
            bound.close()
            os.close(folder)

    def _link(self, base: bytes, unique: int) -> int:
        path = os.path.join(base, b"link%08d.png" % unique)
        target, expected = self.chance.choice(LINKS)
        if target == b"@":
            target = os.path.basename(path)
        elif target == b"@@":
            os.symlink(os.path.basename(path), path + b".png")
            self.expected[path + b".png"] = IGNORED, "symlink"
            target = os.path.basename(path) + b".png"
        os.symlink(target, path)
        self.expected[path] = expected, "symlink"
        return 1

    def _unreadable(self, base: bytes, unique: int) -> int:
        if not self.permissions:
            return self._empty(base, unique)
        suffix = self.chance.choice([b".png", b".gif", b".txt"])
        path = os.path.join(base, b"closed%08d%s" % (unique, suffix))
        expected = BAD if suffix != b".txt" else IGNORED
        Path(os.fsdecode(path)).write_bytes(encode(picture(unique), "PNG"))
        os.chmod(path, 0)
        self.expected[path] = expected, "unreadable"
        return 1

    def _rewritten(self, base: bytes, unique: int) -> int:
        path = os.path.join(base, b"good%08d-again.png" % unique)
        self._put(base, os.path.basename(path), encode(picture(unique), "PNG"), GOOD, "rewritten")
        self.rewritten.append(path)
        return 1


def rewrite(folder: Folder, number: int) -> None:
    """While the daemon reads them: some files are written again and again, slowly, in place, by rename."""
    paths, folder.rewritten = folder.rewritten, []
    for turn in range(6):
        for at, path in enumerate(paths):
            data = encode(picture(number * 1_000 + at * 10 + turn + 500_000_000), "PNG")
            where = Path(os.fsdecode(path))
            how = folder.chance.randrange(3)
            if how == 0:
                with where.open("wb") as stream:
                    for start in range(0, len(data), 200):
                        stream.write(data[start : start + 200])
                        stream.flush()
                        time.sleep(0.001)
            elif how == 1:
                with where.open("r+b") as stream:
                    stream.write(data)
                    stream.truncate()
            else:
                part = where.with_name(where.name + ".part")
                part.write_bytes(data)
                part.rename(where)
        time.sleep(0.02)
