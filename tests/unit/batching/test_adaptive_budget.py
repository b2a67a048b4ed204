"""The budget after out of memory: halved at once, given back on trial, never above its limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from embedder.batching.adaptive_budget import GROWTH_SUCCESSES, MAX_GROWTH_SUCCESSES, AdaptiveBudget

LIMITS = st.integers(1, 100_000)


class Machine(RuleBasedStateMachine):
    """Batches of every size end as they please; the budget keeps its promises."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = 1000
        self.recovery = AdaptiveBudget(self.limit)
        self.full_since_change = 0

    @rule(share=st.integers(2, 1000))
    def a_batch_within_the_budget_does_not_fit(self, share: int) -> None:
        before = self.recovery.tokens
        cost = max(2, before * share // 1000)
        self.recovery.failed(cost)

        assert self.recovery.tokens == min(before, cost // 2)
        self.full_since_change = 0

    @rule(cost=st.integers(2, 2000))
    def a_batch_formed_under_a_larger_budget_does_not_fit(self, cost: int) -> None:
        before = self.recovery.tokens
        self.recovery.failed(cost)

        assert self.recovery.tokens <= before
        assert self.recovery.tokens <= cost // 2
        assert self.recovery.tokens in (before, cost // 2)
        self.full_since_change = 0

    @rule(count=st.integers(1, 3 * GROWTH_SUCCESSES), spare=st.floats(0, 1))
    def batches_that_are_at_least_half_full_succeed(self, count: int, spare: float) -> None:
        for _ in range(count):
            before = self.recovery.tokens
            self.recovery.succeeded(before - int(spare * (before // 2)))
            self.full_since_change += 1
            if self.recovery.tokens != before:
                assert self.recovery.tokens == min(2 * before, self.limit)
                assert self.full_since_change >= GROWTH_SUCCESSES
                self.full_since_change = 0

    @precondition(lambda self: self.recovery.tokens > 2)
    @rule(count=st.integers(1, 3 * GROWTH_SUCCESSES))
    def batches_that_are_less_than_half_full_prove_nothing(self, count: int) -> None:
        before = self.recovery.tokens
        for _ in range(count):
            self.recovery.succeeded((before - 1) // 2)

        assert self.recovery.tokens == before

    @rule()
    def enough_full_batches_give_everything_back(self) -> None:
        for _ in range((self.limit.bit_length() + 1) * MAX_GROWTH_SUCCESSES):
            if self.recovery.tokens == self.limit:
                break
            self.recovery.succeeded(self.recovery.tokens)

        assert self.recovery.tokens == self.limit
        self.full_since_change = 0

    @invariant()
    def the_budget_is_at_least_one_and_never_above_its_limit(self) -> None:
        assert 1 <= self.recovery.tokens <= self.limit


TestRecovery = Machine.TestCase


def successes_until_change(recovery: AdaptiveBudget) -> int:
    """Count the full batches up to the next change of the budget."""
    before, count = recovery.tokens, 0
    while recovery.tokens == before:
        recovery.succeeded(before)
        count += 1
    return count


@given(LIMITS)
def test_without_a_failure_nothing_ever_changes(limit: int) -> None:
    recovery = AdaptiveBudget(limit)
    for cost in (1, limit, 3 * limit) * GROWTH_SUCCESSES:
        recovery.succeeded(cost)

    assert recovery.tokens == limit


@given(LIMITS)
def test_a_budget_of_one_cannot_be_halved(limit: int) -> None:
    recovery = AdaptiveBudget(limit)
    for _ in range(20):
        recovery.failed(recovery.tokens)

    assert recovery.tokens == 1


def test_a_failure_that_passes_costs_one_stretch_for_each_halving() -> None:
    recovery = AdaptiveBudget(1024)
    recovery.failed(1024)
    recovery.failed(512)

    assert [successes_until_change(recovery) for _ in range(2)] == [
        GROWTH_SUCCESSES,
        GROWTH_SUCCESSES,
    ]
    assert recovery.tokens == 1024


def test_batches_that_are_exactly_half_full_are_proof_enough() -> None:
    recovery = AdaptiveBudget(1024)
    recovery.failed(1024)
    for _ in range(GROWTH_SUCCESSES):
        recovery.succeeded(256)

    assert recovery.tokens == 1024


def test_both_halves_of_a_failed_batch_halve_the_budget_once() -> None:
    """With room for a quarter, the halves fail one after the other; the quarter is the budget."""
    recovery = AdaptiveBudget(1024)
    for cost in (1024, 512, 512):
        recovery.failed(cost)

    assert recovery.tokens == 256


def test_a_failure_begins_the_stretch_anew() -> None:
    recovery = AdaptiveBudget(1024)
    recovery.failed(1024)
    for _ in range(GROWTH_SUCCESSES - 1):
        recovery.succeeded(512)
    recovery.failed(512)

    assert successes_until_change(recovery) == GROWTH_SUCCESSES
    assert recovery.tokens == 512


def test_every_failed_trial_doubles_the_wait_for_the_next() -> None:
    recovery = AdaptiveBudget(1024)
    waits = []
    for _ in range(9):
        recovery.failed(1024)
        waits.append(successes_until_change(recovery))

    assert waits == [64, 128, 256, 512, 1024, 2048, 4096, 4096, 4096]


def test_a_trial_that_holds_makes_the_next_waits_short_again() -> None:
    recovery = AdaptiveBudget(1024)
    for _ in range(3):
        recovery.failed(1024)
        successes_until_change(recovery)
    for _ in range(MAX_GROWTH_SUCCESSES):
        recovery.succeeded(1024)
    recovery.failed(1024)

    assert successes_until_change(recovery) == GROWTH_SUCCESSES


@given(capacity=st.integers(1, 63), batches=st.integers(1, 20_000))
def test_memory_that_is_gone_for_good_costs_ever_fewer_batches(capacity: int, batches: int) -> None:
    recovery = AdaptiveBudget(64)
    failures = 0
    for _ in range(batches):
        if recovery.tokens > capacity:
            recovery.failed(recovery.tokens)
            failures += 1
        else:
            recovery.succeeded(recovery.tokens)

    first_fall, waits_that_grow = 6, 7  # 64 = 2⁶ tokens; 64, 128, …, 4096 batches
    assert failures <= first_fall + waits_that_grow + batches // MAX_GROWTH_SUCCESSES
