"""Who may ask at all: the Host, Origin and token of every request, how much it may send, and headers on each answer.

A page from elsewhere that the user's browser shows can send requests to loopback, and, with a name of its own that
suddenly means 127.0.0.1 (DNS rebinding), even read the answers. The Host tells the second, the Origin the first.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import socket
import traceback
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from memewatchd.errors import RequestError
from memewatchd.service.web.refusal import Refusal, internal, response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

JSON_BYTES = 64 * 1024
UPLOAD_BYTES = 128 * 1024 * 1024
COOKIE = "memewatchd"
_SAFE_METHODS = ("GET", "HEAD")
# Each answer's, unless it has a stricter one of its own.
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Stands before the app. ``token``: "" on loopback, where whoever connects is trusted."""

    def __init__(self, app: ASGIApp, *, host: str, token: str, uploads: frozenset[str]) -> None:
        self._app = app
        self._names = _own_names(host)
        self._any_address = bool(token)
        self._token = token
        self._cookie = hashlib.sha256(b"memewatchd cookie\0" + token.encode()).hexdigest() if token else ""
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(raw=message["headers"])
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            answer = self._turned_away(scope)
            if answer is None:
                limit = UPLOAD_BYTES if scope["path"] in self._uploads else JSON_BYTES
                await self._app(scope, _limited(scope, receive, limit), send_with_headers)
                return
        except (Refusal, RequestError) as error:
            answer = response(error)
        except Exception as error:  # the one place that catches: without the messages, which may quote a query
            log.error("%s failed:\n%s%s", scope["path"], "".join(traceback.format_tb(error.__traceback__)), type(error))
            log.debug("%s failed", scope["path"], exc_info=error)
            answer = internal(error)
        if not begun:
            await answer(scope, receive, send_with_headers)

    def _turned_away(self, scope: Scope) -> Response | None:
        """What to answer at once, or None where the app may. Raises Refusal."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._is_ours(host):
            raise Refusal(403, "host", "this is not the name of this machine; use http://127.0.0.1 or http://localhost")
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "none")
        if scope["method"] not in _SAFE_METHODS:
            if origin is not None and origin != f"http://{host}":
                raise Refusal(403, "origin", "this request comes from another web page")
            if origin is None and site not in ("none", "same-origin"):
                raise Refusal(403, "origin", "this request comes from another web page")
        elif site in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            raise Refusal(403, "origin", "this request comes from another web page")
        return self._without_token(scope, headers) if self._token else None

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header may be ours. Its port isn't compared: a tunnel may have another."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            urlsplit(f"//{host}").port  # noqa: B018 - raises ValueError
        except ValueError:
            return False
        if name in self._names:
            return "@" not in host and "/" not in host
        # A number can't be rebound, and beyond loopback we don't know all that we are reached by.
        return self._any_address and _is_address(name)

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        """None where the request has the token."""
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(value.strip(), self._token):
            return None
        cookies = [part.strip() for line in headers.getlist("cookie") for part in line.split(";")]
        if any(_same(part, f"{COOKIE}={self._cookie}") for part in cookies):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and scope["method"] == "GET" and _same(given, self._token):
            answer = RedirectResponse("/", 303)
            # Lax, so that a link in a note of one's own works; Origin guards what changes things.
            answer.set_cookie(COOKIE, self._cookie, httponly=True, samesite="lax", max_age=365 * 24 * 3600)
            return answer
        return PlainTextResponse(
            "A token is asked for: open /?token=… once, or send Authorization: Bearer …\n",
            401,
            headers={"www-authenticate": "Bearer"},
        )


def _limited(scope: Scope, receive: Receive, limit: int) -> Receive:
    """``receive``, which gives up beyond ``limit`` bytes. Raises Refusal, at once where the length is announced."""
    announced = Headers(scope=scope).get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise _too_large(limit)
        return message

    return counted


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "too_large", f"that is more than {limit // 1024} KiB")


def _own_names(host: str) -> frozenset[str]:
    machine = socket.gethostname().lower()
    own = {"localhost", "127.0.0.1", "::1", host.strip("[]").lower()}
    if host not in ("localhost", "127.0.0.1", "::1", "[::1]"):
        own |= {machine, f"{machine}.local"}
    return frozenset(own - {"", "0.0.0.0", "::"})


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
