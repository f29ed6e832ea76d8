from __future__ import annotations

import re

import pytest

from memewatchd.desktop.output import hit_line, status_text, wants_colour


def test_a_bar_while_indexing() -> None:
    text = status_text({"state": "indexing", "indexed": 70, "failed": 5, "pending": 25, "rate": 10.0, "eta_s": 2.5})
    first, bar, *_ = text.splitlines()
    assert first == "indexing: 70 memes can be found, 25 to go (10/s, about 2 s)"
    assert bar.strip() == "▕" + "█" * 18 + " " * 6 + "▏ 75 %"


@pytest.mark.parametrize(("indexed", "pending"), [(0, 1), (1, 1), (7, 93), (9999, 1), (10**9, 1)])
def test_the_bar_is_always_as_long(indexed: int, pending: int) -> None:
    bar = status_text({"state": "indexing", "indexed": indexed, "pending": pending}).splitlines()[1]
    assert re.fullmatch(r" +▕[█▏▎▍▌▋▊▉ ]{24}▏ \d?\d %", bar), bar


def test_no_bar_where_all_is_done() -> None:
    assert "▕" not in status_text({"state": "settled", "indexed": 3, "pending": 0})


def test_who_shares_a_server_sees_as_whom() -> None:
    status = {"engine": "Milvus server, http://db:19530", "host": "desk"}
    assert "  index     Milvus server, http://db:19530 (shared; we are desk)\n" in status_text(status)
    assert "shared" not in status_text({**status, "host": ""})


@pytest.mark.parametrize(
    ("how", "line"),
    [("text", b"desk:/m/a.png\n"), ("print0", b"desk:/m/a.png\0"), ("tsv", b"0.5\tdesk:/m/a.png\n")],
)
def test_another_hosts_file_is_named_as_scp_names_it(how: str, line: bytes) -> None:
    assert hit_line({"path": "/m/a.png", "score": 0.5, "host": "desk"}, how) == line


def test_colours_only_on_a_terminal() -> None:
    status = {"state": "degraded", "indexed": 1, "problems": ["no disk"]}
    assert "\x1b" not in status_text(status)
    assert status_text(status, colour=True).startswith("\x1b[31mdegraded\x1b[0m: 1 meme")
    assert wants_colour({"TERM": "xterm"}, True)
    assert wants_colour({"NO_COLOR": ""}, True), "an empty one doesn't count"
    assert not wants_colour({"NO_COLOR": "1"}, True)
    assert not wants_colour({"TERM": "dumb"}, True)
    assert not wants_colour({}, False)


def test_on_a_terminal_sentences_are_wrapped_between_words() -> None:
    status = {
        "model": "bundled",
        "advice": ["it knows drawings and everyday things, and not people by name"],
        "roots": [{"path": "/home/u/a folder whose name is longer than the line"}],
    }
    assert status_text(status, width=40).splitlines()[1:] == [
        "  model     bundled",
        "            it knows drawings and",
        "            everyday things, and not",
        "            people by name",
        "  folder    /home/u/a folder whose name is longer than the line",
    ]
