"""pymilvus' client: how it is made, and what its errors mean."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Final

from memewatchd.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_S: Final = 10.0
"""How long connecting may take, seconds."""

_import_lock = threading.Lock()


def connect(address: str, token: str) -> Any:
    """A client that is connected to ``address`` by itself, and answers. Raises pymilvus' errors."""
    pymilvus = import_pymilvus()
    # A LAN's Milvus is rarely meant to be asked through the web's proxy, whose variables gRPC follows.
    options = {} if "grpc_proxy" in os.environ else {"grpc.enable_http_proxy": 0}
    # dedicated: a shared connection would stay open after close().
    client = pymilvus.MilvusClient(address, token=token, timeout=CONNECT_S, dedicated=True, grpc_options=options)
    # Not pymilvus but the daemon decides when to try again: an insert that is repeated after an
    # ambiguous failure would leave two rows, and a thread would hang for the whole timeout.
    client._handler._on_rpc_error = _give_up  # noqa: SLF001  it has no public name
    client.list_collections(timeout=CONNECT_S)
    return client


def translate(error: Exception, doing: str, where: str, *, is_embedded: bool) -> StoreError | None:
    """What ``error`` means for who wanted to do ``doing`` ("Milvus failed to …") in the Milvus at ``where``.

    :class:`StoreUnavailable` where another try may help. None for an error that has nothing to do with Milvus.
    """
    import grpc
    from pymilvus.exceptions import ErrorCode, MilvusException

    codes = {link.code() for link in _chain(error) if isinstance(link, grpc.RpcError) and hasattr(link, "code")}
    if isinstance(error, MilvusException) and isinstance(error.code, grpc.StatusCode):
        codes.add(error.code)
    status = grpc.StatusCode
    if codes & {status.UNAUTHENTICATED, status.PERMISSION_DENIED}:
        return StoreError(
            f"Milvus ({where}) refuses the token; put user:password or an API key into the file "
            "that --milvus-token-file names"
        )
    if codes & {status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.CANCELLED} or any(
        isinstance(link, grpc.FutureTimeoutError) for link in _chain(error)
    ):
        if is_embedded:
            return StoreUnavailable(f"the embedded Milvus did not answer (to {doing})")
        return StoreUnavailable(
            f"Milvus at {where} did not answer (to {doing}); start it, or check the address given with --milvus"
        )
    if isinstance(error, MilvusException):
        reason = str(error.message).strip().partition("\n")[0][:300]
        if error.code == ErrorCode.RATE_LIMIT or "not ready" in reason or "service unavailable" in reason:
            return StoreUnavailable(f"Milvus ({where}) is not ready to {doing}: {reason}")
        if codes:
            reason = f"{reason} ({', '.join(sorted(code.name for code in codes))})"
        return StoreError(f"Milvus ({where}) failed to {doing}: {reason}")
    if codes:
        return StoreError(f"Milvus ({where}) failed to {doing}: {', '.join(sorted(c.name for c in codes))}")
    return None


def is_beginning(error: Exception) -> bool:
    """Whether Milvus Lite refused a call because it listens already and isn't quite there: it did nothing then."""
    return "has not been init" in str(error)


def _give_up(error: Exception) -> bool:
    """pymilvus asks this whether to try again: a failed RPC ends the call, any other error isn't repeated."""
    import grpc

    if isinstance(error, grpc.RpcError):
        raise error
    return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes. pymilvus says ``raise e from e``, so the chain may bite its own tail."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__context__ if link.__cause__ in (None, link) else link.__cause__


def import_pymilvus() -> Any:
    """pymilvus, kept from what it does on import: reading a ``.env`` somewhere above it, refusing a
    ``MILVUS_URI`` that isn't a server's, and logging by itself."""
    with _import_lock:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")
        for name in ("MILVUS_URI", "MILVUS_DEFAULT_CONNECTION"):
            os.environ.pop(name, None)
        import pymilvus

        # It logs each failed call with a traceback; failures reach our log as errors, translated.
        for name in ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        return pymilvus
