"""When another batch may start beside those that run, and its budget: a pure function."""

from __future__ import annotations

from dataclasses import dataclass, replace

from embedder.batching.packing import Budget


@dataclass(frozen=True, slots=True)
class Slots:
    """How many batches may run at once.

    Start up to ``eager`` batches at once. Start more, up to ``count``, only when ``worth_tokens``
    are queued, because each call has a fixed cost. ``eager=None`` means ``count``.
    """

    count: int = 1
    eager: int | None = None
    worth_tokens: int = 0

    def next_budget(self, budget: Budget, *, running: int, waiting_tokens: int) -> Budget | None:
        """Return the budget of the next batch, or None if it should not start yet.

        The queued tokens are divided among the free slots, so that batches overlap; each share is
        at least ``worth_tokens``.
        """
        free = self.count - running
        eager = self.count if self.eager is None else self.eager
        if free <= 0 or (running >= eager and waiting_tokens < self.worth_tokens):
            return None
        share = max(-(-waiting_tokens // free), self.worth_tokens, 1)
        if free == 1 or share >= budget.max_tokens:
            return budget
        return replace(budget, max_tokens=share)
