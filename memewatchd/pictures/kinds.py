"""Which files are pictures: by their first bytes, and by what their name promises.

Standard library only: the mirror asks this of every file it meets.
"""

from __future__ import annotations

HEAD_BYTES = 64
"""How many of a file's first bytes :func:`sniff` wants; fewer will do when the file is shorter."""

EXTENSIONS = frozenset(
    b".png .apng .jpg .jpeg .jpe .jfif .pjpeg .pjp .gif .webp .avif .avifs .heic .heics .heif .heifs .hif"
    b" .bmp .dib .tif .tiff".split()
)
"""Extensions that promise a picture, lower-case."""

# The length of a BMP's second header says which of its seven versions this is. "BM" alone is also
# how a text about a BMW begins.
_BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))

_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"heif"))
_HEIF_CONTAINERS = frozenset((b"mif1", b"mif2", b"msf1", b"miaf"))


def sniff(head: bytes) -> str | None:
    """Names the kind of picture that begins with ``head``, the first :data:`HEAD_BYTES` of a file.

    Returns "png", "jpeg", "gif", "webp", "avif", "heic" (any HEIF), "bmp", "tiff", or None.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    # Both byte orders, classic and BigTIFF. Canon's CR2 is a TIFF to its first eight bytes only.
    if head.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")) and head[8:10] != b"CR":
        return "tiff"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    if head[4:8] == b"ftyp":
        return _brand(head)
    return None


def has_picture_extension(name: bytes) -> bool:
    """Whether a file's name (or path) promises a picture."""
    base = name.rpartition(b"/")[2]
    stem, dot, extension = base.rpartition(b".")
    return bool(stem) and (dot + extension.lower()) in EXTENSIONS


def why_not_a_picture(name: bytes, size: int) -> str:
    """The reason, for people, why a file that is named like a picture isn't one. ``size`` in bytes."""
    if size == 0:
        return "empty file"
    extension = name.rpartition(b".")[2].decode("ascii", "replace")
    return f"not a picture inside, though it is named .{extension}"


def _brand(head: bytes) -> str | None:
    """Tells AVIF from HEIC by the brands in an ISO media file's first box (ISO/IEC 14496-12 §4.3)."""
    major = head[8:12]
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[at : at + 4] for at in range(16, end - 3, 4)} | {major}
    if major in _AVIF_BRANDS:
        return "avif"
    if major in _HEIC_BRANDS:
        return "heic"
    # Any other major brand (say mp42) is a film or a sound, whatever else it claims to be.
    if major in _HEIF_CONTAINERS:
        return "avif" if brands & _AVIF_BRANDS else "heic"
    return None
