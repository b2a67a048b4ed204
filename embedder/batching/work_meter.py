"""The queue and the rate of one replica, as its callers need them to predict completion.

The rate is the tokens computed per second in which anything was computed, so an idle replica keeps
its last rate. Each busy second counts less as later ones follow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MEMORY_S = 1.0
"""Time constant of the rate, in busy seconds: short, to notice soon that batches became larger."""

MIN_TOKENS = 256
"""Tokens below which the rate is unknown: the fixed cost of the first small batches dominates."""


class WorkMeter:
    """Counts the tokens that wait or run here; ``clock`` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.queued_tokens = 0
        self._clock = clock
        self._running = 0
        self._busy_since_s = 0.0
        self._tokens = 0.0
        self._busy_s = 0.0
        self._counted = 0

    @property
    def tokens_per_s(self) -> float:
        """Return the rate; 0.0 until `MIN_TOKENS` have been computed."""
        if self._counted < MIN_TOKENS or self._busy_s <= 0:
            return 0.0
        return self._tokens / self._busy_s

    @contextmanager
    def queued(self, tokens: int) -> Iterator[None]:
        """Count tokens as queued inside the ``with`` block."""
        self.queued_tokens += tokens
        try:
            yield
        finally:
            self.queued_tokens -= tokens

    @contextmanager
    def computed(self, tokens: int) -> Iterator[None]:
        """Count tokens as computed if the ``with`` block succeeds; its duration is busy time."""
        self._advance()
        self._running += 1
        done = 0
        try:
            yield
            done = tokens
        finally:
            self._advance()
            self._running -= 1
            self._tokens += done
            self._counted += done

    def _advance(self) -> None:
        """Count the busy time until now once, however many blocks are open."""
        now = self._clock()
        if self._running:
            seconds = now - self._busy_since_s
            kept = math.exp(-seconds / MEMORY_S)
            self._tokens *= kept
            self._busy_s = kept * self._busy_s + seconds
        self._busy_since_s = now
