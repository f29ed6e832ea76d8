"""Settings: flag > environment ``MEMEWATCHD_*`` > TOML > default. A leaf: it reads, checks and freezes, no more."""

from __future__ import annotations

import ipaddress
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from memewatchd.errors import ConfigError
from memewatchd.protocol import default_state_dir
from memewatchd.setting_values import KEYS, READERS, TENCENT, near

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT_PREFIX = "MEMEWATCHD_"
# Set by `make run`, which knows how its reader can call the client; not a setting of the daemon's.
CLIENT_VARIABLE = "MEMEWATCHD_CLIENT"
_NOT_SETTINGS = {CLIENT_VARIABLE, "MEMEWATCHD_CONFIG"}
_TOKEN_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the daemon can be told, checked and absolute.

    ``folders``: the watched roots as raw bytes. ``socket``: None where systemd or the default decides.
    ``milvus``: an absolute ``*.db`` path or an ``http(s)://host:port``; ``host``: our name among those that share that
    server, "" where nobody does. ``settle_ms``: milliseconds that a file must have kept its size and mtime, where the
    kernel can't tell that nobody writes to it any more.
    ``translate``: who puts a Chinese query into English for a model that reads nothing else: "dictionary" (offline),
    "tencent" (queries are sent to Tencent Cloud, with the keys in ``tencent_keys_file``) or "off". ``learn``: whether
    memes that were picked are remembered. ``exclude``: gitignore patterns. ``http``: where the picture
    wall listens as ``host:port``, "" for nowhere; ``http_token_file``: the token that it asks for, which beyond
    loopback it must. ``thumbnails``: whether those that the desktop misses are made; ``paste_max_px``: the longer side
    of a still picture that is copied. ``words``: whether the words in pictures are read, ``words_on_battery``: there,
    too; ``index_on_battery``: whether many new files at once are. ``sources``: for each key, where its value came from.
    """

    folders: tuple[bytes, ...]
    socket: str | None
    milvus: str
    milvus_token_file: Path | None
    collection_prefix: str
    host: str
    model: str
    state_dir: Path
    log_level: str
    settle_ms: int
    exclude: tuple[str, ...]
    hub_endpoint: str
    proxy: str
    translate: str
    tencent_keys_file: Path | None
    tencent_region: str
    learn: bool
    thumbnails: bool
    paste_max_px: int
    words: bool
    words_on_battery: bool
    index_on_battery: bool
    http: str
    http_token_file: Path | None
    sources: Mapping[str, str]

    @property
    def is_embedded(self) -> bool:
        """Whether Milvus is a file of ours rather than a server."""
        return not self.milvus.startswith(("http://", "https://"))

    def milvus_token(self) -> str:
        """The server's token (``user:password`` or an API key), read afresh. Raises ConfigError."""
        if self.milvus_token_file is None:
            return ""
        try:
            return self.milvus_token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"milvus_token_file: can't read {self.milvus_token_file}: {error}") from error

    def tencent_keys(self) -> tuple[str, str]:
        """Tencent Cloud's SecretId and SecretKey, from a file that nobody else may read. Raises ConfigError."""
        file = self.tencent_keys_file
        if file is None:
            raise ConfigError(
                'translate = "tencent" needs tencent_keys_file: a file with the SecretId and the SecretKey, a line each'
            )
        try:
            with file.open(encoding="utf-8") as stream:
                mode = os.fstat(stream.fileno()).st_mode
                keys = stream.read(4096).replace(":", " ").split()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"tencent_keys_file: can't read {file}: {error}") from error
        if mode & 0o077:
            raise ConfigError(f"tencent_keys_file: others can read {file}; close it with: chmod 600 '{file}'")
        if len(keys) != 2:
            raise ConfigError(f"tencent_keys_file: {file} must hold the SecretId and the SecretKey, a line each")
        return keys[0], keys[1]

    @property
    def http_address(self) -> tuple[str, int]:
        """Host and port of ``http``."""
        parts = urlsplit(f"//{self.http}")
        return parts.hostname or "", parts.port or 0

    def http_token(self) -> str:
        """What the picture wall asks for, "" for nothing. Raises ConfigError."""
        if self.http_token_file is None:
            return ""
        file = self.http_token_file
        try:
            token = file.read_text(encoding="utf-8").strip()
            mode = file.stat().st_mode
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"http_token_file: can't read {file}: {error}") from error
        if mode & 0o077:
            raise ConfigError(f"http_token_file: others may read {file}; chmod 600 {file}")
        if len(token) < _TOKEN_CHARACTERS or not token.isascii() or not token.isprintable():
            raise ConfigError(f"http_token_file: {file} must hold {_TOKEN_CHARACTERS} or more ASCII characters")
        return token


def default_config_file(environ: Mapping[str, str]) -> Path:
    """``$XDG_CONFIG_HOME/memewatchd/config.toml``; the specification ignores relative values."""
    return _xdg(environ, "XDG_CONFIG_HOME", ".config") / "memewatchd" / "config.toml"


def load(flags: Mapping[str, Any], environ: Mapping[str, str], config: str | None = None) -> Settings:
    """Read every source and answer with frozen settings.

    ``flags`` holds only what was given on the command line, keys as in TOML. Raises ConfigError, whose
    message names the key, where it stands, and what it must be.
    """
    here = Path.cwd()
    layers = [
        _Layer({key: value for key, value in flags.items() if value not in (None, ())}, "--{}", here, dashed=True),
        _environment_layer(environ, here),
        _toml_layer(config or environ.get("MEMEWATCHD_CONFIG"), environ),
    ]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for key, read in READERS.items():
        layer = next((layer for layer in layers if key in layer.values), None)
        if layer is None:
            sources[key] = "default"
            continue
        where = layer.label(key)
        try:
            values[key] = read(layer.values[key], layer.base)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
        sources[key] = where
    state_dir = values.get("state_dir", Path(default_state_dir(environ)))
    settings = Settings(
        folders=values.get("folder") or READERS["folder"]("~/Memes", here),
        socket=values.get("socket"),
        milvus=values.get("milvus", str(state_dir / "index.db")),
        milvus_token_file=values.get("milvus_token_file"),
        collection_prefix=values.get("collection_prefix", "memewatchd_"),
        host=values.get("host", ""),
        model=values.get("model", "auto") or "auto",
        state_dir=state_dir,
        log_level=values.get("log_level", "info"),
        settle_ms=values.get("settle_ms", 300),
        exclude=values.get("exclude", ()),
        hub_endpoint=values.get("hub_endpoint", ""),
        proxy=values.get("proxy", ""),
        translate=values.get("translate", "dictionary"),
        tencent_keys_file=values.get("tencent_keys_file"),
        tencent_region=values.get("tencent_region", "ap-guangzhou"),
        learn=values.get("learn", True),
        thumbnails=values.get("thumbnails", True),
        paste_max_px=values.get("paste_max_px", 512),
        words=values.get("words", True),
        words_on_battery=values.get("words_on_battery", False),
        index_on_battery=values.get("index_on_battery", False),
        http=values.get("http", ""),
        http_token_file=values.get("http_token_file"),
        sources=sources,
    )
    settings.milvus_token()
    if settings.translate == TENCENT:
        settings.tencent_keys()
    _refuse_open_wall(settings)
    return settings


def _refuse_open_wall(settings: Settings) -> None:
    if not settings.http_token() and settings.http:
        host, _ = settings.http_address
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise ConfigError(
                f"{settings.sources['http']}: {settings.http} can be reached from other machines, so"
                " http_token_file must name a file with a token; or use 127.0.0.1"
            )


@dataclass(frozen=True, slots=True)
class _Layer:
    """One source of settings; ``template`` says how to name a key of it in an error."""

    values: Mapping[str, Any]
    template: str
    base: Path
    dashed: bool = False
    upper: bool = False

    def label(self, key: str) -> str:
        name = key.replace("_", "-") if self.dashed else key.upper() if self.upper else key
        return self.template.format(name)


def _environment_layer(environ: Mapping[str, str], here: Path) -> _Layer:
    values: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name in _NOT_SETTINGS:
            continue
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        if key not in READERS:
            names = [ENVIRONMENT_PREFIX + known.upper() for known in KEYS]
            raise ConfigError(f"the environment's {name} is no setting{near(name, names)}")
        if value:
            values[key] = [part for part in value.split(":") if part] if key == "folder" else value
    return _Layer(values, ENVIRONMENT_PREFIX + "{}", here, upper=True)


def _toml_layer(given: str | None, environ: Mapping[str, str]) -> _Layer:
    file = Path(os.path.abspath(os.path.expanduser(given))) if given else default_config_file(environ)
    template = f"{file}: {{}}"
    try:
        with file.open("rb") as stream:
            values = tomllib.load(stream)
    except FileNotFoundError as error:
        if given:
            raise ConfigError(f"{file}: there is no such file") from error
        return _Layer({}, template, file.parent)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: can't be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is not TOML: {error}") from error
    for key in values:
        if key not in READERS:
            raise ConfigError(f"{file}: {key} is no setting{near(key, KEYS)}")
    return _Layer(values, template, file.parent)


def _xdg(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    given = environ.get(variable, "")
    return Path(given) if given.startswith("/") else Path(os.path.expanduser("~")) / fallback
