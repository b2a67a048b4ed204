"""The laws of cost, each found from a series of points (x, measured). Pure.

Times that a law takes and gives are in milliseconds, and rates are numbers a second; a parameter
names its own unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.scaling.fitting import Numbers, fit


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a law, and its unit."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Law:
    """A formula, its parameters, and its prediction ``at`` an x."""

    formula: str
    parameters: tuple[Parameter, ...]
    at: Callable[[float], float]


Find = Callable[[Sequence[float], Sequence[float]], Law]
"""Finds a law from x and measurements; raises ValueError if the points do not suffice."""


def linear_and_square(tokens: Sequence[float], times: Sequence[float]) -> Law:
    """Find the time of an input: linear maps cost its tokens, attention their square."""
    lengths = _numbers(tokens)
    a, b = fit([lengths, lengths**2], _numbers(times))
    return Law(
        "time of an input = a·L + b·L²",
        (Parameter("a", 1e3 * a, "µs/token"), Parameter("b", 1e6 * b, "ns/token²")),
        lambda length: a * length + b * length**2,
    )


def fixed_and_each(counts: Sequence[float], times: Sequence[float]) -> Law:
    """Find the time of a batch: a constant, and the time of each input."""
    numbers = _numbers(counts)
    c, t = fit([np.ones_like(numbers), numbers], _numbers(times))
    return Law(
        "time of a batch = c + n·t",
        (Parameter("c", c, "ms"), Parameter("t", t, "ms/input")),
        lambda count: c + count * t,
    )


def asymptotic_bounds(clients: Sequence[float], rates: Sequence[float]) -> Law:
    """Find the bounds of a closed queueing network: clients that never queue, or the best rate.

    R(1) is the mean time of an answer to a client that is alone; as it does nothing else than
    wait, that is one part of its rate.

    Raises:
        ValueError: no point has one client.
    """
    alone = _at_one(clients, rates, "client")
    best = max(rates)
    return Law(
        "X(c) ≤ min(c / R(1), X_max)",
        (Parameter("R(1)", 1000 / alone, "ms"), Parameter("X_max", best, "/s")),
        lambda count: min(count * alone, best),
    )


def amdahl(replicas: Sequence[float], rates: Sequence[float], *, cores: int) -> Law:
    """Find the serial share s of the work from the points up to the cores; none is gained beyond.

    Raises:
        ValueError: no point has one replica.
    """
    alone = _at_one(replicas, rates, "replica")
    within = [
        (n, rate) for n, rate in zip(replicas, rates, strict=True) if 1 < n <= cores and rate > 0
    ]
    # X(1)·n / X(n) = 1 + s·(n - 1): one unknown, least squares on the errors in parts of X(n).
    steps = _numbers([(n - 1) * rate / (alone * n) for n, rate in within])
    missing = _numbers([1 - rate / (alone * n) for n, rate in within])
    s = float(np.clip(steps @ missing / (steps @ steps), 0.0, 1.0)) if within else 0.0

    def at(count: float) -> float:
        n = min(count, max(cores, 1))
        return alone * n / (1 + s * (n - 1))

    formula = f"X(n) = X(1)·n / (1 + s·(n - 1)) up to n = {cores}, the cores, and constant beyond"
    parameters = (Parameter("X(1)", alone, "/s"), Parameter("s", s, ""))
    return Law(formula, parameters, at)


def mixture(shares: Sequence[float], rates: Sequence[float]) -> Law:
    """Find the times of a miss and of a hit, whose mix is the time of a request."""
    hits = _numbers(shares)
    miss, hit = fit([1 - hits, hits], 1 / _numbers(rates))
    return Law(
        "1/X(h) = (1 - h)/X(0) + h/X(1)",
        (Parameter("X(0)", _inverse(miss), "/s"), Parameter("X(1)", _inverse(hit), "/s")),
        lambda share: _inverse((1 - share) * miss + share * hit),
    )


def scan(points: Sequence[float], rates: Sequence[float]) -> Law:
    """Find the time of a search that looks at every point."""
    numbers = _numbers(points)
    a, b = fit([np.ones_like(numbers), numbers], 1000 / _numbers(rates))
    return Law(
        "time of a query = a + b·N",
        (Parameter("a", a, "ms"), Parameter("b", 1e6 * b, "ns/point")),
        lambda count: 1000 * _inverse(a + b * count),
    )


def descent(points: Sequence[float], rates: Sequence[float]) -> Law:
    """Find the time of a search in a graph, which adds the same for every doubling."""
    doublings = np.log2(_numbers(points))
    a, b = fit([np.ones_like(doublings), doublings], 1000 / _numbers(rates))
    return Law(
        "time of a query = a + b·log₂ N",
        (Parameter("a", a, "ms"), Parameter("b", 1e3 * b, "µs/doubling")),
        lambda count: 1000 * _inverse(a + b * math.log2(count)),
    )


def _numbers(values: Sequence[float]) -> Numbers:
    return np.asarray(values, np.float64)


def _inverse(value: float) -> float:
    return 1 / value if value > 0 else math.inf


def _at_one(places: Sequence[float], rates: Sequence[float], what: str) -> float:
    for place, rate in zip(places, rates, strict=True):
        if place == 1 and rate > 0:
            return rate
    raise ValueError(f"the law starts from the rate of one {what}, which was not measured")
