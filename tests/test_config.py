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


def test_nothing_that_can_wait_is_done_on_battery_unless_asked_for(home: Path) -> None:
    settings = load({}, {})
    assert (settings.index_on_battery, settings.words_on_battery) == (False, False)
    write(home, "index_on_battery = true")
    assert load({}, {}).index_on_battery


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
        ('host = "My_Laptop"', ["host", "small letters", "My_Laptop"]),
        ('host = "a--b"', ["host"]),
        ('hub_endpoint = "mirror.example"', ["hub_endpoint", "http"]),
        ("exclude = 1", ["exclude"]),
        ('translate = "tencnt"', ["translate", "dictionary, tencent, off", "did you mean tencent?"]),
        ('translate = "tencent"', ["tencent_keys_file", "SecretId"]),
        ('tencent_region = "a\\nb"', ["tencent_region", "ap-guangzhou"]),
        ('learn = "perhaps"', ["learn", "true or false"]),
        ("learn = 1", ["learn", "true or false"]),
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


def test_queries_stay_here_and_picks_are_learnt_unless_the_user_says_otherwise(home: Path) -> None:
    settings = load({}, {})
    assert (settings.translate, settings.tencent_keys_file, settings.learn) == ("dictionary", None, True)
    write(home, 'learn = false\ntranslate = "off"')
    assert (load({}, {}).learn, load({}, {}).translate) == (False, "off")
    assert not load({}, {"MEMEWATCHD_LEARN": "no"}).learn
    assert load({}, {"MEMEWATCHD_LEARN": "true"}).learn


@pytest.mark.parametrize("text", ["AKIDx\nkey\n", "AKIDx:key", " AKIDx key "])
def test_tencents_keys_are_read_from_a_file_that_nobody_else_can_read(home: Path, text: str) -> None:
    keys = home / "keys"
    keys.write_text(text)
    keys.chmod(0o600)
    write(home, 'translate = "tencent"\ntencent_keys_file = "~/keys"')
    settings = load({}, {})
    assert settings.tencent_keys() == ("AKIDx", "key")
    assert settings.tencent_region == "ap-guangzhou"
    assert "AKIDx" not in repr(settings)
    for mode in (0o640, 0o604, 0o660):
        keys.chmod(mode)
        with pytest.raises(ConfigError, match=r"others can read .*chmod 600"):
            load({}, {})


@pytest.mark.parametrize("text", ["", "AKIDx", "a b c"])
def test_a_file_without_two_keys_is_refused(home: Path, text: str) -> None:
    (home / "keys").write_text(text)
    (home / "keys").chmod(0o600)
    with pytest.raises(ConfigError, match="SecretId and the SecretKey"):
        load({"translate": "tencent", "tencent_keys_file": "~/keys"}, {})
    with pytest.raises(ConfigError, match=r"can't read .*/none"):
        load({"translate": "tencent", "tencent_keys_file": "~/none"}, {})


def test_the_wall_is_off_and_stays_on_loopback_without_a_token(home: Path) -> None:
    assert load({}, {}).http == ""
    settings = load({"http": "127.0.0.1:8088"}, {})
    assert settings.http_address == ("127.0.0.1", 8088)
    assert load({"http": "[::1]:80"}, {}).http_address == ("::1", 80)
    assert load({"http": "localhost:80"}, {}).http_address == ("localhost", 80)
    token = home / "token"
    token.write_text("sixteen characters\n")
    token.chmod(0o600)
    for beyond in ("0.0.0.0:8088", "[::]:8088", "192.168.1.2:80"):
        with pytest.raises(ConfigError, match=r"--http: .*http_token_file"):
            load({"http": beyond}, {})
        assert load({"http": beyond, "http_token_file": "~/token"}, {}).http_token() == "sixteen characters"


@pytest.mark.parametrize(
    "http", ["8088", "127.0.0.1", "127.0.0.1:0", "example.org:80", "http://127.0.0.1:80", "x@[::1]:1"]
)
def test_where_the_wall_can_not_listen(home: Path, http: str) -> None:
    with pytest.raises(ConfigError, match="must be an address and a port"):
        load({"http": http}, {})


@pytest.mark.parametrize(("text", "mode"), [("short", 0o600), ("", 0o600), ("生" * 20, 0o600), ("x" * 20, 0o644)])
def test_tokens_that_are_none(home: Path, text: str, mode: int) -> None:
    (home / "token").write_text(text)
    (home / "token").chmod(mode)
    with pytest.raises(ConfigError, match="http_token_file"):
        load({"http_token_file": "~/token"}, {})
