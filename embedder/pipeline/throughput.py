"""The throughput of the devices in tokens per second, measured while work waits for them.

A device that is not saturated computes less than it could, so such a sample is only a lower bound.
Time is cut into windows. A window whose work had to wait for a device measures the rate; any other
window may raise the estimate and never lowers it. The caller reports all events with their times.

An ingress that is one of several measures its share of the devices. Replicas report the rate of all
their callers, so the ingress also knows the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from embedder.core.types import ReplicaLoad, Timings

WINDOW_S = 0.1
"""Minimum seconds of a sample while work waits: short, to measure a sudden load soon."""

LONG_WINDOW_S, LONG_WINDOW_BATCHES = 1.0, 5.0
"""Minimum seconds, and minimum batches, of a sample that may only raise the estimate.

Long enough for the batch that started before the window and ended in it to weigh little.
"""

MIN_RISE = 1.15
"""Factor by which such a sample must exceed the estimate: the largest of many does by chance."""

MEMORY_S = 3.0
"""Time constant of the average, in seconds: short, to notice soon that a device got slower."""

BATCH_GAP_S = 0.001
"""Reports within this many seconds are of one batch: each of its requests reports itself."""

FIRST_S = 0.5
"""Seconds of saturated windows before the estimate is used for promises: the first batches are
small, because no work waited when they were built.
"""

SATURATED_S = 0.025
"""A window is saturated if its tokens waited this many seconds on average: then the devices went
from batch to batch without a pause.
"""

BATCH_WEIGHT = 0.1
"""Weight of one report in the average duration of a batch."""

REPLICA_S = 5.0
"""Seconds for which the last report of a replica counts while others report: under load each
answers more often.
"""

STALE_S = 10.0
"""Seconds after which a measured share of the devices is forgotten: other ingresses may be busy."""


@dataclass(slots=True)
class _Window:
    """The tokens computed since ``since_s``, and the sum of the seconds that each token waited."""

    since_s: float
    tokens: int = 0
    waited_s: float = 0.0

    def rate(self, now: float) -> float:
        """Return the tokens per second until ``now``, 0 if no time has passed."""
        return self.tokens / (now - self.since_s) if now > self.since_s else 0.0


class TokenRate:
    """The estimate; unknown until work has waited for a whole window.

    ``tokens_per_s`` is this ingress's part of the rate, and None while it is unknown. ``ingresses``
    is the number of those that share the devices. ``batch_s`` is the average duration of a batch.
    """

    def __init__(self) -> None:
        self.tokens_per_s: float | None = None
        self.ingresses = 1
        self.batch_s = 0.0
        self._replicas: dict[str, tuple[float, float]] = {}
        self._replicas_per_s = 0.0
        self._measured_s = -math.inf
        self._saturated_s = 0.0
        self._batch_start_s = self._ended_s = 0.0
        self._weighted = 0.0
        self._weight = 0.0
        self._short: _Window | None = None
        self._long: _Window | None = None

    @property
    def total_per_s(self) -> float | None:
        """Return the rate for all ingresses, None while it is unknown."""
        if self.tokens_per_s is None or self.ingresses == 1:
            return self.tokens_per_s
        return max(self.tokens_per_s, self._replicas_per_s)

    @property
    def promised_per_s(self) -> float | None:
        """Return the rate for all ingresses, None while too little is known for a promise."""
        return self.total_per_s if self._saturated_s >= FIRST_S else None

    def reported(self, load: ReplicaLoad, now: float) -> None:
        """Record the rate that a replica has measured over all its callers."""
        self._replicas.pop(load.replica, None)  # in the order of the last reports
        self._replicas[load.replica] = now, load.tokens_per_s
        while now - next(iter(self._replicas.values()))[0] > REPLICA_S:
            del self._replicas[next(iter(self._replicas))]

    def wait_s(self, tokens: float) -> float:
        """Return how long ``tokens`` delay other work; 0 while the rate is unknown.

        The tokens of one batch delay nothing.
        """
        if self.tokens_per_s is None:
            return 0.0
        return max(0.0, tokens / max(self.tokens_per_s, 1e-9) - self.batch_s)

    def seconds(self, tokens: float) -> float:
        """Return how long ``tokens`` keep the devices busy; 0 while the rate is unknown."""
        rate = self.total_per_s
        return 0.0 if rate is None else tokens / max(rate, 1e-9)

    def computed(self, tokens: int, times: Timings, now: float) -> None:
        """Count computed tokens; ``times`` are how long they waited and were computed."""
        weight = BATCH_WEIGHT if self.batch_s else 1.0
        self.batch_s += weight * (times.inference_s - self.batch_s)
        if self._short is None or self._long is None:
            return
        self.catch_up(now)
        if now - self._ended_s >= BATCH_GAP_S:
            self._batch_start_s = now
        for window in (self._short, self._long):
            window.tokens += tokens
            window.waited_s += tokens * times.queue_s
        self._ended_s = now

    def catch_up(self, now: float) -> None:
        """Close the windows that were full when the last batch ended, if it has been reported.

        Cut at any other time, a window would end within a batch or within its reports. If no pause
        separates batches, because they are short, that weighs little.
        """
        if self.ingresses > 1 and now - self._measured_s > STALE_S and now < math.inf:
            self._forget_share(now)
        short, long, ended_s = self._short, self._long, self._ended_s
        if short is None or long is None:
            return
        if now - ended_s < BATCH_GAP_S and ended_s - self._batch_start_s < WINDOW_S:
            return
        if ended_s - long.since_s >= max(LONG_WINDOW_S, LONG_WINDOW_BATCHES * self.batch_s):
            self._close_long(long, ended_s)
        if ended_s - short.since_s >= WINDOW_S:
            self._close_short(short, ended_s)

    def _forget_share(self, now: float) -> None:
        """Return to an equal share of the devices, if their rate is known."""
        if self._equal_share:
            self._measured_s = now
            self._weighted = self._weight = 0.0
            self.tokens_per_s = self._equal_share

    def started(self, now: float) -> None:
        """Record that work has arrived after none was queued."""
        self._short, self._long = _Window(now), _Window(now)
        self._batch_start_s = self._ended_s = now

    def paused(self, now: float) -> None:
        """Record that no work is left."""
        self.catch_up(math.inf)
        if self._long is not None:
            self._close_long(self._long, now)
        self._short = self._long = None

    def _close_short(self, window: _Window, now: float) -> None:
        if window.waited_s >= SATURATED_S * window.tokens:
            self._saturated_s += now - window.since_s
            self._measured_s = now
            self._replicas_per_s = sum(rate for _, rate in self._replicas.values())
            self._learn(window.rate(now), now - window.since_s)
            self._long = _Window(now)
        self._short = _Window(now)

    def _close_long(self, window: _Window, now: float) -> None:
        """Raise the estimate if clearly more was computed, even without waiting work."""
        estimate = self._weighted / self._weight if self._weight else 0.0
        if window.rate(now) > MIN_RISE * estimate:
            self._learn(window.rate(now), now - window.since_s)
        self._long = _Window(now)

    def _learn(self, sample: float, seconds: float) -> None:
        """Add a sample to the average, weighted by its duration."""
        kept = math.exp(-seconds / MEMORY_S)
        self._weighted = kept * self._weighted + (1 - kept) * sample
        self._weight = kept * self._weight + (1 - kept)
        estimate = max(self._weighted / self._weight, self._equal_share)
        self.tokens_per_s = estimate if self._saturated_s else None

    @property
    def _equal_share(self) -> float:
        """Return the least rate of an ingress: replicas serve all ingresses in turn."""
        return self._replicas_per_s / self.ingresses if self.ingresses > 1 else 0.0
