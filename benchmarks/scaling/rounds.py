"""Places of an axis take turns, round by round, and what a piece of work takes in process.

The speed of a shared machine drifts, so each round has every place, and the order turns round from
one to the next. Knows nothing of what is measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Place = TypeVar("Place")

Tell = Callable[[str, float], None]
"""Is told what a place gave as soon as it is known."""


def in_turn(
    places: Sequence[Place], work: Callable[[Place], float], *, rounds: int, tell: Tell
) -> dict[Place, list[float]]:
    """Measure every place once a round; return what each gave, in the order of the places."""
    found: dict[Place, list[float]] = {place: [] for place in places}
    for number in range(rounds):
        for place in places if number % 2 == 0 else reversed(places):
            value = work(place)
            found[place].append(value)
            tell(str(place), value)
    return found


def median_seconds(
    work: Callable[[], object], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Do the work once to warm up, then again and again for so long; return the median time.

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
