"""The choice of a pool beside every prediction, and a caller's knowledge of a pool."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.encoder.routing import (
    FRESH_S,
    PAUSE_S,
    PoolState,
    PoolTracker,
    earliest,
)
from embedder.core.types import ReplicaLoad

states = st.builds(
    PoolState,
    replicas=st.integers(0, 4),
    backlog_tokens=st.sampled_from([0.0, 1.0, 100.0, 5_000.0]),
    tokens_per_s=st.sampled_from([0.0, 1.0, 1_000.0, 1e6]),
    overdue_s=st.sampled_from([0.0, 0.5, 60.0]),
    paused=st.booleans(),
)


def _prediction(pool: PoolState, tokens: int) -> float:
    """Return the completion as stated in words: delay, then all tokens at the pool's rate."""
    if pool.tokens_per_s == 0:
        return 0.0 if pool.backlog_tokens == 0 else inf
    return pool.overdue_s + pool.backlog_tokens / pool.tokens_per_s + tokens / pool.tokens_per_s


@given(st.lists(states, max_size=5), st.integers(1, 10_000))
def test_no_pool_with_a_replica_would_complete_the_work_earlier(
    pools: list[PoolState], tokens: int
) -> None:
    chosen = earliest(pools, tokens)
    running = [pool for pool in pools if pool.replicas]
    if chosen is None:
        assert not running
        return
    pool = pools[chosen]

    assert pool.replicas
    rivals = [one for one in running if not one.paused] or running
    assert pool in rivals
    best = min(_prediction(one, tokens) for one in rivals)
    assert _prediction(pool, tokens) == pytest.approx(best)
    if best == inf:
        least = min(one.backlog_tokens / one.replicas for one in rivals)
        assert pool.backlog_tokens / pool.replicas == least


def test_the_first_of_equal_pools_is_chosen() -> None:
    pool = PoolState(1, 0.0, 100.0)

    assert earliest([pool, pool], 10) == 0
    assert earliest([], 10) is None


def _report(queued: int = 0, rate: float = 1000.0) -> ReplicaLoad:
    return ReplicaLoad("r", queued, rate)


def _answer(pool: PoolTracker, load: ReplicaLoad | None, now: float) -> None:
    pool.called(1)
    pool.answered(1, load, now)


def test_own_work_counts_until_it_is_removed() -> None:
    pool = PoolTracker(replicas=2)
    _answer(pool, _report(), 0.0)
    works = [pool.add(tokens, 0.0) for tokens in (300, 200)]
    before = pool.state(0.0)
    for work in works:
        pool.remove(work)

    assert before == PoolState(2, 500.0, 2000.0)
    assert before.completion_s(500) == pytest.approx(0.5)
    assert pool.state(0.0).backlog_tokens == 0.0


def test_tokens_of_other_callers_are_known_from_the_report() -> None:
    pool = PoolTracker(replicas=1)
    pool.add(100, 0.0)
    pool.called(100)
    pool.called(50)
    pool.answered(50, _report(queued=700), 0.0)

    # 100 of the 700 are those of the call in flight, which count as own work.
    assert pool.state(0.0).backlog_tokens == 100 + 600


def test_work_that_waits_in_the_caller_is_not_taken_for_work_in_the_replica() -> None:
    pool = PoolTracker(replicas=1)
    pool.add(10_000, 0.0)
    _answer(pool, _report(queued=700), 0.0)

    assert pool.state(0.0).backlog_tokens == 10_000 + 700


def test_an_old_report_counts_less_by_the_rate_of_the_pool() -> None:
    pool = PoolTracker(replicas=2)
    _answer(pool, _report(queued=1000), 0.0)
    backlogs = [pool.state(FRESH_S + seconds).backlog_tokens for seconds in (0.0, 0.25, 1.0, 60.0)]

    assert backlogs == pytest.approx([2000.0, 1500.0, 0.0, 0.0])


@given(st.lists(st.integers(0, 5_000), min_size=4, max_size=4), st.integers(1, 30))
def test_the_backlog_becomes_the_sum_of_what_the_replicas_report(
    queues: list[int], replicas: int
) -> None:
    pool = PoolTracker(replicas=replicas)
    mean = sum(queues) / len(queues)
    for step in range(40 * replicas):
        _answer(pool, _report(queued=queues[step % len(queues)]), step * 1e-6)
    now = 40 * replicas * 1e-6

    spread = max(queues) - min(queues)
    assert abs(pool.state(now).backlog_tokens - replicas * mean) <= replicas * (spread + 1)


def test_a_pool_of_unknown_rate_is_tried_once_and_then_waits_for_its_answer() -> None:
    known, new = PoolTracker(replicas=1), PoolTracker(replicas=1)
    _answer(known, _report(), 0.0)
    first = earliest([known.state(0.0), new.state(0.0)], 100)
    new.add(100, 0.0)
    second = earliest([known.state(0.0), new.state(0.0)], 100)
    _answer(new, _report(rate=1e6), 0.0)
    third = earliest([known.state(0.0), new.state(0.0)], 100)

    assert (first, second, third) == (1, 0, 1)


def test_a_pool_whose_first_answer_has_no_rate_is_tried_again() -> None:
    known, new = PoolTracker(replicas=1), PoolTracker(replicas=1)
    _answer(known, _report(), 0.0)
    _answer(new, _report(queued=5000, rate=0.0), 0.0)
    chosen = [earliest([known.state(now), new.state(now)], 100) for now in (0.0, 3600.0)]

    assert chosen == [1, 1]


def test_a_pool_whose_answer_is_overdue_gets_no_work() -> None:
    slow, fast = PoolTracker(replicas=1), PoolTracker(replicas=1)
    _answer(slow, _report(rate=1000.0), 0.0)
    _answer(fast, _report(rate=100_000.0), 0.0)
    fast.add(100, 0.0)
    chosen = [
        earliest([slow.state(now), fast.state(now)], 100) for now in (0.0, 0.05, 0.11, 0.2, 60.0)
    ]

    assert chosen == [1, 1, 0, 0, 0]


def test_an_answer_ends_the_delay_of_a_pool_although_other_work_was_overtaken() -> None:
    pool = PoolTracker(replicas=1)
    _answer(pool, _report(), 0.0)
    pool.add(1000, 0.0)
    silent = pool.state(5.0).overdue_s
    _answer(pool, _report(), 5.0)

    assert silent == pytest.approx(4.0)
    assert pool.state(5.0).overdue_s == 0.0


def test_a_pool_that_failed_is_chosen_again_after_a_pause_or_when_it_answers() -> None:
    pool, other = PoolTracker(replicas=1), PoolTracker(replicas=1)
    _answer(pool, _report(rate=1e6), 0.0)
    _answer(other, _report(rate=1.0), 0.0)

    def chosen(now: float) -> int | None:
        return earliest([pool.state(now), other.state(now)], 10)

    before = chosen(0.0)
    pool.called(10)
    pool.failed(10, 0.0)
    paused, later = chosen(0.0), chosen(PAUSE_S)
    pool.called(10)
    pool.failed(10, 0.0)
    _answer(pool, None, 0.5)

    assert (before, paused, later, chosen(0.5)) == (0, 1, 0, 0)


def test_a_cancelled_call_says_nothing_about_the_pool() -> None:
    pool = PoolTracker(replicas=1)
    _answer(pool, _report(queued=10), 0.0)
    pool.called(10)
    pool.failed(10, 0.0, pause=False)

    assert pool.state(0.0) == PoolState(1, 10.0, 1000.0)
