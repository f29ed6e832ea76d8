from __future__ import annotations

import ctypes
import os
import struct
import zlib
from ctypes.util import find_library
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memewatchd.cache_names import (
    cache_dir,
    file_uri,
    is_fresh,
    path_of_uri,
    png_texts,
    thumbnail_name,
    thumbnails_dir,
)

if TYPE_CHECKING:
    from pathlib import Path

GLIB = find_library("glib-2.0")
PATHS = st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw).map(lambda raw: b"/" + raw.lstrip(b"/"))


@pytest.mark.skipif(GLIB is None, reason="GLib isn't here to compare with: apt install libglib2.0-0")
@given(PATHS)
def test_a_uri_is_spelled_as_glib_spells_it(path: bytes) -> None:
    glib = ctypes.CDLL(GLIB)
    glib.g_filename_to_uri.restype = ctypes.c_void_p
    glib.g_free.argtypes = [ctypes.c_void_p]
    made = glib.g_filename_to_uri(path, None, None)
    try:
        assert ctypes.string_at(made).decode() == file_uri(path)
    finally:
        glib.g_free(made)


@given(PATHS)
def test_a_uri_names_its_path(path: bytes) -> None:
    assert path_of_uri(file_uri(path)) == path


@pytest.mark.parametrize("uri", ["file:///a%20b.png", "file:/a%20b.png", "file://localhost/a%20b.png"])
def test_ways_to_write_a_uri(uri: str) -> None:
    assert path_of_uri(uri) == b"/a b.png"


@pytest.mark.parametrize(
    "uri", ["http://x/a", "file://elsewhere/a", "file:a", "file:///a%2", "file:///a%zz", "file:///%00"]
)
def test_what_is_no_file_here(uri: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        path_of_uri(uri)


def test_the_specifications_own_example() -> None:
    assert thumbnail_name(b"/home/jens/photos/me.png") == "c6ee772d9e49320e97ec29a7eb5b1697.png"


def test_where_the_cache_is() -> None:
    assert cache_dir({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == "/c"
    assert cache_dir({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == "/h/.cache"
    assert thumbnails_dir({"HOME": "/h"}) == "/h/.cache/thumbnails"


def png(**texts: str) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    parts = [chunk(b"tEXt", f"{key}\0{value}".encode("latin-1")) for key, value in texts.items()]
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0" * 13) + b"".join(parts) + chunk(b"IDAT", b"")


def test_texts_of_a_png() -> None:
    assert png_texts(png(a="b", c="d")) == {"a": "b", "c": "d"}
    assert png_texts(b"GIF89a") == {}


@given(st.binary(max_size=80))
def test_no_bytes_confuse_it(data: bytes) -> None:
    png_texts(b"\x89PNG\r\n\x1a\n" + data)


def test_fresh(tmp_path: Path) -> None:
    path = b"/memes/a b.png"
    file = tmp_path / "t.png"
    right = {"Thumb::URI": "file:///memes/a%20b.png", "Thumb::MTime": "12"}
    assert not is_fresh(str(file), path, 12)
    for texts, fresh in (
        (right, True),
        (right | {"Thumb::MTime": "12.5"}, True),
        (right | {"Thumb::MTime": "13"}, False),
        (right | {"Thumb::URI": "file:///memes/other.png"}, False),
        ({}, False),
    ):
        file.write_bytes(png(**texts))
        assert is_fresh(str(file), path, 12) is fresh, texts
    file.unlink()
    os.mkfifo(file)
    assert not is_fresh(str(file), path, 12)
