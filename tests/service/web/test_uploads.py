"""Names that a stranger gave, and files that come whole or not at all. Real files, nothing of the daemon."""

from __future__ import annotations

import io
import os
from hashlib import blake2b
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memewatchd.pictures import kinds
from memewatchd.service.web.refusal import Refusal
from memewatchd.service.web.uploads import FILE_BYTES, Uploads, safe_name

if TYPE_CHECKING:
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 100


@pytest.mark.parametrize(
    ("told", "kind", "name"),
    [
        ("cat.png", "png", "cat.png"),
        ("Cat.PNG", "png", "Cat.png"),
        ("photo.jpeg", "jpeg", "photo.jpeg"),
        ("photo.png", "jpeg", "photo.png.jpg"),
        ("../../etc/passwd", "png", "passwd.png"),
        ("..\\..\\evil.exe", "gif", "evil.exe.gif"),
        ("/abs/olute.gif", "gif", "olute.gif"),
        (".hidden.png", "png", "hidden.png"),
        ("..", "png", "meme.png"),
        ("", "webp", "meme.webp"),
        ("生气 的猫.webp", "webp", "生气 的猫.webp"),
        ("a\x00b\n\x1b[31m.png", "png", "ab[31m.png"),
        ("\u202egnp.exe", "png", "gnp.exe.png"),
        ("a:b*c?.png", "png", "a_b_c_.png"),
        ("page.html", "png", "page.html.png"),
        ("x.svg", "png", "x.svg.png"),
        ("half.png.part", "png", "half.png.part.png"),
        ("~", "png", "meme.png"),
    ],
)
def test_safe_names(told: str, kind: str, name: str) -> None:
    assert safe_name(told, kind) == name


@given(st.text(max_size=400), st.sampled_from(["png", "jpeg", "gif", "webp", "avif", "heic", "bmp", "tiff", "mp4"]))
def test_whatever_the_name(told: str, kind: str) -> None:
    name = safe_name(told, kind)
    raw = name.encode()
    assert 0 < len(raw) <= 200
    assert not name.startswith(".")
    assert not set(name) & set('/\\\0\n<>:"|?*')
    assert kind not in ("png", "gif") or name.endswith(f".{kind}")


def test_no_file_is_ever_overwritten(tmp_path: Path) -> None:
    uploads = Uploads(os.fsencode(tmp_path), kinds.sniff, lambda _: ())
    (tmp_path / "a.png").write_text("mine")
    paths = [uploads.save(io.BytesIO(PNG + bytes([n])), "a.png", 109) for n in range(3)]
    assert [os.path.basename(path) for path in paths] == [b"a-2.png", b"a-3.png", b"a-4.png"]
    assert (tmp_path / "a.png").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["a-2.png", "a-3.png", "a-4.png", "a.png"]
    assert (tmp_path / "a-3.png").read_bytes() == PNG + b"\x01"


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "Memes"
    folder.mkdir()
    (folder / "a.png").symlink_to(tmp_path / "outside.png")
    uploads = Uploads(os.fsencode(folder), kinds.sniff, lambda _: ())
    assert uploads.save(io.BytesIO(PNG), "a.png", len(PNG)).endswith(b"/a-2.png")
    assert not (tmp_path / "outside.png").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x89PNG"])
def test_what_is_no_picture(tmp_path: Path, content: bytes) -> None:
    uploads = Uploads(os.fsencode(tmp_path), kinds.sniff, lambda _: ())
    with pytest.raises(Refusal) as refusal:
        uploads.save(io.BytesIO(content), "a.png", len(content))
    assert (refusal.value.status, refusal.value.code) == (400, "not_a_picture")
    assert os.listdir(tmp_path) == []


def test_what_is_there_already(tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(PNG)
    digest = blake2b(PNG, digest_size=32).hexdigest()
    uploads = Uploads(os.fsencode(tmp_path), kinds.sniff, lambda asked: [os.fsencode(other)] if asked == digest else [])
    with pytest.raises(Refusal, match="Image already exists"):
        uploads.save(io.BytesIO(PNG), "a.png", len(PNG))
    other.unlink()  # the index doesn't know yet
    path = uploads.save(io.BytesIO(PNG), "a.png", len(PNG))
    # Nor does it know this one.
    with pytest.raises(Refusal, match="Image already exists"):
        uploads.save(io.BytesIO(PNG), "b.png", len(PNG))
    os.unlink(path)
    uploads.save(io.BytesIO(PNG), "b.png", len(PNG))
    assert os.listdir(tmp_path) == ["b.png"]


def test_what_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refusal:
        Uploads(os.fsencode(tmp_path), kinds.sniff, lambda _: ()).save(io.BytesIO(PNG), "a.png", FILE_BYTES + 1)
    assert refusal.value.status == 413


def test_a_folder_that_is_away(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refusal:
        Uploads(os.fsencode(tmp_path / "away"), kinds.sniff, lambda _: ()).save(io.BytesIO(PNG), "a.png", len(PNG))
    assert refusal.value.status == 404
