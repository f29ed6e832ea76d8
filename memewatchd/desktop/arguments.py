"""What `memewatch` takes on its command line, and how that is read.

Not argparse: it is slow to import, refuses `memewatch search cat -dog`, and reads `-nap` as `-n ap`.
The rules: ``-n N``, ``-0`` and ``--…`` may stand anywhere; an unknown ``--option`` is refused; any
other ``-word`` after the first word, and all that follows ``--``, is a word.
"""

from __future__ import annotations

from memewatchd.ops import EXPORT_FORMS, LIMIT_MAX, MAX_PX, TIMEOUT_MAX_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FORMATS = ("text", "json", "print0", "tsv", "rofi", "wofi")
LAUNCHERS = ("rofi", "fuzzel", "wofi", "fzf")
LATER_OPTIONS = ()

# command → options, whether it takes words, its line in the usage, what it does
COMMANDS: dict[str, tuple[tuple[str, ...], bool, str, str]] = {
    "search": (
        ("-n", "--format", "--json", "-0", "--min-score", "--like", "--all-hosts"),
        True,
        "search [-n N] [--format F] [--like FILE]… [--min-score X] [--all-hosts] [WORDS…]",
        "best memes first; without words the newest",
    ),
    "pick": (
        ("--with",),
        True,
        "pick [--with rofi|fuzzel|wofi|fzf] [WORDS…]",
        "choose with pictures, and copy: bind this to a key",
    ),
    "copy": (
        ("--as", "--max-px"),
        True,
        "copy PATH [--as auto|png|gif|uri] [--max-px N]",
        "onto the clipboard, in the form that chats take",
    ),
    "add": (
        ("--clipboard", "--name"),
        True,
        "add [FILE|URL|--clipboard] [--name WORDS]",
        "a new meme into the first folder, as it is",
    ),
    "tag": (
        ("--json",),
        True,
        "tag [--json] PATH… [+word|-word]…",
        "words of your own, kept on the file (+fav: a favourite); without +/- what it has",
    ),
    "import": (
        ("--base",),
        True,
        "import FILE.csv [--base DIR]",
        "the labels of a list (columns id, path, label) become tags on the files",
    ),
    "list": (("--format", "--json", "-0"), False, "list [--format F]", "every indexed file"),
    "status": (("--json",), False, "status [--json]", "what the daemon is doing, and with which model"),
    "wait": (
        ("--timeout", "--words"),
        False,
        "wait [--timeout S] [--words]",
        "returns once all that is in the folders now can be found",
    ),
    "failed": (("--json", "-0"), False, "failed [--json]", "each file that could not be indexed, and why"),
    "duplicates": (
        ("--json", "-0"),
        False,
        "duplicates [--json]",
        "files that show one picture, re-encoded and resized ones too; the best of each group first",
    ),
    "events": (("--json",), False, "events [--json]", "a line for each change as it becomes searchable"),
    "rescan": (
        ("--forget-missing",),
        False,
        "rescan [--forget-missing]",
        "look at every file again; --forget-missing: give up on folders that are away",
    ),
    "pause": ((), False, "pause", "stop indexing (searching goes on)"),
    "resume": ((), False, "resume", "go on indexing"),
    "used": ((), True, "used PATH…", "you picked these: they rise a little in later searches"),
    "forget-usage": ((), False, "forget-usage", "forget all that was picked"),
    "reindex": (
        ("--model", "--milvus"),
        False,
        "reindex --model M | --milvus URI",
        "with another model; the present one answers until the new index is complete",
    ),
}

OPTION_HELP = {
    "-n": "-n N               how many at most, 1 to 1000 (20)",
    "--format": "--format F         text (a path a line), json (a hit a line), print0, tsv, rofi, wofi",
    "--with": "--with PROGRAM     rofi, fuzzel, wofi or fzf (the first of them that is there)",
    "--as": "--as FORM          png, gif, uri (the file as it is), or auto: a still as png, what moves as a gif file",
    "--max-px": "--max-px N         the longer side at most, in pixels (512)",
    "--clipboard": "--clipboard        what the clipboard holds: a picture, or a file's or a picture's address",
    "--base": "--base DIR         where the list's relative paths begin (the list's own folder)",
    "--name": "--name WORDS       the new file's name, without extension",
    "--json": "--json             as JSON",
    "-0": "-0                 paths that end in a NUL instead of a newline, for xargs -0",
    "--like": "--like FILE        like this picture, wherever it lies; may be repeated, and go with words",
    "--all-hosts": "--all-hosts        what other machines on the same Milvus server have, too, as HOST:PATH",
    "--min-score": "--min-score X      leave out what scores less",
    "--timeout": "--timeout S        give up after S seconds, with exit code 1",
    "--words": "--words            and until the words in all pictures have been read",
    "--model": "--model M          siglip2, chinese-clip, clip, bundled, a hub id (OWNER/NAME), or a folder",
    "--milvus": "--milvus URI       copy the index to this Milvus server instead; nothing is encoded again",
    "--forget-missing": "--forget-missing   forget the files of folders that are away",
}

GLOBAL_HELP = """\
  --socket PATH      where the daemon listens (or MEMEWATCHD_SOCKET)
  --version          the version
  --help             this"""

EXIT_HELP = """\
exit codes: 0 done or something found, 1 nothing found or not settled in time,
2 the request is wrong or was refused, 3 no daemon answers"""


_FLAGS = ("-0", "--all-hosts", "--clipboard", "--json", "--forget-missing", "--words", "--help", "--version")
_VALUES = (
    *("--with", "--as", "--max-px", "--name", "-n", "--format", "--min-score", "--timeout", "--like", "--socket"),
    *("--model", "--milvus", "--base"),
)
_ANYWHERE = ("--help", "--version", "--socket")


class UsageError(Exception):
    """The command line is wrong; the message says how."""


class Arguments:
    """A command line, read. What was not given is None or False."""

    def __init__(self) -> None:
        self.command = ""
        self.words: list[str] = []
        self.like: list[str] = []
        self.all_hosts = False
        self.socket: str | None = None
        self.help = False
        self.version = False
        self.format = "text"
        self.limit: int | None = None
        self.min_score: float | None = None
        self.timeout: float | None = None
        self.forget_missing = False
        self.launcher: str | None = None
        self.form = "auto"
        self.max_px: int | None = None
        self.clipboard = False
        self.name: str | None = None
        self.read_words = False
        self.model: str | None = None
        self.milvus: str | None = None
        self.base: str | None = None


def parse(argv: Sequence[str]) -> Arguments:
    """Reads what follows the program's name. Raises :class:`UsageError`."""
    arguments = Arguments()
    given: list[tuple[str, str]] = []
    items = iter(argv)
    for item in items:
        if item == "--":
            for word in items:
                _take_word(arguments, word)
        elif item.startswith("--") or item in ("-n", "-0"):
            given.append(_take_option(item, items))
        elif item == "-h" and not arguments.words:
            given.append(("--help", ""))
        elif item.startswith("-") and item != "-" and not arguments.words:
            raise UsageError(
                f"there is no option {_shown(item)}; a word that begins with - goes after another word, or after --"
            )
        else:
            _take_word(arguments, item)
    for name, value in given:
        _set(arguments, name, value)
    if not arguments.command and not arguments.help and not arguments.version:
        raise UsageError("which command?")
    return arguments


def _take_word(arguments: Arguments, word: str) -> None:
    if arguments.command:
        if not COMMANDS[arguments.command][1]:
            raise UsageError(f"{arguments.command} takes no words, and got {_shown(word)}")
        arguments.words.append(word)
    elif word in COMMANDS:
        arguments.command = word
    else:
        raise UsageError(f"there is no command {_shown(word)}{_nearest(word, COMMANDS)}")


def _take_option(item: str, items: Iterator[str]) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if name in _FLAGS:
        if equals:
            raise UsageError(f"{name} takes no value")
    elif name not in _VALUES:
        raise UsageError(f"there is no option {_shown(name)}{_nearest(name, _FLAGS + _VALUES)}")
    elif not equals:
        try:
            value = next(items)
        except StopIteration:
            raise UsageError(f"{name} needs a value") from None
    return name, value


def _set(arguments: Arguments, name: str, value: str) -> None:
    command = arguments.command
    if command and name not in _ANYWHERE and name not in COMMANDS[command][0]:
        raise UsageError(f"{command} has no option {name}")
    if name in LATER_OPTIONS:
        raise UsageError(f"{name} is not there yet")
    if name == "--help":
        arguments.help = True
    elif name == "--version":
        arguments.version = True
    elif name == "--forget-missing":
        arguments.forget_missing = True
    elif name == "--words":
        arguments.read_words = True
    elif name == "--all-hosts":
        arguments.all_hosts = True
    elif name == "--like":
        arguments.like.append(value)
    elif name == "--json":
        arguments.format = "json"
    elif name == "-0":
        arguments.format = "print0"
    elif name == "--format":
        arguments.format = _one_of(name, value, FORMATS)
    elif name == "--socket":
        if not value:
            raise UsageError("--socket needs a path")
        arguments.socket = value
    elif name == "--with":
        arguments.launcher = _one_of(name, value, LAUNCHERS)
    elif name == "--as":
        arguments.form = _one_of(name, value, EXPORT_FORMS)
    elif name == "--max-px":
        arguments.max_px = _whole(name, value, MAX_PX)
    elif name == "--clipboard":
        arguments.clipboard = True
    elif name == "--name":
        arguments.name = value
    elif name == "--base":
        arguments.base = value
    elif name == "--model":
        arguments.model = value
    elif name == "--milvus":
        arguments.milvus = value
    elif name == "-n":
        arguments.limit = _whole(name, value, LIMIT_MAX)
    elif name == "--min-score":
        arguments.min_score = _number(name, value)
    else:
        arguments.timeout = _number(name, value)
        if not 0 <= arguments.timeout <= TIMEOUT_MAX_S:
            raise UsageError(f"--timeout must be 0 to {TIMEOUT_MAX_S} s, not {_shown(value)}")


def _one_of(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise UsageError(f"{name} must be one of {', '.join(known)}, not {_shown(value)}")
    return value


def _whole(name: str, value: str, most: int) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= most):
        raise UsageError(f"{name} must be a whole number from 1 to {most}, not {_shown(value)}")
    return int(value)


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not -1e300 < number < 1e300:  # what JSON can't carry
        raise UsageError(f"{name} must be a number, not {_shown(value)}")
    return number


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _nearest(word: str, known: Iterable[str]) -> str:
    import difflib  # slow, and only needed to say no

    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def help_text(command: str) -> str:
    """What ``--help`` prints: for one command, or "" for all of them."""
    if command:
        options, _, usage, what = COMMANDS[command]
        lines = [f"  {OPTION_HELP[name]}" for name in options if name in OPTION_HELP]
        return "\n".join([f"usage: memewatch {usage}", "", what, "", *lines, GLOBAL_HELP, "", EXIT_HELP, ""])
    width = 26
    lines = []
    for _, _, usage, what in COMMANDS.values():
        gap = "\n" + " " * (width + 4) if len(usage) > width else " " * (width + 2 - len(usage))
        lines.append(f"  {usage}{gap}{what}")
    return "\n".join(["usage: memewatch [--socket PATH] COMMAND", "", *lines, "", GLOBAL_HELP, "", EXIT_HELP, ""])
