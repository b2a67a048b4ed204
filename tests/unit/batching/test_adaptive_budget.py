"""The budget after out of memory: halved at once, raised on trial, never above its limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from embedder.batching.adaptive_budget import GROWTH_SUCCESSES, MAX_GROWTH_SUCCESSES, AdaptiveBudget

LIMITS = st.integers(1, 100_000)


class BudgetMachine(RuleBasedStateMachine):
    """Batches of any size succeed or fail in any order; the budget keeps its invariants."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = 1000
        self.budget = AdaptiveBudget(self.limit)
        self.successes_since_change = 0

    @rule(share=st.integers(2, 1000))
    def a_batch_within_the_budget_does_not_fit(self, share: int) -> None:
        before = self.budget.tokens
        cost = max(2, before * share // 1000)
        self.budget.record_out_of_memory(cost)

        assert self.budget.tokens == min(before, cost // 2)
        self.successes_since_change = 0

    @rule(cost=st.integers(2, 2000))
    def a_batch_formed_under_a_larger_budget_does_not_fit(self, cost: int) -> None:
        before = self.budget.tokens
        self.budget.record_out_of_memory(cost)

        assert self.budget.tokens <= before
        assert self.budget.tokens <= cost // 2
        assert self.budget.tokens in (before, cost // 2)
        self.successes_since_change = 0

    @rule(count=st.integers(1, 3 * GROWTH_SUCCESSES), spare=st.floats(0, 1))
    def batches_at_least_half_full_succeed(self, count: int, spare: float) -> None:
        for _ in range(count):
            before = self.budget.tokens
            self.budget.record_success(before - int(spare * (before // 2)))
            self.successes_since_change += 1
            if self.budget.tokens != before:
                assert self.budget.tokens == min(2 * before, self.limit)
                assert self.successes_since_change >= GROWTH_SUCCESSES
                self.successes_since_change = 0

    @precondition(lambda self: self.budget.tokens > 2)
    @rule(count=st.integers(1, 3 * GROWTH_SUCCESSES))
    def batches_less_than_half_full_do_not_count(self, count: int) -> None:
        before = self.budget.tokens
        for _ in range(count):
            self.budget.record_success((before - 1) // 2)

        assert self.budget.tokens == before

    @rule()
    def enough_full_batches_restore_the_limit(self) -> None:
        for _ in range((self.limit.bit_length() + 1) * MAX_GROWTH_SUCCESSES):
            if self.budget.tokens == self.limit:
                break
            self.budget.record_success(self.budget.tokens)

        assert self.budget.tokens == self.limit
        self.successes_since_change = 0

    @invariant()
    def the_budget_is_at_least_one_and_never_above_its_limit(self) -> None:
        assert 1 <= self.budget.tokens <= self.limit


TestRecovery = BudgetMachine.TestCase


def successes_until_change(budget: AdaptiveBudget) -> int:
    """Return the number of full batches before the budget changes."""
    before, count = budget.tokens, 0
    while budget.tokens == before:
        budget.record_success(before)
        count += 1
    return count


@given(LIMITS)
def test_without_a_failure_the_budget_never_changes(limit: int) -> None:
    budget = AdaptiveBudget(limit)
    for cost in (1, limit, 3 * limit) * GROWTH_SUCCESSES:
        budget.record_success(cost)

    assert budget.tokens == limit


@given(LIMITS)
def test_a_budget_of_one_token_is_not_halved(limit: int) -> None:
    budget = AdaptiveBudget(limit)
    for _ in range(20):
        budget.record_out_of_memory(budget.tokens)

    assert budget.tokens == 1


def test_after_a_passing_failure_each_doubling_needs_the_same_successes() -> None:
    budget = AdaptiveBudget(1024)
    budget.record_out_of_memory(1024)
    budget.record_out_of_memory(512)

    assert [successes_until_change(budget) for _ in range(2)] == [
        GROWTH_SUCCESSES,
        GROWTH_SUCCESSES,
    ]
    assert budget.tokens == 1024


def test_batches_exactly_half_full_count() -> None:
    budget = AdaptiveBudget(1024)
    budget.record_out_of_memory(1024)
    for _ in range(GROWTH_SUCCESSES):
        budget.record_success(256)

    assert budget.tokens == 1024


def test_both_halves_of_a_failed_batch_halve_the_budget_once() -> None:
    """A device with room for a quarter fails both halves; the budget becomes a quarter."""
    budget = AdaptiveBudget(1024)
    for cost in (1024, 512, 512):
        budget.record_out_of_memory(cost)

    assert budget.tokens == 256


def test_a_failure_resets_the_success_count() -> None:
    budget = AdaptiveBudget(1024)
    budget.record_out_of_memory(1024)
    for _ in range(GROWTH_SUCCESSES - 1):
        budget.record_success(512)
    budget.record_out_of_memory(512)

    assert successes_until_change(budget) == GROWTH_SUCCESSES
    assert budget.tokens == 512


def test_every_failed_trial_doubles_the_required_successes() -> None:
    budget = AdaptiveBudget(1024)
    waits = []
    for _ in range(9):
        budget.record_out_of_memory(1024)
        waits.append(successes_until_change(budget))

    assert waits == [64, 128, 256, 512, 1024, 2048, 4096, 4096, 4096]


def test_a_successful_trial_resets_the_required_successes() -> None:
    budget = AdaptiveBudget(1024)
    for _ in range(3):
        budget.record_out_of_memory(1024)
        successes_until_change(budget)
    for _ in range(MAX_GROWTH_SUCCESSES):
        budget.record_success(1024)
    budget.record_out_of_memory(1024)

    assert successes_until_change(budget) == GROWTH_SUCCESSES


@given(capacity=st.integers(1, 63), batches=st.integers(1, 20_000))
def test_permanently_missing_memory_costs_fewer_and_fewer_batches(
    capacity: int, batches: int
) -> None:
    budget = AdaptiveBudget(64)
    failures = 0
    for _ in range(batches):
        if budget.tokens > capacity:
            budget.record_out_of_memory(budget.tokens)
            failures += 1
        else:
            budget.record_success(budget.tokens)

    halvings, growing_intervals = 6, 7  # 64 = 2⁶ tokens; 64, 128, …, 4096 batches
    assert failures <= halvings + growing_intervals + batches // MAX_GROWTH_SUCCESSES
