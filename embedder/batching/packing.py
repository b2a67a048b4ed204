"""Which of the waiting items form the next batch: a pure function.

Knows no clock, no device and no queue; `batcher` owns those.

The rule: the most urgent item always goes, so nothing starves however long it is. Urgency is age,
and bulk work counts as younger than it is by ``bulk_delay_s``. The rest of the budget goes to
items of the same priority first; among these to items of like length where the backend pays for
padding, else to the next most urgent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Budget:
    """What one batch may cost.

    ``max_tokens`` is counted as the backend pays: longest × count where it pads, else the sum.
    """

    max_tokens: int
    max_items: int = 1024
    padded: bool = False
    bulk_delay_s: float = 1.0

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.max_items < 1:
            raise ValueError(f"a batch must have room for one token of one item: {self}")

    def cost(self, lengths: Sequence[int]) -> int:
        """Return what a batch of these lengths costs in tokens."""
        return max(lengths, default=0) * len(lengths) if self.padded else sum(lengths)


def pack(
    lengths: NDArray[np.int64],
    ages_s: NDArray[np.float64],
    bulk: NDArray[np.bool_],
    budget: Budget,
) -> list[int]:
    """Return the positions of the next batch's items; never empty unless nothing waits.

    An item that alone exceeds the budget is returned alone.
    """
    if len(lengths) == 0:
        return []
    order = _preference(lengths, ages_s, bulk, budget)
    return list(_fill(lengths, order, budget))


def _preference(
    lengths: NDArray[np.int64],
    ages_s: NDArray[np.float64],
    bulk: NDArray[np.bool_],
    budget: Budget,
) -> list[int]:
    """Order all positions by who should go first; the most urgent one leads."""
    urgency = ages_s - np.where(bulk, budget.bulk_delay_s, 0.0)
    seed = int(np.argmax(urgency))
    distance = np.abs(lengths - lengths[seed]) if budget.padded else np.zeros_like(lengths)
    order: list[int] = np.lexsort((-urgency, distance, bulk != bulk[seed])).tolist()
    order.remove(seed)
    return [seed, *order]


def _fill(lengths: NDArray[np.int64], order: list[int], budget: Budget) -> Iterable[int]:
    """Take from the order whatever still fits, until not even the shortest would."""
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
