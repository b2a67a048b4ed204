"""The token budget of a batch on this device: measured at warm-up, then chosen.

The choice is a pure function of the measured throughput curve.
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
"""The share of the best throughput that is enough: smaller batches have less latency."""

_NO_MEMORY = "does not fit into memory"

RUNS = 3
"""Runs for one point of the curve: one warms up, the faster one of the others counts.

The last run of each size comes in a second round, after all other sizes. A disturbance of the
machine then slows one run of several sizes instead of both runs of one size.
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The duration of one batch of ``tokens`` tokens."""

    tokens: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """Return the throughput."""
        return self.tokens / self.seconds if self.seconds > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class Tuning:
    """The token budget that was chosen, the measured curve, and why the budget is not larger."""

    max_tokens: int
    curve: tuple[Measurement, ...]
    reason: str

    @property
    def tokens_per_s(self) -> float:
        """Return the measured throughput of the chosen budget; 0.0 if none was measured."""
        rates = [one.tokens_per_s for one in self.curve if one.tokens == self.max_tokens]
        return rates[0] if rates else 0.0

    @property
    def ended_by_memory(self) -> bool:
        """Return whether memory held no larger batch, so that none was measured."""
        return self.reason.endswith(_NO_MEMORY)


def choose_budget(curve: Sequence[Measurement], tolerance: float = TOLERANCE) -> int:
    """Return the smallest budget whose throughput is within ``tolerance`` of the best.

    If every measured throughput has a relative error of at most e, the true throughput of the
    chosen budget is at least ``tolerance`` × (1 - e) / (1 + e) of the best.

    Raises:
        ValueError: the curve is empty, or the tolerance is not in (0, 1].
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
    """Measure batches of doubling size and return the budget to use.

    ``run`` computes a batch and returns when it is done. The sizes lie within ``bounds``, both
    included. If memory does not hold the lower bound, the budget is smaller and not measured. A
    batch holds inputs of at most ``longest`` tokens. A size is skipped if it would probably end
    after ``seconds`` in total; the first batch always runs.

    Raises:
        ValueError: the bounds are not in ascending order, or the lower one is below 1.
    """
    low, high = bounds
    if not 1 <= low <= high:
        raise ValueError(f"a budget cannot lie between {low} and {high} tokens")
    benchmark = _Benchmark(run, longest, seconds, fits, clock)
    start = low
    while not benchmark.fits(start) and start > 1:
        start //= 2
    if start < low:
        return Tuning(start, (), _memory_reason(2 * start))
    bound = f"{high:,} tokens is the upper bound"
    curve, end = _measure_all(benchmark.measure, _doubling(low, high), bound)
    curve, end = _measure_all(benchmark.measure_again, curve, end)
    return _conclude(low, curve, end)


class _Benchmark:
    """Measures the duration of batches, and estimates that of larger ones from the last."""

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
        self._ends_at = clock() + seconds
        self._fits = fits
        self._clock = clock
        self._s_per_token = 0.0
        self._second_round_s = 0.0

    def fits(self, tokens: int) -> bool:
        """Tell whether memory holds a batch of ``tokens`` tokens."""
        if not self._fits(tokens):
            return False
        try:
            self._run_s(tokens)
        except OutOfMemory:
            return False
        return True

    def measure(self, tokens: int) -> Measurement | str:
        """Measure one size, or return the reason why it cannot be measured."""
        if not self._fits(tokens):
            return _memory_reason(tokens)
        if self._clock() + self._second_round_s + RUNS * tokens * self._s_per_token > self._ends_at:
            return f"the measuring time ended before {tokens:,} tokens"
        try:
            warm_up_s = self._run_s(tokens)
            seconds = self._run_s(tokens)
        except OutOfMemory:
            return _memory_reason(tokens)
        self._s_per_token = (warm_up_s + seconds) / (2 * tokens)
        self._second_round_s += seconds
        return Measurement(tokens, seconds)

    def measure_again(self, point: Measurement) -> Measurement | str:
        """Measure a size once more if time is left, and return the faster of both runs."""
        if self._clock() + point.seconds > self._ends_at:
            return point
        try:
            return Measurement(point.tokens, min(point.seconds, self._run_s(point.tokens)))
        except OutOfMemory:
            return _memory_reason(point.tokens)

    def _run_s(self, tokens: int) -> float:
        batch = tuning_batch(tokens, self._longest)
        started = self._clock()
        self._run(batch)
        seconds = self._clock() - started
        self._s_per_token = seconds / tokens
        return seconds


def tuning_batch(tokens: int, longest: int) -> TokenBatch:
    """Return a batch of ``tokens`` tokens in as few inputs as possible, of similar lengths."""
    count = -(-tokens // longest)
    lengths = np.full(count, tokens // count, np.int32)
    lengths[: tokens % count] += 1
    return TokenBatch(np.zeros(tokens, np.int32), lengths)


def _memory_reason(tokens: int) -> str:
    return f"a batch of {tokens:,} tokens {_NO_MEMORY}"


def _doubling(low: int, high: int) -> Iterator[int]:
    tokens = low
    while tokens < high:
        yield tokens
        tokens *= 2
    yield high


def _measure_all(
    measure: Callable[[T], Measurement | str], items: Iterable[T], end: str
) -> tuple[list[Measurement], str]:
    """Measure item after item; return the points, and the reason why there are no more."""
    points: list[Measurement] = []
    for item in items:
        measured = measure(item)
        if isinstance(measured, str):
            return points, measured
        points.append(measured)
    return points, end


def _conclude(low: int, curve: Sequence[Measurement], end: str) -> Tuning:
    """Return the chosen budget; its reason is ``end`` unless a smaller budget is as fast."""
    if not curve:
        return Tuning(low, (), end)
    chosen = choose_budget(curve)
    if chosen < max(point.tokens for point in curve):
        end = f"throughput gains little or nothing beyond {chosen:,} tokens"
    return Tuning(chosen, tuple(curve), end)
