"""Tencent Cloud's translation against a server on loopback, which checks the signature by Tencent's own description.

The check below is written from the published algorithm ("Signature v3", TC3-HMAC-SHA256) and shares no code with the
SDK that signs.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import http.server
import json
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.encoders import tencent
from memewatchd.encoders.tencent import Tencent
from memewatchd.encoders.translate import Translation, Translator
from memewatchd.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The SDK tells the date in a way that newer Pythons advise against.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")

SECRET_ID = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE"
SECRET_KEY = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"
DICTIONARY = {"生气的猫": "an angry cat", "你好 <b>&\"'": "hello <b>&\"'"}


def canonical_request(headers: dict[str, str], body: bytes, signed: list[str]) -> str:
    """What of a POST is signed. ``headers``: lower-case names. ``signed``: those that count."""
    lines = "".join(f"{name}:{headers[name].strip().lower()}\n" for name in sorted(signed))
    return "\n".join(["POST", "/", "", lines, ";".join(sorted(signed)), hashlib.sha256(body).hexdigest()])


def tc3_signature(secret_key: str, headers: dict[str, str], body: bytes, signed: list[str]) -> str:
    """The signature that belongs to a request to TMT, hex."""
    stamp = int(headers["x-tc-timestamp"])
    day = dt.datetime.fromtimestamp(stamp, dt.UTC).strftime("%Y-%m-%d")
    hashed = hashlib.sha256(canonical_request(headers, body, signed).encode()).hexdigest()
    to_sign = f"TC3-HMAC-SHA256\n{stamp}\n{day}/tmt/tc3_request\n{hashed}"
    key = ("TC3" + secret_key).encode()
    for part in (day, "tmt", "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, to_sign.encode(), "sha256").hexdigest()


def test_what_is_signed_is_what_tencents_worked_example_signs() -> None:
    """Its hashes, as published; its signature can't be had, since the example's key is masked."""
    body = b'{"Limit": 1, "Filters": [{"Values": ["\\u672a\\u547d\\u540d"], "Name": "instance-name"}]}'
    assert hashlib.sha256(body).hexdigest() == "35e9c5b0e3ae67532d3c9f17ead6c90222632e5b1ff7f6e89887f1398934f064"
    headers = {"content-type": "application/json; charset=utf-8", "host": "cvm.tencentcloudapi.com"}
    hashed = hashlib.sha256(canonical_request(headers, body, ["content-type", "host"]).encode()).hexdigest()
    assert hashed == "5ffe6a04c0664d6b969fab9a13bdab201d63ee709638e2749d62a09ca18d7031"


class Cloud:
    """What the server was asked, and how it answers: ``mode``."""

    def __init__(self) -> None:
        self.mode = "well"
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.release = threading.Event()

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and body. What is wrong with the request is noted, and refused as Tencent does."""
        try:
            self._check(headers, body)
        except AssertionError as error:
            self.complaints.append(str(error))
            return 200, self._error("AuthFailure.SignatureFailure", "The provided credentials could not be validated.")
        text = json.loads(body)["SourceText"]
        self.asked.append(text)
        if self.mode == "error":
            return 200, self._error("FailedOperation.NoFreeAmount", "The free quota is used up.")
        if self.mode == "status":
            return 503, b"<html>away</html>"
        if self.mode == "nonsense":
            return 200, b'{"Response": 3'
        if self.mode == "empty":
            return 200, self._well("  ")
        if self.mode == "slow":
            self.release.wait(20)
        return 200, self._well(DICTIONARY.get(text, f"english of {text}"))

    def _check(self, headers: dict[str, str], body: bytes) -> None:
        expected = {"SourceText", "Source", "Target", "ProjectId"}
        request = json.loads(body)
        assert request.keys() == expected, request
        assert (request["Source"], request["Target"], request["ProjectId"]) == ("zh", "en", 0)
        assert headers["x-tc-action"] == "TextTranslate"
        assert headers["x-tc-version"] == "2018-03-21"
        assert headers["x-tc-region"] == "ap-singapore"
        assert headers["content-type"] == "application/json"
        assert abs(time.time() - int(headers["x-tc-timestamp"])) < 300
        matched = re.fullmatch(
            r"TC3-HMAC-SHA256 Credential=(\w+)/(\d{4}-\d\d-\d\d)/tmt/tc3_request, "
            r"SignedHeaders=([a-z;-]+), Signature=([0-9a-f]{64})",
            headers["authorization"],
        )
        assert matched is not None, headers["authorization"]
        assert matched[1] == SECRET_ID
        signed = matched[3].split(";")
        assert {"content-type", "host"} <= set(signed)
        assert hmac.compare_digest(matched[4], tc3_signature(SECRET_KEY, headers, body, signed)), "signature"

    @staticmethod
    def _well(text: str) -> bytes:
        response = {"TargetText": text, "Source": "zh", "Target": "en", "UsedAmount": 4, "RequestId": "r"}
        return json.dumps({"Response": response}).encode()

    @staticmethod
    def _error(code: str, message: str) -> bytes:
        return json.dumps({"Response": {"Error": {"Code": code, "Message": message}, "RequestId": "r"}}).encode()


class Trickling(http.server.BaseHTTPRequestHandler):
    """Hands each request to ``cloud``."""

    cloud: Cloud

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answer = self.cloud.answer(headers, body)
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.cloud.mode == "trickle":  # each byte in time, the whole never
                for byte in answer:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    if self.cloud.release.wait(0.1):
                        return
            self.wfile.write(answer)
        except OSError:  # who asked has hung up
            pass

    def log_message(self, *_: Any) -> None:
        pass


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connect(cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Tencent]]:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    handler = type("Handler", (Trickling,), {"cloud": cloud})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made: list[Tencent] = []

    def new(**more: Any) -> Tencent:
        settings: dict[str, Any] = {
            "endpoint": f"http://127.0.0.1:{server.server_port}",
            "clock": clock,
            "timeout_s": 20.0,
        }
        made.append(Tencent(SECRET_ID, more.pop("secret_key", SECRET_KEY), "ap-singapore", **settings | more))
        return made[-1]

    yield new
    cloud.release.set()
    for each in made:
        each.close()
    server.shutdown()
    server.server_close()


def test_it_asks_as_tencent_wants_to_be_asked(cloud: Cloud, connect: Callable[..., Tencent]) -> None:
    service = connect()
    for chinese, english in DICTIONARY.items():
        assert service.translate(chinese) == english
    assert cloud.complaints == []
    assert cloud.asked == list(DICTIONARY)
    assert service.problem == ""


def test_the_check_bites(cloud: Cloud, connect: Callable[..., Tencent]) -> None:
    service = connect(secret_key="wrong")
    with pytest.raises(EncoderError, match=r"AuthFailure\.SignatureFailure"):
        service.translate("生气的猫")
    assert [complaint.split("\n")[0] for complaint in cloud.complaints] == ["signature"]
    assert SECRET_ID not in service.problem


def test_what_was_asked_before_is_not_asked_again(
    cloud: Cloud, connect: Callable[..., Tencent], monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(tencent, "CACHED", 2)
    service = connect()
    for text in ("一", "二", "一", "三", "一", "二"):
        clock.now += 1
        service.translate(text)
    assert cloud.asked == ["一", "二", "三", "二"]


def test_five_questions_a_second(cloud: Cloud, connect: Callable[..., Tencent], clock: Clock) -> None:
    service = connect()
    for number in range(tencent.PER_SECOND):
        service.translate(f"猫{number}")
    with pytest.raises(EncoderError, match="more than 5 questions a second"):
        service.translate("狗")
    assert service.translate("猫0") == "english of 猫0", "the cache answers all the same"
    assert service.problem == "", "it isn't Tencent's fault"
    clock.now += 1.0
    assert service.translate("狗") == "english of 狗"
    assert len(cloud.asked) == 6


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("error", "FailedOperation.NoFreeAmount: The free quota is used up."),
        ("status", "away"),
        ("nonsense", "delimiter"),
        ("empty", "an empty answer"),
    ],
)
def test_a_failure_is_told_and_not_repeated_for_a_while(
    cloud: Cloud, connect: Callable[..., Tencent], clock: Clock, mode: str, says: str
) -> None:
    service = connect()
    cloud.mode = mode
    with pytest.raises(EncoderError, match=re.escape(says)):
        service.translate("生气的猫")
    assert says in service.problem and service.problem
    cloud.mode = "well"
    with pytest.raises(EncoderError, match=re.escape(says)):
        service.translate("生气的猫")
    assert len(cloud.asked) == 1
    clock.now += tencent.REST_S
    assert service.translate("生气的猫") == "an angry cat"
    assert service.problem == ""


def test_nobody_listens(connect: Callable[..., Tencent]) -> None:
    with pytest.raises(EncoderError, match="ClientNetworkError"):
        connect(endpoint="http://127.0.0.1:1").translate("猫")


@pytest.mark.parametrize("mode", ["slow", "trickle"])
def test_a_slow_answer_is_not_waited_for(cloud: Cloud, connect: Callable[..., Tencent], mode: str) -> None:
    service = connect(timeout_s=0.3)
    cloud.mode = mode
    with pytest.raises(EncoderError, match=r"no answer within 0\.3 s|timed out"):
        service.translate("生气的猫")
    translator = Translator(lambda: True, remote=service)
    assert translator.translate("生气的猫") == Translation("angry cat", "dictionary")
    assert len(cloud.asked) == 1


def test_an_answer_that_comes_too_late_is_kept_for_the_next_time(
    cloud: Cloud, connect: Callable[..., Tencent], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = connect()
    service._connected().request.conn.timeout = 20
    cloud.mode = "slow"
    service._timeout_s = 0.2
    with pytest.raises(EncoderError, match=r"no answer within 0\.2 s"):
        service.translate("生气的猫")
    cloud.release.set()
    deadline = time.monotonic() + 20
    while "生气的猫" not in service._cache:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert service.translate("生气的猫") == "an angry cat"
    assert len(cloud.asked) == 1


def test_many_ask_at_once(cloud: Cloud, connect: Callable[..., Tencent]) -> None:
    service = connect()
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(service.translate, [f"猫{number}" for number in range(5)]))
    assert answers == [f"english of 猫{number}" for number in range(5)]
    assert cloud.complaints == []


def test_more_than_tencent_takes_is_not_sent(cloud: Cloud, connect: Callable[..., Tencent]) -> None:
    with pytest.raises(EncoderError, match="2000 characters"):
        connect().translate("猫" * 2001)
    assert cloud.asked == []


def test_closed_is_closed(connect: Callable[..., Tencent]) -> None:
    service = connect()
    service.close()
    with pytest.raises(EncoderError, match="stopping"):
        service.translate("猫")


def test_without_a_setting_it_would_go_to_tencent_by_tls() -> None:
    service = Tencent(SECRET_ID, SECRET_KEY, "ap-guangzhou", proxy="http://127.0.0.1:3128")
    request = service._connected().request
    assert (request.host, request.is_http) == ("tmt.tencentcloudapi.com", False)
    assert os.path.isfile(request.conn.certification), "certificates are checked"
    assert request.conn.timeout <= 3
    assert request.conn.proxy == {"http": "http://127.0.0.1:3128", "https": "http://127.0.0.1:3128"}
    service.close()
