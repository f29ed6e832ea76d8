"""Each op and its replies, with a real catalog and progress and a fake mirror and searcher."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.commands import Commands
from memewatchd.errors import BadRequest, Degraded, Paused, TimedOut, UnknownOp
from memewatchd.index.catalog import Catalog
from memewatchd.meme import Digest, FileRow, FileStat
from memewatchd.ops import OPS, Example
from memewatchd.progress import Event, Progress
from memewatchd.protocol import Request, parse_line
from memewatchd.search.copies import Copies
from memewatchd.search.naming import Phrase
from memewatchd.search.ranking import Hit
from memewatchd.search.search import Answer
from memewatchd.search.usage import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


class FakeSearcher:
    def __init__(self, catalog: Catalog) -> None:
        self.copies = Copies(catalog)
        self.asked: list[tuple[Any, ...]] = []
        self.answer = Answer([])
        self.typing: list[bool] = []

    async def search(self, *args: Any, typing: bool = False, fold: bool = True, all_hosts: bool = False) -> Answer:
        self.asked.append(args)
        self.typing.append(typing)
        return self.answer


class FakeMirror:
    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.calls: list[str] = []
        self.on_wake: Callable[[], None] = lambda: None

    def wake(self) -> None:
        self.calls.append("wake")
        self.on_wake()

    def rescan(self, forget_missing: bool = False) -> None:
        self.calls.append(f"rescan {forget_missing}")

    def set_paused(self, paused: bool) -> None:
        self.calls.append(f"paused {paused}")
        self.progress.paused = paused


class FakeNamer:
    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        self.phrase: Phrase | None = Phrase("cat", "猫")
        self.asked: list[bytes] = []

    def name(self, picture: Example) -> Phrase | None:
        self.asked.append(picture.data)
        assert self.go_on.wait(30)
        return self.phrase


class House:
    def __init__(self, usage: Usage | None = None) -> None:
        self.namer = FakeNamer()
        self.catalog = Catalog()
        self.searcher = FakeSearcher(self.catalog)
        self.progress = Progress()
        self.mirror = FakeMirror(self.progress)
        self.about = {"model": "m", "engine": "e", "watching": "inotify", "watching_why": "", "roots": []}
        self.commands = Commands(
            searcher=self.searcher,  # type: ignore[arg-type]
            catalog=self.catalog,
            progress=self.progress,
            mirror=self.mirror,
            about=lambda: self.about,
            usage=usage,
            namer=self.namer,  # type: ignore[arg-type]
        )

    def add(self, path: bytes, digest: str = "", error: str = "", vector: bool = True) -> None:
        size = () if error else (3, 2, 1)
        self.catalog.put(FileRow(path, FileStat(70, 1, 1, len(path)), Digest(digest), 0, *size, error=error))
        if vector and not error:
            self.catalog.add_vector(Digest(digest))

    def stream(self, op: str, **args: Any) -> AsyncIterator[dict[str, Any]]:
        return self.commands.handle(parse_line(json.dumps({"op": op, **args}).encode()))

    def ask(self, op: str, **args: Any) -> list[dict[str, Any]]:
        """All replies, which can be written as JSON, as the door does."""

        async def main() -> list[dict[str, Any]]:
            return [json.loads(json.dumps(reply)) async for reply in self.stream(op, **args)]

        return asyncio.run(within(main()))


async def within(work: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(work, 30)


@pytest.fixture
def house() -> House:
    return House()


def test_every_op_that_the_protocol_takes_is_there(house: House) -> None:
    for op in OPS:
        house.stream(op)


def test_describe(house: House) -> None:
    picture = {"data_b64": "c29tZQ=="}
    assert house.ask("describe", like=[picture]) == [{"ok": True, "name": {"en": "cat", "zh": "猫"}}]
    assert house.namer.asked == [b"some"]
    house.namer.phrase = None
    assert house.ask("describe", like=[picture]) == [{"ok": True, "name": None}]
    with pytest.raises(BadRequest, match="one picture"):
        house.ask("describe")
    with pytest.raises(BadRequest, match="one picture"):
        house.ask("describe", like=[picture, picture])


def test_many_who_ask_for_names_hold_up_nobody_else(house: House) -> None:
    """With a large model the first name takes long, and there are few threads for all that isn't a search."""
    house.add(b"/m/a.png", "d1")

    async def all_of(op: str, **args: Any) -> list[dict[str, Any]]:
        return [reply async for reply in house.stream(op, **args)]

    async def main() -> None:
        house.namer.go_on.clear()
        asking = [asyncio.create_task(all_of("describe", like=[{"data_b64": "c29tZQ=="}])) for _ in range(40)]
        try:
            await asyncio.sleep(0.2)
            assert len(await asyncio.wait_for(all_of("list"), 10)) == 2
        finally:
            house.namer.go_on.set()
        assert all(len(replies) == 1 for replies in await asyncio.gather(*asking))

    asyncio.run(within(main()))


def test_an_op_that_is_not_there(house: House) -> None:
    with pytest.raises(UnknownOp, match="sing"):
        house.commands.handle(Request("sing", {}))


def test_status_has_what_the_contract_names(house: House) -> None:
    house.add(b"/m/a.png", "d1")
    house.add(b"/m/copy.png", "d1")
    house.add(b"/m/coming.png", "d2", vector=False)
    house.add(b"/m/bad.png", error="broken")
    house.progress.scanned = True
    house.progress.pending = 1
    house.progress.encoded = 7
    (reply,) = house.ask("status")
    status = reply["status"]
    assert reply["ok"] is True
    assert status.keys() >= {
        *("protocol", "state", "indexed", "pending", "failed", "encoded", "words_pending"),
        *("model", "engine", "watching", "roots", "rate", "eta_s", "uptime_s"),
    }
    assert (status["protocol"], status["state"]) == (1, "indexing")
    assert (status["indexed"], status["pending"], status["failed"], status["encoded"]) == (2, 1, 1, 7)
    assert (status["rate"], status["eta_s"], status["problems"]) == (0.0, None, [])
    assert (status["words_pending"], status["words_rate"], status["words_eta_s"]) == (0, 0.0, None)


def test_status_says_what_is_wrong(house: House) -> None:
    house.progress.problems["index"] = "Milvus is away; start it"
    house.progress.away = {b"/m": "/m is missing"}
    (reply,) = house.ask("status")
    assert reply["status"]["state"] == "degraded"
    assert reply["status"]["problems"] == ["Milvus is away; start it", "/m is missing"]


def test_duplicates_come_in_groups_and_end_with_a_count(house: House) -> None:
    house.add(b"/m/b\xff.png", "d1")
    house.add(b"/m/a.png", "d1")
    house.add(b"/m/other.png", "d2")
    house.add(b"/m/bad.png", "d1", error="broken")
    group, end = house.ask("duplicates")
    file = {"digest": "d1", "size": 70, "width": 3, "height": 2, "frames": 1}
    assert group == {
        "ok": True,
        "group": {
            "files": [
                {"path": "/m/a.png", **file},
                {"path": "/m/b\ufffd.png", "path_b64": "L20vYv8ucG5n", **file},
            ],
            "exact": True,
        },
    }
    assert end == {"ok": True, "end": True, "count": 1}


def test_list_is_sorted_and_ends_with_a_count(house: House) -> None:
    house.add(b"/m/b\xff.png", "d2")
    house.add(b"/m/a.png", "d1")
    house.add(b"/m/bad.png", error="broken")
    house.add(b"/m/coming.png", "d3", vector=False)
    replies = house.ask("list")
    assert [reply["ok"] for reply in replies] == [True] * 3
    assert replies[0]["file"] == {
        "path": "/m/a.png",
        "digest": "d1",
        "size": 70,
        "width": 3,
        "height": 2,
        "frames": 1,
    }
    assert replies[1]["file"]["path_b64"] == "L20vYv8ucG5n"
    assert replies[2] == {"ok": True, "end": True, "count": 2}


def test_failed_names_the_reason(house: House) -> None:
    house.add(b"/m/a.png", "d1")
    house.add(b"/m/z.png", error="empty file")
    house.add(b"/m/c.png", "d4", error="truncated")
    assert house.ask("failed") == [
        {"ok": True, "file": {"path": "/m/c.png", "reason": "truncated"}},
        {"ok": True, "file": {"path": "/m/z.png", "reason": "empty file"}},
        {"ok": True, "end": True, "count": 2},
    ]


@pytest.mark.parametrize("op", ["list", "failed"])
def test_an_empty_list_still_ends(house: House, op: str) -> None:
    assert house.ask(op) == [{"ok": True, "end": True, "count": 0}]


def test_a_long_list_lets_others_be_answered_in_between(house: House) -> None:
    for number in range(1000):
        house.add(b"/m/%d.png" % number, "d")

    async def main() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        replies = [reply async for reply in house.stream("list")]
        task.cancel()
        assert len(replies) == 1001
        return turns

    assert asyncio.run(main()) >= 4


def test_search_passes_on_what_was_asked_and_says_why(house: House) -> None:
    hits = [Hit(b"/m/a.png", 1.31415926, image=0.31415926, name=1.0), Hit(b"/m/\xff.png", 0.2, image=0.2)]
    house.searcher.answer = Answer(hits)
    (reply,) = house.ask("search", text="cat", limit=3, timeout=2, min_score=0.1)
    assert house.searcher.asked == [("cat", 3, 2.0, 0.1, ())]
    assert reply["hits"][0] == {
        "path": "/m/a.png",
        "score": 1.3142,
        "why": {"image": 0.3142, "words": None, "name": 1.0},
    }
    assert reply["hits"][1]["path_b64"] == "L20v/y5wbmc="
    assert reply["ok"] is True
    assert reply["took_ms"] >= 0
    assert "partial" not in reply


def test_search_has_defaults_and_says_when_it_is_partial(house: House) -> None:
    house.searcher.answer = Answer([], partial=True)
    (reply,) = house.ask("search", text="cat")
    assert house.searcher.asked == [("cat", 20, 30.0, None, ())]
    assert reply["partial"] is True
    assert reply["hits"] == []


def test_errors_of_a_search_travel_typed(house: House) -> None:
    async def refuse(*_: Any, **__: Any) -> Answer:
        raise BadRequest("ext: is not there yet")

    house.searcher.search = refuse  # type: ignore[method-assign]
    with pytest.raises(BadRequest, match="ext:"):
        house.ask("search", text="ext:gif")


# ---- wait


def test_wait_asks_for_a_walk_and_is_answered_when_it_is_settled(house: House) -> None:
    def walk() -> None:
        house.progress.walk_ended(house.progress.waiting_walks(), [b"/m/a.png"])
        asyncio.get_running_loop().call_later(0.01, house.progress.path_settled, [b"/m/a.png"])

    house.mirror.on_wake = walk
    assert house.ask("wait") == [{"ok": True}]
    assert house.mirror.calls == ["wake"]
    assert house.progress._walks == []


def serve_words(house: House, *rounds: set[str]) -> Callable[[], None]:
    """What the sync thread does when it is woken: all is settled; then the words in these digests are unread."""
    house.progress.words_off = ""

    def on_wake() -> None:
        house.progress.walk_ended(house.progress.waiting_walks(), [])
        if house.progress.someone_waits_for_words:
            loop = asyncio.get_running_loop()
            for number, unread in enumerate(rounds):
                loop.call_later(0.01 * number, house.progress.words_left, unread)

    return on_wake


def test_wait_for_words_too(house: House) -> None:
    house.mirror.on_wake = serve_words(house, {"d1", "d2"}, {"d2", "new"}, {"new"})
    assert house.ask("wait", words=True) == [{"ok": True}]
    assert house.mirror.calls == ["wake", "wake"]
    assert not house.progress.someone_waits_for_words


def test_wait_for_words_that_nothing_reads_names_the_remedy(house: House) -> None:
    house.progress.words_off = "not installed: pip install x"
    with pytest.raises(BadRequest, match="pip install x"):
        house.ask("wait", words=True)
    assert house.progress.waiting_walks() == []
    house.mirror.on_wake = lambda: house.progress.walk_ended(house.progress.waiting_walks(), [])
    assert house.ask("wait") == [{"ok": True}]


def test_wait_for_words_that_times_out_says_how_many_are_left(house: House) -> None:
    house.mirror.on_wake = serve_words(house, {"d1", "d2"})
    house.progress.words_pending = 2
    with pytest.raises(TimedOut, match="the words in 2 pictures"):
        house.ask("wait", words=True, timeout=0.05)
    assert not house.progress.someone_waits_for_words


def test_wait_while_paused_is_refused_at_once(house: House) -> None:
    house.progress.paused = True
    with pytest.raises(Paused, match="resume"):
        house.ask("wait")
    assert house.progress.waiting_walks() == []


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_wait_that_times_out_says_how_much_is_left(house: House, timeout: float) -> None:
    house.progress.pending = 3
    with pytest.raises(TimedOut, match="3 files"):
        house.ask("wait", timeout=timeout)
    assert house.progress.waiting_walks() == []  # nobody walks for those who have gone


def test_wait_ends_where_it_can_not_end_well(house: House) -> None:
    house.mirror.on_wake = lambda: house.progress.fail_walks(Degraded("no such model"))
    with pytest.raises(Degraded, match="no such model"):
        house.ask("wait", timeout=30)


def test_a_client_that_goes_away_waits_no_longer(house: House) -> None:
    async def main() -> None:
        replies = house.stream("wait")
        waiting = asyncio.ensure_future(anext(replies))
        while not house.mirror.calls:  # noqa: ASYNC110 - the mirror is a fake, and sets no event
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(within(main()))
    assert house.progress.waiting_walks() == []


# ---- the rest


def test_events_come_as_they_happen_and_end_with_the_client(house: House) -> None:
    async def main() -> list[dict[str, Any]]:
        replies = house.stream("events")
        heard = [await anext(replies)]
        moved = Event("moved", b"/m/\xff.png", b"/m/old.png")
        house.progress.tell([Event("added", b"/m/a.png"), moved, Event("lost")])
        heard += [await anext(replies) for _ in range(3)]
        await replies.aclose()  # type: ignore[attr-defined]
        return heard

    heard = asyncio.run(within(main()))
    assert heard[:2] == [{"ok": True}, {"event": "added", "path": "/m/a.png"}]
    assert {key: heard[2][key] for key in ("event", "path_b64", "from")} == {
        "event": "moved",
        "path_b64": "L20v/y5wbmc=",
        "from": "/m/old.png",
    }
    assert heard[3] == {"event": "lost"}
    assert house.progress._listeners == set()


def test_pause_and_resume(house: House) -> None:
    assert house.ask("pause") == [{"ok": True}]
    assert house.progress.state == "paused"
    assert house.ask("resume") == [{"ok": True}]
    assert house.mirror.calls == ["paused True", "paused False"]


def test_rescan(house: House) -> None:
    assert house.ask("rescan") == [{"ok": True}]
    assert house.ask("rescan", forget_missing=True) == [{"ok": True}]
    assert house.mirror.calls == ["rescan False", "rescan True"]


def test_used_counts_the_meme_behind_the_path(tmp_path: Path) -> None:
    usage = Usage(tmp_path)
    house = House(usage)
    house.add(b"/m/a.png", "a" * 64)
    house.add(b"/m/\xff.png", "b" * 64)
    house.add(b"/m/broken.png", error="it is cut off")
    assert house.ask("used", path="/m/a.png") == [{"ok": True}]
    assert house.ask("used", path="/m/?.png", path_b64="L20v/y5wbmc=") == [{"ok": True}]
    assert house.ask("used", path="/m/a.png") == [{"ok": True}]
    assert usage.most_used() == ["a" * 64, "b" * 64]
    with pytest.raises(BadRequest, match=r"path: /m/none\.png is not indexed"):
        house.ask("used", path="/m/none.png")
    with pytest.raises(BadRequest, match=r"path: /m/broken\.png could not be indexed: it is cut off"):
        house.ask("used", path="/m/broken.png")
    with pytest.raises(BadRequest, match="used needs path"):
        house.ask("used")
    assert house.ask("forget-usage") == [{"ok": True}]
    assert usage.most_used() == []


def test_used_on_a_full_disk_is_told(tmp_path: Path) -> None:
    house = House(Usage(tmp_path / "gone"))
    house.add(b"/m/a.png", "a" * 64)
    with pytest.raises(Degraded, match="can't be written"):
        house.ask("used", path="/m/a.png")
