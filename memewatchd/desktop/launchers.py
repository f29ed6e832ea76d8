"""`memewatch pick`: search, choose with pictures, copy. With rofi, fuzzel, wofi, or fzf in a terminal.

rofi and fzf are driven by the scripts beside this, which use nothing but `memewatch`'s own commands.
"""

from __future__ import annotations

import os
import sys

from memewatchd.desktop import clipboard, menus, programs
from memewatchd.desktop.trouble import NoAnswer, Refused, Trouble
from memewatchd.ops import LIMIT_MAX
from memewatchd.protocol import EXIT_NOTHING, EXIT_OK, path_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from memewatchd.desktop.clipboard import Ask

LAUNCHERS = ("rofi", "fuzzel", "wofi", "fzf")

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripts")
# rofi splits what it is given at commas, so the script's path takes another way.
_ROFI_MODE = """memes:sh -c 'exec sh "$MEMEWATCH_SCRIPTS/memewatch-rofi" "$@"' memes"""
_ROFI_LOOK = (
    "window { width: 75%; } listview { columns: 5; lines: 3; fixed-columns: true; flow: horizontal; }"
    " element { orientation: vertical; children: [ element-icon, element-text ]; padding: 6px; }"
    " element-icon { size: 5em; horizontal-align: 0.5; } element-text { horizontal-align: 0.5; }"
)
_SHOWN_META = 80  # characters of it beside the name, where a launcher has no invisible text


def pick(ask: Ask, words: Sequence[str], wanted: str | None, socket: str | None, environ: Mapping[str, str]) -> int:
    """Lets people choose, and copies what they chose. Returns the exit code: 1 where nothing was chosen.

    Raises Refused, NoAnswer, Trouble; started by a key there is nobody to read that, so it is also shown.
    """
    try:
        return _pick(ask, " ".join(words), wanted, socket, environ)
    except (Refused, NoAnswer, Trouble) as error:
        _show(str(error), environ)
        raise


def _pick(ask: Ask, words: str, wanted: str | None, socket: str | None, environ: Mapping[str, str]) -> int:
    launcher = choose(wanted, environ, in_terminal=sys.stdin is not None and sys.stdin.isatty())
    if launcher != "fzf":
        programs.clipboard_tool(environ, "wl-copy", "xclip")  # better now than when the choice is made
    inner = inner_environment(words, socket, environ)
    if launcher == "rofi":
        command = ["rofi", "-show", "memes", "-modi", _ROFI_MODE, "-show-icons", "-i", "-theme-str", _ROFI_LOOK]
        command += ["-kb-custom-1", "Alt+s", "-kb-custom-2", "Alt+o"]
        return EXIT_OK if _copied(command, inner) else EXIT_NOTHING
    if launcher == "fzf":
        next(ask({"op": "status"}))  # without a daemon it would show an empty list
        code, out = _run(["sh", os.path.join(SCRIPTS, "memewatch-fzf"), words], inner)
        path: bytes | None = out.partition(b"\0")[0] if code == 0 else None
    else:
        path = _from_list(ask, launcher, words, environ)
    if not path:
        return EXIT_NOTHING
    clipboard.copy(ask, path, environ)
    return EXIT_OK


def _copied(command: Sequence[str], inner: dict[str, str]) -> bool:
    """Whether rofi's script has copied something; rofi itself ends with 0 after Escape too."""
    noted = os.memfd_create("copied", os.MFD_CLOEXEC)
    try:
        _run(command, inner | {"MEMEWATCH_COPIED": f"/proc/{os.getpid()}/fd/{noted}"})
        return os.fstat(noted).st_size > 0
    finally:
        os.close(noted)


def choose(wanted: str | None, environ: Mapping[str, str], in_terminal: bool) -> str:
    """Which launcher to use: ``wanted``, or the first that is installed and has somewhere to show itself."""
    if wanted is not None:
        if programs.find(wanted, environ) is None:
            raise Trouble(f"{wanted} is missing; install it with: sudo apt install {wanted}")
        return wanted
    fitting: list[str] = []
    if environ.get("WAYLAND_DISPLAY"):
        # rofi before version 2 takes the keyboard through XWayland only.
        fitting += ["fuzzel", "wofi"] if not environ.get("DISPLAY") else ["rofi", "fuzzel", "wofi"]
    elif environ.get("DISPLAY"):
        fitting.append("rofi")
    if in_terminal:
        fitting.append("fzf")
    if not fitting:
        raise Trouble("there is no desktop here (neither WAYLAND_DISPLAY nor DISPLAY is set), and no terminal for fzf")
    for name in fitting:
        if programs.find(name, environ):
            return name
    raise Trouble(f"none of {', '.join(fitting)} is installed; for one: sudo apt install {fitting[0]}")


def inner_environment(words: str, socket: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """What the scripts find: how to call this very client, the socket, and the words to begin with."""
    program = os.path.abspath(sys.argv[0])
    own = [program] if os.path.basename(program) == "memewatch" and os.access(program, os.X_OK) else None
    command = own or [sys.executable, "-m", "memewatchd.client"]
    inner = {**environ, "MEMEWATCH": " ".join(map(_quoted, command)), "MEMEWATCH_WORDS": words}
    inner["MEMEWATCH_SCRIPTS"] = SCRIPTS
    if socket:
        inner["MEMEWATCHD_SOCKET"] = os.path.abspath(os.path.expanduser(socket))
    return inner


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _run(command: Sequence[str], environ: Mapping[str, str], given: bytes | None = None) -> tuple[int, bytes]:
    import subprocess

    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, env=environ, check=False)
    return done.returncode, done.stdout


# fuzzel and wofi: rows in, a row (or what was typed) out -----------------------------------------


def _from_list(ask: Ask, launcher: str, words: str, environ: Mapping[str, str]) -> bytes | None:
    """Asks again for what was typed and is no row. None where nothing was chosen."""
    while True:
        rows = list(labelled(entries(ask, words)))
        menu = menus.Menu(environ)
        if launcher == "fuzzel":
            command = ["fuzzel", "--dmenu", "--prompt", "meme> "]
            lines = [label.encode() + b"\0icon\x1f" + menu.icon(path) + b"\n" for label, path in rows]
        else:
            command = ["wofi", "--dmenu", "--allow-images", "--insensitive", "--prompt", "meme"]
            command += ["--cache-file", os.devnull]
            lines = [wofi_line(label, menu.icon(path)) for label, path in rows]
        code, out = _run(command, environ, b"".join(lines))
        answer = out.rstrip(b"\n").decode(errors="replace").rpartition(":text:")[2]
        if code or not answer.strip():
            return None
        path = dict(rows).get(answer)
        if path is not None:
            return path
        words = answer


def entries(ask: Ask, words: str) -> Iterator[dict[str, Any]]:
    """The hits for ``words``, best first; without words every meme, most used first."""
    if words:
        yield from next(ask({"op": "search", "text": words, "limit": min(200, LIMIT_MAX), "meta": True}))["hits"]
        return
    for reply in ask({"op": "list", "meta": True, "order": "used"}):
        if reply.get("end"):
            return
        yield reply["file"]


def labelled(found: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """A label that no other has, and the path. Words and pinyin stand in it, since only what is shown is searched."""
    taken: set[str] = set()
    for entry in found:
        path = path_bytes(entry)
        name = menus.name(path)
        words = " ".join(word for word in menus.meta(entry).split() if word not in name.lower())
        # A colon ends a field for wofi.
        label = f"{name}  {words[:_SHOWN_META]}".strip().replace(":", "∶")
        while label in taken:
            label += "\N{ZERO WIDTH SPACE}"
        taken.add(label)
        yield label, path


def wofi_line(label: str, icon: bytes) -> bytes:
    """A row of wofi's; a path with a colon, which it can't read, is no icon."""
    return (b"" if b":" in icon else b"img:" + icon + b":text:") + label.encode() + b"\n"


def _show(message: str, environ: Mapping[str, str]) -> None:
    """A note on the desktop, where standard error is no terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        return
    if (environ.get("WAYLAND_DISPLAY") or environ.get("DISPLAY")) and programs.find("notify-send", environ):
        _run(["notify-send", "--app-name=memewatch", "memewatch", message], environ)
