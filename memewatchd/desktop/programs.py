"""Other programs of the desktop: which of them is there, and what people install where none is."""

from __future__ import annotations

import os

from memewatchd.desktop.trouble import Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def find(name: str, environ: Mapping[str, str]) -> str | None:
    """The program's path, looked up in PATH as a shell would (``shutil`` is slow to import)."""
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def clipboard_tool(environ: Mapping[str, str], wayland: str, x11: str) -> str:
    """``wayland`` or ``x11``, whichever can be used here. Raises Trouble.

    Under Wayland the X11 one will do too: compositors pass on what X programs copy.
    """
    on_wayland, on_x11 = environ.get("WAYLAND_DISPLAY"), environ.get("DISPLAY")
    if not on_wayland and not on_x11:
        raise Trouble("there is no clipboard here: neither WAYLAND_DISPLAY nor DISPLAY says where a desktop is")
    if on_wayland and find(wayland, environ):
        return wayland
    if on_x11 and find(x11, environ):
        return x11
    if on_wayland:
        raise Trouble(f"{wayland} is missing; install it with: sudo apt install wl-clipboard")
    raise Trouble(f"{x11} is missing; install it with: sudo apt install xclip")
