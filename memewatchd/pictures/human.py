"""Which of the texts in a picture somebody wrote, and which a machine did. Pure.

Cameras, editors and converters fill the same fields as people. What looks like theirs is dropped: a word lost costs
little, for the picture is found by its look, but a word that a thousand pictures have buries the one that was meant.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from memewatchd.pictures.tags import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BYTES: Final = 2048
"""Of all texts of a picture together, in UTF-8."""

_MOST_CHARS = 2048
_PROMPT_CHARS = 300

# What image generators write: the prompt, then what it must not show, then their settings.
_GENERATED = re.compile(r"\bSteps: \d+, (?:Sampler|CFG scale|Seed|Schedule type|Size)\b")
_AFTER_PROMPT = re.compile(r"\s*\b(?:Negative prompt:|Steps: \d+,)")
_LORA = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>", re.IGNORECASE)

# Every repetition is bounded or can't be read in two ways: these texts are made to be slow by whoever wants that.
_URL = re.compile(r"(?:https?://|www\.)\S+|[\w.+-]{1,64}@[\w-]{1,64}\.[\w.]{1,64}", re.IGNORECASE)
_LETTER = re.compile(r"[^\W\d_]")
# Words of no language: base64, hashes, identifiers, files and sites.
_NO_WORD = re.compile(
    r"[A-Za-z0-9+/=_\-.:]{40,}|(?:0x)?(?=.*\d)[0-9a-f]{8,}|[\w-]+(?:\.[\w-]+)*\.(?:com|net|org|io|me|cn|gif|png|jpe?g|webp)/?",
    re.IGNORECASE,
)
# `filter: 0; jpegRotation: 0; …`, as telephones note them; and JSON, XML.
_SETTINGS = re.compile(r"(?:[\w .-]{1,40}[:=] ?[\d.+-]*[;,] ?){3}")
_STRUCTURE = re.compile(r"\{.*\}|\[[\s{\"\[].*\]|<[?!/]?[A-Za-z][^<>]*>.*", re.DOTALL)

_MACHINES = re.compile(
    r"""
    # what did it
    (?:file\ |image\ )?(?:created|made|edited|generated|written|processed|exported|rendered|converted|compressed
        |optimi[sz]ed|encoded|captured|resized|uploaded)\ (?:with|using|via)\ .{1,40}
    | (?:file\ |image\ )?(?:created|made|edited|generated|written|processed|exported|converted|optimi[sz]ed)
        \ (?:by|with|in|on|from|at)\ (?:the\ )?(?:adobe|gimp|imgflip|ezgif|giphy|picasa|jpegmini|acdsee|canva|kapwing
        |photoshop|meme\ ?generator|imagemagick|ffmpeg|microsoft|google|\S+\.(?:com|org|net)).*
    | (?:creator|software|encoder|encoding|copyright)\ ?:.*
    | (?:the\ )?(?:gimp|photoshop|gifsicle|ezgif|imagemagick|ffmpeg|paint\.net|picasa|inkscape|krita|canva|vsco
        |snapseed|meitu|giphy|tenor|imgflip|imgur|9gag|google|instagram|twitter)(?:[ /v-]*\d[\w.-]*)?
    | (?:adobe\ (?:photoshop|imageready|illustrator|lightroom|express|firefly)|lead\ technologies|handmade\ software
        |jpeg\ encoder\ copyright|intel\(r\)\ jpeg|ulead|lav[cf]\d|cmp3\.|xr:d:|vid:|hwmnote|oppo_\d|acd\ systems).*
    # cameras
    | (?:olympus|minolta|konica\ minolta|kodak|samsung|sony|nikon|canon|panasonic|fujifilm|casio|pentax|ricoh|sanyo)
        (?:\ (?:digital\ (?:still\ )?camera|dsc|corporation|imaging\ corp.*|electronics|techwin.*))?
    | (?:digital\ (?:still\ )?camera|exif[_ ]jpeg[_ ]picture|jpeg[_ ]picture)
    # nothing
    | image|picture|photo|untitled|default|unnamed|none|null|unknown|undefined|n/a|test|title|description|comment
    | screenshot|sticker|binary\ comment|charset=\w+|ascii|xmp|xmp\ dataxmp|applemark|edf|btf|sdr|hdr
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
"""What a whole text says that a machine has filled in."""


def human_text(texts: Iterable[str], machines: Iterable[str] = ()) -> str:
    """What people wrote among ``texts``, each once, in their order, a line each; at most :data:`MAX_BYTES`.

    ``machines``: the names of the camera and the software, as the same file gives them.
    """
    names = {clean(name, _MOST_CHARS).casefold() for name in machines}
    kept: list[str] = []
    for raw in texts:
        text = _humans(clean(raw, _MOST_CHARS))
        folded = text.casefold()
        if not text or folded in names or any(folded in other.casefold() for other in kept):
            continue
        kept = [other for other in kept if other.casefold() not in folded]
        kept.append(text)
        if sum(map(len, kept)) >= MAX_BYTES:
            break
    return "\n".join(kept).encode()[:MAX_BYTES].decode("utf-8", "ignore").rstrip()


def _humans(text: str) -> str:
    """The part of a clean text that somebody wrote, "" if none."""
    if _GENERATED.search(text):
        prompt = _LORA.sub(" ", _AFTER_PROMPT.split(text, maxsplit=1)[0])
        return " ".join(prompt.split())[:_PROMPT_CHARS].rstrip()
    text = " ".join(_URL.sub(" ", text).split())
    if _MACHINES.fullmatch(text) or _STRUCTURE.fullmatch(text) or _SETTINGS.match(text):
        return ""
    has_words = any(_LETTER.search(word) and not _NO_WORD.fullmatch(word) for word in text.split())
    return text if has_words else ""
