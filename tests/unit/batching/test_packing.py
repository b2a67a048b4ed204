"""The packing rule, checked on random queues against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.batching.packing import Budget, pack

Item = tuple[int, float, bool]
"""Length, age in seconds, whether it is bulk work."""

QUEUES: st.SearchStrategy[list[Item]] = st.lists(
    st.tuples(st.integers(1, 600), st.floats(0, 100), st.booleans()), min_size=1, max_size=60
)
BUDGETS = st.builds(
    Budget,
    max_tokens=st.integers(1, 2000),
    max_items=st.integers(1, 40),
    padded=st.booleans(),
    bulk_delay_s=st.floats(0, 10),
)


def packed(queue: list[Item], budget: Budget) -> list[int]:
    """Submission `pack` with a queue's columns."""
    return pack(
        np.array([length for length, _, _ in queue], np.int64),
        np.array([age for _, age, _ in queue], np.float64),
        np.array([bulk for _, _, bulk in queue], np.bool_),
        budget,
    )


def cost(lengths: list[int], *, padded: bool) -> int:
    """Return the cost of a batch."""
    return max(lengths) * len(lengths) if padded else sum(lengths)


def same_age(lengths: list[int]) -> list[Item]:
    """Return interactive items, each slightly younger than the previous one."""
    return [(length, 10.0 - at / 1000, False) for at, length in enumerate(lengths)]


def test_an_empty_queue_gives_no_batch() -> None:
    assert packed([], Budget(max_tokens=10)) == []


@given(QUEUES, BUDGETS)
def test_a_batch_is_not_empty_and_has_no_position_twice(queue: list[Item], budget: Budget) -> None:
    chosen = packed(queue, budget)

    assert chosen
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(range(len(queue)))


@given(QUEUES, BUDGETS)
def test_a_batch_is_within_the_budget_or_a_single_item(queue: list[Item], budget: Budget) -> None:
    lengths = [queue[at][0] for at in packed(queue, budget)]

    assert len(lengths) <= budget.max_items
    assert len(lengths) == 1 or cost(lengths, padded=budget.padded) <= budget.max_tokens


@given(QUEUES, BUDGETS)
def test_the_most_urgent_item_is_first(queue: list[Item], budget: Budget) -> None:
    def urgency(item: Item) -> float:
        _, age, bulk = item
        return age - budget.bulk_delay_s if bulk else age

    first = packed(queue, budget)[0]

    assert urgency(queue[first]) == max(map(urgency, queue))


@given(QUEUES, BUDGETS)
def test_no_item_left_out_would_fit(queue: list[Item], budget: Budget) -> None:
    chosen = packed(queue, budget)
    lengths = [queue[at][0] for at in chosen]
    left_out = [queue[at][0] for at in range(len(queue)) if at not in chosen]

    assert len(chosen) == budget.max_items or all(
        cost([*lengths, length], padded=budget.padded) > budget.max_tokens for length in left_out
    )


@given(QUEUES, BUDGETS)
def test_another_priority_gets_only_the_rest_of_the_budget(
    queue: list[Item], budget: Budget
) -> None:
    chosen = packed(queue, budget)
    leading = queue[chosen[0]][2]
    of_leading = [queue[at][0] for at in chosen if queue[at][2] is leading]
    left_out = [
        length for at, (length, _, bulk) in enumerate(queue) if bulk is leading and at not in chosen
    ]

    assert len(chosen) == budget.max_items or all(
        cost([*of_leading, length], padded=budget.padded) > budget.max_tokens for length in left_out
    )


def test_a_padded_batch_costs_its_longest_item_times_the_count() -> None:
    assert Budget(max_tokens=1, padded=True).cost([2, 7, 3]) == 21
    assert Budget(max_tokens=1, padded=False).cost([2, 7, 3]) == 12
    assert Budget(max_tokens=1, padded=True).cost([]) == 0


def test_only_a_padded_budget_counts_padding() -> None:
    queue = same_age([10, 40])

    assert packed(queue, Budget(max_tokens=50, padded=False)) == [0, 1]
    assert packed(queue, Budget(max_tokens=50, padded=True)) == [0]


def test_items_of_similar_length_share_a_padded_batch() -> None:
    queue = same_age([10, 100, 11, 99, 12])

    assert packed(queue, Budget(max_tokens=40, padded=True)) == [0, 2, 4]


def test_the_most_urgent_items_share_an_unpadded_batch() -> None:
    queue = same_age([10, 100, 11, 99, 12])

    assert packed(queue, Budget(max_tokens=121)) == [0, 1, 2]


def test_an_item_that_does_not_fit_is_skipped() -> None:
    assert packed(same_age([10, 100, 11]), Budget(max_tokens=30)) == [0, 2]


def test_an_item_above_the_budget_is_alone_in_its_batch() -> None:
    assert packed(same_age([100, 1, 1]), Budget(max_tokens=30)) == [0]


def drained_cost(lengths: list[int], budget: Budget) -> int:
    """Return the total cost of a queue when `pack` forms every batch."""
    waiting, total = same_age(lengths), 0
    while waiting:
        chosen = packed(waiting, budget)
        total += cost([waiting[at][0] for at in chosen], padded=True)
        waiting = [item for at, item in enumerate(waiting) if at not in chosen]
    return total


def fifo_cost(lengths: list[int], max_tokens: int) -> int:
    """Return the total cost of a queue when batches are formed in order of arrival."""
    total, batch = 0, list[int]()
    for length in lengths:
        if batch and cost([*batch, length], padded=True) > max_tokens:
            total += cost(batch, padded=True)
            batch = []
        batch.append(length)
    return total + cost(batch, padded=True)


@given(st.integers(0, 2**32 - 1))
def test_packing_pads_no_more_than_first_in_first_out(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = np.clip(random.lognormal(3.5, 0.9, size=150), 1, 512).astype(int).tolist()

    assert drained_cost(lengths, Budget(max_tokens=1024, padded=True)) <= fifo_cost(lengths, 1024)


def test_younger_interactive_items_overtake_bulk_items() -> None:
    budget = Budget(max_tokens=10, bulk_delay_s=1.0)

    assert packed([(10, 0.9, True), (10, 0.0, False)], budget) == [1]


def test_a_bulk_item_older_than_its_delay_is_first() -> None:
    budget = Budget(max_tokens=10, bulk_delay_s=1.0)

    assert packed([(10, 1.1, True), (10, 0.0, False)], budget) == [0]


@given(
    arrivals=st.integers(1, 6),
    max_items=st.integers(1, 4),
    delay_s=st.integers(0, 8),
    padded=st.booleans(),
)
def test_a_long_bulk_item_is_not_starved_by_short_items(
    arrivals: int, max_items: int, delay_s: int, padded: bool
) -> None:
    """It waits at most for the items that arrived before its delay passed, one batch for each."""
    budget = Budget(max_tokens=20, max_items=max_items, padded=padded, bulk_delay_s=float(delay_s))
    waiting: list[tuple[int, int, bool]] = [(500, 0, True)]  # length, arrival, bulk
    bound = arrivals * (delay_s + 1) + 1
    left_at = None
    for now in range(bound):
        waiting += [(5, now, False)] * arrivals
        chosen = packed([(length, float(now - at), bulk) for length, at, bulk in waiting], budget)
        if any(waiting[at][2] for at in chosen):
            left_at = now
            break
        waiting = [item for at, item in enumerate(waiting) if at not in chosen]

    assert left_at is not None


@pytest.mark.parametrize(("max_tokens", "max_items"), [(0, 1), (-1, 1), (1, 0), (1, -5)])
def test_a_budget_without_room_for_one_token_of_one_item_is_refused(
    max_tokens: int, max_items: int
) -> None:
    with pytest.raises(ValueError, match="room for one token"):
        Budget(max_tokens=max_tokens, max_items=max_items)
