"""What one installation's sandbox must leave open, written as lines of a drop-in.

hardening.conf hides other homes and /tmp, and makes all but the state read-only. Whatever the program or the user's
settings need beyond that (a clone or a folder elsewhere, an index on another disk, a graphics card) is added here.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memewatchd import config
from memewatchd.encoders import hub, models
from memewatchd.index.state import StateKeeper
from memewatchd.setting_values import TENCENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# TemporaryFileSystem= and PrivateTmp= of hardening.conf.
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
GRAPHICS = ("/dev/nvidiactl", "/dev/kfd")


@dataclass(frozen=True, slots=True)
class Needs:
    """Absolute paths, as written and where they lead. ``write``: the index's folder; ``cache``: downloaded models.

    ``network``: why it must be open, "" if it needn't.
    """

    read: tuple[str, ...]
    write: tuple[str, ...]
    cache: str
    network: str
    graphics: bool = False


def needs(environ: Mapping[str, str], state: Path, clone: Path) -> Needs:
    """What the settings, as a service with ``environ`` reads them, ask for. Raises ConfigError."""
    settings = config.load({"state_dir": str(state)}, environ)
    choice = models.choose(settings.model, StateKeeper(state).state.model, environ)
    network = ""
    if not settings.is_embedded:
        # A server on this machine too: the sandbox has a loopback of its own.
        network = f"milvus is {settings.milvus}"
    elif choice.folder is None:
        network = f"the model {choice.name} is to be downloaded"
    elif settings.translate == TENCENT:
        network = "translate is tencent"
    elif settings.http:
        network = f"the picture wall listens at {settings.http}"
    cache = hub.cache_dir(environ)
    read = [clone, Path(sys.prefix), Path(sys.base_prefix), cache]
    read += [Path(os.fsdecode(folder)) for folder in settings.folders]
    if choice.folder is not None:
        read.append(choice.folder)
    if settings.milvus_token_file is not None:
        read.append(settings.milvus_token_file)
    if settings.http_token_file is not None:
        read.append(settings.http_token_file)
    if settings.translate == TENCENT and settings.tencent_keys_file is not None:
        read.append(settings.tencent_keys_file)
    write = [Path(settings.milvus).parent] if settings.is_embedded else []
    graphics = any(os.path.exists(device) for device in GRAPHICS)
    return Needs(_with_targets(read), _with_targets(write), str(cache), network, graphics)


def lines(needs: Needs, home: str, state: str, *, is_open: bool) -> list[str]:
    """The lines for [Service]; [] where hardening.conf itself will do. ``is_open``: models may be downloaded.

    Raises ValueError where they would open the home itself, or a path can't stand in a unit.
    """
    found = [f"BindReadOnlyPaths={optional(path)}" for path in needs.read if _is_hidden(path, home)]
    # Bind mounts, because what is hidden isn't there to be made writable.
    for path in needs.write:
        if _below(home, path):
            raise ValueError(f"the index's folder would be {path}; give it one of its own: milvus = …/FOLDER/NAME.db")
        if not _below(path, state):
            found.append(f"BindPaths={optional(path)}")
    if is_open:
        found.append(f"BindPaths={optional(needs.cache)}")
    if needs.graphics:
        found.append("PrivateDevices=no")
    return list(dict.fromkeys(found))


def _is_hidden(path: str, home: str) -> bool:
    """Whether hardening.conf hides it."""
    cache = f"{home}/.cache"
    if _below(path, home):
        return _below(path, cache) and not _below(path, f"{cache}/huggingface")
    return _below(path, *HIDDEN)


def optional(path: str) -> str:
    """``path`` as one word of a unit's list of bind mounts, passed over where it isn't there.

    Raises ValueError where its bytes can't stand in a unit.
    """
    path.encode()
    if any(character < " " or character == "\x7f" for character in path):
        raise ValueError(f"{path!r} holds a control character")
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), (":", "\\:"), ("%", "%%")):
        path = path.replace(character, escaped)
    return f'"-{path}"'


def _with_targets(paths: Iterable[Path]) -> tuple[str, ...]:
    """Each as it is written, and where it leads."""
    both = (each for path in paths for each in (os.path.abspath(path), os.path.realpath(path)))
    return tuple(dict.fromkeys(both))


def _below(path: str, *folders: str) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)
