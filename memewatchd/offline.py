"""What `memewatchd` does besides serving: check its settings, forget its index, download a model. All end when done."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from memewatchd.encoders import hub, models
from memewatchd.folder.ignore import Ignore
from memewatchd.index.engine import Engine
from memewatchd.index.state import STATE_FILE, StateKeeper, ensure_private_dir, lock_state
from memewatchd.index.store import Store
from memewatchd.setting_values import KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from memewatchd.config import Settings


def check(settings: Settings, environ: Mapping[str, str]) -> int:
    """``--check``: all that can be said without starting anything. Raises ConfigError."""
    choice = models.choose(settings.model, StateKeeper(settings.state_dir).state.model, environ)
    Ignore(settings.exclude)
    for key in KEYS:
        value = getattr(settings, "folders" if key == "folder" else key)
        shown = ":".join(map(os.fsdecode, value)) if key == "folder" else value
        click.echo(f"{key} = {shown}  ({settings.sources[key]})")
    click.echo(f"model to be used: {choice.name}" + ("" if choice.folder else " (to be downloaded)"))
    for folder in settings.folders:
        if not os.path.isdir(folder):
            click.echo(f"note: {os.fsdecode(folder)} isn't there (yet)", err=True)
    return 0


def download(settings: Settings, model: str, environ: Mapping[str, str]) -> int:
    """``--download``: put a model where every daemon of this user finds it, one without network too.

    Raises ConfigError (there is no such model), EncoderError (it can't be had).
    """
    choice = models.choose(model, "", environ)
    folder = choice.folder or hub.download(
        choice.repo,
        endpoint=settings.hub_endpoint,
        proxy=settings.proxy,
        environ=environ,
        say=click.echo,
        beat=lambda: None,
        stopping=lambda: False,
    )
    click.echo(f"{choice.name} is in {folder}; to use it: memewatch reindex --model {choice.name}")
    return 0


def reset(settings: Settings) -> int:
    """``--reset``: drop our collections and the state file. Raises AlreadyRunning while a daemon uses them."""
    ensure_private_dir(settings.state_dir)
    with lock_state(settings.state_dir), Engine(settings.milvus, settings.milvus_token(), settings.state_dir) as engine:
        engine.revive()
        store = Store(engine, settings.collection_prefix, settings.host)
        names = store.collections()
        state = settings.state_dir / STATE_FILE
        click.echo(f"This forgets the index in {engine.description}:")
        for line in (*(f"collection {name}" for name in names), *([str(state)] if state.exists() else [])):
            click.echo(f"  {line}")
        click.echo("Pictures, settings and downloaded models stay. The next start builds the index anew.")
        if sys.stdin.isatty():
            click.confirm("Go on?", abort=True)
        store.drop(names)
        state.unlink(missing_ok=True)
    click.echo("Forgotten.")
    return 0
