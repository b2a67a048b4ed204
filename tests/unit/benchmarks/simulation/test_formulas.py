"""The simulation agrees with queueing theory where that has a formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.simulation.clients import Load
from benchmarks.simulation.costs import DeviceCosts
from benchmarks.simulation.service import PoolSettings, SimulatedService
from embedder.planning.queueing import wait_probability
from tests.unit.benchmarks.simulation.services import service

SERVICE_S = 0.01
REQUESTS = 6_000
ONE_BY_ONE = PoolSettings(
    "Encoder", 1, DeviceCosts(2000.0, batch_s=0.0), max_items=1, worth_tokens=0, candidates=1000
)
"""Replicas that take one request at a time, whose 20 tokens need `SERVICE_S`."""


def _mean_wait_s(servers: int, used: float, variability: float) -> float:
    """Return the mean wait of M/M/c, or with ``variability`` 0.5 of M/D/1."""
    load = servers * used
    return variability * wait_probability(servers, load) * SERVICE_S / (servers - load)


@pytest.mark.parametrize("load", [0.3, 0.5])
def test_one_replica_with_equal_requests_is_an_m_d_1_queue(load: float) -> None:
    rate = load / SERVICE_S
    seconds = REQUESTS / rate
    log = SimulatedService(service(Load.constant(rate, seconds), ONE_BY_ONE)).run()
    wait_s = log.figures(0.0, seconds).mean_ms / 1000 - SERVICE_S

    assert wait_s == pytest.approx(_mean_wait_s(1, load, 0.5), rel=0.1)


def test_each_request_of_one_replica_waits_as_lindley_says() -> None:
    log = SimulatedService(service(Load.constant(0.9 / SERVICE_S, 5.0), ONE_BY_ONE)).run()
    free_s, ended_s = 0.0, []
    for sent_s in log.sent_s:
        free_s = max(free_s, sent_s) + SERVICE_S
        ended_s.append(free_s)

    assert log.ended_s == pytest.approx(np.array(ended_s), abs=1e-9)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (4, 0.7)])
def test_replicas_that_share_a_queue_are_an_m_m_c_queue(servers: int, load: float) -> None:
    rate = servers * load / SERVICE_S
    seconds = REQUESTS / rate
    tokens = np.random.default_rng(1).exponential(2000.0, 50_000).round().astype(int) + 1
    costs = DeviceCosts(tokens.mean() / SERVICE_S, batch_s=0.0)
    stage = replace(ONE_BY_ONE, replicas=servers, costs=costs, max_batch_tokens=10**9)
    settings = service(Load.constant(rate, seconds), stage, tokens=tokens.tolist())
    log = SimulatedService(settings).run()
    wait_s = log.figures(0.0, seconds).mean_ms / 1000 - SERVICE_S

    assert wait_s == pytest.approx(_mean_wait_s(servers, load, 1.0), rel=0.2)
