"""What a replica reports of its queue and of its rate."""

from __future__ import annotations

import pytest

from embedder.batching.work_meter import MIN_TOKENS, WorkMeter
from tests.unit.manual_clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def meter(clock: ManualClock) -> WorkMeter:
    return WorkMeter(clock)


def test_tokens_are_queued_until_their_call_ends(meter: WorkMeter) -> None:
    seen = []

    def fail() -> None:
        with meter.queued(12):
            seen.append(meter.queued_tokens)
            raise ZeroDivisionError

    with meter.queued(30):
        seen.append(meter.queued_tokens)
        with pytest.raises(ZeroDivisionError):
            fail()
        seen.append(meter.queued_tokens)

    assert [*seen, meter.queued_tokens] == [30, 42, 30, 0]


def _compute(meter: WorkMeter, clock: ManualClock, tokens: int, seconds: float) -> None:
    with meter.computed(tokens):
        clock.now += seconds


def test_the_rate_is_unknown_until_enough_has_been_computed(
    meter: WorkMeter, clock: ManualClock
) -> None:
    rates = []
    for _ in range(2):
        _compute(meter, clock, MIN_TOKENS // 2, 0.5)
        rates.append(meter.tokens_per_s)

    assert rates[0] == 0.0
    assert rates[1] > 0.0


def test_the_rate_of_steady_work_is_its_tokens_per_busy_second(
    meter: WorkMeter, clock: ManualClock
) -> None:
    for _ in range(20):
        _compute(meter, clock, 500, 0.01)
        clock.now += 10.0

    assert meter.tokens_per_s == pytest.approx(50_000, rel=0.01)


def test_overlapping_calls_share_their_busy_time(meter: WorkMeter, clock: ManualClock) -> None:
    for _ in range(20):
        with meter.computed(500):
            clock.now += 0.005
            with meter.computed(500):
                clock.now += 0.005

    assert meter.tokens_per_s == pytest.approx(100_000, rel=0.01)


def test_larger_batches_raise_the_rate_within_a_fraction_of_a_second(
    meter: WorkMeter, clock: ManualClock
) -> None:
    for _ in range(1000):
        _compute(meter, clock, 16, 0.003)
    small = meter.tokens_per_s
    for _ in range(20):
        _compute(meter, clock, 8000, 0.01)

    assert small == pytest.approx(16 / 0.003, rel=0.05)
    assert meter.tokens_per_s > 100_000


def test_work_that_fails_counts_as_time_and_not_as_tokens(
    meter: WorkMeter, clock: ManualClock
) -> None:
    def fail() -> None:
        with meter.computed(500):
            clock.now += 0.01
            raise ZeroDivisionError

    for _ in range(20):
        _compute(meter, clock, 500, 0.01)
        with pytest.raises(ZeroDivisionError):
            fail()

    assert meter.tokens_per_s == pytest.approx(25_000, rel=0.05)
