"""Which of the queued items form the next batch: a pure function.

The most urgent item always goes first, so that no item starves, however long it is. Urgency is
age; bulk items count as ``bulk_delay_s`` younger than they are. Items of the same priority fill the
rest of the budget first: those of similar length where the backend pays for padding, otherwise the
next most urgent ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    return list(_fill(lengths, [first, *order], budget))


def _fill(lengths: NDArray[np.int64], order: list[int], budget: Budget) -> Iterable[int]:
    """Take every item that still fits, in order, until not even the shortest would fit."""
    shortest = int(lengths.min())
    count, longest, total = 0, 0, 0
    for position in order:
        length = int(lengths[position])
        new_longest, new_total = max(longest, length), total + length
        cost = new_longest * (count + 1) if budget.padded else new_total
        if count and cost > budget.max_tokens:
            best_case = longest * (count + 1) if budget.padded else total + shortest
            if best_case > budget.max_tokens:
                return
            continue
        yield position
        count, longest, total = count + 1, new_longest, new_total
        if count == budget.max_items:
            return
