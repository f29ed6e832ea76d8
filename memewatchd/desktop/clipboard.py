"""`memewatch copy`: a meme onto the clipboard, in the form that chats take.

The daemon prepares the file (op ``export``); wl-copy or xclip hands it out and stays until something else is copied.
A still goes as a PNG, what moves as the address of a file: beside a bitmap, chats would take that and it would stand.
"""

from __future__ import annotations

import os

from memewatchd.cache_names import file_uri, paste_dir, path_of_uri
from memewatchd.desktop import programs
from memewatchd.desktop.trouble import NoAnswer, Refused, Trouble
from memewatchd.protocol import path_bytes, path_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    Ask = Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]]

URI_LIST = "text/uri-list"


def copy(ask: Ask, path: bytes, environ: Mapping[str, str], how: str = "auto", max_px: int | None = None) -> None:
    """Puts the meme on the clipboard and tells the daemon that it was used. Raises Refused, NoAnswer, Trouble."""
    tool = programs.clipboard_tool(environ, "wl-copy", "xclip")
    mime, data = prepared(ask, path, environ, how, max_px)
    hand_out(tool, mime, data)
    try:
        next(ask({"op": "used", **path_fields(path)}))
    except (Refused, NoAnswer):
        pass  # it is copied; that it counts is a nicety


def prepared(ask: Ask, path: bytes, environ: Mapping[str, str], how: str, max_px: int | None) -> tuple[str, bytes]:
    """The MIME type and the bytes for the clipboard."""
    request: dict[str, Any] = {"op": "export", **path_fields(path), "as": how}
    if max_px is not None:
        request["max_px"] = max_px
    reply = next(ask(request))
    file = path_bytes(reply, "file")
    data: bytes | None = None
    try:
        if reply["as_file"]:
            os.stat(file)
        else:
            data = _read(file)
    except OSError:
        # A service's sandbox can have a cache of its own that we don't see; then it comes over the socket.
        data = _inline(ask, request)
        if reply["as_file"]:
            file = _kept(data, file, environ)
    if reply["as_file"]:
        return URI_LIST, file_uri(file).encode() + b"\r\n"
    return str(reply["mime"]), data or b""


def _inline(ask: Ask, request: Mapping[str, Any]) -> bytes:
    import binascii

    return binascii.a2b_base64(next(ask({**request, "inline": True}))["data_b64"])


def _kept(data: bytes, name: bytes, environ: Mapping[str, str]) -> bytes:
    """Writes what came over the socket to where the daemon's own would be."""
    folder = os.path.join(os.fsencode(paste_dir(environ)), os.path.basename(os.path.dirname(name)))
    target = os.path.join(folder, os.path.basename(name))
    part = target + b".part"
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
        os.rename(part, target)
    except OSError as error:
        raise Trouble(f"can't write {os.fsdecode(target)}: {error.strerror}") from None
    return target


def _read(file: bytes) -> bytes:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as stream:
        return stream.read()


def hand_out(tool: str, mime: str, data: bytes) -> None:
    """Gives ``data`` to wl-copy or xclip, which stay in the background. Raises Trouble."""
    import subprocess

    options = ["--type", mime] if tool == "wl-copy" else ["-selection", "clipboard", "-t", mime, "-i"]
    # What they say can't be piped: they live on, and would hold the pipe open for whoever waits for us.
    complaint = os.memfd_create("complaint", os.MFD_CLOEXEC)
    try:
        # In a session of its own, or it would end with the terminal, and the clipboard with it.
        done = subprocess.run(
            [tool, *options],
            input=data,
            stdout=subprocess.DEVNULL,
            stderr=complaint,
            check=False,
            start_new_session=True,
        )
        if done.returncode:
            said = " ".join(os.pread(complaint, 1000, 0).decode(errors="replace").split())
            raise Trouble(f"{tool} could not copy: {said or f'exit code {done.returncode}'}")
    finally:
        os.close(complaint)


def paste_types(environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """The tool that pastes here, and the MIME types that the clipboard offers now. Raises Trouble."""
    tool = programs.clipboard_tool(environ, "wl-paste", "xclip")
    command = [tool, "--list-types"] if tool == "wl-paste" else [tool, "-selection", "clipboard", "-o", "-t", "TARGETS"]
    return tool, _output(command).decode(errors="replace").split()


def paste(tool: str, mime: str) -> bytes:
    """What the clipboard gives for this MIME type."""
    if tool == "wl-paste":
        return _output([tool, "--no-newline", "--type", mime])
    return _output([tool, "-selection", "clipboard", "-o", "-t", mime])


def _output(command: list[str]) -> bytes:
    import subprocess

    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        raise Trouble("the program that holds the clipboard gives no answer") from None
    return done.stdout if not done.returncode else b""


def meme_path(word: str) -> bytes:
    """The absolute path that a word on the command line means: a path, or a ``file:`` address. Raises Trouble."""
    if word.startswith("file:/"):
        try:
            return path_of_uri(word)
        except ValueError as error:
            raise Trouble(str(error)) from None
    # Links stay: a linked meme is known by the link's path.
    return os.path.abspath(os.fsencode(word))
