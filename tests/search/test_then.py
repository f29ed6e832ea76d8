"""One step of a search after another, without a thread in between."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from memewatchd.search.look import then

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="pool") as made:
        yield made


def test_it_is_done_in_the_pool(pool: ThreadPoolExecutor) -> None:
    first: Future[int] = Future()
    second = then(first, pool, lambda value: (value + 1, threading.current_thread().name))
    assert not second.done()
    first.set_result(1)
    assert second.result(5) == (2, "pool_0")


def test_what_fails_is_told(pool: ThreadPoolExecutor) -> None:
    first: Future[int] = Future()
    failed = then(first, pool, lambda value: value)
    first.set_exception(ValueError("first"))
    with pytest.raises(ValueError, match="first"):
        failed.result(5)
    first = Future()
    failed = then(first, pool, lambda value: 1 // value)
    first.set_result(0)
    with pytest.raises(ZeroDivisionError):
        failed.result(5)


def test_to_cancel_it_is_to_cancel_the_first(pool: ThreadPoolExecutor) -> None:
    """So that a query that nobody waits for any more isn't encoded."""
    first: Future[int] = Future()
    done: list[int] = []
    second = then(first, pool, done.append)
    assert second.cancel()
    assert first.cancelled()
    with pytest.raises(CancelledError):
        second.result(5)
    assert done == []


def test_a_first_that_is_cancelled_or_a_closed_pool_leaves_nobody_waiting(pool: ThreadPoolExecutor) -> None:
    first: Future[int] = Future()
    second = then(first, pool, lambda value: value)
    first.cancel()
    with pytest.raises(CancelledError):
        second.result(5)
    first = Future()
    second = then(first, pool, lambda value: value)
    pool.shutdown()
    first.set_result(1)
    with pytest.raises(RuntimeError, match="shutdown"):
        second.result(5)


def test_nobody_waits_for_what_a_pool_drops_as_it_closes(pool: ThreadPoolExecutor) -> None:
    go = threading.Event()
    pool.submit(go.wait)
    first: Future[int] = Future()
    second = then(first, pool, lambda value: value)
    first.set_result(1)  # waits for its turn
    pool.shutdown(wait=False, cancel_futures=True)
    go.set()
    with pytest.raises(CancelledError):
        second.result(5)
