"""The examples in docs/protocol.md are copied and pasted, so they are run here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd import ops, protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ROOT = Path(protocol.__file__).parents[1]
TEXT = (ROOT / "docs" / "protocol.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def run(open_door: Callable[..., Any], folder: Path, command: list[str]) -> list[str]:
    open_door(folder / "memewatchd.sock")
    environ = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(folder), "PYTHONUTF8": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.skipif(not (shutil.which("nc") and shutil.which("socat")), reason="needs netcat-openbsd and socat")
def test_the_plain_shell_example(open_door: Callable[..., Any], folder: Path, house: Any) -> None:
    house.paths = [b"/memes/a.png", b"/memes/b.png"]
    answer = ["/memes/a.png", "/memes/b.png", ""]
    assert run(open_door, folder, ["sh", "-ec", blocks("sh")[0]]) == answer * 2
    assert [request.args["text"] for request in house.requests] == ["angry cat", "生气"]


@pytest.mark.skipif(not (shutil.which("nc") and shutil.which("jq")), reason="needs netcat-openbsd and jq")
def test_the_json_shell_example(open_door: Callable[..., Any], folder: Path, house: Any) -> None:
    house.paths = [b"/memes/a.png", b"/memes/b.png"]
    shell = "SOCKET=$XDG_RUNTIME_DIR/memewatchd.sock\n" + blocks("sh")[1]
    assert run(open_door, folder, ["sh", "-ec", shell]) == ["/memes/a.png", "/memes/b.png"]


def test_the_python_example(open_door: Callable[..., Any], folder: Path, house: Any) -> None:
    house.paths = [b"/memes/a.png", "/memes/猫.png".encode()]
    assert run(open_door, folder, [sys.executable, "-c", blocks("python")[0]]) == [
        "0.5 /memes/a.png",
        "0.4 /memes/猫.png",
    ]


@pytest.mark.skipif(not shutil.which("node"), reason="needs node: apt install nodejs")
def test_the_node_example(open_door: Callable[..., Any], folder: Path, house: Any) -> None:
    house.paths = [b"/memes/a.png", "/memes/猫.png".encode()]
    assert run(open_door, folder, ["node", "-e", blocks("js")[0]]) == ["0.5 /memes/a.png", "0.4 /memes/猫.png"]


def test_the_example_of_the_python_api(open_door: Callable[..., Any], folder: Path, house: Any) -> None:
    house.paths = [b"/memes/a.png"]
    house.on_wait = settled
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    assert run(open_door, folder, [sys.executable, "-c", path + blocks("python")[1]]) == ["0.5 /memes/a.png"]
    assert [request.op for request in house.requests] == ["wait", "search"]


async def settled(**_: Any) -> AsyncIterator[dict[str, Any]]:
    yield {"ok": True}


def test_every_example_is_run() -> None:
    assert {language: len(blocks(language)) for language in ("sh", "python", "js")} == {"sh": 2, "python": 2, "js": 1}


def test_the_exchange_is_what_the_protocol_does() -> None:
    lines = TEXT[TEXT.index("→ ") :].splitlines()[:4]
    asked = protocol.parse_line(lines[0].removeprefix("→ ").encode())
    assert (asked.args["text"], asked.args["limit"], asked.id_json) == ("angry cat", 20, "7")
    with pytest.raises(protocol.BadRequest) as refused:
        protocol.parse_line(lines[2].removeprefix("→ ").encode())
    assert json.loads(lines[3].removeprefix("← ")) == protocol.error_reply(refused.value)


def test_every_op_and_code_is_described() -> None:
    for op in ops.OPS:
        assert f"`{op}`" in TEXT
    for op, keys in ops.OPS.items():
        for key in keys:
            assert f"`{key}`" in TEXT, (op, key)
    for error in [protocol.RequestError, *protocol.RequestError.__subclasses__()]:
        assert f"| `{error.code}` |" in TEXT
