"""A keyboard that stays plugged in, for a Wayland compositor that takes virtual ones (sway).

wtype plugs in another with a map of its own at every call, which crashes fuzzel 1.8; this speaks wl_registry and
zwp_virtual_keyboard_v1 of wlr-protocols itself: messages of an object's id, size and opcode, and arguments.
"""

from __future__ import annotations

import os
import socket
import struct
import time

KEYMAP = b"""xkb_keymap {
xkb_keycodes { include "evdev+aliases(qwerty)" }; xkb_types { include "complete" };
xkb_compatibility { include "complete" }; xkb_symbols { include "pc+us+inet(evdev)" };
};\0"""
# Of linux/input-event-codes.h, along the rows of a keyboard.
ROWS = {16: "qwertyuiop", 30: "asdfghjkl", 44: "zxcvbnm"}
KEYS = {letter: first + place for first, row in ROWS.items() for place, letter in enumerate(row)}
KEYS |= {" ": 57, "Escape": 1, "Return": 28, "F6": 64}
CONTROL, CONTROL_BIT = 29, 4  # the key, and its place among xkb's modifiers
DISPLAY, REGISTRY, SYNC, SEAT, MANAGER, KEYBOARD = 1, 2, 3, 4, 5, 6


class Keyboard:
    """``path``: the compositor's socket."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(path)
        self._send(DISPLAY, 1, struct.pack("=I", REGISTRY))
        self._send(DISPLAY, 0, struct.pack("=I", SYNC))
        names = self._globals()
        for interface, new in ((b"wl_seat", SEAT), (b"zwp_virtual_keyboard_manager_v1", MANAGER)):
            self._send(
                REGISTRY, 0, struct.pack("=I", names[interface]) + _string(interface) + struct.pack("=II", 1, new)
            )
        self._send(MANAGER, 0, struct.pack("=II", SEAT, KEYBOARD))
        keymap = os.memfd_create("keymap")
        try:
            os.write(keymap, KEYMAP)
            self._send(KEYBOARD, 0, struct.pack("=II", 1, len(KEYMAP)), [keymap])
        finally:
            os.close(keymap)

    def press(self, key: str) -> None:
        """And let go. ``ctrl+v`` holds Control meanwhile."""
        held, _, key = key.rpartition("+")
        if held:
            assert held == "ctrl"
            self._key(CONTROL, 1)
            self._send(KEYBOARD, 2, struct.pack("=IIII", CONTROL_BIT, 0, 0, 0))
        for state in (1, 0):
            self._key(KEYS[key], state)
        if held:
            self._key(CONTROL, 0)
            self._send(KEYBOARD, 2, struct.pack("=IIII", 0, 0, 0, 0))

    def _key(self, code: int, state: int) -> None:
        self._send(KEYBOARD, 1, struct.pack("=III", time.monotonic_ns() // 10**6 % 2**32, code, state))
        time.sleep(0.03)

    def close(self) -> None:
        self._socket.close()

    def _send(self, target: int, opcode: int, arguments: bytes, fds: list[int] | None = None) -> None:
        socket.send_fds(
            self._socket, [struct.pack("=II", target, (8 + len(arguments)) << 16 | opcode) + arguments], fds or []
        )

    def _globals(self) -> dict[bytes, int]:
        """What the registry names, until it has named all."""
        names = {}
        with self._socket.makefile("rb") as stream:
            while True:
                target, word = struct.unpack("=II", stream.read(8))
                body = stream.read((word >> 16) - 8)
                if target == SYNC:
                    return names
                if target == REGISTRY:
                    name, length = struct.unpack_from("=II", body)
                    names[body[8 : 8 + length - 1]] = name


def _string(text: bytes) -> bytes:
    """Its length with a zero at the end, and filled up to words."""
    length = len(text) + 1
    return struct.pack("=I", length) + text + bytes(-length % 4 + 1)
