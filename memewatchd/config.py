"""Settings: flag > environment ``MEMEWATCHD_*`` > TOML > default. A leaf: it reads, checks and freezes, no more."""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pathspec

from memewatchd.errors import ConfigError
from memewatchd.protocol import MAX_PX, default_state_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOG_LEVELS = ("debug", "info", "warning", "error")
TENCENT = "tencent"
TRANSLATORS = ("dictionary", TENCENT, "off")
ENVIRONMENT_PREFIX = "MEMEWATCHD_"
# Set by `make run`, which knows how its reader can call the client; not a setting of the daemon's.
CLIENT_VARIABLE = "MEMEWATCHD_CLIENT"
_NOT_SETTINGS = {CLIENT_VARIABLE, "MEMEWATCHD_CONFIG"}
_PREFIX_MAX = 64
_TOKEN_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the daemon can be told, checked and absolute.

    ``folders``: the watched roots as raw bytes. ``socket``: None where systemd or the default decides.
    ``milvus``: an absolute ``*.db`` path or an ``http(s)://host:port``. ``settle_ms``: milliseconds that a
    file must have kept its size and mtime, where the kernel can't tell that nobody writes to it any more.
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


def _text(value: Any, base: Path) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {type(value).__name__}")
    return value


def _path(value: Any, base: Path) -> Path:
    text = _text(value, base)
    if not text:
        raise ValueError("must not be empty")
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    return Path(os.path.abspath(base / os.path.expanduser(text)))


def _socket(value: Any, base: Path) -> str:
    return str(_path(value, base))


def _folders(value: Any, base: Path) -> tuple[bytes, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items:
        raise ValueError("must be a folder or a list of folders")
    folders = tuple(dict.fromkeys(os.fsencode(_path(item, base)) for item in items))
    _refuse_nested(folders)
    return folders


def _refuse_nested(folders: tuple[bytes, ...]) -> None:
    real = {folder: os.path.realpath(folder) for folder in folders}
    for inner in folders:
        for outer in folders:
            if inner != outer and (real[inner] + b"/").startswith(real[outer].rstrip(b"/") + b"/"):
                raise ValueError(
                    f"{os.fsdecode(inner)} lies in {os.fsdecode(outer)}, which is watched whole; leave one out"
                )


def _milvus(value: Any, base: Path) -> str:
    text = _text(value, base)
    if "://" not in text:
        if not text.endswith(".db"):
            raise ValueError(f"must be a file that ends in .db, or http(s)://host:port, not {text!r}")
        return str(_path(text, base))
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"has a wrong port: {text!r}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port is None:
        raise ValueError(f"must be a file that ends in .db, or http(s)://host:port, not {text!r}")
    if parts.username or parts.password:
        raise ValueError("must not hold a password; put it into a file and name that with milvus_token_file")
    return text


def _prefix(value: Any, base: Path) -> str:
    text = _text(value, base)
    # Milvus allows letters, digits and underscores, and a letter or underscore first.
    if not text.isascii() or not text.isidentifier() or len(text) > _PREFIX_MAX:
        raise ValueError(f"must be up to {_PREFIX_MAX} letters, digits and underscores, not {text!r}")
    return text


def _level(value: Any, base: Path) -> str:
    text = _text(value, base).lower()
    if text not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}, not {text!r}{_near(text, LOG_LEVELS)}")
    return text


def _translator(value: Any, base: Path) -> str:
    text = _text(value, base).lower()
    if text not in TRANSLATORS:
        raise ValueError(f"must be one of {', '.join(TRANSLATORS)}, not {text!r}{_near(text, TRANSLATORS)}")
    return text


def _region(value: Any, base: Path) -> str:
    text = _text(value, base)
    # It goes into a header of a signed request.
    if not text.isascii() or not text.replace("-", "").isalnum():
        raise ValueError(f"must be a region of Tencent Cloud, such as ap-guangzhou, not {text!r}")
    return text


def _flag(value: Any, base: Path) -> bool:
    given = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    flag = given.get(value.lower()) if isinstance(value, str) else value  # the environment has words only
    if not isinstance(flag, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return flag


def _milliseconds(value: Any, base: Path) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 60_000:
        raise ValueError(f"must be 0 to 60000 milliseconds, not {value!r}")
    return number


def _patterns(value: Any, base: Path) -> tuple[str, ...]:
    items = value.split(":") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise ValueError("must be a list of gitignore patterns")
    try:
        pathspec.GitIgnoreSpec.from_lines(items)
    except ValueError as error:
        raise ValueError(f"holds a pattern that gitignore's syntax doesn't have: {error}") from error
    return tuple(item for item in items if item)


def _endpoint(value: Any, base: Path) -> str:
    text = _text(value, base).rstrip("/")
    if text and not text.startswith(("http://", "https://", "socks5://", "socks5h://")):
        raise ValueError(f"must begin with http:// or https://, not {text!r}")
    return text


def _pixels(value: Any, base: Path) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 16 <= number <= MAX_PX:
        raise ValueError(f"must be 16 to {MAX_PX} pixels, not {value!r}")
    return number


def _http(value: Any, base: Path) -> str:
    text = _text(value, base)
    if not text:
        return ""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port
        if host != "localhost":
            ipaddress.ip_address(host)
    except ValueError:
        host, port = "", None
    if not host or not port or parts.path or parts.query or parts.fragment or "@" in text:
        raise ValueError(f"must be an address and a port, as 127.0.0.1:8088, not {text!r}")
    return text


_READERS: Mapping[str, Callable[[Any, Path], Any]] = {
    "folder": _folders,
    "socket": _socket,
    "milvus": _milvus,
    "milvus_token_file": _path,
    "collection_prefix": _prefix,
    "model": _text,
    "state_dir": _path,
    "log_level": _level,
    "settle_ms": _milliseconds,
    "exclude": _patterns,
    "hub_endpoint": _endpoint,
    "proxy": _endpoint,
    "http": _http,
    "http_token_file": _path,
    "translate": _translator,
    "tencent_keys_file": _path,
    "tencent_region": _region,
    "learn": _flag,
    "thumbnails": _flag,
    "paste_max_px": _pixels,
    "words": _flag,
    "words_on_battery": _flag,
    "index_on_battery": _flag,
}
KEYS = tuple(_READERS)


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
    for key, read in _READERS.items():
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
        folders=values.get("folder") or _folders("~/Memes", here),
        socket=values.get("socket"),
        milvus=values.get("milvus", str(state_dir / "index.db")),
        milvus_token_file=values.get("milvus_token_file"),
        collection_prefix=values.get("collection_prefix", "memewatchd_"),
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
        if key not in _READERS:
            near = [ENVIRONMENT_PREFIX + known.upper() for known in KEYS]
            raise ConfigError(f"the environment's {name} is no setting{_near(name, near)}")
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
        if key not in _READERS:
            raise ConfigError(f"{file}: {key} is no setting{_near(key, KEYS)}")
    return _Layer(values, template, file.parent)


def _xdg(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    given = environ.get(variable, "")
    return Path(given) if given.startswith("/") else Path(os.path.expanduser("~")) / fallback


def _near(name: str, known: tuple[str, ...] | list[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; did you mean {matches[0]}?" if matches else ""
