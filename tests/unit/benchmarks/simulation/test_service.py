"""Every request ends once, whatever the load; one seed gives one result; groups change little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulation.clients import Load
from benchmarks.simulation.requests import Group, Outcome, Requests
from benchmarks.simulation.service import SimulatedService
from tests.unit.benchmarks.simulation.services import limited, pool, service


@settings(max_examples=15, deadline=None)
@given(
    rate=st.floats(10.0, 1500.0),
    ingresses=st.integers(1, 4),
    replicas=st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(any),
    returns=st.integers(0, 3),
    group_size=st.integers(1, 16),
    seed=st.integers(0, 1000),
)
def test_every_request_ends_once(
    rate: float, ingresses: int, replicas: list[int], returns: int, group_size: int, seed: int
) -> None:
    pools = [pool(f"Encoder-{at}", count, per_s=4000.0) for at, count in enumerate(replicas)]
    simulated = SimulatedService(
        service(
            Load.constant(rate, 0.5),
            *pools,
            ingress=replace(limited(max_wait_s=0.05), group_size=group_size),
            ingresses=ingresses,
            returns=returns,
            seed=seed,
        )
    )
    log = simulated.run()

    assert set(log.outcome) <= {Outcome.ANSWERED, Outcome.REFUSED}
    assert (log.ended_s >= log.sent_s).all()
    assert (log.attempts <= 1 + returns).all()
    assert all(
        not any(one.admission.stats.queued_tokens.values()) for one in simulated.ingresses.running
    )
    answered = int((log.outcome == Outcome.ANSWERED).sum())
    assert (
        sum(ingress.admission.stats.admitted for ingress in simulated.ingresses.running) <= answered
    )


def test_the_replicas_compute_the_tokens_of_all_answers() -> None:
    simulated = SimulatedService(service(Load.constant(500.0, 1.0), pool(replicas=3)))
    log = simulated.run()

    computed = sum(replica.computed_tokens for replica in simulated.encoders[0].running)
    assert computed == 20 * len(log.outcome)


def test_a_request_that_ends_twice_is_an_error() -> None:
    group = Group(Requests(np.zeros(2), np.ones(2, np.int64)), 0, 2, 2, b"")
    group.finish(Outcome.ANSWERED, 1.0)
    with pytest.raises(RuntimeError, match="ended twice"):
        group.finish(Outcome.REFUSED, 2.0)


def test_a_request_without_an_answer_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="have not ended"):
        SimulatedService(service(Load.constant(100.0, 0.5), pool(replicas=0))).run()


def test_one_seed_gives_one_result() -> None:
    first, again, other = (
        SimulatedService(service(Load.constant(300.0, 1.0), pool(replicas=2), seed=seed)).run()
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first.ended_s, again.ended_s)
    assert not np.array_equal(first.ended_s[:50], other.ended_s[:50])


def test_groups_and_ticks_change_the_figures_little() -> None:
    exact = limited()
    coarse = replace(exact, group_size=16, tick_s=0.0005)
    figures = [
        SimulatedService(
            service(Load.constant(2500.0, 0.8), pool(replicas=8), ingress=ingress, ingresses=4)
        )
        .run()
        .figures(0.0, 0.8)
        for ingress in (exact, coarse)
    ]
    assert figures[1].answered_per_s == pytest.approx(figures[0].answered_per_s, rel=0.02)
    assert figures[1].p99_ms == pytest.approx(figures[0].p99_ms, rel=0.25)
