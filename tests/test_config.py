from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from memewatchd.config import Settings, load
from memewatchd.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def write(home: Path, text: str) -> Path:
    file = home / ".config/memewatchd/config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults_lie_in_the_home(home: Path) -> None:
    settings = load({}, {})
    assert settings.folders == (os.fsencode(home / "Memes"),)
    assert settings.state_dir == home / ".local/state/memewatchd"
    assert settings.milvus == str(settings.state_dir / "index.db")
    assert settings.is_embedded
    assert settings.model == "auto"
    assert settings.socket is None


def test_a_flag_beats_the_environment_which_beats_the_file(home: Path) -> None:
    write(home, 'model = "clip"\nlog_level = "error"\nsettle_ms = 5\n')
    environ = {"MEMEWATCHD_MODEL": "siglip2", "MEMEWATCHD_LOG_LEVEL": "DEBUG"}
    settings = load({"model": "bundled"}, environ)
    assert (settings.model, settings.log_level, settings.settle_ms) == ("bundled", "debug", 5)
    assert settings.sources["model"] == "--model"
    assert settings.sources["log_level"] == "MEMEWATCHD_LOG_LEVEL"
    assert settings.sources["settle_ms"].endswith("config.toml: settle_ms")


def test_several_folders(home: Path) -> None:
    expected = (os.fsencode(home / "a"), os.fsencode(home / "b"))
    assert load({"folder": ("~/a", "~/b")}, {}).folders == expected
    assert load({}, {"MEMEWATCHD_FOLDER": "~/a:~/b"}).folders == expected
    write(home, 'folder = ["~/a", "~/b"]')
    assert load({}, {}).folders == expected


def test_relative_paths_in_the_file_count_from_its_folder(home: Path) -> None:
    file = write(home, 'folder = "pictures"\nmilvus = "x.db"')
    settings = load({}, {})
    assert settings.folders == (os.fsencode(file.parent / "pictures"),)
    assert settings.milvus == str(file.parent / "x.db")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('folders = "x"', ["folders", "did you mean folder?", "config.toml"]),
        ("modle = 1", ["modle", "did you mean model?"]),
        ("settle_ms = -1", ["settle_ms", "0 to 60000"]),
        ("settle_ms = true", ["settle_ms"]),
        ('log_level = "inf"', ["log_level", "info"]),
        ('milvus = "data"', ["milvus", ".db"]),
        ('milvus = "http://host"', ["milvus", "host:port"]),
        ('milvus = "http://root:secret@host:1"', ["milvus_token_file"]),
        ('milvus_token_file = "/nowhere/token"', ["milvus_token_file", "/nowhere/token"]),
        ('folder = ["~/a", "~/a/b"]', ["folder", "/a/b"]),
        ("folder = 3", ["folder"]),
        ("folder = [", ["is not TOML", "config.toml"]),
        ('collection_prefix = "a-b"', ["collection_prefix"]),
        ('hub_endpoint = "mirror.example"', ["hub_endpoint", "http"]),
        ("exclude = 1", ["exclude"]),
    ],
)
def test_a_wrong_setting_names_itself_and_the_remedy(home: Path, text: str, names: list[str]) -> None:
    write(home, text)
    with pytest.raises(ConfigError) as caught:
        load({}, {})
    for name in names:
        assert name in str(caught.value)


def test_an_unknown_variable_answers_with_the_nearest(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"MEMEWATCHD_FOLDERS.*did you mean MEMEWATCHD_FOLDER"):
        load({}, {"MEMEWATCHD_FOLDERS": "x"})


def test_a_config_that_was_named_must_be_there(home: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load({}, {}, config=str(home / "none.toml"))


def test_nesting_is_seen_through_symlinks(home: Path) -> None:
    (home / "a/b").mkdir(parents=True)
    (home / "link").symlink_to(home / "a/b")
    with pytest.raises(ConfigError, match="leave one out"):
        load({"folder": ("~/a", "~/link")}, {})


def test_names_that_only_begin_alike_are_not_nested(home: Path) -> None:
    settings: Settings = load({"folder": ("~/a", "~/ab")}, {})
    assert len(settings.folders) == 2


def test_the_token_is_read_from_its_file(home: Path) -> None:
    (home / "token").write_text("root:Milvus\n")
    settings = load({"milvus": "https://db.example:19530", "milvus_token_file": "~/token"}, {})
    assert settings.milvus_token() == "root:Milvus"
    assert not settings.is_embedded
