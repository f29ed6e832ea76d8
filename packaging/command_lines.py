"""What both programs take on their command lines, read from the programs: for completions and man pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from memewatchd import daemon
from memewatchd.desktop import arguments
from memewatchd.encoders.models import KNOWN
from memewatchd.ops import EXPORT_FORMS
from memewatchd.setting_values import LOG_LEVELS

if TYPE_CHECKING:
    from collections.abc import Sequence

MODELS = ("bundled", *KNOWN)
# What can stand behind an option: words to choose from, or "files" or "folders". Any other value is the user's to type.
VALUES: dict[str, Sequence[str] | str] = {
    "--format": arguments.FORMATS,
    "--with": arguments.LAUNCHERS,
    "--as": EXPORT_FORMS,
    "--model": MODELS,
    "--log-level": LOG_LEVELS,
    "--download": MODELS,
    **dict.fromkeys(
        ("--like", "--socket", "--config", "--milvus", "--milvus-token-file", "--http-token-file"), "files"
    ),
    **dict.fromkeys(("--base", "--folder", "--state-dir"), "folders"),
}
# Commands whose words are files.
FILES = ("copy", "add", "tag", "import", "used")


@dataclass(frozen=True)
class Option:
    """``names``: the spellings; ``takes``: what its value is called, "" for none; ``what``: a line of help."""

    names: tuple[str, ...]
    takes: str
    what: str

    @property
    def values(self) -> Sequence[str] | str:
        return next((VALUES[name] for name in self.names if name in VALUES), ()) if self.takes else ()


def client_options() -> dict[str, Option]:
    """Every option of `memewatch`, those for all commands too."""
    found = {}
    for line in (*arguments.OPTION_HELP.values(), *arguments.GLOBAL_HELP.splitlines()):
        match = re.fullmatch(r"\s*(-\S+)(?: (\S+))?\s{2,}(.+)", line)
        assert match is not None, line
        found[match[1]] = Option((match[1],), match[2] or "", match[3])
    return found


def daemon_options() -> list[Option]:
    """Every option of `memewatchd`."""
    program = daemon._program  # noqa: SLF001 - not imported by anything that runs
    options = []
    for parameter in program.get_params(click.Context(program, **program.context_settings)):
        assert isinstance(parameter, click.Option)
        takes = "" if parameter.is_flag else parameter.metavar or "VALUE"
        options.append(Option(tuple(parameter.opts), takes, parameter.help or ""))
    return options


def commands() -> dict[str, tuple[list[Option], str]]:
    """Each command's options, those for all commands too, and what it does."""
    known = client_options()
    everywhere = [known[name] for name in ("--socket", "--help")]
    return {
        name: ([known[option] for option in options] + everywhere, what)
        for name, (options, _, _, what) in arguments.COMMANDS.items()
    }
