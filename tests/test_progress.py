"""Progress: which state applies, how fast it goes, who waits for what, and who hears of it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from memewatchd.errors import Paused
from memewatchd.progress import LISTENER_BACKLOG, RATE_WINDOW_S, Event, Progress, Walk


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    return Progress(clock)


# ---- state


def test_the_first_state_that_applies(progress: Progress) -> None:
    """From the last to the first: each new trouble outranks what was said before."""
    progress.scanned = True
    assert progress.state == "settled"
    progress.pending = 1
    assert progress.state == "indexing"
    progress.paused = True
    assert progress.state == "paused"
    progress.away = {b"/m": "it is missing"}
    assert progress.state == "degraded"
    progress.away = {}
    progress.problems["index"] = "Milvus is away"
    assert progress.state == "degraded"


def test_before_the_first_scan_it_is_starting(progress: Progress) -> None:
    progress.pending = 1
    assert progress.state == "starting"
    progress.problems["index"] = "Milvus is away"
    assert progress.state == "degraded"  # or nobody would learn why it never starts


def test_uptime(progress: Progress, clock: Clock) -> None:
    clock.now += 12.5
    assert progress.uptime_s == 12.5


# ---- rate


def test_rate_and_eta(progress: Progress, clock: Clock) -> None:
    progress.pending = 30
    assert (progress.rate, progress.eta_s) == (0.0, None)
    progress.count_settled(4)  # opens the window: these were done before it
    assert (progress.rate, progress.eta_s) == (0.0, None)
    for _ in range(5):
        clock.now += 2
        progress.count_settled(6)
    assert progress.rate == 3.0
    assert progress.eta_s == 10.0


def test_the_rate_falls_while_nothing_happens_and_is_forgotten(progress: Progress, clock: Clock) -> None:
    progress.pending = 10
    progress.count_settled(1)
    clock.now += 2
    progress.count_settled(10)
    assert progress.rate == 5.0
    clock.now += 8
    assert progress.rate == 1.0
    clock.now += RATE_WINDOW_S
    assert (progress.rate, progress.eta_s) == (0.0, None)


def test_the_rate_follows_a_change_of_pace(progress: Progress, clock: Clock) -> None:
    progress.pending = 1000
    for _ in range(50):
        clock.now += 1
        progress.count_settled(100)
    for _ in range(int(RATE_WINDOW_S) + 1):
        clock.now += 1
        progress.count_settled(2)
    assert progress.rate == pytest.approx(2.0)


def test_where_nothing_is_pending_there_is_no_rate(progress: Progress, clock: Clock) -> None:
    for _ in range(3):
        clock.now += 1
        progress.count_settled(5)
    assert (progress.rate, progress.eta_s) == (0.0, None)


# ---- walks


def test_a_walk_is_done_when_all_that_it_found_is_settled(progress: Progress) -> None:
    walk = progress.new_walk()
    assert progress.waiting_walks() == [walk]
    progress.path_settled([b"/a"])  # before the walk: says nothing of what it will find
    progress.walk_ended([walk], [b"/a", b"/b"])
    assert progress.waiting_walks() == []
    progress.path_settled([b"/a", b"/other"])
    assert not walk.done.done()
    progress.path_settled([b"/b"])
    assert walk.done.result(0) is None


def test_a_walk_that_finds_all_settled_is_done_at_once(progress: Progress) -> None:
    walk = progress.new_walk()
    progress.walk_ended([walk], [])
    assert walk.done.done()


def test_walks_that_share_a_walk_end_for_themselves(progress: Progress) -> None:
    early, late = progress.new_walk(), progress.new_walk()
    progress.walk_ended([early], [b"/a"])
    assert progress.waiting_walks() == [late]
    progress.walk_ended([late], [b"/a", b"/b"])
    progress.path_settled([b"/a"])
    assert (early.done.done(), late.done.done()) == (True, False)


def test_a_restart_asks_for_a_new_walk(progress: Progress) -> None:
    walk = progress.new_walk()
    progress.walk_ended([walk], [b"/a"])
    progress.restart_walks()
    assert progress.waiting_walks() == [walk]
    progress.path_settled([b"/a"])
    assert not walk.done.done()
    progress.walk_ended([walk], [])
    assert walk.done.done()


def test_walks_fail_with_the_reason(progress: Progress) -> None:
    walks = [progress.new_walk(), progress.new_walk()]
    progress.walk_ended(walks[:1], [b"/a"])
    progress.fail_walks(Paused("meanwhile"))
    for walk in walks:
        with pytest.raises(Paused, match="meanwhile"):
            walk.done.result(0)
    assert progress.waiting_walks() == []
    progress.path_settled([b"/a"])


def test_a_dropped_walk_asks_for_nothing(progress: Progress) -> None:
    walk = progress.new_walk()
    progress.drop_walk(walk)
    progress.drop_walk(walk)
    assert progress.waiting_walks() == []


def test_a_wait_that_was_given_up_does_not_hurt(progress: Progress) -> None:
    """The main thread cancels what it waits for, at any moment; the sync thread must not die of that."""
    walks = [progress.new_walk(), progress.new_walk()]
    for walk in walks:
        walk.done.cancel()
    progress.walk_ended(walks[:1], [])
    progress.fail_walks(Paused("meanwhile"))
    assert progress.waiting_walks() == []


class GivenUp(Future[None]):
    """Cancelled just after the sync thread has looked whether it is."""

    def done(self) -> bool:
        was_done = super().done()
        self.cancel()
        return was_done


@pytest.mark.parametrize("fails", [False, True])
def test_a_wait_given_up_in_the_last_moment_does_not_hurt(progress: Progress, fails: bool) -> None:
    walk = Walk(GivenUp())
    progress._walks.append(walk)
    if fails:
        progress.fail_walks(Paused("meanwhile"))
    else:
        progress.walk_ended([walk], [])
    assert progress.waiting_walks() == []


# ---- listeners


def added(number: int) -> Event:
    return Event("added", b"/%d" % number)


def test_listeners_hear_in_order_from_another_thread(progress: Progress) -> None:
    async def main() -> list[Event]:
        listener = progress.listen()
        teller = threading.Thread(target=lambda: [progress.tell([added(n), added(n + 1)]) for n in (0, 2)])
        teller.start()
        heard = [await asyncio.wait_for(listener.get(), 30) for _ in range(4)]
        teller.join()
        return heard

    assert asyncio.run(main()) == [added(n) for n in range(4)]


def test_a_listener_hears_nothing_of_before_and_after(progress: Progress) -> None:
    async def main() -> Event:
        progress.tell([added(0)])
        listener = progress.listen()
        progress.tell([added(1)])
        event = await asyncio.wait_for(listener.get(), 30)
        progress.unlisten(listener)
        progress.unlisten(listener)
        progress.tell([added(2)])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(listener.get(), 0.05)
        return event

    assert asyncio.run(main()) == added(1)


@pytest.mark.parametrize("batch", [1, 7, 3 * LISTENER_BACKLOG + 5])
def test_a_slow_listener_gets_one_lost_and_the_stream_goes_on(progress: Progress, batch: int) -> None:
    """However often it overflows before it reads; what it gets then are the latest, without a gap."""
    total = 3 * LISTENER_BACKLOG + 5

    async def main() -> tuple[list[Event], Event]:
        listener = progress.listen()
        quick = progress.listen()
        for start in range(0, total, batch):
            progress.tell([added(number) for number in range(start, min(start + batch, total))])
        await asyncio.sleep(0)
        heard = [await asyncio.wait_for(listener.get(), 30)]
        while heard[-1] != added(total - 1):
            heard.append(await asyncio.wait_for(listener.get(), 30))
        progress.tell([added(total)])
        assert await asyncio.wait_for(quick.get(), 30) == Event("lost")
        return heard, await asyncio.wait_for(listener.get(), 30)

    heard, then = asyncio.run(main())
    assert heard[0] == Event("lost")
    assert len(heard) <= LISTENER_BACKLOG
    assert heard[1:] == [added(number) for number in range(total - len(heard) + 1, total)]
    assert then == added(total)


def test_a_listener_whose_loop_has_closed_does_not_hurt(progress: Progress) -> None:
    async def main() -> None:
        progress.listen()

    asyncio.run(main())
    progress.tell([added(0)])
