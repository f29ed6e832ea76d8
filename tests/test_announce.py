"""What `make run` shows, on a terminal and into a file or pipe."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import pytest

from memewatchd import announce
from memewatchd.announce import Announcer, client_command, daemon_command
from memewatchd.config import CLIENT_VARIABLE
from memewatchd.index.catalog import Catalog
from memewatchd.meme import Digest, FileRow, FileStat
from memewatchd.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

CLEAR = "\r\x1b[K"


class Out(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


class ClosedPipe(Out):
    def write(self, _: str) -> int:
        raise BrokenPipeError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """Time that passes as the announcer sleeps: at each look, ``acts`` says what has become of things."""

    def __init__(self, out: Out, monkeypatch: pytest.MonkeyPatch, enabled: bool = True) -> None:
        self.out = out
        self.clock = Clock()
        self.catalog = Catalog()
        self.progress = Progress(self.clock)
        self.announcer = Announcer(self.progress, self.catalog, enabled=enabled, out=out)
        self.acts: list[Callable[[], None]] = []
        self.slept = 0
        monkeypatch.setattr(announce.asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.clock.now += seconds
        self.slept += 1
        assert self.slept < 10_000
        if self.acts:
            self.acts.pop(0)()

    def index(self, total: int, done: int) -> None:
        for number in range(len(self.catalog.rows()), done):
            path = b"/m/%d.png" % number
            self.catalog.put(FileRow(path, FileStat(1, 1, 1, number), Digest("d"), 0, 1, 1, 1))
        self.catalog.add_vector(Digest("d"))
        self.progress.scanned = True
        self.progress.encoded = 1
        self.progress.pending = total - done

    def fail(self, path: bytes) -> None:
        self.catalog.put(FileRow(path, FileStat(0, 1, 1, 1), Digest(""), 0, error="empty file"))

    def play(self, closing: Callable[[], list[str]] = list) -> str:
        asyncio.run(self.announcer.follow(closing))
        return self.out.getvalue()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(Out(is_terminal=True), monkeypatch)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(Out(is_terminal=False), monkeypatch)


def pace(stage: Stage, total: int, step: int) -> None:
    """From now on ``step`` files are settled at each look."""
    done = len(stage.catalog.rows())

    def act(done: int) -> Callable[[], None]:
        def work() -> None:
            stage.index(total, done)
            stage.progress.count_settled(step)

        return work

    stage.acts += [act(min(done + step * n, total)) for n in range(1, -(-(total - done) // step) + 1)]


def test_a_terminal_has_one_line_that_changes_and_then_the_closing_lines(terminal: Stage) -> None:
    pace(terminal, total=200, step=10)
    shown = terminal.play(lambda: ["words in pictures are not read yet", "memewatchd --model siglip2 finds more"])
    lines = shown.split("\n")
    steps = lines[0].split(CLEAR)
    assert steps[:3] == ["", "looking at the folder and loading the model…", "indexing: 10 of 200"]
    assert "indexing: 100 of 200, 20/s, about 5 s left" in steps
    assert steps[-1] == "settled: 200 memes can be found"  # in the line's place
    assert lines[1:] == ["words in pictures are not read yet", "memewatchd --model siglip2 finds more", ""]


def test_a_line_that_stays_takes_the_place_of_the_one_that_changes(terminal: Stage) -> None:
    terminal.acts = [
        lambda: terminal.index(10, 5),
        lambda: terminal.announcer.say("a line"),
        lambda: terminal.index(9, 9),
    ]
    shown = terminal.play()
    assert f"{CLEAR}indexing: 5 of 10{CLEAR}a line\n" in shown
    assert shown.endswith("settled: 9 memes can be found\n")


def test_elsewhere_there_are_few_lines_and_no_escapes(pipe: Stage) -> None:
    pace(pipe, total=2000, step=10)
    lines = pipe.play().splitlines()
    assert all(line.isprintable() for line in lines)
    assert 100 / announce._LINE_S - 2 <= len(lines) <= 100 / announce._LINE_S + 2  # 100 s
    assert lines[1] == "indexing: 190 of 2000, 20/s, about 1 min 30 s left"
    assert lines[-1] == "settled: 2000 memes can be found"


def test_elsewhere_a_quick_start_is_one_line(pipe: Stage) -> None:
    pipe.acts = [lambda: pipe.index(5, 5)]
    assert pipe.play() == "settled: 5 memes can be found\n"


def test_failed_files_are_named_at_the_end(pipe: Stage) -> None:
    pipe.fail(b"/m/bad.png")
    pipe.index(3, 3)
    assert pipe.play() == "settled: 2 memes can be found, 1 could not be read (memewatch failed says why)\n"


def test_trouble_is_said_and_what_heals_goes_on(terminal: Stage) -> None:
    def heal() -> None:
        terminal.progress.problems.clear()
        terminal.index(1, 1)

    terminal.progress.problems["index"] = "Milvus is away; start it"
    terminal.progress.away = {b"/m": "/m is missing"}
    terminal.acts = [lambda: None, lambda: setattr(terminal.progress, "away", {}), heal]
    shown = terminal.play()
    assert f"{CLEAR}Milvus is away; start it; /m is missing{CLEAR}Milvus is away; start it{CLEAR}settled" in shown


def test_while_the_model_is_loading(terminal: Stage) -> None:
    def scanned() -> None:
        terminal.progress.scanned = True
        terminal.progress.pending = 3

    terminal.acts = [scanned, lambda: terminal.index(3, 3)]
    assert "indexing: 0 of 3 (the model is loading)" in terminal.play()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59.4, "59 s"), (59.9, "1 min 00 s"), (61, "1 min 01 s"), (7260, "2 h 01 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert announce._duration(seconds) == text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_closed_pipe_is_quiet(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    stage = Stage(ClosedPipe(is_terminal), monkeypatch)
    stage.announcer.say("hello")
    pace(stage, total=30, step=1)
    stage.play(lambda: ["the end"])
    assert stage.progress.state == "settled"


def test_not_enabled_it_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(Out(is_terminal=True), monkeypatch, enabled=False)
    stage.announcer.say("hello")
    assert stage.play(lambda: ["the end"]) == ""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_what_the_terminal_can_not_show_is_replaced(encoding: str) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    Announcer(Progress(), Catalog(), enabled=True, out=out).say("watches /m\udcff and /梗…")
    shown = raw.getvalue().decode(encoding)
    assert shown == ("watches /m? and /梗…\n" if encoding == "utf-8" else "watches /m? and /??\n")


def test_how_people_call_the_client_and_the_daemon() -> None:
    environ = {"XDG_RUNTIME_DIR": "/run/user/7"}
    assert client_command(environ, "/run/user/7/memewatchd.sock") == "memewatch"
    assert client_command(environ, "/my own/s") == "memewatch --socket '/my own/s'"
    given = {**environ, CLIENT_VARIABLE: "'/my clone/bin/memewatch' --socket s"}
    assert client_command(given, "/my own/s") == "'/my clone/bin/memewatch' --socket s"
    assert daemon_command("memewatch --socket s") == "memewatchd"
    assert daemon_command("'/my clone/bin/memewatch' --socket s") == "'/my clone/bin/memewatchd'"


def test_lines_name_commands_as_they_must_be_typed() -> None:
    progress, catalog, out = Progress(), Catalog(), Out(is_terminal=False)
    progress.scanned = True
    catalog.put(FileRow(b"/m/bad.png", FileStat(0, 1, 1, 1), Digest(""), 0, error="empty file"))
    announcer = Announcer(progress, catalog, enabled=True, out=out, client=".venv/bin/memewatch --socket s")
    asyncio.run(announcer.follow(lambda: ["siglip2 is better: memewatchd --model siglip2"]))
    settled, advice = out.getvalue().splitlines()
    assert "(.venv/bin/memewatch --socket s failed says why)" in settled
    assert advice == "siglip2 is better: .venv/bin/memewatchd --model siglip2"
