"""What `--model` means, by what is on disk: a home and a hub cache made up for each test."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from memewatchd.encoders import bundled, hub, models
from memewatchd.encoders.checkpoint import missing_files
from memewatchd.encoders.models import Choice, advice, better_than, choose
from memewatchd.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable

SIGLIP2, CHINESE, CLIP = (models.KNOWN[name] for name in models.BEST_FIRST)
BUNDLED = Choice("bundled", bundled.FOLDER, "")


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    return {"HOME": str(tmp_path / "home")}


@pytest.fixture
def put(environ: dict[str, str], tiny: Callable[[str], Path]) -> Callable[[str], Path]:
    """A function: hub id → the snapshot of it, which it puts into the cache, complete."""

    def snapshot(repo: str) -> Path:
        home = hub.cache_dir(environ) / f"models--{repo.replace('/', '--')}"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text("ab" * 20, encoding="ascii")
        return Path(shutil.copytree(tiny("clip"), home / "snapshots" / ("ab" * 20)))

    return snapshot


def test_auto_is_the_bundled_model_on_a_fresh_machine(environ: dict[str, str]) -> None:
    assert choose("auto", "", environ) == BUNDLED
    assert missing_files(bundled.FOLDER) == []


def test_auto_is_the_best_on_disk(environ: dict[str, str], put: Callable[[str], Path]) -> None:
    for known in (CLIP, CHINESE, SIGLIP2):
        folder = put(known.repo)
        assert choose("auto", "", environ) == Choice(known.name, folder, known.repo)
    (folder / "model.safetensors").unlink()
    assert choose("auto", "", environ).name == "chinese-clip"


def test_auto_keeps_to_what_the_index_was_built_with(
    environ: dict[str, str], put: Callable[[str], Path], tiny: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    put(SIGLIP2.repo)
    clip, own = put(CLIP.repo), put("some/model")
    assert choose("auto", "bundled", environ) == BUNDLED
    assert choose("auto", "clip", environ) == Choice("clip", clip, CLIP.repo)
    assert choose("auto", "some/model", environ) == Choice("some/model", own, "some/model")
    assert choose("auto", str(tiny("clip")), environ) == Choice(str(tiny("clip")), tiny("clip"), "")
    assert caplog.text == ""


@pytest.mark.parametrize("remembered", ["clip", "some/model", "/no/such/folder", "nonsense"])
def test_auto_falls_back_when_the_index_s_model_is_gone(
    remembered: str, environ: dict[str, str], put: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    assert choose("auto", remembered, environ) == BUNDLED
    put(CHINESE.repo)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert choose("auto", remembered, environ).name == "chinese-clip"
    assert f"built with the model {remembered}" in caplog.text
    assert "using chinese-clip" in caplog.text


def test_a_short_name_and_its_hub_id_are_the_same_model(environ: dict[str, str], put: Callable[[str], Path]) -> None:
    for name in (SIGLIP2.name, SIGLIP2.repo):
        assert choose(name, "bundled", environ) == Choice("siglip2", None, SIGLIP2.repo)
    folder = put(SIGLIP2.repo)
    for name in (SIGLIP2.name, SIGLIP2.repo):
        assert choose(name, "bundled", environ) == Choice("siglip2", folder, SIGLIP2.repo)
    assert choose("bundled", "siglip2", environ) == BUNDLED


def test_a_hub_id(environ: dict[str, str], put: Callable[[str], Path]) -> None:
    assert choose("some/model", "", environ) == Choice("some/model", None, "some/model")
    assert choose("some/model", "", environ).folder is None
    folder = put("some/model")
    assert choose("some/model", "", environ) == Choice("some/model", folder, "some/model")


def test_a_folder(environ: dict[str, str], tiny: Callable[[str], Path], tmp_path: Path) -> None:
    home = Path(shutil.copytree(tiny("clip"), tmp_path / "home" / "model"))
    here = Path(shutil.copytree(tiny("clip"), tmp_path / "some" / "model"))
    word = Path(shutil.copytree(tiny("clip"), tmp_path / "mine"))
    for given, folder in (
        (str(here), here),
        ("~/model", home),
        ("./some/model/", here),
        ("some/model", here),
        ("mine", word),
    ):
        assert choose(given, "", environ) == Choice(str(folder), folder, "")
    assert choose(str(bundled.FOLDER), "", environ) == BUNDLED


def test_a_folder_that_is_not_a_model_says_what_it_lacks(
    environ: dict[str, str], tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny("clip"), tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigError, match=r"--model: .*lacks preprocessor_config\.json; model\.safetensors or"):
        choose(str(folder), "", environ)
    (folder / "model.safetensors.index.json").write_text("[]", encoding="ascii")
    with pytest.raises(ConfigError, match=r"--model: .*index\.json"):
        choose(str(folder), "", environ)
    with pytest.raises(ConfigError, match=r"--model: there is no folder /no/such"):
        choose("/no/such", "", environ)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("siglip", "did you mean siglip2?"),
        ("SigLIP2", "did you mean siglip2?"),
        ("chinese_clip", "did you mean chinese-clip?"),
        ("atuo", "did you mean auto?"),
        ("xyzzy", "bundled, auto, siglip2, clip, chinese-clip, a hub id (OWNER/NAME) or a folder"),
        ("", "it must be"),
        ("a/b/c", "can't be a hub id"),
        ("a--b/c", "can't be a hub id"),
        ("a/b..c", "can't be a hub id"),
        ("a/-b", "can't be a hub id"),
        ("a/b.git", "can't be a hub id"),
        ("ä/b", "can't be a hub id"),
        ("a/b\n", "can't be a hub id"),
        ("../a/b", "there is no folder"),
    ],
)
def test_a_word_that_is_no_model(word: str, says: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"(?s)^--model: .*{re.escape(says)}"):
        choose(word, "", environ)


def test_what_is_better() -> None:
    assert better_than("bundled") == better_than("clip") == SIGLIP2
    for name in ("siglip2", "chinese-clip", "some/model", "/a/folder"):
        assert better_than(name) is None
        assert advice(name) == []
    limits, better = advice("bundled")
    for word in ("people", "faces", "actions", "scenes", "memes by name"):
        assert word in limits
    assert better == "a better one: memewatchd --model siglip2 (about 1.5 GB, English and Chinese)"
    assert advice("clip") == [better]


def test_the_bundled_model_loads_by_choice(environ: dict[str, str]) -> None:
    beats: list[int] = []
    encoder = models.load(
        BUNDLED,
        endpoint="",
        proxy="",
        environ=environ,
        say=print,
        beat=lambda: beats.append(1),
        stopping=lambda: False,
    )
    assert encoder.name == "bundled"
    assert beats
    with pytest.raises(EncoderError, match="stopping"):
        models.load(
            BUNDLED, endpoint="", proxy="", environ=environ, say=print, beat=lambda: None, stopping=lambda: True
        )


def test_choosing_imports_nothing_heavy() -> None:
    program = (
        "import sys; from memewatchd.encoders import hub, hub_child, hub_files, models; models.choose('auto', '', {}); "
        "assert not {'torch', 'transformers', 'huggingface_hub', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(models.__file__).parents[2])
