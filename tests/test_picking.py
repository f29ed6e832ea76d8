"""What `pick` and `copy` ask of the daemon, as the protocol checks it."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.errors import BadRequest, Degraded
from memewatchd.meme import Digest, FileRow, FileStat
from memewatchd.picking import export_reply, meta_fields
from memewatchd.pictures.export import Exported
from memewatchd.protocol import parse_line
from memewatchd.words import searchable_text

if TYPE_CHECKING:
    from pathlib import Path


class Exporter:
    """Answers with a file; the real one is tested in tests/pictures."""

    def __init__(self, file: bytes) -> None:
        self.file = file
        self.asked: list[tuple[Any, ...]] = []

    def export(self, *asked: Any) -> Exported:
        self.asked.append(asked)
        return Exported(self.file, "image/png", animated=False, as_file=False)


def answer(exporter: Exporter | None, line: bytes) -> dict[str, Any]:
    return asyncio.run(export_reply(exporter, parse_line(line).args))  # type: ignore[arg-type]


def test_export(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"png")
    exporter = Exporter(str(file).encode())
    expected = {"ok": True, "file": str(file), "mime": "image/png", "animated": False, "as_file": False}
    assert answer(exporter, b'{"op": "export", "path": "/m/a.png"}') == expected
    assert answer(exporter, b'{"op": "export", "path_b64": "L20v/y5wbmc=", "as": "gif", "max_px": 9}') == expected
    assert exporter.asked == [(b"/m/a.png", "auto", None), (b"/m/\xff.png", "gif", 9)]
    inline = answer(exporter, b'{"op": "export", "path": "/m/a.png", "inline": true}')
    assert inline == expected | {"data_b64": base64.b64encode(b"png").decode()}


def test_export_refuses(tmp_path: Path) -> None:
    exporter = Exporter(str(tmp_path / "gone").encode())
    for line, word in (
        (b'{"op": "export"}', "export needs path"),
        (b'{"op": "export", "path": "/a", "as": "jpg"}', "as must be one of auto, png, gif, uri"),
        (b'{"op": "export", "path": "/a", "as": ["png"]}', "as must be one of"),
        (b'{"op": "export", "path": "/a", "max_px": 0}', "max_px must be a whole number from 1 to"),
        (b'{"op": "export", "path": "/a", "max_px": true}', "max_px must be a whole number"),
        (b'{"op": "export", "path": 1}', "path must be a string"),
        (b'{"op": "list", "order": "size"}', "order must be one of path, used"),
        (b'{"op": "search", "meta": 1}', "meta must be true or false"),
    ):
        with pytest.raises(BadRequest, match=word):
            answer(exporter, line)
    with pytest.raises(Degraded, match="can't be read"):
        answer(exporter, b'{"op": "export", "path": "/a", "inline": true}')
    with pytest.raises(Degraded, match="prepares pictures"):
        answer(None, b'{"op": "export", "path": "/a"}')


def test_the_words_behind_a_meme() -> None:
    path = "/m/生气 cat.png".encode()
    text = searchable_text(path, ["猫"])
    row = FileRow(path, FileStat(1, 1, 1, 1), Digest("d"), 0, 3, 2, 1, text=text, tags=("猫",))
    meta = meta_fields(row)
    assert meta["tags"] == ["猫"]
    assert meta["words"].split() == ["生气", "cat", "猫"]
    assert {"shengqi", "mao", "sq", "m"} <= set(meta["pinyin"].split())
    assert meta_fields(None) == {}
    plain = FileRow(b"/m/cat.png", FileStat(1, 1, 1, 1), Digest("d"), 0, 3, 2, 1, text="cat")
    assert meta_fields(plain)["pinyin"] == ""
