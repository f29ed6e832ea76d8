"""Which files are pictures: by their first bytes, and by what their name promises.

Standard library only: the mirror asks this of every file it meets.
"""

from __future__ import annotations

from importlib.util import find_spec

HEAD_BYTES = 64
"""How many of a file's first bytes :func:`sniff` wants; fewer will do when the file is shorter."""

EXTENSIONS = frozenset(
    b".png .apng .jpg .jpeg .jpe .jfif .pjpeg .pjp .gif .webp .avif .avifs .heic .heics .heif .heifs .hif"
    b" .bmp .dib .tif .tiff".split()
)
"""Extensions that promise a picture, lower-case."""

VIDEOS = frozenset(("mp4", "mov", "webm"))
"""The kinds that are films. Memes only where there is PyAV to read them."""

VIDEO_EXTENSIONS = frozenset(b".mp4 .m4v .mov .qt .webm".split())

_STICKER = b".tgs"
_NO_STICKERS = (
    "Telegram's animated stickers (.tgs) are not supported, for they are drawings in a format of their own;"
    " save the sticker as GIF, WebP or WebM, and it will be found"
)

# The length of a BMP's second header says which of its seven versions this is. "BM" alone is also
# how a text about a BMW begins.
_BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))

_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"heif"))
_HEIF_CONTAINERS = frozenset((b"mif1", b"mif2", b"msf1", b"miaf"))
_QUICKTIME = b"qt  "
# Not M4A, M4B, M4P, F4A: these hold sound.
_MP4_BRANDS = frozenset(
    brand.ljust(4)
    for brand in b"isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 mp41 mp42 avc1 av01 hvc1 M4V M4VH M4VP MSNV dash"
    b" mmp4 f4v 3gp4 3gp5 3gp6 3gp7 3g2a XAVC".split()
)
_EBML = b"\x1a\x45\xdf\xa3"


def can_read_videos() -> bool:
    """Whether PyAV is installed. Looks for it without loading it."""
    return find_spec("av") is not None


def sniff(head: bytes, *, videos: bool = False) -> str | None:
    """Names the kind of picture that begins with ``head``, the first :data:`HEAD_BYTES` of a file.

    Returns "png", "jpeg", "gif", "webp", "avif", "heic" (any HEIF), "bmp", "tiff", with ``videos`` also one of
    :data:`VIDEOS`, or None.
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
        return _brand(head) or (_film(head[8:12]) if videos else None)
    if videos and head.startswith(_EBML) and b"webm" in head:
        return "webm"
    return None


def has_picture_extension(name: bytes, *, videos: bool = False) -> bool:
    """Whether a file's name (or path) promises a picture, or with ``videos`` a film."""
    extension = _extension(name)
    return extension in EXTENSIONS or extension == _STICKER or (videos and extension in VIDEO_EXTENSIONS)


def why_not_a_picture(name: bytes, size: int) -> str:
    """The reason, for people, why a file that is named like a picture isn't one. ``size`` in bytes."""
    if size == 0:
        return "empty file"
    if _extension(name) == _STICKER:
        return _NO_STICKERS
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


def _film(major: bytes) -> str | None:
    if major == _QUICKTIME:
        return "mov"
    return "mp4" if major in _MP4_BRANDS else None


def _extension(name: bytes) -> bytes:
    """With its dot, lower-case; b"" for a name that begins with its only dot."""
    stem, dot, extension = name.rpartition(b"/")[2].rpartition(b".")
    return dot + extension.lower() if stem else b""
