from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memewatchd import ops, protocol
from memewatchd.errors import BadRequest, RequestError, TooLarge, UnknownOp
from memewatchd.protocol import LIKE_LINE_BYTES, LINE_BYTES, encode, parse_line, path_bytes, path_fields


def request(**keys: Any) -> bytes:
    return json.dumps(keys).encode()


def refusal(raw: bytes) -> str:
    with pytest.raises(BadRequest) as caught:
        parse_line(raw)
    return str(caught.value)


# ---- requests


def test_a_search_with_nothing_else_gets_the_defaults() -> None:
    parsed = parse_line(b'{"op": "search", "text": "angry cat"}')
    assert (parsed.op, parsed.plain, parsed.id_json) == ("search", False, "")
    args = parsed.args
    assert (args["text"], args["limit"], args["timeout"], args["min_score"]) == ("angry cat", 20, None, None)
    assert args["partial"] is False


def test_a_search_may_have_no_words() -> None:
    assert parse_line(b'{"op": "search"}').args["text"] == ""
    assert parse_line(b'{"op": "search", "text": "  "}').args["text"] == "  "


@pytest.mark.parametrize(
    "op",
    [
        *("search", "list", "status", "wait", "failed", "events", "rescan", "pause", "resume", "used", "forget-usage"),
        *("duplicates", "describe", "reindex", "export"),
    ],
)
def test_every_op_that_is_built_is_known(op: str) -> None:
    assert parse_line(request(op=op)).op == op


@pytest.mark.parametrize("op", ["", "Search", "search ", "pick", "x" * 60_000])
def test_no_such_op(op: str) -> None:
    with pytest.raises(UnknownOp) as caught:
        parse_line(request(op=op))
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("value", [None, 1, True, ["search"], {"op": "search"}])
def test_op_must_be_a_string(value: Any) -> None:
    assert "op must be a string" in refusal(request(op=value))


def test_op_is_needed() -> None:
    assert refusal(b"{}") == "op is missing"


@pytest.mark.parametrize("limit", [1, 20, 1000])
def test_limits(limit: int) -> None:
    assert parse_line(request(op="search", limit=limit)).args["limit"] == limit


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**18])
def test_limits_out_of_range(limit: int) -> None:
    assert refusal(request(op="search", limit=limit)) == f"limit must be 1 to 1000, not {limit}"


@pytest.mark.parametrize(
    ("op", "key", "value"),
    [
        ("search", "limit", "20"),
        ("search", "limit", 2.5),
        ("search", "limit", True),
        ("search", "limit", None),
        ("search", "text", 1),
        ("search", "text", None),
        ("search", "text", ["cat"]),
        ("search", "text", "\ud800"),
        ("search", "timeout", 0),
        ("search", "timeout", -1),
        ("search", "timeout", "1"),
        ("search", "timeout", False),
        ("search", "timeout", 10**10),
        ("search", "timeout", 10**299),
        ("search", "min_score", "0.1"),
        ("search", "min_score", True),
        ("search", "partial", 1),
        ("search", "partial", None),
        ("wait", "timeout", -0.5),
        ("wait", "timeout", []),
        ("wait", "words", 1),
        ("rescan", "forget_missing", "yes"),
        ("rescan", "forget_missing", 0),
    ],
)
def test_a_known_key_of_the_wrong_type_or_out_of_range(op: str, key: str, value: Any) -> None:
    assert refusal(request(op=op, **{key: value})).startswith(key + " ")


def test_unknown_keys_are_ignored_and_so_are_other_ops_keys() -> None:
    assert parse_line(request(op="status", limit="many", colour={"a": [1]})).op == "status"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"{", "not JSON"),
        (b'{"op": "status"} {}', "not JSON"),
        (b'{"op": "status",}', "not JSON"),
        (b'{"op": "search", "min_score": NaN}', "NaN"),
        (b'{"op": "search", "min_score": -Infinity}', "Infinity"),
        (b'{"op": "search", "min_score": 1e999}', "out of range"),
        (b'{"op": "search", "limit": ' + b"9" * 5000 + b"}", "out of range"),
        (b'{"op": "status", "op": "pause"}', '"op" appears twice'),
        (b'{"op": "\xff"}', "not UTF-8"),
        (b'{"op": "status", "x": ' + b"[" * 60_000, "nested too deeply"),
        (b'{"op": "search", "limit": ' + b"[" * 800 + b"]" * 800 + b"}", "limit must be"),
    ],
)
def test_lines_that_are_no_request(raw: bytes, says: str) -> None:
    assert says in refusal(raw)


# ---- ids


@pytest.mark.parametrize("value", [1, 0, -7, "a", "", None, [1, {"b": 2}], {"a": "喵"}, 1.5, True, "\ud800"])
def test_any_id_is_echoed(value: Any) -> None:
    parsed = parse_line(request(op="status", id=value))
    reply = json.loads(encode({"ok": True}, parsed.id_json))
    assert reply == {"id": value, "ok": True}


def test_an_id_goes_with_an_error_too() -> None:
    line = protocol.read_line(b'{"op": "search", "limit": 0, "id": 7}')
    with pytest.raises(BadRequest):
        protocol.check_line(line)
    assert line.id_json == "7"


def test_without_an_id_there_is_none() -> None:
    assert json.loads(encode({"ok": True}, parse_line(request(op="status")).id_json)) == {"ok": True}


# ---- sizes


def test_64_kib_is_not_too_large_and_one_byte_more_is() -> None:
    def of_size(size: int) -> bytes:
        raw = b'{"op":"search","text":""}'
        return raw[:-2] + b"a" * (size - len(raw)) + raw[-2:]

    assert len(of_size(LINE_BYTES)) == LINE_BYTES
    assert parse_line(of_size(LINE_BYTES)).op == "search"
    with pytest.raises(TooLarge):
        parse_line(of_size(LINE_BYTES + 1))
    assert parse_line(b"a" * LINE_BYTES).plain
    with pytest.raises(TooLarge):
        parse_line(b"a" * (LINE_BYTES + 1))


@pytest.mark.parametrize("like", [[], "x", [{}], [1], {"path": "/a"}, [{"path": "/a"}, {}]])
def test_a_long_line_needs_pictures_in_like(like: Any) -> None:
    with pytest.raises(TooLarge):
        parse_line(request(op="search", like=like, text="a" * LINE_BYTES))


def test_a_long_line_with_like_is_read() -> None:
    data = "QUJD" * 100_000
    (example,) = parse_line(request(op="search", like=[{"data_b64": data}])).args["like"]
    assert (example.path, example.data) == (b"", b"ABC" * 100_000)
    first, second = parse_line(
        request(op="search", like=[{"path": "/é.png"}, {"path_b64": "L/8=", "data_b64": "QQ=="}])
    ).args["like"]
    assert (first.path, first.data) == ("/é.png".encode(), b"")
    assert (second.path, second.data) == (b"/\xff", b"A")


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ([], "a list of 1 to 16"),
        ([{"path": "/a"}] * 17, "a list of 1 to 16"),
        ("/a.png", "a list"),
        (["/a.png"], 'like[0] must be {"path": …}'),
        ([{"path": "/a"}, {"file": "/b"}], "like[1] must be"),
        ([{"path": "a.png"}], "like[0].path must be absolute"),
        ([{"path": ""}], "like[0] is empty"),
        ([{"path": 5}], "like[0].path must be a string"),
        ([{"data_b64": "A"}], "like[0].data_b64 must be standard base64"),
        ([{"data_b64": ""}], "like[0] is empty"),
    ],
)
def test_wrong_examples_are_named(like: Any, words: str) -> None:
    assert words in refusal(request(op="search", like=like))


def test_more_than_32_mib_is_never_read() -> None:
    with pytest.raises(TooLarge, match=str(LIKE_LINE_BYTES)):
        parse_line(b'{"op":"search","like":[{"data_b64":"' + b"A" * LIKE_LINE_BYTES + b'"}]}')


def test_a_long_line_of_very_many_values_is_refused_unread() -> None:
    with pytest.raises(TooLarge):
        parse_line(b'{"op":"search","like":[{"path":"/a"}],"x":[' + b"[]," * LINE_BYTES + b"0]}")


# ---- plain


def test_a_plain_line_is_a_search_for_20() -> None:
    parsed = parse_line("生气 的猫\r".encode())
    assert (parsed.op, parsed.plain, parsed.args["text"], parsed.args["limit"]) == ("search", True, "生气 的猫", 20)


@pytest.mark.parametrize("raw", [b"", b" ", b"\t \r", "\u3000".encode()])
def test_a_blank_query_is_bad(raw: bytes) -> None:
    assert "blank" in refusal(raw)


@pytest.mark.parametrize("raw", [b' {"op": "status"}', b"[1]", b'"x"'])
def test_only_a_brace_in_front_makes_json(raw: bytes) -> None:
    assert parse_line(raw).plain


def test_a_plain_answer_ends_with_an_empty_line() -> None:
    hits = [path_fields(b"/a.png"), path_fields(b"/\xff.png")]
    assert protocol.plain_answer(hits) == b"/a.png\n/\xff.png\n\n"
    assert protocol.plain_answer([]) == b"\n"


def test_a_plain_answer_leaves_out_newlines_and_stops_at_20() -> None:
    hits = [path_fields(b"/new\nline"), *(path_fields(b"/%d" % number) for number in range(30))]
    assert protocol.plain_answer(hits).split(b"\n") == [b"/%d" % number for number in range(20)] + [b"", b""]


def test_a_plain_error_is_one_line() -> None:
    assert protocol.plain_error(BadRequest("a\n b\ud800")) == b"error: bad_request: a b?\n\n"


# ---- paths


@given(st.binary(max_size=300).filter(lambda raw: b"\0" not in raw))
def test_paths_come_back_as_they_went(raw: bytes) -> None:
    fields = json.loads(encode(path_fields(raw)))
    assert path_bytes(fields) == raw
    fields["path"].encode()


def test_path_b64_is_there_only_where_it_must_be() -> None:
    assert path_fields("/猫.png".encode()) == {"path": "/猫.png"}
    assert path_fields(b"/\xff\xfe\xfd.png") == {"path": "/\ufffd\ufffd\ufffd.png", "path_b64": "L//+/S5wbmc="}
    assert path_fields(b"\xff", "from") == {"from": "\ufffd", "from_b64": "/w=="}


# ---- anything at all


@settings(max_examples=400)
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda raw: b"{" + raw)))
def test_whatever_comes_is_a_request_or_a_request_error(raw: bytes) -> None:
    try:
        parse_line(raw)
    except RequestError as error:
        encode(protocol.error_reply(error))
        assert protocol.plain_error(error).count(b"\n") == 2


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(["text", "limit", "timeout", "min_score", "partial", "like", "words", "forget_missing", "x"])


@settings(max_examples=400)
@given(st.sampled_from(sorted(ops.OPS)), st.dictionaries(keys, values, max_size=4), values)
def test_a_request_that_is_let_in_has_what_its_op_needs(op: str, extra: dict[str, Any], id_value: Any) -> None:
    line = protocol.read_line(json.dumps({"op": op, **extra, "id": id_value}).encode())
    assert json.loads(line.id_json) == id_value
    try:
        parsed = protocol.check_line(line)
    except RequestError:
        return
    assert parsed.args.keys() == ops.OPS[op].keys()
    if op == "search":
        assert type(parsed.args["text"]) is str
        assert 1 <= parsed.args["limit"] <= 1000
        assert "like" not in extra


# ---- where the socket is


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"MEMEWATCHD_SOCKET": "/a/b", "XDG_RUNTIME_DIR": "/run/user/1"}, "/a/b"),
        ({"MEMEWATCHD_SOCKET": "", "XDG_RUNTIME_DIR": "/run/user/1"}, "/run/user/1/memewatchd.sock"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/u"}, "/state/memewatchd/memewatchd.sock"),
        ({"HOME": "/home/u"}, "/home/u/.local/state/memewatchd/memewatchd.sock"),
        ({"XDG_RUNTIME_DIR": "", "HOME": "/home/u"}, "/home/u/.local/state/memewatchd/memewatchd.sock"),
        ({"XDG_RUNTIME_DIR": "run", "XDG_STATE_HOME": "s", "HOME": "/h"}, "/h/.local/state/memewatchd/memewatchd.sock"),
    ],
)
def test_where_both_programs_look(environ: dict[str, str], path: str) -> None:
    assert protocol.default_socket_path(environ) == path


def test_a_relative_socket_path_is_made_absolute() -> None:
    assert protocol.default_socket_path({"MEMEWATCHD_SOCKET": "s"}) == os.path.abspath("s")


def test_the_client_imports_nothing_slow() -> None:
    slow = {"argparse", "asyncio", "dataclasses", "inspect", "logging", "pathlib", "subprocess", "tempfile", "difflib"}
    code = "import sys; before = set(sys.modules); import memewatchd.client; print(*(set(sys.modules) - before))"
    # -S: what a site-packages of today drags in is not ours.
    root = os.path.dirname(os.path.dirname(protocol.__file__))
    run = subprocess.run([sys.executable, "-S", "-c", code], env={"PYTHONPATH": root}, capture_output=True, check=True)
    loaded = set(run.stdout.decode().split())
    assert "memewatchd.client" in loaded
    assert not loaded & slow
    ours = {name for name in loaded if name.split(".")[0] == "memewatchd"}
    third_party = {name.split(".")[0] for name in loaded - ours} - sys.stdlib_module_names
    assert not third_party


def test_a_used_path_may_be_any_bytes() -> None:
    assert parse_line(request(op="used", path="/m/猫.png")).args == {"path": "/m/猫.png", "path_b64": None}
    assert parse_line(request(op="used", path_b64="L20v/y5wbmc=")).args["path_b64"] == b"/m/\xff.png"
    for wrong in ("L20v/y5wbmc", "é", "L20v\n", 3):
        with pytest.raises(BadRequest, match="path_b64"):
            parse_line(request(op="used", path_b64=wrong))
    with pytest.raises(BadRequest, match="path must be a string"):
        parse_line(request(op="used", path=["/m/a.png"]))
