"""When another batch may begin beside those that run, and how much it may take: a pure function.

Knows no clock, no queue and no device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from embedder.batching.packing import Budget


@dataclass(frozen=True, slots=True)
class Slots:
    """How many batches may run at once, and what a small one is.

    Up to ``eager`` batches begin as soon as anything waits. Beyond those one begins only with
    ``worth_tokens`` or more: whatever it runs on is busy, so that waiting costs little, while a
    batch has a price of its own. None is as many as ``count``.
    """

    count: int = 1
    eager: int | None = None
    worth_tokens: int = 0

    def next_budget(self, budget: Budget, *, running: int, waiting_tokens: int) -> Budget | None:
        """Return what the next batch may cost; None: it had better wait for more.

        What waits is shared out over the free slots, but for less than is worth a batch: then one
        is under way while another one is computed.
        """
        free = self.count - running
        eager = self.count if self.eager is None else self.eager
        if free <= 0 or (running >= eager and waiting_tokens < self.worth_tokens):
            return None
        share = max(-(-waiting_tokens // free), self.worth_tokens, 1)
        if free == 1 or share >= budget.max_tokens:
            return budget
        return replace(budget, max_tokens=share)
