"""The measurements along an axis, beside its law. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.scaling.laws import Find, Law


@dataclass(frozen=True, slots=True)
class Point:
    """One place of an axis: a figure for each round, and the prediction of the law."""

    x: float
    rounds: tuple[float, ...]
    predicted: float

    @property
    def measured(self) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def deviation(self) -> float:
        """Return how much the measured figure is above the predicted one, as a share of that."""
        return self.measured / self.predicted - 1


@dataclass(frozen=True, slots=True)
class Series:
    """The points of one kind of work, in the order of x, and the law found from them.

    ``name`` distinguishes kinds on one axis, and is empty where there is only one.
    """

    name: str
    points: tuple[Point, ...]
    law: Law

    @property
    def farthest(self) -> Point:
        """Return the point with the largest deviation, of either sign."""
        return max(self.points, key=lambda point: abs(point.deviation))


def series(name: str, places: Sequence[tuple[float, Sequence[float]]], find: Find) -> Series:
    """Find the law of the medians, and put it beside them; a place is an x and its rounds.

    Raises:
        ValueError: the law cannot be found from these points.
    """
    ordered = sorted((x, tuple(rounds)) for x, rounds in places)
    law = find([x for x, _ in ordered], [statistics.median(rounds) for _, rounds in ordered])
    return Series(name, tuple(Point(x, rounds, law.at(x)) for x, rounds in ordered), law)
