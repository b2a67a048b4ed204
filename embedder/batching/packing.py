"""When the next batch starts, and which of the queued items form it: pure functions.

The most urgent item always goes first, so that no item starves, however long it is. Urgency is
age; bulk items count as ``bulk_delay_s`` younger than they are. Items of the same priority fill the
rest of the budget first: those of similar length where the backend pays for padding, otherwise the
next most urgent ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of one batch.

    ``max_tokens`` is compared with the cost of the batch for the backend: longest input × count
    where it pads, otherwise the sum of the lengths.
    """

    max_tokens: int
    max_items: int = 1024
    padded: bool = False
    bulk_delay_s: float = 1.0

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.max_items < 1:
            raise ValueError(f"a batch must have room for one token of one item: {self}")

    def cost(self, lengths: Sequence[int]) -> int:
        """Return the cost in tokens of a batch with these lengths."""
        return max(lengths, default=0) * len(lengths) if self.padded else sum(lengths)


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


def pack(
    lengths: NDArray[np.int64],
    ages_s: NDArray[np.float64],
    bulk: NDArray[np.bool_],
    budget: Budget,
) -> list[int]:
    """Return the positions of the next batch's items; empty only if nothing is queued.

    An item that alone exceeds the budget is returned alone.
    """
    if len(lengths) == 0:
        return []
    urgency = ages_s - np.where(bulk, budget.bulk_delay_s, 0.0)
    first = int(np.argmax(urgency))
    distance = np.abs(lengths - lengths[first]) if budget.padded else np.zeros_like(lengths)
    order: list[int] = np.lexsort((-urgency, distance, bulk != bulk[first])).tolist()
    order.remove(first)
    return _fill(lengths, [first, *order], budget)


def _fill(lengths: NDArray[np.int64], order: list[int], budget: Budget) -> list[int]:
    """Take every item that still fits, in order, until not even the shortest would fit."""
    shortest = int(lengths.min())
    chosen: list[int] = []
    longest, total = 0, 0
    for position in order:
        length = int(lengths[position])
        new_longest, new_total = max(longest, length), total + length
        count = len(chosen) + 1
        cost = new_longest * count if budget.padded else new_total
        if chosen and cost > budget.max_tokens:
            best_case = longest * count if budget.padded else total + shortest
            if best_case > budget.max_tokens:
                break
            continue
        chosen.append(position)
        longest, total = new_longest, new_total
        if count == budget.max_items:
            break
    return chosen
