"""How many tokens a batch should hold on this device: measured at warm-up, then decided.

The decision is a pure function of the curve; the loop that measures the curve is told what to run,
by which clock, and what fits into memory. Knows no model, no device and no queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from embedder.core.errors import OutOfMemory
from embedder.core.types import TokenBatch

T = TypeVar("T")

TOLERANCE = 0.95
"""A batch this near to the best throughput is good enough: a smaller one has less latency."""

RUNS = 3
"""Batches for one point of the curve: one warms up, the faster one of the others counts.

The last of them is run in a second round, after the other sizes: what disturbs the machine for a
while then spoils one run of several sizes, not both runs of one.
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one batch of ``tokens`` tokens took."""

    tokens: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """Return the throughput of such batches."""
        return self.tokens / self.seconds if self.seconds > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class Tuning:
    """The budget of tokens that was found, what was measured, and why it is not larger."""

    max_tokens: int
    curve: tuple[Measurement, ...]
    reason: str


def choose_budget(curve: Sequence[Measurement], tolerance: float = TOLERANCE) -> int:
    """Return the smallest budget whose throughput is within ``tolerance`` of the best.

    Noise costs no more than its own size: where every throughput is off by a share of at most e,
    the one chosen is truly within ``tolerance`` × (1 - e) / (1 + e) of the best.

    Raises:
        ValueError: the curve is empty, or the tolerance is no share.
    """
    if not curve or not 0 < tolerance <= 1:
        raise ValueError(f"a curve of {len(curve)} points has no choice within {tolerance}")
    enough = tolerance * max(point.tokens_per_s for point in curve)
    return min(point.tokens for point in curve if point.tokens_per_s >= enough)


def tune(
    run: Callable[[TokenBatch], object],
    bounds: tuple[int, int],
    *,
    longest: int,
    seconds: float,
    fits: Callable[[int], bool],
    clock: Callable[[], float] = time.perf_counter,
) -> Tuning:
    """Measure batches of doubling size and return the budget to work with.

    ``run`` returns when its batch has been computed, not before. The sizes lie within ``bounds``,
    both included; only where memory ends below the lower bound is the budget less, unmeasured.
    The batches hold inputs of at most ``longest`` tokens. A point that, judging by the last one,
    would end after ``seconds`` in all is not begun; the first batch is always computed.

    Raises:
        ValueError: the bounds are not in order, or leave no room for one token.
    """
    low, high = bounds
    if not 1 <= low <= high:
        raise ValueError(f"a budget cannot lie between {low} and {high} tokens")
    meter = _Meter(run, longest, seconds, fits, clock)
    start = low
    while not meter.holds(start) and start > 1:
        start //= 2
    if start < low:
        return Tuning(start, (), _memory_ends(2 * start))
    bound = f"{high:,} tokens is the upper bound"
    curve, end = _until_refused(meter.point, _doubling(low, high), bound)
    curve, end = _until_refused(meter.again, curve, end)
    return _conclude(low, curve, end)


class _Meter:
    """Times batches, and judges from the last ones what a larger one will take."""

    def __init__(
        self,
        run: Callable[[TokenBatch], object],
        longest: int,
        seconds: float,
        fits: Callable[[int], bool],
        clock: Callable[[], float],
    ) -> None:
        self._run = run
        self._longest = longest
        self._ends = clock() + seconds
        self._fits = fits
        self._clock = clock
        self._s_per_token = 0.0
        self._owed_s = 0.0

    def holds(self, tokens: int) -> bool:
        """Tell whether memory holds such a batch."""
        if not self._fits(tokens):
            return False
        try:
            self._run_s(tokens)
        except OutOfMemory:
            return False
        return True

    def point(self, tokens: int) -> Measurement | str:
        """Measure one point of the curve, or say why it cannot be measured."""
        if not self._fits(tokens):
            return _memory_ends(tokens)
        if self._clock() + self._owed_s + RUNS * tokens * self._s_per_token > self._ends:
            return f"the time for measuring was up before {tokens:,} tokens"
        try:
            warm_up_s = self._run_s(tokens)
            seconds = self._run_s(tokens)
        except OutOfMemory:
            return _memory_ends(tokens)
        self._s_per_token = (warm_up_s + seconds) / (2 * tokens)
        self._owed_s += seconds
        return Measurement(tokens, seconds)

    def again(self, point: Measurement) -> Measurement | str:
        """Measure a point once more, if time is left, and return what the faster run took."""
        if self._clock() + point.seconds > self._ends:
            return point
        try:
            return Measurement(point.tokens, min(point.seconds, self._run_s(point.tokens)))
        except OutOfMemory:
            return _memory_ends(point.tokens)

    def _run_s(self, tokens: int) -> float:
        batch = _batch(tokens, self._longest)
        started = self._clock()
        self._run(batch)
        seconds = self._clock() - started
        self._s_per_token = seconds / tokens
        return seconds


def _batch(tokens: int, longest: int) -> TokenBatch:
    """Return a batch of so many tokens, in as few inputs of like length as may be."""
    count = -(-tokens // longest)
    lengths = np.full(count, tokens // count, np.int32)
    lengths[: tokens % count] += 1
    return TokenBatch(np.zeros(tokens, np.int32), lengths)


def _memory_ends(tokens: int) -> str:
    return f"memory ends below {tokens:,} tokens"


def _doubling(low: int, high: int) -> Iterator[int]:
    tokens = low
    while tokens < high:
        yield tokens
        tokens *= 2
    yield high


def _until_refused(
    measure: Callable[[T], Measurement | str], items: Iterable[T], end: str
) -> tuple[list[Measurement], str]:
    """Measure item after item; return the points, and why there are no more of them."""
    points: list[Measurement] = []
    for item in items:
        measured = measure(item)
        if isinstance(measured, str):
            return points, measured
        points.append(measured)
    return points, end


def _conclude(low: int, curve: Sequence[Measurement], end: str) -> Tuning:
    """Name what keeps the budget from being larger: the curve itself, or what ended it."""
    if not curve:
        return Tuning(low, (), end)
    chosen = choose_budget(curve)
    if chosen < max(point.tokens for point in curve):
        end = f"throughput gains little or nothing beyond {chosen:,} tokens"
    return Tuning(chosen, tuple(curve), end)
