"""Memes as rows of a launcher: a name, a picture, and what else people may type to find it."""

from __future__ import annotations

import os

from memewatchd.cache_names import file_uri, thumbnail_name, thumbnails_dir
from memewatchd.protocol import path_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_CONTROLS = dict.fromkeys((*range(32), 127), " ")


class Menu:
    """Makes rows. ``environ`` says where the thumbnails are."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        base = thumbnails_dir(environ)
        self._folders = [os.path.join(base, size) for size in ("large", "x-large", "normal")]

    def line(self, entry: Mapping[str, Any], how: str) -> bytes:
        """One hit or file as a row of "rofi" (fuzzel understands it too) or "wofi".

        rofi's: the name, then icon, info (the file's address) and meta (invisible, and searched). wofi's shows and
        gives back what follows ``:text:``, so that is the path.
        """
        path = path_bytes(entry)
        icon = self.icon(path)
        if how == "wofi":
            # wofi splits at colons, so a path with one can't be its icon; and it has no word for a newline.
            picture = b"" if b":" in icon else b"img:" + icon + b":text:"
            return picture + path.translate(_FLAT) + b"\n"
        fields = (("icon", icon), ("info", file_uri(path).encode()), ("meta", meta(entry).encode()))
        described = b"\x1f".join(key.encode() + b"\x1f" + value.translate(_FLAT) for key, value in fields)
        return name(path).encode() + b"\0" + described + b"\n"

    def icon(self, path: bytes) -> bytes:
        """The thumbnail's path, or that of the picture itself where there is none of it as it is now.

        Only times are compared: reading thousands of thumbnails would be felt.
        """
        file = thumbnail_name(path)
        try:
            changed = os.stat(path).st_mtime
        except OSError:
            return path
        for folder in self._folders:
            thumbnail = os.path.join(folder, file)
            try:
                if os.stat(thumbnail).st_mtime >= changed:
                    return os.fsencode(thumbnail)
            except OSError:
                continue
        return path


_FLAT = bytes(32 if code < 32 or code == 127 else code for code in range(256))


def name(path: bytes) -> str:
    """A file's name in one line of good text."""
    return os.path.basename(path).decode(errors="replace").translate(_CONTROLS) or "?"


def meta(entry: Mapping[str, Any]) -> str:
    """Words, tags and pinyin, as far as the daemon gave them."""
    parts = [str(entry.get("words", "")), *map(str, entry.get("tags") or ()), str(entry.get("pinyin", ""))]
    return " ".join(part for part in parts if part).translate(_CONTROLS).encode(errors="replace").decode()
