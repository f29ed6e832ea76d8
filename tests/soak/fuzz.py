"""Coverage-guided fuzzing of what reads other people's bytes, with atheris (the extra ``soak``).

    python tests/soak/fuzz.py kinds|decode|line|query [--seconds 60] [--seed 1] [--corpus FOLDER]

Ends with 0 where nothing was found, else with the traceback and the name of a file that holds the input. A corpus
folder that is given is read and added to; without one, a new one is thrown away.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
sys.path[:0] = [str(HERE), str(REPO / "tests" / "plugins"), str(REPO)]

if TYPE_CHECKING:
    from collections.abc import Callable

    from report import Row

Target = tuple["Callable[[bytes], None]", list[bytes]]
"""What is called, and what to begin with."""


def kinds() -> Target:
    """The first bytes, and the walks over a file's skeleton, each on its own."""
    from memewatchd.pictures import kinds, structure

    def look(data: bytes) -> None:
        kind = kinds.sniff(data[: kinds.HEAD_BYTES])
        assert kind is None or kind in ("png", "jpeg", "gif", "webp", "avif", "heic", "bmp", "tiff")
        kinds.why_not_a_picture(b"a." + data[:20], len(data))
        kinds.has_picture_extension(data[:40])
        if kind is None:
            return
        try:
            structure.declared_size(kind, data)
            if kind == "gif":
                assert structure.count_gif_frames(data) >= 1
            if kind == "png":
                assert structure.count_png_frames(data) >= 1
                if len(data) > 28:  # Pillow has read the header by then
                    structure.check_png_rows(data)
            if kind in ("avif", "heic"):
                structure.check_boxes(data)
            if kind == "webp":
                structure.check_riff(data)
        except (structure.CutOffError, ValueError):
            pass

    return look, _pictures()


def decode() -> Target:
    """All that a decode child does with a file, within small limits."""
    import os

    import guarded

    from memewatchd.errors import PictureError
    from memewatchd.meme import FrameSpec
    from memewatchd.pictures import decode as child
    from memewatchd.pictures import formats
    from memewatchd.pictures.wire import Job, Limits

    limits = Limits(max_pixels=1_000_000, max_bytes=1 << 20, memory_bytes=256 << 20)
    job = Job(FrameSpec("shortest", 16, 16), 3)
    formats.prepare_pillow(limits.max_pixels)
    fd = os.memfd_create("picture")

    def look(data: bytes) -> None:
        os.ftruncate(fd, 0)
        os.pwrite(fd, data, 0)
        try:
            reply, pixels = child.answer(fd, job, limits)
        except PictureError as error:
            assert guarded.is_for_people(str(error)), f"is this for people? {error}"
        except MemoryError:
            pass
        else:
            assert len(pixels) == reply["frames"] * 16 * 16 * 3
            assert 1 <= reply["width"] * reply["height"] <= limits.max_pixels

    return look, _pictures()


def line() -> Target:
    """A line that a client sends: read, checked, and its refusal written."""
    import json

    from memewatchd import ops, protocol
    from memewatchd.errors import RequestError

    def look(data: bytes) -> None:
        data = data.replace(b"\n", b"")
        plain = protocol.is_plain(data)
        id_json = ""
        try:
            read = protocol.read_line(data)
            id_json = read.id_json
            request = protocol.check_line(read)
            assert request.plain is plain
            assert request.args.keys() == ops.OPS[request.op].keys()
            protocol.encode({"ok": True}, id_json).decode()
        except RequestError as error:
            said = protocol.plain_error(error) if plain else protocol.encode(protocol.error_reply(error), id_json)
            said.decode()
            assert said.count(b"\n") == (2 if plain else 1)
            assert len(said) < 500 + 6 * len(id_json)
            if not plain:
                assert json.loads(said)["error"]["code"] == error.code

    asked = [b'{"op": "search", "text": "angry cat", "limit": 3, "timeout": 1.5, "min_score": 0.1, "partial": true}']
    asked += [b'{"op": "wait", "timeout": 3, "id": [1, {"a": null}]}', b'{"op": "rescan", "forget_missing": true}']
    asked += [b'{"op": "search", "like": [{"path": "/x"}]}', b"angry cat\r", b'{"op": "status", "id": "\\ud800"}']
    return look, [*asked, b'{"op": "reindex"}', b"[1e999, NaN, 18446744073709551616]", "生气".encode()]


def query() -> Target:
    """The words of a search, against names."""
    from memewatchd.errors import BadRequest
    from memewatchd.search.query import parse
    from memewatchd.words import is_literal, name_words

    def look(data: bytes) -> None:
        name_words(data)
        text = data.decode("utf-8", "ignore")
        try:
            asked = parse(text)
        except BadRequest as error:
            assert str(error)
            return
        assert asked.text == " ".join(asked.text.split())
        is_literal(asked.words, name_words(data))

    words = [
        '-dog "exact words"',
        "ext:gif is:animated",
        "re:zero -_- --",
        "猫 生气 ＂引号＂ 「」：－",
        "in:a/ after:2025-01-31",
    ]
    return look, [text.encode() for text in words]


TARGETS = {"kinds": kinds, "decode": decode, "line": line, "query": query}


def _pictures() -> list[bytes]:
    import random

    import pictures_forged as forged

    chance = random.Random(1)
    small = forged.picture(1).resize((9, 7))
    found = [forged.encode(small.convert(mode), kind, **options) for kind, mode, options in forged.LAYOUTS]
    found += [forged.giant(chance)[1] for _ in range(12)]
    found += [forged.spoilt_margin(chance, forged.picture(2))[1] for _ in range(12)]
    return [*found, *(magic + bytes(40) for magic in forged.MAGICS)]


def installed() -> bool:
    """Whether atheris is there."""
    return importlib.util.find_spec("atheris") is not None


def into(row: Row, targets: list[str], seconds: float, seed: int) -> None:
    """Share ``seconds`` among these targets, each in a process of its own, and put what came out into the row."""
    if not installed():
        row.notes.append("atheris isn't installed: nothing fuzzed (pip install -e '.[soak]')")
        return
    for target in targets:
        command = [sys.executable, str(HERE / "fuzz.py"), target, "--seed", str(seed)]
        command += ["--seconds", f"{seconds / len(targets):.0f}"]
        done = subprocess.run(command, capture_output=True, check=False, cwd=REPO)
        said = done.stderr.decode(errors="replace")
        counts = re.findall(r"Done (\d+) runs|^#(\d+)\s", said, re.MULTILINE)
        runs = max((int(a or b) for a, b in counts), default=0)
        row.notes.append(f"{runs:,} inputs fuzzed into {target}")
        row.check(done.returncode == 0 and runs, f"fuzzing {target}: {said[-1500:]}")


def main() -> None:
    """Run one target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path)
    options = parser.parse_args()
    if not installed():
        sys.exit("atheris isn't installed: pip install -e '.[soak]'")
    if options.corpus is None:  # libFuzzer ends the process without a last word to Python
        with tempfile.TemporaryDirectory(prefix="fuzz-") as corpus:
            sys.exit(subprocess.run([sys.executable, *sys.argv, "--corpus", corpus], check=False).returncode)
    import atheris

    ours = ["memewatchd.pictures", "memewatchd.protocol", "memewatchd.search.query", "memewatchd.words"]
    with atheris.instrument_imports(include=[*ours, "PIL", "json"], enable_loader_override=False):
        look, seeds = TARGETS[options.target]()
    options.corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (options.corpus / f"seed{number:03}").write_bytes(seed)
    found = Path(tempfile.gettempdir()) / f"fuzz-{options.target}-{int(time.time())}-"
    arguments = [sys.argv[0], f"-max_total_time={max(1, round(options.seconds))}", f"-seed={options.seed}"]
    arguments += [
        "-max_len=4096",
        "-timeout=20",
        "-rss_limit_mb=3000",
        f"-artifact_prefix={found}",
        str(options.corpus),
    ]
    atheris.Setup(arguments, look)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
