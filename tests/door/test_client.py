from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memewatchd import __version__, protocol
from memewatchd.desktop import arguments, output
from memewatchd.desktop.arguments import UsageError, parse

PATIENCE_S = 30.0


class Client:
    """`memewatch`, started as a program."""

    def __init__(self, path: str) -> None:
        self.path = path

    def start(self, *words: str | bytes, **more: Any) -> subprocess.Popen[bytes]:
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(protocol.__file__).parents[1]),
            "PYTHONWARNINGS": "error",
            "MEMEWATCHD_SOCKET": self.path,
        }
        command = [sys.executable, "-X", "dev", "-m", "memewatchd.client", *words]
        options = {"env": environ, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        return subprocess.Popen(command, **options)

    def __call__(self, *words: str | bytes, **more: Any) -> tuple[int, bytes, str]:
        """Exit code, standard output, standard error."""
        with self.start(*words, **more) as started:
            out, err = started.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in (err or b"").decode()
        return started.returncode, out, (err or b"").decode()


@pytest.fixture
def memewatch(door: Any) -> Client:
    return Client(door.path)


# ---- search


def test_search_prints_a_path_a_line_raw(memewatch: Client, house: Any) -> None:
    assert memewatch("search", "angry", "cat") == (0, b"".join(path + b"\n" for path in house.paths), "")
    assert house.requests[-1].args["text"] == "angry cat"


def test_search_print0(memewatch: Client, house: Any) -> None:
    expected = (0, b"".join(path + b"\0" for path in house.paths), "")
    assert memewatch("search", "-0", "cat") == memewatch("search", "cat", "--format", "print0") == expected


def test_search_json_is_a_hit_a_line_as_the_daemon_gave_it(memewatch: Client, house: Any) -> None:
    house.paths = [b"/memes/\xff.png", "/memes/猫.png".encode()]
    code, out, _ = memewatch("search", "cat", "--json")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == [
        {"path": "/memes/\ufffd.png", "path_b64": "L21lbWVzL/8ucG5n", "score": 0.5},
        {"path": "/memes/猫.png", "score": 0.4},
    ]
    assert "猫".encode() in out


def test_search_tsv_escapes(memewatch: Client) -> None:
    code, out, _ = memewatch("search", "cat", "--format=tsv")
    assert code == 0
    assert out.splitlines()[2:] == [b"0.3\t/memes/new\\nline.png", b"0.2\t/memes/ta\\tb\\\\.png"]


def test_search_sends_its_options(memewatch: Client, house: Any) -> None:
    assert memewatch("-n", "2", "search", "a", "--min-score", "-0.25", "b")[0] == 0
    args = house.requests[-1].args
    assert (args["text"], args["limit"], args["min_score"]) == ("a b", 2, -0.25)


def test_search_without_words(memewatch: Client, house: Any) -> None:
    assert memewatch("search")[0] == 0
    assert house.requests[-1].args["text"] == ""


def test_a_minus_word_is_query(memewatch: Client, house: Any) -> None:
    assert memewatch("search", "cat", "-dog", "-nap", "--", "-n", "--json")[0] == 0
    assert house.requests[-1].args["text"] == "cat -dog -nap -n --json"


def test_nothing_found_is_1_and_silent(memewatch: Client) -> None:
    assert memewatch("search", "nothing") == (1, b"", "")
    assert memewatch("search", "nothing", "--json") == (1, b"", "")


def test_what_the_daemon_refuses_is_2(memewatch: Client) -> None:
    assert memewatch("search", "a filter") == (2, b"", "memewatch: the filter ext: is not there yet\n")
    code, out, err = memewatch("search", "a bug")
    assert (code, out) == (2, b"")
    assert "internal error" in err


def test_matches_by_name_only_are_announced(memewatch: Client) -> None:
    code, out, err = memewatch("search", "early")
    assert code == 0
    assert out.startswith(b"/memes/cat.png\n")
    assert "still loading" in err


def test_words_that_are_not_utf8_are_refused(memewatch: Client) -> None:
    code, out, err = memewatch("search", b"\xff")
    assert (code, out) == (2, b"")
    assert "not UTF-8" in err


# ---- the other commands


def test_list(memewatch: Client, house: Any) -> None:
    house.paths = [b"/a.png", b"/b\tc.png"]
    assert memewatch("list") == (0, b"/a.png\n/b\tc.png\n", "")
    assert memewatch("list", "-0") == (0, b"/a.png\0/b\tc.png\0", "")
    assert memewatch("list", "--format", "tsv")[1].splitlines()[1] == b"5\t2\t3\t1\t" + b"0" * 64 + b"\t/b\\tc.png"
    lines = memewatch("list", "--json")[1].splitlines()
    assert json.loads(lines[0]).keys() == {"path", "digest", "size", "width", "height", "frames"}


def test_failed(memewatch: Client, house: Any) -> None:
    house.paths = [b"/\xff.png"]
    assert memewatch("failed") == (0, b"/\xff.png: it is empty\n", "")
    assert memewatch("failed", "-0") == (0, b"/\xff.png\0", "")
    assert json.loads(memewatch("failed", "--json")[1])["reason"] == "it is\nempty"


@pytest.mark.parametrize("command", ["list", "failed"])
def test_an_empty_list_is_0(memewatch: Client, house: Any, command: str) -> None:
    house.paths = []
    assert memewatch(command) == memewatch(command, "--json") == (0, b"", "")


def test_status(memewatch: Client, house: Any) -> None:
    house.status = {"state": "indexing", "indexed": 1200, "pending": 80, "rate": 41.25, "eta_s": 2.0, "more": "x"}
    code, out, _ = memewatch("status")
    first, bar = out.decode().splitlines()
    assert (code, first) == (0, "indexing: 1,200 memes can be found, 80 to go (41.2/s, about 2 s)")
    assert bar.endswith(" 93 %")
    code, out, _ = memewatch("status", "--json")
    assert (code, json.loads(out), out.count(b"\n")) == (0, house.status, 1)


def test_wait(memewatch: Client, house: Any) -> None:
    assert memewatch("wait") == (0, b"", "")
    assert memewatch("wait", "--timeout", "0.5") == (1, b"", "memewatch: not settled within 0.5 s\n")
    assert memewatch("wait", "--words") == (0, b"", "")
    assert [request.args["words"] for request in house.requests] == [False, False, True]
    house.paused = True
    assert memewatch("wait") == (2, b"", "memewatch: indexing is paused\n")


def test_pause_resume_rescan(memewatch: Client, house: Any) -> None:
    assert memewatch("pause") == (0, b"", "")
    assert house.paused
    assert memewatch("resume") == (0, b"", "")
    assert not house.paused
    assert memewatch("rescan")[0] == memewatch("rescan", "--forget-missing")[0] == 0
    assert [request.args["forget_missing"] for request in house.requests[-2:]] == [False, True]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_events_come_one_by_one_until_interrupted(memewatch: Client, options: list[str]) -> None:
    with memewatch.start("events", *options) as started:
        assert started.stdout is not None
        lines = [started.stdout.readline() for _ in range(3)]
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=PATIENCE_S)
    assert (started.returncode, out, err) == (130, b"", b"")
    if options:
        assert [json.loads(line)["event"] for line in lines] == ["added", "moved", "lost"]
    else:
        assert lines == [b"added\t/memes/a b.png\n", b"moved\t/memes/\xff.png\t/memes/ol\\nd.png\n", b"lost\n"]


def test_events_end_with_3_when_the_daemon_does(memewatch: Client, door: Any) -> None:
    with memewatch.start("events") as started:
        assert started.stdout is not None
        for _ in range(3):
            started.stdout.readline()
        door.close()
        _, err = started.communicate(timeout=PATIENCE_S)
    assert started.returncode == 3
    assert b"hung up" in err


def test_help_and_version_need_no_daemon(folder: Path) -> None:
    memewatch = Client(str(folder / "none"))
    assert memewatch("--version") == (0, f"memewatch {__version__}\n".encode(), "")
    code, out, err = memewatch("--help")
    assert (code, err) == (0, "")
    for command in arguments.COMMANDS:
        assert f"  {command}".encode() in out
        code, text, err = memewatch(command, "--help")
        assert (code, err) == (0, "")
        assert text.startswith(f"usage: memewatch {command}".encode())


def test_used_tells_each_path_as_it_is(memewatch: Client, house: Any) -> None:
    assert memewatch("used", b"/memes/\xff.png", "/memes/x/../cat.png") == (0, b"", "")
    assert house.used == [b"/memes/\xff.png", b"/memes/cat.png"]
    code, out, err = memewatch("used", "/memes/none.png", "/memes/cat.png")
    assert (code, out, err) == (2, b"", "memewatch: path: /memes/none.png is not indexed\n")
    assert house.used[2:] == [b"/memes/cat.png"]
    code, out, err = memewatch("used")
    assert (code, out) == (2, b"")
    assert "used needs the PATH of a meme" in err


# ---- what is wrong


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["search", "--like", "/no/such.png"], "--like /no/such.png: No such file"),
        (["search", "cat", "--like=/dev/null"], "--like /dev/null: the file is empty"),
        (["pick", "--with", "dmenu"], "--with must be one of rofi, fuzzel, wofi, fzf, not 'dmenu'"),
        (["pick"], "no desktop here"),
        (["copy"], "copy needs the PATH of one meme"),
        (["copy", "a.png", "--max-px", "0"], "--max-px must be a whole number from 1 to 8192"),
        (["copy", "a.png", "--as", "jpg"], "--as must be one of auto, png, gif, uri"),
        (["copy", "a.png"], "no clipboard here"),
        (["add"], "add needs a FILE, a URL or --clipboard"),
        (["add", "a.png", "--clipboard"], "one of them"),
        (["search", "cat", "--frmat", "json"], "did you mean --format?"),
        (["search", "cat", "--timeout", "3"], "search has no option --timeout"),
        (["search", "-x", "cat"], "no option '-x'"),
        (["search", "cat", "-n"], "-n needs a value"),
        (["search", "cat", "-n", "ap"], "-n must be a whole number from 1 to 1000, not 'ap'"),
        (["search", "cat", "-n", "0"], "not '0'"),
        (["search", "cat", "-n", "1001"], "not '1001'"),
        (["search", "cat", "--format", "xml"], "--format must be one of text, json, print0, tsv"),
        (["search", "cat", "--min-score", "nan"], "--min-score must be a number"),
        (["search", "--json=1", "cat"], "--json takes no value"),
        (["wait", "--timeout", "-1"], "--timeout must be"),
        (["wait", "now"], "wait takes no words"),
        (["status", "--", "-x"], "status takes no words"),
        (["status", "-0"], "status has no option -0"),
        (["pause", "--json"], "pause has no option --json"),
        (["serach", "cat"], "did you mean search?"),
        (["--socket"], "--socket needs a value"),
        ([], "which command?"),
        (["--socket", "x" * 200, "status"], "107"),
    ],
)
def test_a_command_line_that_is_wrong_is_2(memewatch: Client, house: Any, words: list[str], says: str) -> None:
    code, out, err = memewatch(*words)
    assert (code, out) == (2, b"")
    assert says in err
    assert house.requests == []


@pytest.mark.parametrize("command", ["search", "list", "status", "wait", "failed", "events", "rescan", "pause"])
def test_without_a_daemon_it_is_3(folder: Path, command: str) -> None:
    code, out, err = Client(str(folder / "none"))(command)
    assert (code, out) == (3, b"")
    assert str(folder / "none") in err
    assert "memewatchd --folder" in err


def test_a_socket_that_nobody_listens_on_is_3(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "dead"))
    assert Client(str(folder / "dead"))("status")[0] == 3


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400\r\n", b"[]\n", b'{"ok": false}\n', b'{"ok": tr'])
def test_what_is_no_daemon_is_3(folder: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as client:
                client.recv(1000)
                client.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        code, out, _ = Client(str(folder / "s"))("search", "cat")
        server.join()
    assert (code, out) == (3, b"")


def test_the_socket_may_be_named_before_and_after_the_command(door: Any, folder: Path) -> None:
    memewatch = Client(str(folder / "none"))
    assert memewatch("--socket", door.path, "status")[0] == 0
    assert memewatch("status", f"--socket={door.path}")[0] == 0
    assert memewatch("--socket", "s", "status", cwd=str(folder))[0] == 0


# ---- its output


def test_a_closed_pipe_is_quiet(memewatch: Client, house: Any) -> None:
    house.paths = [b"/memes/%d.png" % number for number in range(50_000)]
    with memewatch.start("list") as started:
        assert started.stdout is not None
        assert started.stderr is not None
        assert started.stdout.readline() == b"/memes/0.png\n"
        started.stdout.close()
        assert started.stderr.read() == b""
    assert started.returncode == 0


def test_a_closed_output_is_quiet_too(memewatch: Client) -> None:
    with memewatch.start("search", "cat", stdout=None, preexec_fn=lambda: os.close(1)) as started:
        _, err = started.communicate(timeout=PATIENCE_S)
    assert (started.returncode, err) == (0, b"")


def test_a_closed_error_output_gets_nothing_onto_the_output(memewatch: Client) -> None:
    with memewatch.start("pick", stderr=None, preexec_fn=lambda: os.close(2)) as started:
        out, _ = started.communicate(timeout=PATIENCE_S)
    assert (started.returncode, out) == (2, b"")


def test_a_full_disk_is_said(memewatch: Client) -> None:
    with Path("/dev/full").open("wb") as full:
        code, _, err = memewatch("search", "cat", stdout=full)
    assert code == 2
    assert "No space left" in err


# ---- the command line, read


@pytest.mark.parametrize(
    ("line", "words", "limit"),
    [
        ("search cat -n 5 dog", ["cat", "dog"], 5),
        ("-n 5 search cat", ["cat"], 5),
        ("search -n 5", [], 5),
        ("search cat -n5", ["cat", "-n5"], None),
        ("search cat -nap", ["cat", "-nap"], None),
        ("search - -x", ["-", "-x"], None),
        ("search -- -dog", ["-dog"], None),
        ("search cat -- -n 5 -- --json", ["cat", "-n", "5", "--", "--json"], None),
        ("search cat -h", ["cat", "-h"], None),
        ("search search", ["search"], None),
    ],
)
def test_options_stand_anywhere_and_the_rest_is_words(line: str, words: list[str], limit: int | None) -> None:
    read = parse(line.split())
    assert (read.command, read.words, read.limit) == ("search", words, limit)


@given(
    st.lists(st.text(max_size=8) | st.sampled_from(["search", "--", "-n", "5", "--json", "-x", "--socket"]), max_size=6)
)
def test_any_command_line_is_read_or_refused(argv: list[str]) -> None:
    try:
        read = parse(argv)
    except UsageError as error:
        assert str(error)
    else:
        assert read.command in arguments.COMMANDS or read.help or read.version


@given(st.lists(st.text(max_size=8), max_size=6))
def test_all_that_follows_two_minuses_is_query(words: list[str]) -> None:
    assert parse(["search", "--", *words]).words == words


# ---- the status in words


def test_a_status_that_says_everything() -> None:
    status = {
        "protocol": 1,
        "state": "degraded",
        "indexed": 1,
        "pending": 0,
        "failed": 3,
        "problems": ["the index\ncan't be reached"],
        "model": "bundled",
        "model_state": "loading",
        "advice": ["It knows no faces.", "memewatchd --model siglip2"],
        "engine": "Milvus Lite 2.5.1",
        "watching": "polling",
        "watching_why": "too few watches",
        "roots": [
            {"path": "/home/u/Memes", "away": False, "why": ""},
            {"path": "/mnt/usb", "away": True, "why": "it is not mounted"},
        ],
        "rate": 0,
        "eta_s": None,
        "uptime_s": 7300.5,
    }
    assert output.status_text(status).splitlines() == [
        "degraded: 1 meme can be found",
        "  failed    3 could not be read (memewatch failed says why)",
        "  problem   the index can't be reached",
        "  model     bundled (loading)",
        "            It knows no faces.",
        "            memewatchd --model siglip2",
        "  index     Milvus Lite 2.5.1",
        "  watching  polling (too few watches)",
        "  folder    /home/u/Memes",
        "  folder    /mnt/usb  AWAY: it is not mounted",
        "  up        2 h",
    ]


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ({"words_pending": 1, "words_state": "on battery"}, "1 picture still to be read (on battery)"),
        (
            {"words_pending": 4321, "words_state": "reading", "words_rate": 1.234, "words_eta_s": 3501.3},
            "4,321 pictures still to be read (1.2/s, about 58 min)",
        ),
        (
            {"words_pending": 2, "words_state": "reading", "words_rate": 0, "words_eta_s": None},
            "2 pictures still to be read",
        ),
        ({"words_pending": 0, "words_state": "not installed: pip install x"}, "not read: not installed: pip install x"),
    ],
)
def test_how_reading_words_goes(status: dict[str, Any], line: str) -> None:
    assert output.status_text(status).splitlines()[1] == f"  words     {line}"


def test_why_indexing_waits() -> None:
    status = {"state": "indexing", "indexed": 2, "pending": 40, "holding": "on battery", "rate": 2.5, "eta_s": 9}
    first = output.status_text(status).splitlines()[0]
    assert first == "indexing: 2 memes can be found, 40 to go (waits: on battery)"


def test_a_status_that_says_nothing() -> None:
    assert output.status_text({}) == "unknown: 0 memes can be found\n"


@given(
    st.dictionaries(
        st.sampled_from(["state", "failed", "model", "watching", "roots", "engine", "problems", "eta_s", "rate"]),
        st.none(),
    )
)
def test_a_status_with_gaps(status: dict[str, None]) -> None:
    assert output.status_text(status).endswith("\n")
