"""`memewatch add`: a new meme into the first watched folder, byte for byte: a file, an address or the clipboard."""

from __future__ import annotations

import os

from memewatchd.desktop.trouble import NoAnswer, Refused, Trouble
from memewatchd.protocol import EXIT_OK, path_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

    from memewatchd.desktop.clipboard import Ask
    from memewatchd.desktop.output import Output

MAX_BYTES = 256 * 1024 * 1024
"""What the daemon reads at most."""
DOWNLOAD_S = 30.0
_CHUNK = 1 << 20
_NAME_BYTES = 200

# First bytes → extension. The daemon goes by the bytes too; the name's end is for people and other programs.
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"\x1a\x45\xdf\xa3", ".webm"),
)
_BRANDS = {b"avif": ".avif", b"avis": ".avif", b"mif1": ".heic", b"msf1": ".heic", b"qt  ": ".mov"}
# What the clipboard may hold, the best first: an animation loses its motion in any other form.
_CLIPBOARD = ("image/gif", "image/webp", "image/png", "image/jpeg", "image/avif", "image/bmp", "image/tiff")


def add(
    ask: Ask,
    source: str | None,
    name: str | None,
    environ: Mapping[str, str],
    out: Output,
    complain: Callable[[str], None],
) -> int:
    """Writes the meme and prints its path. ``source``: a path, an address, or None for the clipboard.

    Raises Refused, NoAnswer, Trouble.
    """
    folder = first_folder(ask)
    if source is None:
        source, data = from_clipboard(environ)
    else:
        data = None
    if data is None:
        assert source is not None
        data, found_name = fetched(source)
    else:
        found_name = ""
    extension = extension_of(data)
    if extension is None:
        raise Trouble("that is no picture, by its first bytes")
    known = already_there(ask, data)
    if known is not None:
        complain("it is already there, to the byte")
        out.write(known + b"\n")
        return EXIT_OK
    stem = stem_of(name) if name else human(found_name) or by_what_it_shows(ask, data, environ)
    out.write(write(folder, stem or _dated(), extension, data) + b"\n")
    return EXIT_OK


def first_folder(ask: Ask) -> bytes:
    """The first watched folder. Raises Trouble where it is away."""
    roots = next(ask({"op": "status"}))["status"]["roots"]
    path = os.fsencode(roots[0]["path"])
    if roots[0].get("away") or not os.path.isdir(path):
        raise Trouble(f"{os.fsdecode(path)} is not there now ({roots[0].get('why') or 'no such folder'})")
    return path


def already_there(ask: Ask, data: bytes) -> bytes | None:
    """The path of a meme with just these bytes."""
    from hashlib import blake2b

    digest = blake2b(data, digest_size=32).hexdigest()
    found = None
    for reply in ask({"op": "list"}):
        if reply.get("end"):
            break
        if found is None and reply["file"]["digest"] == digest:
            found = path_bytes(reply["file"])
    return found


def extension_of(data: bytes) -> str | None:
    """The extension that the first bytes ask for, with its dot; None for no picture or film that we know."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ".webp"
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        return _BRANDS.get(brand) or (".heic" if brand.startswith((b"hei", b"hev")) else ".mp4")
    return next((extension for start, extension in _MAGIC if data.startswith(start)), None)


# Where it comes from ------------------------------------------------------------------------------


def fetched(source: str) -> tuple[bytes, str]:
    """The bytes, and the name that they had there. Raises Trouble."""
    if source.startswith(("http://", "https://")):
        return downloaded(source)
    from memewatchd.desktop.clipboard import meme_path

    path = meme_path(source)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as stream:
            return limited(stream, os.fsdecode(path)), os.path.basename(path).decode("utf-8", "ignore")
    except OSError as error:
        raise Trouble(f"{os.fsdecode(path)}: {error.strerror}") from None


def downloaded(address: str) -> tuple[bytes, str]:
    """What an http(s) address gives. Raises Trouble."""
    import urllib.error
    import urllib.parse
    import urllib.request

    request = urllib.request.Request(address, headers={"User-Agent": "memewatch", "Accept": "image/*,video/*"})
    try:
        with urllib.request.urlopen(request, timeout=DOWNLOAD_S) as answer:
            # A redirect may lead to any kind of address, but urllib follows only to http(s) and ftp.
            if not answer.geturl().startswith(("http://", "https://")):
                raise Trouble(f"{address} leads to {answer.geturl()}, which is no web address")
            data = limited(answer, address)
            path = urllib.parse.urlsplit(answer.geturl()).path
    except (OSError, ValueError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or error
        raise Trouble(f"{address} could not be fetched: {reason}") from None
    return data, urllib.parse.unquote(path.rpartition("/")[2])


def limited(stream: BinaryIO, what: str) -> bytes:
    """All of it. Raises Trouble beyond what the daemon reads, or after a minute."""
    import time

    deadline = time.monotonic() + 2 * DOWNLOAD_S
    parts = []
    size = 0
    while part := stream.read(_CHUNK):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise Trouble(f"{what} is larger than {MAX_BYTES >> 20} MiB")
        if time.monotonic() > deadline:
            raise Trouble(f"{what} gives its bytes too slowly")
    if not size:
        raise Trouble(f"{what} is empty")
    return b"".join(parts)


def from_clipboard(environ: Mapping[str, str]) -> tuple[str | None, bytes | None]:
    """An address to fetch, or the picture's bytes. Raises Trouble."""
    from memewatchd.desktop import clipboard

    tool, types = clipboard.paste_types(environ)
    # A file before a bitmap: file managers and browsers offer both, and only the file moves.
    for mime in ("text/uri-list", "x-special/gnome-copied-files"):
        if mime in types:
            lines = clipboard.paste(tool, mime).decode(errors="surrogateescape").split()
            for line in lines:
                if line.startswith("file:/"):
                    return line, None
    for mime in _CLIPBOARD:
        if mime in types and (data := clipboard.paste(tool, mime)):
            return None, data
    for mime in ("text/plain;charset=utf-8", "UTF8_STRING", "text/plain", "STRING"):
        if mime in types:
            text = clipboard.paste(tool, mime).decode(errors="replace").strip()
            if text.startswith(("http://", "https://", "file:/")) and len(text.split()) == 1:
                return text, None
            break
    raise Trouble("the clipboard holds no picture, and no address of one")


# What it is called ----------------------------------------------------------------------------------


def stem_of(words: str) -> str:
    """Words as a file's name without extension: one line, no folders, not hidden, of a length that disks take."""
    flat = "".join(" " if ord(letter) < 32 or letter in "/\x7f" else letter for letter in words)
    flat = " ".join(flat.split()).lstrip(".").strip()
    return flat.encode("utf-8", "ignore")[:_NAME_BYTES].decode("utf-8", "ignore").strip()


def human(name: str) -> str:
    """The name without its extension where a person gave it, else "": "angry cat.jpg" yes, "IMG_2024.jpg" no."""
    stem, dot, extension = name.rpartition(".")
    stem = stem_of(stem if dot and len(extension) <= 5 else name)
    letters = [letter for letter in stem if letter.isalpha()]
    digits = [letter for letter in stem if letter.isdigit()]
    if any(ord(letter) > 0x2E7F for letter in letters):
        return stem  # Chinese, and no program names files so without adding a date
    machine = len(digits) > 3 or stem.lower() in ("image", "images", "download", "unnamed", "media", "file", "tenor")
    return stem if len(letters) >= 3 and not machine else ""


def by_what_it_shows(ask: Ask, data: bytes, environ: Mapping[str, str]) -> str:
    """What the daemon's model sees in it, in the desktop's language; "" where it sees nothing that has a name, or is
    not there (yet): that is no reason not to add it."""
    from base64 import b64encode

    from memewatchd.desktop.examples import MOST_BYTES

    if len(data) > MOST_BYTES:
        return ""
    try:
        name = next(ask({"op": "describe", "like": [{"data_b64": b64encode(data).decode()}]}))["name"]
    except (Refused, NoAnswer):
        return ""
    language = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return "" if name is None else str(name["zh" if language.startswith("zh") else "en"])


def _dated() -> str:
    import time

    return time.strftime("meme-%Y-%m-%d-%H%M%S")


def write(folder: bytes, stem: str, extension: str, data: bytes) -> bytes:
    """Writes it whole or not at all, over nothing that is there. Returns its path. Raises Trouble."""
    part = os.path.join(folder, b".memewatch-%d.part" % os.getpid())
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            for name in _names(stem, extension):
                target = os.path.join(folder, os.fsencode(name))
                try:
                    _appear(part, target)
                except FileExistsError:
                    continue
                return target
        finally:
            try:
                os.unlink(part)
            except FileNotFoundError:
                pass
    except OSError as error:
        raise Trouble(f"can't write into {os.fsdecode(folder)}: {error.strerror}") from None
    raise AssertionError("unreachable")


def _names(stem: str, extension: str) -> Iterator[str]:
    yield stem + extension
    number = 2
    while True:
        yield f"{stem} ({number}){extension}"
        number += 1


def _appear(part: bytes, target: bytes) -> None:
    """Gives the written file its name. Raises FileExistsError where that is taken."""
    try:
        os.link(part, target)
    except PermissionError:  # a disk without hard links (FAT, some shares): nearly as good
        if os.path.lexists(target):
            raise FileExistsError from None
        os.rename(part, target)
