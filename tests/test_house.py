"""The house's rules: one vendor one room, and imports run one way. Read from the source of every module."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import memewatchd

ROOT = Path(memewatchd.__file__).resolve().parent
PACKAGE = "memewatchd"

# Who may import a library: rooms, or single modules of the top floor. One that isn't here has no room yet.
VENDORS: dict[str, set[str]] = {
    "click": {"daemon", "offline"},
    "watchdog": {"folder"},
    # `exclude` is checked as it is read, so that `--check` finds a wrong pattern.
    "pathspec": {"folder", "setting_values"},
    "PIL": {"pictures"},
    "av": {"pictures"},
    "cv2": {"pictures"},
    "onnxruntime": {"pictures"},
    "rapidocr": {"pictures"},
    "pillow_avif": {"pictures"},
    "pillow_heif": {"pictures"},
    "huggingface_hub": {"encoders"},
    "safetensors": {"encoders"},
    "sentencepiece": {"encoders"},
    "tokenizers": {"encoders"},
    "torch": {"encoders"},
    "transformers": {"encoders"},
    # pymilvus raises its errors.
    "grpc": {"index"},
    "milvus_lite": {"index"},
    "pymilvus": {"index"},
    "python_multipart": {"service"},
    "starlette": {"service"},
    "systemd": {"service"},
    "uvicorn": {"service"},
    "opencc": {"words"},
    "pypinyin": {"search"},
    "rapidfuzz": {"search"},
    "tencentcloud": {"encoders"},
    # Not a vendor but a currency: frames and vectors pass between these.
    "numpy": {"pictures", "encoders", "index", "search", "sync", "intake", "reindex", "meme"},
}

ROOMS = {"folder", "pictures", "encoders", "index", "search", "service"}
LEAVES = {"cache_names", "cedict", "config", "errors", "looks", "meme", "ops", "priority", "protocol", "words"}
LEAVES |= {"digested", "leisure", "setting_values"}
FLOOR = ROOMS | LEAVES | {"progress"}

# Who may import whom, by first name below the package. What isn't listed may import leaves only.
MAY_IMPORT: dict[str, set[str]] = {
    # The story and those that it is told with.
    "daemon": FLOOR | {"parts", "announce", "offline", "query_socket"},
    "parts": FLOOR
    | {"sync", "looking", "health", "glance", "intake", "reader", "second_pass", "reindex"}
    | {"query_socket", "commands"},
    "offline": FLOOR,
    "sync": FLOOR | {"agenda", "health", "intake", "looking", "outbox"},
    "health": FLOOR,
    "glance": FLOOR,
    "outbox": FLOOR | {"intake", "looking"},
    "looking": FLOOR,
    "intake": FLOOR | {"opened", "reader"},
    "second_pass": FLOOR | {"opened"},
    # A room above the others: it has a model loaded, an index built, the mirror's parts swapped.
    "reindex": FLOOR | {"opened"},
    "reader": FLOOR,
    "commands": FLOOR | {"picking"},
    "picking": FLOOR,
    "announce": FLOOR,
    "query_socket": FLOOR | {"line_reader", "socket_name"},
    "search": LEAVES | {"encoders", "index"},
    # The client and its own room know nothing of the daemon's inside.
    "client": {"protocol", "ops", "errors", "desktop", "cache_names"},
    "desktop": {"protocol", "ops", "errors", "cache_names"},
}


def first_name(module: str) -> str:
    """The room, or the module on the top floor: "memewatchd.folder.scan" -> "folder"."""
    return module.removeprefix(PACKAGE).lstrip(".").split(".")[0]


def imported(source: str, path: str, runtime_only: bool = False) -> set[str]:
    """Full names of all modules that a source imports anywhere, in functions and for types too."""
    tree = ast.parse(source, path)
    skipped: set[ast.AST] = set()
    if runtime_only:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                skipped.update(ast.walk(node))
            elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped.update(part for statement in node.body for part in ast.walk(statement))
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            # `from memewatchd import protocol` imports a module, not a value of the package.
            if node.module == PACKAGE:
                names.update(f"{PACKAGE}.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
            else:
                names.add(node.module or "")
    return names


def violations(module: str, source: str) -> list[str]:
    """What a module imports against the rules, in words."""
    here = first_name(module)
    found = []
    for name in sorted(imported(source, module)):
        top = name.split(".")[0]
        if top == PACKAGE:
            there = first_name(name)
            if there and there != here and there not in MAY_IMPORT.get(here, LEAVES):
                found.append(f"{module} may not import {name}")
        elif top not in sys.stdlib_module_names:
            if top not in VENDORS:
                found.append(f"{module} imports {name}, which has no room yet")
            elif here not in VENDORS[top]:
                found.append(f"{module} imports {name}, which belongs to {', '.join(sorted(VENDORS[top]))}")
    return found


def sources() -> dict[str, str]:
    """Every module of the package and its text."""
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text(encoding="utf-8")
    return found


@pytest.mark.parametrize("module", sources())
def test_every_import_is_allowed(module: str) -> None:
    assert violations(module, sources()[module]) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("memewatchd.folder.scan", "import torch"),
        ("memewatchd.folder.scan", "from memewatchd.index import store"),
        ("memewatchd.sync", "def late():\n    from PIL import Image"),
        ("memewatchd.errors", "from memewatchd.sync import Mirror"),
        ("memewatchd.index.store", "from memewatchd import daemon"),
        ("memewatchd.commands", "import memewatchd.daemon"),
        ("memewatchd.client", "from memewatchd.config import load"),
        ("memewatchd.desktop.clipboard", "import numpy"),
        ("memewatchd.search.search", "import requests"),
    ],
)
def test_the_rules_bite(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


def test_nothing_goes_round_in_circles() -> None:
    known = sources()
    graph = {
        module: {name for name in imported(source, module, runtime_only=True) if name in known and name != module}
        for module, source in known.items()
    }
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def loaded_by(module: str) -> set[str]:
    """What a fresh interpreter has loaded after one import, for real."""
    program = f"import sys; before = set(sys.modules); import {module}; print(*set(sys.modules) - before, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT.parent)
    return set(done.stdout.split())


def of_vendors(modules: set[str]) -> set[str]:
    """Top names of third parties (C extensions' own helper modules have a leading underscore)."""
    tops = {name.split(".")[0] for name in modules}
    return {top for top in tops if top not in sys.stdlib_module_names and top != PACKAGE and not top.startswith("_")}


@pytest.mark.parametrize("module", ["daemon", "query_socket", "commands", "sync", "announce"])
def test_the_door_opens_before_anything_heavy_loads(module: str) -> None:
    assert not of_vendors(loaded_by(f"memewatchd.{module}")) & {"torch", "transformers", "pymilvus", "PIL", "pandas"}


def test_the_client_needs_the_standard_library_only() -> None:
    loaded = loaded_by("memewatchd.client")
    assert of_vendors(loaded) == set()
    ours = {name for name in loaded if name.startswith("memewatchd.")}
    allowed = {"client", "protocol", "ops", "errors", "desktop", "cache_names"}
    assert {first_name(name) for name in ours} <= allowed


def test_the_decode_child_knows_pictures_only() -> None:
    assert of_vendors(loaded_by("memewatchd.pictures.decode")) <= {"PIL", "numpy", "pillow_heif", "pillow_avif"}
