"""The Trash specification, on real files; and the way back."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from memewatchd.service.web import trash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "Memes"
    made.mkdir()
    return made


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_DATA_HOME": str(tmp_path / "data")}


def kept(environ: dict[str, str]) -> Path:
    return Path(environ["XDG_DATA_HOME"]) / "Trash"


@pytest.mark.parametrize("name", ["a.png", "生气 100%.gif", "a\nb.png", "no extension", "." * 3 + "x", "x" * 250])
def test_there_and_back(folder: Path, environ: dict[str, str], name: str) -> None:
    file = folder / name
    file.write_bytes(b"content")
    os.utime(file, ns=(5, 5))
    entry = trash.trash(os.fsencode(file), environ)
    assert not file.exists()
    (info,) = (kept(environ) / "info").iterdir()
    (inside,) = (kept(environ) / "files").iterdir()
    assert info.name == inside.name + ".trashinfo"
    first, path, date = info.read_text("ascii").splitlines()
    assert first == "[Trash Info]"
    assert unquote(path.removeprefix("Path=")) == str(file)
    assert re.fullmatch(r"DeletionDate=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", date)
    trash.restore(entry)
    assert file.read_bytes() == b"content"
    assert file.stat().st_mtime_ns == 5
    assert list((kept(environ) / "info").iterdir()) == list((kept(environ) / "files").iterdir()) == []


def test_a_name_that_is_not_utf8(folder: Path, environ: dict[str, str]) -> None:
    path = os.fsencode(folder) + b"/\xff\xfe.png"
    Path(os.fsdecode(path)).write_bytes(b"x")
    entry = trash.trash(path, environ)
    assert b"%FF%FE.png" in Path(os.fsdecode(entry.info)).read_bytes()
    trash.restore(entry)
    assert os.path.exists(path)


def test_equal_names_stand_beside_each_other(folder: Path, environ: dict[str, str]) -> None:
    entries = []
    for content in ("one", "two", "three"):
        (folder / "a.png").write_text(content)
        entries.append(trash.trash(os.fsencode(folder / "a.png"), environ))
    assert sorted(file.name for file in (kept(environ) / "files").iterdir()) == ["a.2.png", "a.3.png", "a.png"]
    trash.restore(entries[1])
    assert (folder / "a.png").read_text() == "two"


def test_a_file_without_an_info_is_not_overwritten(folder: Path, environ: dict[str, str]) -> None:
    (kept(environ) / "files").mkdir(parents=True)
    (kept(environ) / "files" / "a.png").write_text("somebody's")
    (folder / "a.png").write_text("ours")
    entry = trash.trash(os.fsencode(folder / "a.png"), environ)
    assert (kept(environ) / "files" / "a.png").read_text() == "somebody's"
    assert Path(os.fsdecode(entry.file)).read_text() == "ours"
    assert [info.name for info in (kept(environ) / "info").iterdir()] == ["a.2.png.trashinfo"]


def test_what_has_the_name_now_is_not_overwritten(folder: Path, environ: dict[str, str]) -> None:
    file = folder / "a.png"
    file.write_text("old")
    entry = trash.trash(os.fsencode(file), environ)
    file.write_text("new")
    with pytest.raises(FileExistsError):
        trash.restore(entry)
    assert file.read_text() == "new"
    assert Path(os.fsdecode(entry.file)).read_text() == "old"


def test_a_folder_that_is_gone_comes_back(folder: Path, environ: dict[str, str]) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a.png").write_text("x")
    entry = trash.trash(os.fsencode(folder / "sub" / "a.png"), environ)
    (folder / "sub").rmdir()
    trash.restore(entry)
    assert (folder / "sub" / "a.png").read_text() == "x"


def test_a_link_goes_and_not_where_it_leads(folder: Path, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "elsewhere.png").write_text("x")
    (folder / "link.png").symlink_to(tmp_path / "elsewhere.png")
    entry = trash.trash(os.fsencode(folder / "link.png"), environ)
    assert (tmp_path / "elsewhere.png").exists()
    assert not (folder / "link.png").is_symlink()
    trash.restore(entry)
    assert (folder / "link.png").readlink() == tmp_path / "elsewhere.png"


def test_what_is_no_file_stays(folder: Path, environ: dict[str, str]) -> None:
    os.mkfifo(folder / "a.png")
    for name in ("a.png", "missing.png", "."):
        with pytest.raises(OSError):
            trash.trash(os.fsencode(folder / name), environ)
    assert (folder / "a.png").is_fifo()


def test_the_trash_is_private(folder: Path, environ: dict[str, str]) -> None:
    (folder / "a.png").write_text("x")
    trash.trash(os.fsencode(folder / "a.png"), environ)
    for each in (kept(environ), kept(environ) / "files", kept(environ) / "info"):
        assert each.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(
    not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev,
    reason="/dev/shm isn't another disk here",
)
def test_another_disk_has_a_trash_of_its_own(environ: dict[str, str], tmp_path: Path) -> None:
    import shutil
    import tempfile

    top = Path("/dev/shm")
    own = top / f".Trash-{os.getuid()}"
    before = own.exists()
    folder = Path(tempfile.mkdtemp(dir=top))
    try:
        (folder / "a b.png").write_text("x")
        entry = trash.trash(os.fsencode(folder / "a b.png"), environ)
        assert Path(os.fsdecode(entry.file)).parent == own / "files"
        assert f"Path={folder.name}/a%20b.png\n" in Path(os.fsdecode(entry.info)).read_text()
        assert not kept(environ).exists()
        trash.restore(entry)
        assert (folder / "a b.png").read_text() == "x"
    finally:
        shutil.rmtree(folder)
        if not before:
            shutil.rmtree(own)


@pytest.mark.skipif(
    not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev,
    reason="/dev/shm isn't another disk here",
)
def test_across_disks_nothing_is_lost_or_replaced(tmp_path: Path) -> None:
    """As in the service's sandbox, where folder and trash are mounts of their own."""
    import shutil
    import tempfile

    other = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        (tmp_path / "a.png").write_text("x")
        os.utime(tmp_path / "a.png", ns=(7, 7))
        (other / "taken.png").write_text("theirs")
        with pytest.raises(FileExistsError):
            trash.move_new(os.fsencode(tmp_path / "a.png"), os.fsencode(other / "taken.png"))
        assert (other / "taken.png").read_text() == "theirs"
        assert (tmp_path / "a.png").exists()
        trash.move_new(os.fsencode(tmp_path / "a.png"), os.fsencode(other / "a.png"))
        assert (other / "a.png").read_text() == "x"
        assert (other / "a.png").stat().st_mtime_ns == 7
        assert not (tmp_path / "a.png").exists()
        assert sorted(os.listdir(other)) == ["a.png", "taken.png"]
    finally:
        shutil.rmtree(other)
