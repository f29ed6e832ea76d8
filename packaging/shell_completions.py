"""Completions for bash, zsh and fish, from the programs' own tables. `make generated` writes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from command_lines import FILES, client_options, commands, daemon_options

from memewatchd.desktop import arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from command_lines import Option

NOTE = "Made by packaging/shell_completions.py (make generated); don't change it here."


# bash --------------------------------------------------------------------------------------------


def bash() -> str:
    """Needs no bash-completion."""
    known = client_options()
    cases = [f"        {name}) words={_spellings(options)} ;;" for name, (options, _) in commands().items()]
    takes = [name for one in known.values() if one.takes for name in one.names]
    return "\n".join(
        [
            f"# {NOTE}",
            "_memewatch_reply() {  # what to choose from, what was typed",
            '    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")',
            "}",
            "_memewatch_files() {  # -f or -d, what was typed",
            "    compopt -o filenames",
            '    mapfile -t COMPREPLY < <(compgen "$1" -- "$2")',
            "}",
            "_memewatch_value() {  # option, what was typed; false where it takes no value that is known here",
            '    case "$1" in',
            *_bash_values([*known.values(), *daemon_options()]),
            "    *) return 1 ;;",
            "    esac",
            "}",
            "_memewatch() {",
            '    local typed=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command="" words i',
            "    COMPREPLY=()",
            *_BASH_EQUALS,
            '    _memewatch_value "$before" "$typed" && return',
            "    for ((i = 1; i < COMP_CWORD; i++)); do",
            '        case "${COMP_WORDS[i]}" in',
            f"        {'|'.join(takes)}) i=$((i + 1)) ;;",
            "        -*) ;;",
            "        *) command=${COMP_WORDS[i]}; break ;;",
            "        esac",
            "    done",
            '    case "$command" in',
            f'        "") words={_words([*arguments.COMMANDS, "--socket", "--version", "--help"])} ;;',
            *cases,
            "        *) return ;;",
            "    esac",
            "    if [[ $typed == -* || -z $command ]]; then",
            '        _memewatch_reply "$words" "$typed"',
            f"    elif [[ {' || '.join(f'$command == {name}' for name in FILES)} ]]; then",
            '        _memewatch_files -f "$typed"',
            "    fi",
            "}",
            "_memewatchd() {",
            "    local typed=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}",
            "    COMPREPLY=()",
            *_BASH_EQUALS,
            '    _memewatch_value "$before" "$typed" ||',
            f'        _memewatch_reply {_spellings(daemon_options())} "$typed"',
            "}",
            "complete -F _memewatch memewatch",
            "complete -F _memewatchd memewatchd",
            "",
        ]
    )


# bash makes three words of --format=json.
_BASH_EQUALS = (
    "    if [[ $typed == '=' ]]; then",
    '        typed=""',
    "    elif [[ $before == '=' ]]; then",
    "        before=${COMP_WORDS[COMP_CWORD-2]}",
    "    fi",
)


def _bash_values(options: Iterable[Option]) -> list[str]:
    lines: dict[str, None] = {}
    for option in options:
        what = option.values
        if what == "files":
            action = '_memewatch_files -f "$2"'
        elif what == "folders":
            action = '_memewatch_files -d "$2"'
        elif what:
            action = f'_memewatch_reply {_words(what)} "$2"'
        elif option.takes:
            action = ":"  # a number, say: nothing to offer, and no file either
        else:
            continue
        lines[f"    {'|'.join(option.names)}) {action} ;;"] = None
    return list(lines)


def _words(words: Iterable[str]) -> str:
    return f'"{" ".join(words)}"'


def _spellings(options: Iterable[Option]) -> str:
    return _words(name for one in options for name in one.names)


# zsh ---------------------------------------------------------------------------------------------


def zsh() -> str:
    def described(pairs: Iterable[tuple[str, str]]) -> list[str]:
        return [f"        {_quoted(f'{name}:{what}')}" for name, what in pairs]

    def arguments_of(options: Iterable[Option], indent: str, rest: str = "") -> list[str]:
        specs = [f"{indent}    {_quoted(_zsh_spec(one))}" for one in options]
        return [" \\\n".join([f"{indent}_arguments", *specs, *([f"{indent}    {_quoted(rest)}"] if rest else [])])]

    lines = ["#compdef memewatch memewatchd", f"# {NOTE}", "", "_memewatchd() {"]
    lines += arguments_of(daemon_options(), "    ")
    lines += ["}", "", "_memewatch() {", "    local context state line", "    typeset -A opt_args"]
    known = client_options()
    specs = [_quoted(_zsh_spec(known[name])) for name in ("--socket", "--version", "--help")]
    lines += [f"    _arguments -C {' '.join(specs)} '1:command:->command' '*::argument:->argument'"]
    lines += ["    case $state in", "    command)", "        local -a commands=("]
    lines += described((name, what) for name, (_, what) in commands().items())
    lines += ["        )", "        _describe command commands ;;", "    argument)", "        case ${line[1]} in"]
    for name, (options, _) in commands().items():
        lines += [f"        {name})"]
        lines += arguments_of(options, "            ", "*:file:_files" if name in FILES else "")
        lines += ["            ;;"]
    lines += ["        esac ;;", "    esac", "}", "", '"_$service"', ""]
    return "\n".join(lines)


def _zsh_spec(option: Option) -> str:
    what, takes = (re.sub(r"([\[\]:\\])", r"\\\1", text) for text in (option.what, option.takes))
    many = "*" if option.names[0] in ("--like", "--folder") else ""
    names = option.names[-1]
    if not option.takes:
        return f"{many}{names}[{what}]"
    if names.startswith("--"):
        names += "="  # --format=json and --format json
    values = option.values
    if isinstance(values, str):
        action = {"files": "_files", "folders": "_files -/"}[values]
    else:
        action = f"({' '.join(values)})" if values else " "
    return f"{many}{names}[{what}]:{takes}:{action}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# fish --------------------------------------------------------------------------------------------


def fish() -> str:
    known = client_options()
    lines = [f"# {NOTE}", f"set -l commands {' '.join(arguments.COMMANDS)}"]
    lines += ["complete -c memewatch -f", "complete -c memewatchd -f"]
    for name, (_, what) in commands().items():
        lines.append(f'complete -c memewatch -n "not __fish_seen_subcommand_from $commands" -a {name} -d {_fish(what)}')
    for name in ("--socket", "--version", "--help"):
        lines.append(_fish_option("memewatch", known[name]))
    for option in known.values():
        takers = [name for name, (options, _) in commands().items() if option in options]
        if takers and option.names[0] not in ("--socket", "--help"):
            lines.append(_fish_option("memewatch", option, f"__fish_seen_subcommand_from {' '.join(takers)}"))
    lines.append(f'complete -c memewatch -n "__fish_seen_subcommand_from {" ".join(FILES)}" -F')
    lines += [_fish_option("memewatchd", option) for option in daemon_options()]
    return "\n".join([*lines, ""])


def _fish_option(program: str, option: Option, condition: str = "") -> str:
    parts = [f"complete -c {program}"]
    if condition:
        parts.append(f'-n "{condition}"')
    parts += [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    values = option.values
    if values == "files":
        parts.append("-r -F")
    elif values == "folders":
        parts.append("-x -a '(__fish_complete_directories)'")
    elif values:
        parts.append(f"-x -a '{' '.join(values)}'")
    elif option.takes:
        parts.append("-x")
    return " ".join([*parts, f"-d {_fish(option.what)}"])


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


MADE: Mapping[str, Callable[[], str]] = {"memewatch.bash": bash, "_memewatch": zsh, "memewatch.fish": fish}
