"""The token budget after the device ran out of memory: halved at once, raised again on trial.

Memory may become free again, for example when another process on the device ends.
"""

from __future__ import annotations

GROWTH_SUCCESSES = 64
"""Full batches in a row that must succeed before the budget doubles."""

MAX_GROWTH_SUCCESSES = 64 * GROWTH_SUCCESSES
"""The same number after larger budgets have failed repeatedly."""


class AdaptiveBudget:
    """The budget in force: ``limit`` tokens, or fewer for a while after a batch did not fit.

    Every failed trial doubles the number of successes before the next trial, so memory that never
    becomes free costs fewer and fewer failed batches.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.tokens = limit
        self._required = GROWTH_SUCCESSES
        self._successes = 0
        self._on_trial = False

    def record_out_of_memory(self, cost: int) -> None:
        """Reduce the budget to half of ``cost``, the tokens of the batch that did not fit.

        A batch that was formed under a larger budget than the present one changes nothing.
        """
        if self._on_trial:
            self._required = min(2 * self._required, MAX_GROWTH_SUCCESSES)
        self._on_trial = False
        self._successes = 0
        self.tokens = min(self.tokens, max(1, cost // 2))

    def record_success(self, cost: int) -> None:
        """Count a successful batch, and double the budget after enough of them.

        A batch that filled less than half of the budget does not count.
        """
        if self.tokens == self.limit and not self._on_trial:
            return
        if 2 * cost < self.tokens:
            return
        self._successes += 1
        if self._successes < self._required:
            return
        self._successes = 0
        if self._on_trial:  # the larger budget has held
            self._required = GROWTH_SUCCESSES
        self._on_trial = self.tokens < self.limit
        self.tokens = min(2 * self.tokens, self.limit)
