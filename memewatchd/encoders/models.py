"""Which model is used: what `--model` says, what the index was built with, what is already on disk.

Standard library only, and no network: :func:`choose` runs before anything else. :func:`load` is for
the encoder host's text thread; it downloads what the user named, and imports torch.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from memewatchd.encoders import bundled, hub, torch_library
from memewatchd.encoders.checkpoint import missing_files, read_checkpoint
from memewatchd.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from memewatchd.encoders.two_towers import TwoTowers

log = logging.getLogger(__name__)

AUTO = "auto"
BUNDLED = "bundled"
RECOMMENDED = "siglip2"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model with a short name. ``size_mb``: what is downloaded; ``ram_mb``: what it takes once loaded.

    Both are about: the weights in float32, and 700 MB for torch and transformers themselves.
    """

    name: str
    repo: str
    size_mb: int
    ram_mb: int
    summary: str


KNOWN: Mapping[str, KnownModel] = MappingProxyType(
    {
        model.name: model
        for model in (
            KnownModel("siglip2", "google/siglip2-base-patch16-224", 1540, 2200, "English and Chinese"),
            KnownModel("clip", "openai/clip-vit-base-patch16", 600, 1300, "English"),
            KnownModel("chinese-clip", "OFA-Sys/chinese-clip-vit-base-patch16", 750, 1450, "Chinese"),
        )
    }
)
BEST_FIRST = ("siglip2", "chinese-clip", "clip")

# As the hub has it: no "--" (it separates owner and name on disk), no "..", and no dot or dash at an end.
_WORD = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_HUB_ID = re.compile(rf"(?!.*(?:--|\.\.))(?!.*\.git\Z){_WORD}/{_WORD}")


@dataclass(frozen=True, slots=True)
class Choice:
    """The model to use.

    ``name``: what the state remembers and `status` shows: "bundled", a short name, a hub id or a folder's
    absolute path. ``folder``: a complete local folder; None where it must be downloaded first.
    ``repo``: the hub id; "" for the bundled model and for a folder.
    """

    name: str
    folder: Path | None
    repo: str


def choose(model: str, remembered: str, environ: Mapping[str, str]) -> Choice:
    """What the setting ``model`` means now. Looks at the disk only.

    ``remembered``: the name that the index was built with, "" if none. Raises ConfigError.
    """
    if model != AUTO:
        return _explicit(model, environ)
    if remembered:
        choice = _on_disk(remembered, environ)
        if choice is not None:
            return choice
    best = _best_on_disk(environ)
    if remembered:
        log.warning(
            "the index was built with the model %s, whose files are gone; using %s (to have it again: "
            "memewatchd --model %s)",
            remembered,
            best.name,
            remembered,
        )
    return best


def better_than(choice_name: str) -> KnownModel | None:
    """The known model that is clearly better, or None.

    Whoever named a model of their own, or Chinese-CLIP (as good in its one language, as far as we
    know), is left alone.
    """
    return KNOWN[RECOMMENDED] if choice_name in (BUNDLED, "clip") else None


def advice(choice_name: str) -> list[str]:
    """What people should know of the model in use, a line each; [] where none is better."""
    better = better_than(choice_name)
    if better is None:
        return []
    lines = []
    if choice_name == BUNDLED:
        lines.append(
            "the bundled model knows emoji, drawings and everyday things; it can't find people, faces in "
            "photographs, actions, scenes, or memes by name"
        )
    lines.append(
        f"a better one: memewatchd --model {better.name} (about {better.size_mb / 1000:.1f} GB, {better.summary})"
    )
    return lines


def load(
    choice: Choice,
    *,
    endpoint: str,
    proxy: str,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    beat: Callable[[], None],
    stopping: Callable[[], bool],
) -> TwoTowers:
    """The model itself, downloaded first where it isn't on disk. Takes seconds to hours; imports torch.

    ``endpoint``, ``proxy``: the settings, "" if none. ``say`` prints one line for people. ``beat`` is called
    every few seconds while there is progress. Raises EncoderError.
    """
    folder = choice.folder
    if folder is None:
        folder = hub.download(
            choice.repo, endpoint=endpoint, proxy=proxy, environ=environ, say=say, beat=beat, stopping=stopping
        )
    if stopping():
        raise EncoderError("memewatchd is stopping")
    beat()
    kind = encoder_class(folder)
    beat()
    return kind.load(folder, choice.name)


def encoder_class(folder: Path) -> type[TwoTowers]:
    """What runs the model in ``folder``. Imports torch, and transformers where that is needed. Raises EncoderError."""
    torch_library.prepare()
    if read_checkpoint(folder).model_type == bundled.FAMILY:
        from memewatchd.encoders.bundled.encoder import BundledEncoder

        return BundledEncoder
    from memewatchd.encoders.clip import ClipEncoder

    return ClipEncoder


def _explicit(model: str, environ: Mapping[str, str]) -> Choice:
    if model == BUNDLED:
        return _bundled()
    if model in KNOWN:
        return _known(KNOWN[model], environ)
    path = _path(model, environ)
    if model.startswith(("/", ".", "~")) or (model and path.is_dir()):
        return _folder(path)
    if _HUB_ID.fullmatch(model):
        return _repo(model, environ)
    if "/" in model:
        raise ConfigError(f"--model: there is no folder {path}, and {model!r} can't be a hub id (OWNER/NAME)")
    names = [BUNDLED, AUTO, *KNOWN]
    near = difflib.get_close_matches(model.lower(), names, n=1, cutoff=0.5)
    raise ConfigError(
        f"--model: there is no model {model!r}; "
        + (f"did you mean {near[0]}?" if near else f"it must be {', '.join(names)}, a hub id (OWNER/NAME) or a folder")
    )


def _on_disk(name: str, environ: Mapping[str, str]) -> Choice | None:
    """The choice that the state remembers as ``name``, if its files are still complete."""
    try:
        choice = _explicit(name, environ)
    except ConfigError:
        return None
    # By name too: a hub id may also be the name of a folder here.
    return choice if choice.folder is not None and choice.name == name else None


def _best_on_disk(environ: Mapping[str, str]) -> Choice:
    for name in BEST_FIRST:
        choice = _known(KNOWN[name], environ)
        if choice.folder is not None:
            return choice
    return _bundled()


def _bundled() -> Choice:
    return Choice(BUNDLED, bundled.FOLDER, "")


def _known(known: KnownModel, environ: Mapping[str, str]) -> Choice:
    return Choice(known.name, hub.cached(known.repo, environ), known.repo)


def _repo(repo: str, environ: Mapping[str, str]) -> Choice:
    # By either name it is the same model, and must open the same index.
    known = next((one for one in KNOWN.values() if one.repo.lower() == repo.lower()), None)
    return _known(known, environ) if known else Choice(repo, hub.cached(repo, environ), repo)


def _folder(path: Path) -> Choice:
    if path == bundled.FOLDER:
        return _bundled()
    if not path.is_dir():
        raise ConfigError(f"--model: there is no folder {path}")
    try:
        missing = missing_files(path)
    except EncoderError as error:
        raise ConfigError(f"--model: {error}") from error
    if missing:
        raise ConfigError(
            f"--model: {path} is not a complete model: it lacks {'; '.join(missing)}. "
            "Copy them from the model's page into this folder."
        )
    return Choice(str(path), path, "")


def _path(text: str, environ: Mapping[str, str]) -> Path:
    """Absolute, links kept, as the settings' other paths are."""
    home = environ.get("HOME", "")
    if home and (text == "~" or text.startswith("~/")):
        text = home + text[1:]
    return Path(os.path.abspath(os.path.expanduser(text)))
