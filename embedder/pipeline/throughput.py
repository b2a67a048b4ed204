"""How fast work is done: tokens per second, measured from what ends while other work waits.

A device that has little to do shows less than it can, so such a sample is only a lower bound. Time
is cut into windows: one whose work had to wait for a device tells the rate, any other may raise the
estimate and never lowers it. Pure bookkeeping: the caller tells what happened and when.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from embedder.core.types import Timings

WINDOW_S = 0.1
"""Seconds that a sample takes at least where work waits: a sudden load is soon measured."""

LONG_WINDOW_S, LONG_WINDOW_BATCHES = 1.0, 5.0
"""Seconds, and batches, that a sample takes at least which may only raise the estimate.

Long enough for what was begun before it and ended within to weigh little.
"""

CLEARLY = 1.15
"""How far above the estimate such a sample must be: the largest of many is above by chance."""

MEMORY_S = 3.0
"""Seconds after which a sample counts e times less: a device that got slower is soon known to."""

MOMENT_S = 0.001
"""Seconds within which what is computed is of one batch: each of its requests tells of itself."""

FIRST_S = 0.5
"""Seconds of windows whose work waited before the estimate is good for a promise: the very first
batches hold what had come when nobody waited yet, and so are small.
"""

SATURATED_S = 0.025
"""Seconds that the work of a window must have waited for a device on average, and there always was
some: then the devices went from batch to batch, and these were of some size.
"""

BATCH_WEIGHT = 0.1
"""How much one answer moves the estimate of how long a batch takes."""


@dataclass(slots=True)
class _Window:
    """What was computed since ``since_s``, and the sum over its tokens of how long they waited."""

    since_s: float
    tokens: int = 0
    waited: float = 0.0

    def add(self, tokens: int, waited_s: float) -> None:
        """Count tokens that have been computed."""
        self.tokens += tokens
        self.waited += tokens * waited_s

    def rate(self, now: float) -> float:
        """Return the tokens per second up to now, 0 for no time at all."""
        return self.tokens / (now - self.since_s) if now > self.since_s else 0.0


class TokenRate:
    """The estimate, of which nothing is known until work has waited for a whole window."""

    def __init__(self) -> None:
        self.batch_s = 0.0
        self._saturated_s = 0.0
        self._moment_s = self._ended_s = 0.0
        self._weighted = 0.0
        self._weight = 0.0
        self._short: _Window | None = None
        self._long: _Window | None = None

    @property
    def tokens_per_s(self) -> float | None:
        """Return the estimate, or None while nothing is known."""
        return self._estimate if self._saturated_s else None

    @property
    def promised_per_s(self) -> float | None:
        """Return the estimate, or None while too little was seen to say when there will be room."""
        return self._estimate if self._saturated_s >= FIRST_S else None

    def wait_s(self, tokens: float) -> float:
        """Return how long so many tokens make others wait; 0 while nothing is known.

        What the devices compute at once waits for nobody.
        """
        return max(0.0, self.seconds(tokens) - self.batch_s)

    def seconds(self, tokens: float) -> float:
        """Return how long so many tokens keep the devices busy; 0 while nothing is known."""
        rate = self.tokens_per_s
        return 0.0 if rate is None else tokens / max(rate, 1e-9)

    def computed(self, tokens: int, times: Timings, now: float) -> None:
        """Count tokens that waited and were computed as ``times`` say."""
        weight = BATCH_WEIGHT if self.batch_s else 1.0
        self.batch_s += weight * (times.inference_s - self.batch_s)
        if self._short is None or self._long is None:
            return
        self.catch_up(now)
        if now - self._ended_s >= MOMENT_S:
            self._moment_s = now
        self._short.add(tokens, times.queue_s)
        self._long.add(tokens, times.queue_s)
        self._ended_s = now

    def catch_up(self, now: float) -> None:
        """Learn from the windows that were full when the last batch ended, if that has ended.

        Cut at any other time, a window would end with work that is half done, or half told of.
        Where batches are so short that they run into each other, that weighs little.
        """
        short, long, ended_s = self._short, self._long, self._ended_s
        if short is None or long is None:
            return
        if now - ended_s < MOMENT_S and ended_s - self._moment_s < WINDOW_S:
            return
        if ended_s - long.since_s >= max(LONG_WINDOW_S, LONG_WINDOW_BATCHES * self.batch_s):
            self._close_long(long, ended_s)
        if ended_s - short.since_s >= WINDOW_S:
            self._close_short(short, ended_s)

    def began(self, now: float) -> None:
        """Take note that there is work where there was none."""
        self._short, self._long = _Window(now), _Window(now)
        self._moment_s = self._ended_s = now

    def paused(self, now: float) -> None:
        """Take note that no work is left."""
        self.catch_up(math.inf)
        if self._long is not None:
            self._close_long(self._long, now)
        self._short = self._long = None

    @property
    def _estimate(self) -> float:
        return self._weighted / self._weight if self._weight else 0.0

    def _close_short(self, window: _Window, now: float) -> None:
        if window.waited >= SATURATED_S * window.tokens:
            self._saturated_s += now - window.since_s
            self._learn(window.rate(now), now - window.since_s)
            self._long = _Window(now)
        self._short = _Window(now)

    def _close_long(self, window: _Window, now: float) -> None:
        """Raise the estimate where clearly more has been done, however little waited."""
        if window.rate(now) > CLEARLY * self._estimate:
            self._learn(window.rate(now), now - window.since_s)
        self._long = _Window(now)

    def _learn(self, sample: float, seconds: float) -> None:
        """Average the samples of the last seconds, by how long each of them took."""
        kept = math.exp(-seconds / MEMORY_S)
        self._weighted = kept * self._weighted + (1 - kept) * sample
        self._weight = kept * self._weight + (1 - kept)
