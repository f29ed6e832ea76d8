"""What the benchmarks work on: pictures, models of the right shape, indexes of any size. Measures nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tests" / "plugins")]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from memewatchd.encoders.two_towers import TwoTowers

# Shares of a meme folder, by rule of thumb.
FORMATS = ("JPEG",) * 10 + ("PNG",) * 5 + ("WEBP",) * 3 + ("GIF", "BMP")
SIDES = (300, 1300)
FILES_ROWS = 5000
WORDS = ("cat", "dog", "frog", "crying", "angry", "happy", "coffee", "monday", "boss", "sleep", "money", "egg")


def pictures(folder: Path, count: int, seed: int = 0) -> None:
    """``count`` pictures unlike each other: smooth and rough parts, shapes and a caption, sides of 300 to 1,300."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    low, high = (np.log(side) for side in SIDES)
    for number in range(count):
        kind = FORMATS[number % len(FORMATS)]
        width, height = (int(np.exp(random.uniform(low, high))) for _ in range(2))
        rough = random.integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), dtype=np.uint8)
        image = Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)
        if number % 2:  # half are photographs: something in every pixel
            grain = random.integers(-12, 13, (height, width, 1))
            image = Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(image)
        x, y = int(random.integers(width)), int(random.integers(height))
        draw.ellipse((x, y, x + width // 3, y + height // 3), fill="yellow", outline="black", width=5)
        draw.text((10, 10), f"meme {number:05}", fill="white", stroke_fill="black", stroke_width=2, font_size=32)
        options: dict[str, Any] = {"quality": 85} if kind in ("JPEG", "WEBP") else {}
        suffix = {"JPEG": "jpg"}.get(kind, kind.lower())
        image.save(folder / f"{seed}-{number:05}.{suffix}", kind, **options)


def small_pictures(folder: Path, count: int, seed: int) -> None:
    """Many, quickly made."""
    from real_daemon import pictures as make

    make(folder, range(seed, seed + count))


def clip(folder: Path, patch: int) -> Path:
    """A CLIP of ViT-B's shape with patches of so many pixels and random weights, in the hub's format."""
    import models

    return models.write("clip", folder, patch=patch)


def bundled() -> Path:
    """The folder of the bundled model."""
    from memewatchd.encoders import bundled as ours

    return ours.FOLDER


def encoder(folder: Path, name: str = "bare") -> TwoTowers:
    """A model as the daemon runs it."""
    from memewatchd.encoders.models import encoder_class

    return encoder_class(folder).load(folder, name, device="cpu")


@dataclass(frozen=True)
class Index:
    """An index that was filled by hand. ``vectors``: those of its pictures, unit length, (n, dim)."""

    fingerprint: str
    vectors: np.ndarray[Any, Any]


def fill(home: Path, count: int, folder: str = "many") -> Index:
    """``count`` files below ``home/Memes`` and the rows that say they are indexed, with random vectors.

    What is in the files is no picture: who reads one finds that out, and ``failed`` tells.
    """
    from memewatchd.index.engine import Engine
    from memewatchd.index.state import State, write_state
    from memewatchd.index.store import Store
    from memewatchd.meme import Digest, FileRow, FileStat, new_digest

    model = encoder(bundled(), "bundled")
    root = home / "Memes"
    state = state_dir(home)
    state.mkdir(parents=True, mode=0o700, exist_ok=True)
    (root / folder).mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    vectors = random.standard_normal((count, model.dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    paths = [root / folder / f"{number:06}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number)
    time.sleep(0.05)  # what is younger than 20 ms when it is looked at is looked at again
    digests = []
    for number in range(count):
        hasher = new_digest()
        hasher.update(b"%d" % number)
        digests.append(Digest(hasher.hexdigest()))
    with Engine.open(str(state / "index.db"), "", state) as engine:
        store = Store(engine)
        store.open_files()
        store.open_words()
        store.open_pictures(model.fingerprint, model.dim)
        for start in range(0, count, FILES_ROWS):
            part = range(start, min(count, start + FILES_ROWS))
            store.insert_pictures((digests[n], 0, vectors[n]) for n in part)
            store.insert_files(
                FileRow(
                    os.fsencode(paths[n]), FileStat.of(os.stat(paths[n])), digests[n], 1,
                    width=8, height=8, frames=1, text=f"{n:06}", kind="png",
                )
                for n in part
            )  # fmt: skip
    root_stat = os.stat(root)
    write_state(state, State(model.fingerprint, "bundled", {os.fsencode(root): (root_stat.st_dev, root_stat.st_ino)}))
    return Index(model.fingerprint, vectors)


def state_dir(home: Path) -> Path:
    """Where a daemon of this home keeps its state."""
    return home / ".local" / "state" / "memewatchd"


def tree(pid: int) -> list[int]:
    """A process and all that it has started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def memory_mb(pids: list[int]) -> float:
    """What these processes hold in memory; pages that they share count once."""
    total = 0
    for pid in pids:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        total += int(found[1]) if found else 0
    return total * 1024 / 1e6


def cpu_s(pids: list[int]) -> float:
    """Processor time that these have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def queries(count: int, seed: int = 0) -> list[str]:
    """Unlike each other, so that no cache knows them, and like what people ask."""
    random = np.random.default_rng(seed)
    return [f"{' '.join(random.choice(WORDS, 3))} {number}" for number in range(count)]


@contextlib.contextmanager
def connected(socket_path: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """One connection, as a function that sends a request and returns its reply, however long that takes."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(socket_path)
        stream = sock.makefile("rb")

        def send(**request: Any) -> dict[str, Any]:
            sock.sendall(json.dumps(request).encode() + b"\n")
            reply: dict[str, Any] = json.loads(stream.readline())
            assert reply.get("ok"), reply
            return reply

        yield send


if __name__ == "__main__":
    print(__doc__)
