"""Every place has its turn in every round, and times are medians of a window."""

from __future__ import annotations

import pytest

from benchmarks.scaling.rounds import in_turn, median_seconds


def test_the_order_turns_round_from_one_round_to_the_next() -> None:
    asked: list[int] = []
    reported: list[tuple[str, float]] = []

    def work(place: int) -> float:
        asked.append(place)
        return float(len(asked))

    found = in_turn(
        [10, 20], work, rounds=3, report=lambda place, value: reported.append((place, value))
    )

    assert asked == [10, 20, 20, 10, 10, 20]
    assert found == {10: [1.0, 4.0, 5.0], 20: [2.0, 3.0, 6.0]}
    assert reported[:2] == [("10", 1.0), ("20", 2.0)]


class Clock:
    """A clock that work moves on."""

    def __init__(self, *times: float) -> None:
        self.now = 0.0
        self.done = 0
        self._times = iter(times)

    def __call__(self) -> float:
        return self.now

    def work(self) -> None:
        """Let the next of the times pass."""
        self.now += next(self._times)
        self.done += 1


def test_the_first_turn_warms_up_and_one_that_is_interrupted_counts_for_little() -> None:
    clock = Clock(100.0, 2.0, 90.0, 3.0, 1.0)

    assert median_seconds(clock.work, 0.0, clock) == 3.0
    assert clock.done == 4


def test_work_is_done_until_the_window_ends() -> None:
    clock = Clock(*[1.0] * 20)

    assert median_seconds(clock.work, 10.0, clock) == pytest.approx(1.0)
    assert clock.done == 11
