"""Which frames are chosen, of animations made of plain numbers."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memewatchd.pictures import frames
from memewatchd.pictures.frames import LOOK, SAME, Shown, choose, difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 160, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def plain(colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.full((LOOK, LOOK, 3), colour, np.uint8)


def grey(level: int) -> NDArray[np.uint8]:
    return plain((level, level, level))


def show(looks: Iterable[NDArray[np.uint8]], ms: float = 100, blank: Iterable[int] = ()) -> Iterator[Shown[str]]:
    for number, look in enumerate(looks):
        yield Shown(number, ms, look, number in blank, partial("frame {}".format, number))


def numbers(shown: Iterable[Shown[str]], most: int = 8) -> list[int]:
    chosen = choose(shown, most)
    assert all(prepared == f"frame {number}" for number, prepared in chosen)
    return [number for number, _ in chosen]


def test_a_picture_that_never_changes_is_one_frame() -> None:
    assert numbers(show([plain(RED)] * 500)) == [0]


def test_no_frames_at_all() -> None:
    assert numbers(show([])) == []


def test_the_noise_of_compression_is_no_change() -> None:
    rng = np.random.default_rng(1)
    noisy = [np.clip(grey(120) + rng.integers(-4, 5, (LOOK, LOOK, 3)), 0, 255).astype(np.uint8) for _ in range(50)]
    assert numbers(show(noisy)) == [0]


def test_each_scene_is_taken_where_it_begins() -> None:
    looks = [plain(RED)] * 7 + [plain(GREEN)] * 30 + [plain(BLUE)] * 3 + [plain(WHITE)] * 2
    assert numbers(show(looks)) == [0, 7, 37, 40]


def test_a_new_caption_is_a_change() -> None:
    """White letters along the bottom, a twelfth of the picture."""
    rng = np.random.default_rng(2)

    def captioned() -> NDArray[np.uint8]:
        look = grey(60)
        look[27:30, 4:28] = rng.choice([60, 255], (3, 24, 1))
        return look

    assert numbers(show([grey(60), grey(60), captioned(), captioned()])) == [0, 2, 3]


def test_a_scene_seen_before_is_not_taken_twice() -> None:
    assert numbers(show([plain(RED), plain(BLUE)] * 100)) == [0, 1]


def test_a_slow_fade_is_spread_over() -> None:
    chosen = numbers(show([grey(level) for level in range(256)]), 5)
    assert len(chosen) == 5
    assert chosen[0] == 0
    assert min(np.diff(chosen)) >= 20
    assert chosen[-1] >= 200


def test_the_greatest_changes_win() -> None:
    small_ones = [grey(100 + 6 * (i % 5)) for i in range(40)]
    looks = [*small_ones, plain(RED), *small_ones, plain(BLUE), *small_ones]
    chosen = numbers(show(looks), 3)
    assert chosen == [0, 40, 81]


def test_the_first_frame_stays_even_where_others_differ_more() -> None:
    looks = [grey(100), grey(106), plain(RED), plain(GREEN), plain(BLUE), plain(WHITE)]
    assert numbers(show(looks), 3)[0] == 0
    assert numbers(show(looks), 1) == [0]


def test_a_flash_counts_less_than_what_stands() -> None:
    def shown() -> Iterator[Shown[str]]:
        for number, (look, ms) in enumerate([(BLACK, 900), ((80, 80, 80), 900), (WHITE, 10), ((170, 170, 170), 900)]):
            yield Shown(number, ms, plain(look), False, partial("frame {}".format, number))

    assert numbers(shown(), 3) == [0, 1, 3]


def test_blank_frames_only_where_there_is_nothing_else() -> None:
    looks = [plain(WHITE), plain(RED), plain(WHITE), plain(BLUE)]
    assert numbers(show(looks, blank=[0, 2])) == [1, 3]
    assert numbers(show(looks, blank=range(4))) == [0]


def test_few_frames_are_held_at_a_time() -> None:
    held: list[int] = []

    class Pixels:
        def __init__(self) -> None:
            held.append(1)

        def __del__(self) -> None:
            held.pop()

        def __lt__(self, other: object) -> bool:
            return False

    most = 0
    rng = np.random.default_rng(3)

    def shown() -> Iterator[Shown[Pixels]]:
        nonlocal most
        for number in range(300):
            yield Shown(number, 50, rng.integers(0, 256, (LOOK, LOOK, 3)).astype(np.uint8), False, Pixels)
            most = max(most, len(held))

    assert len(choose(shown(), 4)) == 4
    assert most <= 6


def test_late_frames_are_not_asked_for() -> None:
    asked = show([grey(level) for level in (0, 100, 200)])
    assert numbers(frames.stop_late(asked, time.process_time() - 1)) == [0]
    assert next(asked).number == 1


def test_difference() -> None:
    black, white = grey(0).astype(np.int16), grey(255).astype(np.int16)
    assert difference(black, black) == 0
    assert difference(black, white) == pytest.approx(255)
    assert difference(white, black) == pytest.approx(255)
    assert 2 < SAME < 8


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(1, 2000), st.booleans()), max_size=40), st.integers(1, 9))
def test_whatever_comes(film: list[tuple[int, int, bool]], most: int) -> None:
    shown = [
        Shown(number, ms, grey(level), blank, partial("frame {}".format, number))
        for number, (level, ms, blank) in enumerate(film)
    ]
    chosen = numbers(shown, most)
    assert len(chosen) <= most
    assert chosen == sorted(set(chosen))
    visible = [frame.number for frame in shown if not frame.blank]
    if visible:
        assert chosen[0] == visible[0]
        assert set(chosen) <= set(visible)
    else:
        assert chosen == [frame.number for frame in shown[:1]]
    looks = [shown[number].look.astype(np.int16) for number in chosen]
    assert all(difference(a, b) >= SAME for i, a in enumerate(looks) for b in looks[:i])
    levels = [film[number][0] for number in visible]
    if len(chosen) < most and levels:  # then nothing was left out but what looks like one of them
        assert all(min(difference(grey(level).astype(np.int16), look) for look in looks) < 2 * SAME for level in levels)
