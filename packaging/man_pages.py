"""The man pages of both programs: prose in ``man/*.in``, commands and options from the programs' own tables.

`make generated` writes them. ``memewatchd.toml.5`` is written by hand; a test holds it to the settings.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from command_lines import client_options, daemon_options

from memewatchd.desktop import arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from command_lines import Option

HERE = Path(__file__).resolve().parent / "man"
NOTE = '.\\" Made from {} by packaging/man_pages.py (make generated); change that.\n'


def client_page() -> str:
    items = []
    for _, _, usage, what in arguments.COMMANDS.values():
        items += [f'.It "{_usage(usage)}"', _sentence(what)]
    return _page("memewatch.1.in", {"COMMANDS": "\n".join(items), "OPTIONS": _options(client_options().values())})


def daemon_page() -> str:
    return _page("memewatchd.1.in", {"OPTIONS": _options(daemon_options())})


def _page(name: str, parts: Mapping[str, str]) -> str:
    text = (HERE / name).read_text(encoding="utf-8")
    for key, value in parts.items():
        text = text.replace(f"@{key}@", value)
    return NOTE.format(name) + text


def _options(options: Iterable[Option]) -> str:
    lines = []
    for option in options:
        names = " , ".join(f"Fl {name[1:].replace('-', 'Fl ', 1)}" for name in option.names)
        lines += [f".It {names}{f' Ar {option.takes}' if option.takes else ''}", _line(option.what)]
    return "\n".join(lines)


def _usage(usage: str) -> str:
    """Options and the command bold, what the user puts in italic."""
    text = re.sub(
        r"(?<![\w|])(-{1,2}[a-z0-9][a-z0-9-]*|^[a-z-]+)|(?<=\|)(--[a-z-]+)",
        lambda match: f"\\fB{_plain(match[0])}\\fR",
        usage,
    )
    text = re.sub(r"(?<![\w\\])([A-Z][A-Z]*)(?![a-z\\])", r"\\fI\1\\fR", text)
    return text.replace("…", "...").replace("|", "\\||\\|")


def _sentence(text: str) -> str:
    return _line(text[0].upper() + text[1:] + ".")


def _line(text: str) -> str:
    """roff takes a line's leading dot or apostrophe for a request, and wants each sentence on a line of its own."""
    text = re.sub(r"(?<=[a-z)]\.) (?=[A-Z])", "\n", _plain(text))
    return ("\\&" if text[0] in ".'" else "") + text


def _plain(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")


MADE: Mapping[str, Callable[[], str]] = {"memewatch.1": client_page, "memewatchd.1": daemon_page}
