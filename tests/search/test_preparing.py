"""What a search would wait for is done before, and who does it sleeps when there is nothing to do."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.search import preparing
from memewatchd.search.preparing import Preparer

if TYPE_CHECKING:
    from collections.abc import Callable


class Work(SimpleNamespace):
    """Copies or a calibrator: stale until done, if it can be done."""

    def __init__(self) -> None:
        super().__init__(is_stale=True, times=0, fails=False)

    def warm(self) -> None:
        self.times += 1
        self.is_stale = self.fails

    measure = warm


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it waits for anything
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "_SOON_S", 0.01)


def run(play: Callable[..., Any]) -> None:
    async def in_pool(function: Callable[[], Any]) -> Any:
        return function()

    async def main() -> None:
        copies, calibrator, how = Work(), Work(), SimpleNamespace(calm=True, ready=True)
        preparer = Preparer(in_pool, copies, calibrator, is_ready=lambda: how.ready)  # type: ignore[arg-type]
        read: list[str] = []
        task = asyncio.create_task(preparer.run(lambda: how.calm, lambda: read.append("dictionary")))
        try:
            await play(preparer, copies, calibrator, how, read)
        finally:
            task.cancel()

    asyncio.run(main())


def test_all_is_done_once_and_then_only_when_it_is_woken() -> None:
    async def play(preparer: Preparer, copies: Work, calibrator: Work, how: Any, read: list[str]) -> None:
        await until(lambda: calibrator.times == 1)
        assert (read, copies.times) == (["dictionary"], 1)
        copies.is_stale = True
        await asyncio.sleep(0.1)
        assert copies.times == 1
        await asyncio.to_thread(preparer.look_again)
        await until(lambda: copies.times == 2)
        assert (read, calibrator.times) == (["dictionary"], 1)

    run(play)


def test_nothing_is_done_while_there_is_work_or_no_model() -> None:
    async def play(preparer: Preparer, copies: Work, calibrator: Work, how: Any, read: list[str]) -> None:
        how.calm = False
        await asyncio.sleep(0.1)
        how.calm, how.ready = True, False
        await asyncio.sleep(0.1)
        assert (read, copies.times) == ([], 0)
        how.ready = True
        await until(lambda: copies.times == 1)

    run(play)


def test_what_was_put_off_goes_on_by_itself() -> None:
    async def play(preparer: Preparer, copies: Work, calibrator: Work, how: Any, read: list[str]) -> None:
        def put_off() -> None:
            calibrator.times += 1
            how.calm = False  # somebody searches

        calibrator.measure = put_off
        await until(lambda: calibrator.times == 1)
        await asyncio.sleep(0.1)
        assert calibrator.times == 1
        calibrator.measure = calibrator.warm
        how.calm = True
        await until(lambda: calibrator.times == 2)

    run(play)


def test_what_failed_is_tried_again_when_it_is_woken() -> None:
    async def play(preparer: Preparer, copies: Work, calibrator: Work, how: Any, read: list[str]) -> None:
        calibrator.fails = True
        await until(lambda: calibrator.times == 1)
        calibrator.fails = False
        preparer.look_again()
        await until(lambda: calibrator.times == 2)

    run(play)
