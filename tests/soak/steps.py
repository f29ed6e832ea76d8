"""An end between every two calls to Milvus: one after the other, each once just before and once just after the call.

The real mirror, ledger and store on the real embedded Milvus go through one scenario that holds every kind of change,
in a process that ends, as by a power cut, at its k-th call. Another process then opens what is left, and must come
to exactly what the disk holds: one row a path, and nothing encoded that was stored. k grows until nothing is cut off.
Decoder and model are those of tests/mirror: they can't lose anything.

Run as a program, this tries the steps named, or all, and prints a line of JSON for each: it has imported everything and
has no threads, so that each process is a fork of it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(REPO))

from memewatchd.index.engine import Engine  # noqa: E402
from memewatchd.index.store import Store  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from report import Row

CUT = 77
"""The exit status of a process that was cut off where it was to be."""
MOST_CALLS = 500
PATIENCE_S = 60


def mirror_tests() -> Any:
    """tests/mirror/conftest.py, with its rig."""
    spec = importlib.util.spec_from_file_location("mirror_rig", REPO / "tests" / "mirror" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class CutEngine(Engine):
    """Ends the process at the ``at``-th call from when that is set."""

    at = -1
    when = "before"
    calls = 0

    def call(self, doing: str, function: Callable[[Any], Any]) -> Any:
        self.calls += 1
        here = self.calls == self.at
        if here and self.when == "before":
            os._exit(CUT)
        result = super().call(doing, function)
        if here:
            os._exit(CUT)
        return result


@contextlib.contextmanager
def rig_in(home: Path, tests: Any) -> Iterator[Any]:
    """A rig over this home's folder and embedded Milvus, not started."""
    state = home / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    engine = CutEngine(str(state / "index.db"), "", state)
    store = Store(engine)

    def open_index() -> None:
        engine.revive()
        store.open_files()

    rig = tests.Rig([os.fsencode(home / "Memes")], tests.FakeDecoder(), store=store, open_index=open_index)
    try:
        yield rig
    finally:
        rig.close()
        engine.close()


def digests(rig: Any) -> list[str]:
    return sorted(rig.store.picture_digests())


def cut(home: Path, at: int, when: str, tests: Any) -> None:
    """Index, change everything, and go on until cut off."""
    with rig_in(home, tests) as rig:
        png = tests.png
        for number in range(6):
            rig.write(f"{number}.png", png(number))
        rig.start()
        rig.wait()
        os.unlink(rig.path("5.png"))
        rig.wait()  # leaves a tombstone
        rig.stop()
        rig.model.encoded.clear()
        for number in (10, 11, 12):  # add 3
            rig.write(f"{number}.png", png(number))
        rig.move("0.png", "renamed.png")
        rig.write("1.png", png(20))  # rewrite
        os.unlink(rig.path("2.png"))  # delete
        rig.write("back.png", png(5))  # returns from its tombstone
        rig.write("copy.png", png(3))
        engine = rig.store._engine
        engine.calls, engine.at, engine.when = 0, at, when
        rig.start()
        rig.wait()
        rig.stop()
        rig.assert_equal_to_disk()
        (home / "calls").write_text(str(engine.calls))


def look(home: Path, tests: Any) -> None:
    """What is stored now, and whether it comes to what the disk holds without encoding that again."""
    with rig_in(home, tests) as rig:
        rig.open_index()
        stored: set[str] = set()
        with contextlib.suppress(Exception):  # no model's collection yet: then nothing is stored
            rig.store.open_pictures(rig.model.fingerprint, tests.DIM)
            stored = rig.store.picture_digests()
        rig.start()
        rig.wait()
        rig.assert_equal_to_disk()
        again = [digest for digest in stored if rig.encoded(digest)]
        assert not again, f"encoded again: {again}"
        assert len(rig.indexed) == 9
        hits = rig.store.search_pictures(tests.np.ones(tests.DIM, "float32"), 1000)
        assert len({(hit.digest, hit.frame) for hit in hits}) == len(hits), "a picture is stored twice"
        rig.restart()
        rig.wait()
        rig.assert_equal_to_disk()
        assert rig.reader.opened == [], "files are read again by a third"


def in_child(work: Callable[[], None], log: Path) -> int:
    """Its exit status, run in a fork of ours, which has no threads."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.dup2(said, 1)
            os.dup2(said, 2)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - a child's end is told to its parent
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            return -1
        time.sleep(0.01)


def serve(steps: Sequence[int] | None, until: float) -> None:
    """One line a step: ``[k, when, what is wrong, "" where nothing is]``, or ``[k, "end", ""]``. Forks at each."""
    import shutil
    import tempfile

    tests = mirror_tests()
    from memewatchd.index.pymilvus_client import import_pymilvus

    import_pymilvus()
    for k in steps or range(1, MOST_CALLS):
        for when in ("before", "after"):
            home = Path(tempfile.mkdtemp(prefix="meme-"))
            try:
                (home / "Memes").mkdir()
                log = home / "log"
                code = in_child(lambda home=home, k=k, when=when: cut(home, k, when, tests), log)  # type: ignore[misc]
                if code == 0:
                    print(json.dumps([k, "end", ""]), flush=True)
                    return
                wrong = ""
                if code != CUT:
                    wrong = f"it ended with {code} before it was cut off: {log.read_text()[-800:]}"
                elif code := in_child(lambda home=home: look(home, tests), log):  # type: ignore[misc]
                    wrong = f"the next one ended with {code}: {log.read_text()[-800:]}"
                print(json.dumps([k, when, wrong]), flush=True)
            finally:
                shutil.rmtree(home, ignore_errors=True)
        if time.time() > until:
            return


def campaign(seconds: float, seed: int, *, steps: Sequence[int] | None = None) -> Row:
    """All steps, at least once, whatever the time; or only some."""
    import subprocess

    from report import Row

    row = Row("steps", "ends between two calls to Milvus")
    command = [sys.executable, str(HERE / "steps.py"), str(time.time() + max(seconds, 600)), *map(str, steps or ())]
    calls = 0
    with subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            k, when, wrong = json.loads(line)
            if when == "end":
                calls = k - 1
                continue
            row.tried += 1
            row.check(not wrong, f"{when} call {k}: {wrong}")
    row.check(process.returncode == 0, f"the steps ended with {process.returncode}")
    if steps is None:
        row.check(calls > 0, "not all of them were tried")
        row.notes.append(f"each of the {calls} calls of the scenario, before and after")
    return row


if __name__ == "__main__":
    serve([int(k) for k in sys.argv[2:]] or None, float(sys.argv[1]))
