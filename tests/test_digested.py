"""What is made of dictionaries is made once, and anew when what it is made of has changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from memewatchd.cache_names import digested_dir
from memewatchd.digested import digested


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "source"
    file.write_text("first")
    return file


class Maker:
    """Counts how often it is asked."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.made = 0

    def __call__(self) -> dict[str, bytes]:
        self.made += 1
        return {"blob": self.source.read_bytes() * 1000, "empty": b""}

    def get(self, *packages: str) -> dict[str, bytes]:
        return digested("test", self, files=[self.source], packages=packages)


def kept() -> list[Path]:
    return list(Path(digested_dir(os.environ)).iterdir())


def test_it_is_made_once(source: Path) -> None:
    make = Maker(source)
    assert make.get() == make.get() == {"blob": b"first" * 1000, "empty": b""}
    assert make.made == 1
    assert len(kept()) == 1
    assert stat.S_IMODE(os.stat(digested_dir(os.environ)).st_mode) == 0o700


def test_a_change_makes_it_anew_and_the_old_one_goes(source: Path) -> None:
    make = Maker(source)
    make.get("pytest")
    source.write_text("other")
    assert make.get("pytest")["blob"] == b"other" * 1000
    make.get("pytest", "hypothesis")
    assert make.made == 3
    assert len(kept()) == 1


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_a_damaged_file_is_made_anew(source: Path, damage: bytes | None) -> None:
    make = Maker(source)
    make.get()
    (file,) = kept()
    with file.open("r+b") as stream:
        if damage is None:
            stream.seek(300)
            stream.write(b"\0")
        else:
            stream.truncate(0)
            stream.write(damage)
    assert make.get()["blob"] == b"first" * 1000
    assert make.made == 2
    assert make.get()["blob"] == b"first" * 1000
    assert make.made == 2


def test_where_nothing_can_be_written_it_is_made_each_time(source: Path) -> None:
    (source.parent / "cache").write_text("no folder")
    make = Maker(source)
    assert make.get() == make.get()
    assert make.made == 2


def test_what_fails_is_said(source: Path) -> None:
    def make() -> dict[str, bytes]:
        raise FileNotFoundError("not installed")

    with pytest.raises(FileNotFoundError, match="not installed"):
        digested("test", make, files=[source], packages=())
