"""`memewatch import`, as a program, on real files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memewatchd.desktop.arguments import UsageError
from memewatchd.desktop.importing import rows, tags_of

REPO = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "memewatchd.client", "import", *map(str, arguments)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def tags(file: Path) -> str:
    return os.getxattr(file, "user.xdg.tags").decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b 生气.gif"):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / "train" / name).write_bytes(b"any")
    return tmp_path


def test_labels_become_tags(folder: Path) -> None:
    list_ = folder / "meme_images.csv"
    list_.write_text('id,path,label\n0,./train/a.png,brain_coral\n1,"train/b 生气.gif","生气, 猫"\n')
    code, out, err = run(list_)
    assert (code, err) == (0, "memewatch: 2 tagged, 0 missing\n")
    assert len(out.splitlines()) == 2
    assert tags(folder / "train/a.png") == "brain coral"
    assert tags(folder / "train/b 生气.gif") == "生气,猫"
    # Again, with another label: what is there stays.
    list_.write_text("id,path,label\n0,train/a.png,sea\n\n5,train/a.png,Brain Coral\n")
    assert run(list_)[0] == 0
    assert tags(folder / "train/a.png") == "brain coral,sea"


def test_missing_paths_are_named(folder: Path) -> None:
    list_ = folder / "meme_images.csv"
    list_.write_text("id,path,label\n0,/nowhere/x.png,cat\n1,train/gone.png,cat\n2,train/a.png,cat\n")
    code, _, err = run(list_)
    assert code == 1
    assert "missing: /nowhere/x.png\n" in err
    assert f"missing: {folder}/./train/gone.png".replace("/./", "/") in err
    assert "1 tagged, 2 missing" in err
    assert tags(folder / "train/a.png") == "cat"


def test_another_base(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    list_ = tmp_path_factory.mktemp("elsewhere") / "list.csv"
    list_.write_bytes("id,path,label\r\n0,b 生气.gif,狗\r\n".encode("gb18030"))
    assert run(list_)[0] == 1
    assert run(list_, "--base", folder / "train")[0] == 0
    assert tags(folder / "train/b 生气.gif") == "狗"
    assert run(list_, "--base", folder / "nothing")[0] == 2


def test_what_can_not_be_tagged(folder: Path) -> None:
    list_ = folder / "list.csv"
    list_.write_text("id,path,label\n0,train,cat\n1,train/a.png,cat\n")
    code, _, err = run(list_)
    assert code == 2
    assert "it is a folder" in err
    assert tags(folder / "train/a.png") == "cat"


@pytest.mark.parametrize(
    "text", ["", "a,b,c\n1,2,3\n", "id,path,label\n1\n", "id,path,label\n1,,x\n", 'id,path,label\n"']
)
def test_what_is_no_such_list(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    code, out, err = run(tmp_path / "list.csv")
    assert (code, out) == (2, "")
    assert err.startswith("memewatch: ")
    with pytest.raises(UsageError):
        list(rows(text))


def test_wrong_calls(tmp_path: Path) -> None:
    assert run()[0] == 2
    assert run("a", "b")[0] == 2
    assert run(tmp_path / "missing.csv")[0] == 2
    assert run(tmp_path)[0] == 2


def test_columns_in_any_order() -> None:
    assert list(rows("\ufefflabel,ID,Path\ncat,1,a.png\n".removeprefix("\ufeff"))) == [("a.png", "cat")]


def test_labels() -> None:
    assert tags_of("brain_coral") == ["brain coral"]
    assert tags_of(" cat; angry|cat，狗、猫 ") == ["cat", "angry", "狗", "猫"]
    assert tags_of("") == []
    assert tags_of("a\x00b\x1b") == ["ab"]
