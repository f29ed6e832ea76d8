"""The same pictures and weights in others' hands: rclip 3.x, and a plain script of transformers and numpy.

    python benchmarks/peers.py [--count 500] [--queries 10] [--no-rclip]

All three have one CLIP ViT-B/32 of random weights, of the shape (256 pixels) that rclip has: ours and the script read
it in the hub's format, rclip from its own two files, made from the same tensors as its converter makes them, and from
its own vocabulary file. rclip lives in an environment of its own under .run/, made with pip once. The script is what
anybody would write in an evening, `index` and `search` below. Each is asked from the shell: ours by `memewatch`, which
asks the daemon that is running; the others start anew for each query. Memory is of all processes together, pages that
they share once.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import floor
import material
import numpy as np
from rows import Report, Row, arguments, middle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EDGE = 256
VOCABULARY = 49408
LENGTH = 77
BEST = 10
WATCHED_S = 0.1
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
SCRIPT, RCLIP = "the plain script", "rclip"


# ---- the plain script


def index(pictures: Path, model: Path, file: Path) -> None:
    """Walk, open, encode, save."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel

    processor = AutoImageProcessor.from_pretrained(model)  # type: ignore[no-untyped-call]
    clip = AutoModel.from_pretrained(model)
    paths = sorted(path for path in pictures.rglob("*") if path.suffix.lower() in SUFFIXES)
    vectors = []
    for start in range(0, len(paths), 16):
        images = [Image.open(path).convert("RGB") for path in paths[start : start + 16]]
        inputs = processor(images=images, return_tensors="pt")
        with torch.no_grad():
            features = clip.get_image_features(**inputs).pooler_output
        vectors.append((features / features.norm(dim=-1, keepdim=True)).numpy())
    np.savez(file, paths=[str(path) for path in paths], vectors=np.concatenate(vectors))


def search(model: Path, file: Path, text: str) -> None:
    """Load, encode, multiply, print."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    clip = AutoModel.from_pretrained(model)
    with torch.no_grad():
        features = clip.get_text_features(**tokenizer([text], return_tensors="pt")).pooler_output
    saved = np.load(file)
    scores = saved["vectors"] @ features[0].numpy()
    for number in np.argsort(-scores)[:BEST]:
        print(saved["paths"][number])


# ---- what all three work on


def vocabulary(folder: Path, file: Path) -> None:
    """Give the model's tokenizer a vocabulary of full size, and write the same as rclip's ``file``.

    What the tiny one has learned, then pairs of letters that no text has: as long to read as a real one.
    """
    learned = [tuple(line.split(" ")) for line in (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]]
    letters = [word for word, number in json.loads((folder / "vocab.json").read_text()).items() if number < 256]
    rare = [letter for letter in letters if letter >= "Ā"]
    pairs = list(itertools.product(rare, rare))
    triples = ((first + second, third) for (first, second), third in itertools.product(pairs, rare))
    fill = (pair for pair in itertools.chain(pairs, triples) if pair not in learned)
    merges = [*learned, *itertools.islice(fill, VOCABULARY - 2 * len(letters) - 2 - len(learned))]
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps(dict(zip(words, range(VOCABULARY), strict=True))))
    text = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)])
    (folder / "merges.txt").write_text(text + "\n", encoding="utf-8")
    file.parent.mkdir(parents=True)
    file.write_bytes(gzip.compress(text.encode()))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": LENGTH}))


def weights(folder: Path, datadir: Path) -> None:
    """One model in the hub's format, and as rclip's files; run where ONNX is."""
    import torch
    from transformers import AutoConfig, AutoModel

    material.clip(folder, 32)
    vocabulary(folder, datadir / "tokenizer" / "bpe_simple_vocab_16e6.txt.gz")
    config = AutoConfig.from_pretrained(folder)
    config.vision_config.image_size = EDGE
    config.vision_config.hidden_act = config.text_config.hidden_act = "gelu"
    torch.manual_seed(0)
    model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings |= {"size": {"shortest_edge": EDGE}, "crop_size": {"height": EDGE, "width": EDGE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    parts = floor.parts_of(model)
    theirs = datadir / "ViT-B-32-256-datacomp_s34b_b86k"
    theirs.mkdir()
    floor.export(*parts["pictures"], theirs / "visual.onnx")
    ids = torch.ones(1, LENGTH, dtype=torch.long)
    floor.export(parts["words"][0], (ids,), theirs / "textual.onnx", any_length=False)


def environment() -> str:
    """The program of rclip 3.x; made with pip where it isn't there yet."""
    folder = material.REPO / ".run" / "rclip-3"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "rclip>=3,<4"], check=True)
        (folder / "complete").touch()
    return str(folder / "bin" / "rclip")


# ---- measuring


@dataclass
class Watched:
    """``peak``: the most that a process and all that it started held at once, MB."""

    peak: float = 0.0


@contextlib.contextmanager
def watched(pid: int) -> Iterator[Watched]:
    """Look every tenth of a second."""
    found, over = Watched(), threading.Event()

    def look() -> None:
        while not over.wait(WATCHED_S):
            with contextlib.suppress(OSError):  # one of them has just ended
                found.peak = max(found.peak, material.memory_mb(material.tree(pid)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@dataclass
class Found:
    """What one of the three took. Seconds and MB; ``best``: a query → what was found."""

    first_s: float = 0.0
    query_s: float = 0.0
    unchecked_s: float = 0.0
    new_s: float = 0.0
    index_mb: float = 0.0
    query_mb: float = 0.0
    resting_mb: float = 0.0
    disk_mb: float = 0.0
    best: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Shell:
    """Where commands run."""

    folder: Path
    environ: dict[str, str]

    def __call__(self, command: list[str]) -> list[str]:
        """The lines that it prints."""
        done = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):  # 1: nothing found
            raise RuntimeError(f"{command}: {done.stderr[-2000:]}")
        return done.stdout.splitlines()

    def peak_mb(self, command: list[str]) -> float:
        """The most memory that it takes."""
        with subprocess.Popen(
            command, cwd=self.folder, env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            with watched(process.pid) as memory:
                process.wait()
            if process.returncode not in (0, 1):
                raise RuntimeError(f"{command}: {process.returncode}")
        return memory.peak


def asked(shell: Shell, command: Callable[[str], list[str]], texts: list[str], found: Found) -> None:
    """Each query once, timed and remembered."""
    times = []
    for text in texts:
        began = time.perf_counter()
        lines = shell(command(text))
        times.append(time.perf_counter() - began)
        found.best[text] = [Path(line).name for line in lines]
    found.query_s = middle(times)


def ours(home: Path, model: Path, texts: list[str], extra: Path) -> Found:
    """The daemon and its client."""
    from real_daemon import Daemon

    found = Found()
    daemon = Daemon(home, "--model", str(model))
    shell = Shell(home, daemon.environ)
    program = Path(sys.executable).parent / "memewatch"
    client = [str(program)] if program.exists() else [sys.executable, "-I", "-m", "memewatchd.client"]
    client += ["--socket", daemon.socket]
    count = sum(1 for _ in daemon.folder.iterdir())

    def command(text: str) -> list[str]:
        return [*client, "search", "-n", str(BEST), text]

    began = time.perf_counter()
    with daemon:
        assert daemon.process is not None
        with watched(daemon.process.pid) as memory:
            shell([*client, "wait"])
            shell(command(texts[0]))
            found.first_s = time.perf_counter() - began
        found.index_mb = memory.peak
        status = daemon.status()
        assert (status["indexed"], status["failed"]) == (count, 0), status
        asked(shell, command, texts, found)
        found.resting_mb = material.memory_mb(material.tree(daemon.process.pid))
        with watched(daemon.process.pid) as memory:
            mine = shell.peak_mb(command(texts[0]))
            time.sleep(2 * WATCHED_S)
        found.query_mb = memory.peak + mine
        began = time.perf_counter()
        shutil.copy(extra, daemon.folder)
        shell([*client, "wait"])
        shell(command(texts[-1]))
        found.new_s = time.perf_counter() - began
    state = material.state_dir(home)
    found.disk_mb = sum(file.stat().st_size for file in state.rglob("*") if file.is_file()) / 1e6
    return found


def rclip(program: str, pictures: Path, datadir: Path, texts: list[str], extra: Path) -> Found:
    """One command does both: it looks at the folder, then searches."""
    found = Found()
    shell = Shell(pictures, {**os.environ, "RCLIP_DATADIR": str(datadir), "HF_HUB_OFFLINE": "1"})

    def command(text: str, *more: str) -> list[str]:
        return [program, "--filepath-only", "--top", str(BEST), *more, text]

    began = time.perf_counter()
    found.index_mb = shell.peak_mb(command(texts[0]))
    found.first_s = time.perf_counter() - began
    asked(shell, lambda text: command(text, "--no-indexing"), texts, found)
    found.unchecked_s = found.query_s
    asked(shell, command, texts, found)
    found.query_mb = shell.peak_mb(command(texts[0]))
    found.disk_mb = (datadir / "db.sqlite3").stat().st_size / 1e6
    new = pictures / extra.name
    shutil.copy(extra, new)
    found.new_s = material.timed(lambda: shell(command(texts[-1])))
    new.unlink()
    return found


def script(pictures: Path, model: Path, base: Path, texts: list[str]) -> Found:
    """Two commands; a new picture is the whole index again."""
    found = Found()
    shell = Shell(base, {**os.environ, "HF_HUB_OFFLINE": "1"})
    file = base / "vectors.npz"

    def command(text: str) -> list[str]:
        return [sys.executable, __file__, "--script-search", str(model), str(file), text]

    began = time.perf_counter()
    found.index_mb = shell.peak_mb([sys.executable, __file__, "--script-index", str(pictures), str(model), str(file)])
    shell(command(texts[0]))
    found.first_s = time.perf_counter() - began
    asked(shell, command, texts, found)
    found.query_mb = shell.peak_mb(command(texts[0]))
    found.disk_mb = file.stat().st_size / 1e6
    return found


def same(found: Found, other: Found) -> float:
    """The share of the best that both have found, over all queries."""
    shares = [len(set(found.best[text]) & set(other.best[text])) / BEST for text in found.best]
    return float(np.mean(shares))


def compared(report: Report, count: int, mine: Found, name: str, theirs: Found) -> None:
    """Ours over one of the others."""
    report.add(
        Row(f"{count:,} pictures, from the start to the first answer, over {name}", mine.first_s, theirs.first_s, "s"),
        Row(f"a query from the shell, over {name}", mine.query_s * 1e3, theirs.query_s * 1e3, "ms"),
    )
    if theirs.unchecked_s:
        what = f"a query from the shell, over {name} that is told not to look at the folder"
        report.add(Row(what, mine.query_s * 1e3, theirs.unchecked_s * 1e3, "ms"))
    if theirs.new_s:
        report.add(Row(f"one new picture and a query, over {name}", mine.new_s, theirs.new_s, "s"))
    report.add(
        Row(f"memory while indexing, at most, over {name}", mine.index_mb, theirs.index_mb, "MB"),
        Row(f"memory while asked, at most, over {name}", mine.query_mb, theirs.query_mb, "MB"),
        Row(f"memory between queries, over {name}", mine.resting_mb, theirs.resting_mb, "MB"),
        Row(f"the index on disk, over {name}", mine.disk_mb, theirs.disk_mb, "MB"),
    )


def main() -> None:
    """Make the model, then the others, then ours; each alone."""
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=500, help="pictures")
    parser.add_argument("--queries", type=int, default=10)
    parser.add_argument("--no-rclip", action="store_true", help="the script only")
    parser.add_argument("--weights", nargs=2, type=Path, metavar=("FOLDER", "DATADIR"), help="only write them")
    parser.add_argument("--script-index", nargs=3, type=Path, metavar=("PICTURES", "MODEL", "FILE"))
    parser.add_argument("--script-search", nargs=3, metavar=("MODEL", "FILE", "TEXT"))
    options = parser.parse_args()
    if options.weights:
        weights(*options.weights)
    elif options.script_index:
        index(*options.script_index)
    elif options.script_search:
        model, file, text = options.script_search
        search(Path(model), Path(file), text)
    else:
        report = Report()
        with tempfile.TemporaryDirectory(prefix="meme-") as temporary:
            measure(report, Path(temporary), options.count, options.queries, with_rclip=not options.no_rclip)
        report.save(options.json)


def measure(report: Report, base: Path, count: int, queries: int, *, with_rclip: bool) -> None:
    """All of it."""
    home, model, datadir, extra = base / "home", base / "model", base / "rclip", base / "extra"
    home.mkdir()
    pictures = home / "Memes"
    material.pictures(pictures, count)
    material.pictures(extra, 1, seed=1)
    (new,) = extra.iterdir()
    subprocess.run([floor.environment(), __file__, "--weights", str(model), str(datadir)], check=True)
    texts = [text.rpartition(" ")[0] for text in material.queries(queries)]  # a number would be found in names
    others = {SCRIPT: script(pictures, model, base, texts)}
    if with_rclip:
        try:
            others[RCLIP] = rclip(environment(), pictures, datadir, texts, new)
        except subprocess.CalledProcessError as error:
            report.note(f"rclip could not be installed: {error}")
    mine = ours(home, model, texts, new)
    for name in sorted(others, key=lambda name: name != RCLIP):
        compared(report, count, mine, name, others[name])
    agree = f"ours and the script {same(mine, others[SCRIPT]):.0%}"
    if RCLIP in others:
        agree += f", rclip and the script {same(others[RCLIP], others[SCRIPT]):.0%}"
    report.note(
        "Of the best that are found, so much is the same (with one model nearly all, but for what resizing rounds and "
        f"what ours holds back as fitting nothing): {agree}."
    )
    report.note(
        "Ours waits in the background with the model loaded and keeps the index in step with the folder by itself: "
        "that is what its memory between queries buys. It decodes in processes of their own with limits, digests files "
        "whole, reads up to 8 frames of animations (these pictures have one), searches names and tags too, and words "
        "in pictures (reading those is off here)."
    )
    if RCLIP in others:
        report.note(
            "rclip holds nothing between queries. For each it loads ONNX Runtime and a text tower, and looks whether "
            "files have changed unless told not to. It decodes in threads of its own process and takes an animation's "
            "first frame. Its published weights can't be had without a model hub: its files hold ours, of the same "
            "shape and precision, with a vocabulary of the same size."
        )
    report.note(
        "The script keeps nothing in step: a new picture is the whole index again. It prepares and encodes in turn."
    )


if __name__ == "__main__":
    main()
