"""The places of an axis take turns, round by round; the time of a piece of work in process.

The speed of a shared machine drifts, so each round has every place, and the order turns round from
one to the next.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Place = TypeVar("Place")

Report = Callable[[str, float], None]
"""Gets the name of a place and its value as soon as it is measured."""


def in_turn(
    places: Sequence[Place], work: Callable[[Place], float], *, rounds: int, report: Report
) -> dict[Place, list[float]]:
    """Measure every place once a round; return the values of each, in the order of the places."""
    found: dict[Place, list[float]] = {place: [] for place in places}
    for number in range(rounds):
        for place in places if number % 2 == 0 else reversed(places):
            value = work(place)
            found[place].append(value)
            report(str(place), value)
    return found


def median_seconds(
    work: Callable[[], object], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Do the work once to warm up, then repeatedly for ``seconds``; return the median time.

    It is done three times at least. What interrupts a single turn does not move the median.
    """
    work()
    times: list[float] = []
    end = clock() + seconds
    while len(times) < 3 or clock() < end:
        began = clock()
        work()
        times.append(clock() - began)
    return statistics.median(times)
