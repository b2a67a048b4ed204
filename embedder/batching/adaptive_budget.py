"""How large batches may be after a device ran out of memory: a state machine of four numbers.

Memory that ran out may be free again later, because a neighbour on the device has gone; so the
budget grows back, on trial. Knows no device, no queue and no clock: it is told how batches ended.
"""

from __future__ import annotations

GROWTH_SUCCESSES = 64
"""Full batches in a row that must succeed before the budget doubles."""

MAX_GROWTH_SUCCESSES = 64 * GROWTH_SUCCESSES
"""The same, for a device on which larger budgets were tried and failed, time and again."""


class AdaptiveBudget:
    """The budget in force: ``limit`` tokens or, after a batch did not fit, fewer for a while.

    Every trial that fails doubles the stretch before the next, so memory that is gone for good
    costs less and less.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.tokens = limit
        self._stretch = GROWTH_SUCCESSES
        self._successes = 0
        self._on_trial = False

    def failed(self, cost: int) -> None:
        """Allow at most half of what did not fit.

        A batch formed under a larger budget says nothing more of one that has shrunk since.
        """
        if self._on_trial:
            self._stretch = min(2 * self._stretch, MAX_GROWTH_SUCCESSES)
        self._on_trial = False
        self._successes = 0
        self.tokens = min(self.tokens, max(1, cost // 2))

    def succeeded(self, cost: int) -> None:
        """Count a batch that fitted, and double the budget at the end of a stretch.

        A batch that fills less than half of the budget proves nothing.
        """
        if self.tokens == self.limit and not self._on_trial:
            return
        if 2 * cost < self.tokens:
            return
        self._successes += 1
        if self._successes < self._stretch:
            return
        self._successes = 0
        if self._on_trial:  # what it grew to has held
            self._stretch = GROWTH_SUCCESSES
        self._on_trial = self.tokens < self.limit
        self.tokens = min(2 * self.tokens, self.limit)
