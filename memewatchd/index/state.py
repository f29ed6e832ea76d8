"""The little that isn't in Milvus: one JSON file in the state folder, and the lock on that folder.

Standard library only: the daemon's main thread reads this before anything heavy is loaded.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import stat
import tempfile
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self

from memewatchd.errors import AlreadyRunning, ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_log = logging.getLogger(__name__)

STATE_FILE: Final = "state.json"
LOCK_FILE: Final = "lock"

_MAX_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class State:
    """``fingerprint`` and ``model`` name what the active index was built with ("" if there is none yet);
    ``roots`` has the (device, inode) that each watched folder had while it was there. ``reindex_model``: what the
    index is to be built anew with, "" if nothing is asked; ``reindex_loads``: starts that ended while that model was
    being loaded. ``replaced``: the fingerprint of an index that another has taken the place of, until it is dropped."""

    fingerprint: str = ""
    model: str = ""
    roots: Mapping[bytes, tuple[int, int]] = field(default_factory=dict)
    reindex_model: str = ""
    reindex_loads: int = 0
    replaced: str = ""


def read_state(state_dir: Path) -> State:
    """The state; an empty one if there is none or it can't be read, which the log then says."""
    path = state_dir / STATE_FILE
    try:
        with path.open("rb") as stream:
            return _parse(json.loads(stream.read(_MAX_BYTES)))
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        _log.warning("%s can't be used and is written anew (%s)", path, error)
        return State()


def write_state(state_dir: Path, state: State) -> None:
    """Replace the state: after a crash or a power cut there is the old one or this one. Raises :class:`OSError`."""
    document = {
        "version": 1,
        "fingerprint": state.fingerprint,
        "model": state.model,
        "roots": [
            {"path": path.decode("utf-8", "surrogateescape"), "dev": dev, "ino": ino}
            for path, (dev, ino) in sorted(state.roots.items())
        ],
        "reindex_model": state.reindex_model,
        "reindex_loads": state.reindex_loads,
        "replaced": state.replaced,
    }
    # mkstemp makes it 0600.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{STATE_FILE}.", dir=state_dir)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            json.dump(document, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, state_dir / STATE_FILE)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class StateKeeper:
    """The state in memory and on disk, changed together. Any thread may change it."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._lock = threading.Lock()
        self.state = read_state(state_dir)

    def change(self, **changes: Any) -> None:
        """Replace these fields of :class:`State`. Raises StoreError where it can't be written (a full disk, say)."""
        with self._lock:
            state = replace(self.state, **changes)
            if state == self.state:
                return
            try:
                write_state(self._state_dir, state)
            except OSError as error:
                why = f"{self._state_dir / STATE_FILE} can't be written: {error.strerror or error}"
                raise StoreError(why) from error
            self.state = state


class StateLock:
    """An exclusive lock on the state folder, for as long as this is held or the process lives."""

    def __init__(self, descriptor: int) -> None:
        """Use :func:`lock_state`."""
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let another daemon in. Idempotent. The file stays: removing it would let two in at once."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def lock_state(state_dir: Path) -> StateLock:
    """Lock the state folder, which exists. Raises :class:`AlreadyRunning` if another daemon holds it."""
    path = state_dir / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; make it writable, or choose another --state-dir") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        who = f" (process {holder})" if holder.isdecimal() else ""
        raise AlreadyRunning(
            f"another memewatchd{who} uses {state_dir}; stop it, or give this one another --state-dir"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    return StateLock(descriptor)


def ensure_private_dir(path: Path) -> None:
    """Make ``path`` (0700, parents too) or check the one that is there.

    Raises :class:`ConfigError` if it can't be made, isn't a folder, or somebody else owns it or can write
    to it: who can write to it could put files of their own in our place.
    """
    try:
        # mkdir's parents=True would make the folders above with the umask's mode.
        for folder in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
            folder.mkdir(mode=0o700, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: can't be made: {error.strerror}; choose another folder") from error
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{path} is not a folder; choose another one")
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path} belongs to another user (id {found.st_uid}); choose another folder")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"{path}: others can write to it; close it with: chmod go-w '{path}'")


def _parse(document: Any) -> State:
    if document["version"] != 1:
        raise ValueError(f"version {document['version']!r} is unknown")
    fingerprint, model = document["fingerprint"], document["model"]
    if not isinstance(fingerprint, str) or not isinstance(model, str):
        raise TypeError("fingerprint and model are not texts")
    roots = {
        root["path"].encode("utf-8", "surrogateescape"): (int(root["dev"]), int(root["ino"]))
        for root in document["roots"]
    }
    # Missing where an earlier version wrote it.
    wish, replaced = document.get("reindex_model", ""), document.get("replaced", "")
    if not isinstance(wish, str) or not isinstance(replaced, str):
        raise TypeError("reindex_model and replaced are not texts")
    return State(fingerprint, model, roots, wish, int(document.get("reindex_loads", 0)), replaced)
