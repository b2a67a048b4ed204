"""The rate of an ingress that shares the devices with others, and the rate of all together."""

from __future__ import annotations

import pytest

from embedder.core.types import ReplicaLoad
from embedder.pipeline.throughput import REPLICA_S, STALE_S, TokenRate
from tests.unit.pipeline.test_throughput import BUSY, compute


def shared(ingresses: int, *rates: float, now: float = 0.0) -> TokenRate:
    """Return the rate of one of several ingresses to which replicas have reported."""
    rate = TokenRate()
    rate.ingresses = ingresses
    report(rate, *rates, now=now)
    rate.started(now)
    return rate


def report(rate: TokenRate, *rates: float, now: float) -> None:
    """Report the rates of replicas, whose names count from 0."""
    for number, tokens_per_s in enumerate(rates):
        rate.reported(ReplicaLoad(str(number), 0, tokens_per_s), now)


def test_an_ingress_alone_ignores_the_reports_of_replicas() -> None:
    rate = shared(1, 9000.0)
    compute(rate, 0.0, 1.0, 5000, BUSY)

    assert rate.tokens_per_s == rate.total_per_s == rate.promised_per_s
    assert rate.tokens_per_s == pytest.approx(5000, rel=0.01)


def test_an_ingress_of_several_measures_its_share_and_adds_up_the_reports() -> None:
    rate = shared(2, 4000.0, 6000.0)
    compute(rate, 0.0, 1.0, 7000, BUSY)

    assert rate.tokens_per_s == pytest.approx(7000, rel=0.01)
    assert rate.total_per_s == rate.promised_per_s == 10_000
    assert rate.seconds(5000) == pytest.approx(0.5)
    assert rate.wait_s(7000) == pytest.approx(1.0 - rate.batch_s, rel=0.01)


def test_the_total_is_promised_only_after_enough_measurements() -> None:
    rate = shared(2, 10_000.0)
    compute(rate, 0.0, 0.2, 7000, BUSY)

    assert rate.total_per_s == 10_000
    assert rate.promised_per_s is None


def test_an_ingress_that_asks_for_little_could_have_an_equal_share() -> None:
    rate = shared(4, 10_000.0)
    compute(rate, 0.0, 1.0, 100, BUSY)

    assert rate.tokens_per_s == 2500


def test_replicas_without_reports_are_forgotten_although_no_work_waits() -> None:
    rate = TokenRate()
    for number in range(1000):
        rate.reported(ReplicaLoad(str(number), 0, 100.0), float(number))

    assert len(rate._replicas) <= REPLICA_S + 1


def test_a_share_that_was_measured_long_ago_is_forgotten() -> None:
    rate = shared(4, 10_000.0)
    now = compute(rate, 0.0, 1.0, 10_000, BUSY)
    rate.paused(now)
    rate.catch_up(now + STALE_S - 1.0)
    before = rate.tokens_per_s
    rate.catch_up(now + STALE_S + 1.0)

    assert before == pytest.approx(10_000, rel=0.01)
    assert rate.tokens_per_s == 2500
    assert rate.promised_per_s == pytest.approx(10_000, rel=0.01)

    rate.started(now + 20.0)
    compute(rate, now + 20.0, now + 20.3, 10_000, BUSY)
    assert rate.tokens_per_s == pytest.approx(10_000, rel=0.01), "as soon as it is measured again"


def test_a_replica_without_reports_no_longer_counts() -> None:
    rate = shared(2, 4000.0, 6000.0)
    compute(rate, 0.0, 1.0, 1000, BUSY)
    report(rate, 4000.0, now=REPLICA_S + 1.0)
    compute(rate, REPLICA_S, REPLICA_S + 2.0, 1000, BUSY)

    assert rate.total_per_s == 4000.0


def test_a_replica_that_starts_counts_at_once() -> None:
    rate = shared(2, 4000.0)
    now = compute(rate, 0.0, 1.0, 1000, BUSY)
    report(rate, 4000.0, 6000.0, now=now)
    compute(rate, now, now + 0.3, 1000, BUSY)

    assert rate.total_per_s == 10_000.0
