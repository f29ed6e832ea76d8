"""Tencent Cloud's machine translation (TMT, TextTranslate) through Tencent's own SDK, where the user chose it.

Queries leave the machine here and nowhere else. The SDK (the extra ``tencent``) is imported at the first question.

Tencent has announced the end of this service for 2027-07-31, and its SDK has left TextTranslate out since: hence the
upper bound on its version in setup.cfg. A service that is gone is a failing one: the dictionary answers.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from collections import OrderedDict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

from memewatchd.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

TIMEOUT_S = 3.0
"""How long a search waits for a translation, all in all."""
PER_SECOND = 5
"""TMT's own limit. A question too many isn't asked: waiting would make the search slow."""
REST_S = 30.0
"""After a failure nothing is asked for so long, so that only one search is slow while the network is away."""
CACHED = 1024
LONGEST_TEXT = 2000
"""TMT's own limit, in characters."""
_THREADS = 2


class Tencent:
    """Asks TMT. Thread-safe; blocks for up to ``timeout_s`` seconds.

    ``secret_id``, ``secret_key``: the API key's two halves. ``region``: such as ap-guangzhou. ``proxy``: "" for what
    the environment says. ``endpoint``: scheme, host and port in the place of Tencent's own, for tests.
    """

    def __init__(
        self,
        secret_id: str,
        secret_key: str,
        region: str,
        *,
        proxy: str = "",
        endpoint: str = "",
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigError where the SDK isn't installed."""
        if importlib.util.find_spec("tencentcloud") is None:
            raise ConfigError(
                'translate = "tencent" needs Tencent\'s SDK: .venv/bin/pip install "memewatchd[tencent]", or choose '
                'translate = "dictionary"'
            )
        self._keys = (secret_id, secret_key)
        self._region = region
        self._proxy = proxy
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, str] = OrderedDict()
        self._asked: deque[float] = deque(maxlen=PER_SECOND)
        self._resting_until = float("-inf")
        self._problem = ""
        self._client: Any = None
        # A thread of its own for each question: the SDK's own timeout is for each piece of an answer, not for all.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="tencent")

    @property
    def problem(self) -> str:
        """Why the last question had no answer; "" where it had one."""
        return self._problem

    def close(self) -> None:
        """Ask nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def translate(self, text: str) -> str:
        """``text`` (Chinese, maybe mixed) in English. Raises EncoderError: it can't be had now, and why."""
        cached = self._begin(text)
        if cached is not None:
            return cached
        try:
            asked: Future[str] = self._threads.submit(self._ask, text)
        except RuntimeError as error:
            raise EncoderError("memewatchd is stopping") from error
        try:
            # What comes later than this is kept for the next time.
            return asked.result(self._timeout_s)
        except FutureTimeoutError:
            asked.cancel()
            self._rest(f"no answer within {self._timeout_s:g} s")
            raise EncoderError(f"Tencent Cloud: {self._problem}") from None

    def _begin(self, text: str) -> str | None:
        """The cached answer, or None where it may be asked for now. Raises EncoderError where it mayn't."""
        with self._lock:
            cached = self._cache.get(text)
            if cached is not None:
                self._cache.move_to_end(text)
                return cached
            now = self._clock()
            if len(text) > LONGEST_TEXT:
                raise EncoderError(f"Tencent Cloud: more than {LONGEST_TEXT} characters")
            if now < self._resting_until:
                raise EncoderError(f"Tencent Cloud: {self._problem}")
            if len(self._asked) == PER_SECOND and now - self._asked[0] < 1.0:
                raise EncoderError(f"Tencent Cloud: more than {PER_SECOND} questions a second")
            self._asked.append(now)
        return None

    def _ask(self, text: str) -> str:
        """One question, in a thread of its own."""
        try:
            english = " ".join(str(self._request(text)).split())
            if not english:
                raise ValueError("an empty answer")
        except Exception as error:  # the SDK passes on what JSON, dicts and sockets raise
            problem = _brief(error)
            self._rest(problem)
            raise EncoderError(f"Tencent Cloud: {problem}") from error
        with self._lock:
            self._problem = ""
            self._resting_until = float("-inf")
            self._cache[text] = english
            while len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        return english

    def _request(self, text: str) -> Any:
        from tencentcloud.tmt.v20180321 import models

        request = models.TextTranslateRequest()
        request.SourceText = text
        request.Source = "zh"
        request.Target = "en"
        request.ProjectId = 0
        return self._connected().TextTranslate(request).TargetText

    def _connected(self) -> Any:
        """The SDK's client, made once."""
        with self._lock:
            if self._client is None:
                from tencentcloud.common.credential import Credential
                from tencentcloud.common.profile.client_profile import ClientProfile
                from tencentcloud.common.profile.http_profile import HttpProfile
                from tencentcloud.tmt.v20180321.tmt_client import TmtClient

                # At debug it would log the whole request, signature and all.
                logging.getLogger("tencentcloud_sdk_common").setLevel(logging.INFO)
                scheme, _, host = self._endpoint.rpartition("://")
                http = HttpProfile(
                    protocol=scheme or "https",
                    endpoint=host or None,
                    reqTimeout=self._timeout_s,
                    proxy=self._proxy or None,
                )
                profile = ClientProfile(httpProfile=http, language="en-US")
                self._client = TmtClient(Credential(*self._keys), self._region, profile)
            return self._client

    def _rest(self, problem: str) -> None:
        with self._lock:
            known = self._problem == problem
            self._problem = problem
            self._resting_until = self._clock() + REST_S
        if not known:
            log.warning("Tencent Cloud translates nothing now (%s); CC-CEDICT does", problem)


def _brief(error: Exception) -> str:
    """What went wrong, in a line, without what was asked."""
    code = getattr(error, "code", "")
    message = str(getattr(error, "message", "") or error)
    first = (message.strip().splitlines() or [""])[0][:200]
    return f"{code}: {first}" if code else first or type(error).__name__
