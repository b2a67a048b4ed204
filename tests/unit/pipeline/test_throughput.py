"""The measured rate: when it is known, and when it rises and falls."""

from __future__ import annotations

import random

import pytest

from embedder.core.types import Timings
from embedder.pipeline.throughput import (
    FIRST_S,
    MEMORY_S,
    MIN_RISE,
    SATURATED_S,
    WINDOW_S,
    TokenRate,
)

IDLE = Timings(queue_s=0.0, inference_s=0.05)
BUSY = Timings(queue_s=0.2, inference_s=0.05)


def compute(
    rate: TokenRate,
    begin: float,
    end: float,
    tokens_per_s: float,
    times: Timings,
    *,
    step: float = 0.05,
) -> float:
    """Report a batch at every step; return the time of the last one."""
    steps = round((end - begin) / step)
    for number in range(1, steps + 1):
        rate.computed(round(tokens_per_s * step), times, begin + number * step)
    return end


def test_the_rate_is_unknown_until_work_has_waited() -> None:
    rate = TokenRate()
    rate.started(0.0)
    compute(rate, 0.0, 10.0, 1000, IDLE)

    assert rate.tokens_per_s is None
    assert rate.wait_s(10**9) == 0.0


def test_the_rate_is_known_soon_after_work_waits() -> None:
    rate = TokenRate()
    rate.started(0.0)
    compute(rate, 0.0, 0.2, 5000, BUSY)

    assert rate.tokens_per_s == pytest.approx(5000, rel=0.01)


def test_a_window_ends_between_batches_although_each_request_reports_itself() -> None:
    rate = TokenRate()
    rate.started(0.0)
    for end in (0.25, 0.5, 0.75, 1.0):
        for number in range(12):
            rate.computed(20, Timings(queue_s=0.2, inference_s=0.25), end + number * 0.0001)

    assert rate.tokens_per_s == pytest.approx(12 * 20 / 0.25, rel=0.01)


def test_a_batch_that_takes_longer_counts_completely() -> None:
    rate = TokenRate()
    rate.started(0.0)
    # Only tokens from the fourth batch on have waited for long.
    for end, requests in ((0.02, 4), (0.09, 14), (0.27, 36), (0.47, 40), (0.67, 40)):
        rate.catch_up(end)
        for _ in range(requests):
            times = Timings(queue_s=0.02 if end < 0.3 else 0.1, inference_s=end / 2)
            rate.computed(50, times, end)
        assert (rate.tokens_per_s or 0.0) < 10_500

    rate.catch_up(0.7)
    assert rate.tokens_per_s == pytest.approx(10_000, rel=0.05)


def test_batches_without_a_gap_between_them_are_counted() -> None:
    rate = TokenRate()
    rate.started(0.0)
    times = Timings(queue_s=0.2, inference_s=0.004)
    compute(rate, 0.0, 2 * FIRST_S, 50_000, times, step=0.0005)

    assert rate.tokens_per_s == pytest.approx(50_000, rel=0.02)


def test_small_first_batches_give_no_promised_rate() -> None:
    rate = TokenRate()
    rate.started(0.0)
    # Two devices: a single text, two partial batches, and then full ones.
    rate.computed(20, Timings(queue_s=0.02, inference_s=0.05), 0.05)
    ends = [(0.24, 80), (0.25, 80)]
    ends += [(0.25 * number + lag, 480) for number in range(2, 20) for lag in (0.0, 0.02)]
    for end, tokens in ends:
        rate.computed(tokens, Timings(queue_s=0.2, inference_s=0.25), end)
        assert rate.promised_per_s is None or rate.promised_per_s > 1000

    assert rate.promised_per_s == pytest.approx(2 * 480 / 0.25, rel=0.15)


def test_a_lone_small_request_does_not_lower_the_rate() -> None:
    rate = TokenRate()
    rate.started(0.0)
    now = compute(rate, 0.0, 3.0, 10_000, BUSY)
    rate.paused(now)
    for _ in range(1000):
        rate.started(now)
        now += 0.015
        rate.computed(20, IDLE, now)
        rate.paused(now)

    assert rate.tokens_per_s == pytest.approx(10_000, rel=0.01)


def test_overlapping_small_requests_without_a_pause_do_not_lower_the_rate() -> None:
    rate = TokenRate()
    rate.started(0.0)
    now = compute(rate, 0.0, 3.0, 10_000, BUSY)
    compute(rate, now, now + 60, 500, IDLE)

    # One window has the end of one batch and the start of the next.
    assert rate.tokens_per_s == pytest.approx(10_000, rel=0.03)


def test_a_higher_rate_raises_the_estimate_without_waiting_work() -> None:
    rate = TokenRate()
    rate.started(0.0)
    now = compute(rate, 0.0, 3.0, 1000, BUSY)
    compute(rate, now, now + 5 * MEMORY_S, 4000, IDLE)

    assert 4000 / MIN_RISE <= (rate.tokens_per_s or 0.0) <= 4000


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_estimate_follows_a_change_of_speed_within_seconds(factor: float) -> None:
    rate = TokenRate()
    rate.started(0.0)
    now = compute(rate, 0.0, 10.0, 8000, BUSY)
    compute(rate, now, now + 3 * MEMORY_S, factor * 8000, BUSY)

    assert rate.tokens_per_s == pytest.approx(factor * 8000, rel=0.06)


def test_the_estimate_recovers_from_a_standstill_as_fast_as_it_fell() -> None:
    rate = TokenRate()
    rate.started(0.0)
    now = compute(rate, 0.0, 10.0, 8000, BUSY)
    rate.computed(100, BUSY, now + 20)
    rate.computed(400, BUSY, now + 20.05)
    after_standstill = rate.tokens_per_s
    compute(rate, now + 20.05, now + 20.05 + 3 * MEMORY_S, 8000, BUSY)

    assert after_standstill is not None
    assert after_standstill < 1000
    assert rate.tokens_per_s == pytest.approx(8000, rel=0.06)


def test_batches_that_end_at_random_times_give_the_rate_on_average() -> None:
    chance = random.Random(1)
    rate, now, tokens = TokenRate(), 0.0, 0
    rate.started(now)
    while now < 30:
        batch = chance.randint(100, 4000)
        now += batch / 10_000
        tokens += batch
        rate.computed(batch, BUSY, now)

    assert rate.tokens_per_s == pytest.approx(10_000, rel=0.01)


def test_the_tokens_of_one_batch_delay_nothing() -> None:
    rate = TokenRate()
    rate.started(0.0)
    compute(rate, 0.0, 5.0, 1000, Timings(queue_s=1.0, inference_s=0.6), step=0.6)

    assert rate.wait_s(0) == rate.wait_s(590) == 0.0
    assert rate.wait_s(1600) == pytest.approx(1.0, rel=0.05)


def test_work_that_takes_no_time_changes_nothing() -> None:
    rate = TokenRate()
    rate.started(1.0)
    rate.computed(100, BUSY, 1.0)
    rate.paused(1.0)
    rate.computed(100, BUSY, 1.0 + WINDOW_S)

    assert rate.tokens_per_s is None


@pytest.mark.parametrize(("queue_s", "known"), [(SATURATED_S, True), (0.9 * SATURATED_S, False)])
def test_the_average_wait_decides_whether_a_window_is_saturated(
    queue_s: float, known: bool
) -> None:
    rate = TokenRate()
    rate.started(0.0)
    rate.computed(900, Timings(queue_s=0.0, inference_s=0.05), 0.05)
    rate.computed(100, Timings(queue_s=10 * queue_s, inference_s=0.05), 0.15)
    rate.computed(1, IDLE, 0.2)

    assert (rate.tokens_per_s is not None) is known
