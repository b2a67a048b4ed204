"""The queue of a stage: the product's item queue and packing, without its event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, cast

from embedder.batching.packing import Budget, Slots
from embedder.batching.queue import ItemQueue, ItemT, QueuedItem, Submission
from embedder.core.deadline import NEVER
from embedder.core.types import Priority


class _Waiting:
    """Stands for the future of a caller that waits."""

    def done(self) -> bool:
        return False


_WAITING = cast("Any", _Waiting())


class BatchQueue(Generic[ItemT]):
    """Items that wait, and the number of batches that run; follows `Batcher` step by step."""

    def __init__(self, budget: Budget, slots: Slots) -> None:
        self.slots = slots
        self.running = 0
        self._budget = budget
        self._queue: ItemQueue[ItemT, None] = ItemQueue()

    @property
    def tokens(self) -> int:
        """Return the tokens that wait."""
        return self._queue.tokens

    def add(self, items: Sequence[ItemT], lengths: Sequence[int], now: float) -> None:
        """Queue items that one caller submits together."""
        caller: Submission[None] = Submission(_WAITING, [], 0, now, Priority.INTERACTIVE, NEVER)
        self._queue.add(items, lengths, caller)

    def start(self, now: float) -> list[QueuedItem[ItemT, None]]:
        """Return the items of the next batch, which runs from now; empty: none may start."""
        if not self._queue.count:
            return []
        budget = self.slots.next_budget(
            self._budget, running=self.running, waiting_tokens=self._queue.tokens
        )
        if budget is None:
            return []
        self.running += 1
        return self._queue.take(budget, now)
