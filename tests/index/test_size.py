"""Who has more memes than the embedded engine serves well is told so, with the figure and the setting."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from memewatchd.config import load
from memewatchd.index import size
from memewatchd.meme import Digest, FileRow, FileStat
from memewatchd.parts import Parts

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_embedded_engine_has_its_limit() -> None:
    assert size.beyond("lite", size.SERVES_WELL) == ""
    said = size.beyond("lite", size.SERVES_WELL + 1)
    assert f"{size.SERVES_WELL:,}" in said
    assert f"{size.SEARCH_MS} ms" in said
    assert "memewatch reindex --milvus http://" in said
    assert size.beyond("server", 10 * size.SERVES_WELL) == ""


def test_status_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "SERVES_WELL", 2)
    monkeypatch.setenv("HOME", str(tmp_path))
    environ = {"HOME": str(tmp_path)}
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    settings = load({"state_dir": str(state), "model": "bundled", "folder": (str(tmp_path),)}, environ)
    parts = Parts(settings, environ, lambda _: None)
    for number in range(3):
        assert parts.advice()[-1] == parts.advice()[1]  # of the model alone
        digest = Digest(f"{number:064x}")
        parts.catalog.add_vector(digest)
        path = os.fsencode(tmp_path / f"{number}.png")
        parts.catalog.put(FileRow(path, FileStat(1, 1, 1, number), digest, 1, 1, 1, 1))
    assert parts.advice()[-1].startswith("3 memes are more than the embedded Milvus serves well")
    assert parts.about()["advice"] == parts.advice()
