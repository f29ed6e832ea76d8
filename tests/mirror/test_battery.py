"""On battery what can wait waits, and a meme that somebody has just saved doesn't."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from memewatchd.agenda import FEW_FILES
from memewatchd.service import power
from memewatchd.service.power import Battery

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MANY = FEW_FILES + 1


class Supply:
    """A battery as the kernel shows it, in a folder of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "BAT0").mkdir(parents=True)
        (folder / "BAT0/type").write_text("Battery\n")
        self.unplug()

    def unplug(self) -> None:
        (self.folder / "BAT0/status").write_text("Discharging\n")

    def plug_in(self) -> None:
        (self.folder / "BAT0/status").write_text("Charging\n")


@pytest.fixture
def supply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supply:
    monkeypatch.setattr(power, "LOOK_S", 0.05)
    return Supply(tmp_path / "power")


@pytest.fixture
def on_battery(supply: Supply, new_rig: Callable[..., Any]) -> Any:
    """A mirror that isn't started yet, and runs on battery."""
    return new_rig(battery=Battery(supply.folder))


def test_many_files_wait_for_power(
    on_battery: Any, supply: Supply, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    for number in range(MANY):
        on_battery.write(f"{number}.png", png(number))
    on_battery.start()
    until(lambda: on_battery.progress.holding)
    waits = on_battery.ask()
    assert on_battery.progress.holding == "on battery"
    assert (on_battery.progress.state, on_battery.progress.pending) == ("indexing", MANY)
    assert on_battery.reader.opened == []
    assert not waits.done()

    supply.plug_in()
    on_battery.wait()
    assert waits.done()
    assert on_battery.progress.holding == ""
    on_battery.assert_equal_to_disk()


def test_a_new_file_does_not_wait_for_those_that_do(
    on_battery: Any, supply: Supply, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    for number in range(MANY):
        on_battery.write(f"{number}.png", png(number))
    on_battery.start()
    until(lambda: on_battery.progress.holding)
    on_battery.write("just saved.png", png(MANY))
    until(lambda: list(on_battery.indexed) == ["just saved.png"])
    assert set(on_battery.reader.opened) == {on_battery.path("just saved.png")}
    # The count follows what the index holds: it is told after the batch that wrote it.
    until(lambda: on_battery.progress.pending == MANY)


def test_a_few_files_do_not_wait(on_battery: Any, png: Callable[[int], bytes]) -> None:
    for number in range(FEW_FILES):
        on_battery.write(f"{number}.png", png(number))
    on_battery.start()
    on_battery.wait()
    on_battery.assert_equal_to_disk()
    assert on_battery.progress.holding == ""


def test_what_is_under_way_when_the_plug_is_pulled_is_finished_later(
    on_battery: Any, supply: Supply, png: Callable[[int], bytes], until: Callable[..., None]
) -> None:
    supply.plug_in()
    on_battery.decoder.gate.clear()
    for number in range(3 * MANY):
        on_battery.write(f"{number}.png", png(number))
    on_battery.start()
    assert on_battery.decoder.began.acquire(timeout=30)
    supply.unplug()
    until(lambda: on_battery.progress.holding)
    on_battery.decoder.gate.set()
    until(lambda: on_battery.indexed)
    supply.plug_in()
    on_battery.wait()
    on_battery.assert_equal_to_disk()
    on_battery.assert_vectors_are_true()


def test_the_kernel_is_not_asked_every_time(supply: Supply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "LOOK_S", 30.0)
    now = [100.0]
    battery = Battery(supply.folder, clock=lambda: now[0])
    assert battery.holds() == "on battery"
    supply.plug_in()
    now[0] += 29
    assert battery.holds() == "on battery"
    now[0] += 1
    assert battery.holds() == ""
