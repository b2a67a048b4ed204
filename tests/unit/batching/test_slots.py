"""When another batch starts, and how the queued tokens are divided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.batching.packing import Budget, Slots

BUDGET = Budget(1000, max_items=7, bulk_delay_s=3.0)
TOKENS = st.integers(0, 5000)


@pytest.mark.parametrize("count", [1, 2, 5])
@given(waiting=TOKENS, running=st.integers(0, 9))
def test_without_a_minimum_every_free_slot_is_used_at_once(
    count: int, waiting: int, running: int
) -> None:
    found = Slots(count).next_budget(BUDGET, running=running, waiting_tokens=waiting)

    assert (found is None) == (running >= count)


@pytest.mark.parametrize(
    ("running", "waiting", "starts"),
    [(0, 1, True), (1, 1, True), (2, 99, False), (2, 100, True), (3, 100, True), (4, 999, False)],
)
def test_beyond_the_eager_batches_a_minimum_must_be_queued(
    running: int, waiting: int, starts: bool
) -> None:
    slots = Slots(4, eager=2, worth_tokens=100)
    found = slots.next_budget(BUDGET, running=running, waiting_tokens=waiting)

    assert (found is not None) == starts


@pytest.mark.parametrize(
    ("running", "waiting", "max_tokens"),
    [(0, 400, 100), (0, 401, 101), (0, 90, 60), (2, 400, 200), (3, 400, 1000), (0, 9000, 1000)],
)
def test_queued_tokens_are_divided_among_the_free_slots(
    running: int, waiting: int, max_tokens: int
) -> None:
    slots = Slots(4, eager=4, worth_tokens=60)
    found = slots.next_budget(BUDGET, running=running, waiting_tokens=waiting)

    assert found == Budget(max_tokens, max_items=7, bulk_delay_s=3.0)


@given(
    slots=st.builds(Slots, st.integers(1, 8), eager=st.integers(1, 8), worth_tokens=TOKENS),
    waiting=st.integers(1, 100_000),
)
def test_an_idle_stage_always_starts_a_batch_within_the_budget(slots: Slots, waiting: int) -> None:
    found = slots.next_budget(BUDGET, running=0, waiting_tokens=waiting)

    assert found is not None
    assert 1 <= found.max_tokens <= BUDGET.max_tokens
