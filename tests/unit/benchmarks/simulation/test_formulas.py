"""The simulation agrees with queueing theory where that has a formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.simulation.clients import Load
from benchmarks.simulation.costs import DeviceCosts
from benchmarks.simulation.formulas import md1_wait_s, mmc_wait_s
from benchmarks.simulation.service import PoolSettings, SimulatedService
from tests.unit.benchmarks.simulation.services import service

SERVICE_S = 0.01
REQUESTS = 6_000
ONE_BY_ONE = PoolSettings(
    "Encoder", 1, DeviceCosts(2000.0, batch_s=0.0), max_items=1, worth_tokens=0, candidates=1000
)
"""Replicas that take one request at a time, whose 20 tokens need `SERVICE_S`."""


@pytest.mark.parametrize("load", [0.3, 0.5])
def test_one_replica_with_equal_requests_is_an_m_d_1_queue(load: float) -> None:
    rate = load / SERVICE_S
    seconds = REQUESTS / rate
    log = SimulatedService(service(Load.constant(rate, seconds), ONE_BY_ONE)).run()
    wait_s = log.figures(0.0, seconds).mean_ms / 1000 - SERVICE_S

    assert wait_s == pytest.approx(md1_wait_s(rate, SERVICE_S), rel=0.1)


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

    assert wait_s == pytest.approx(mmc_wait_s(rate, SERVICE_S, servers), rel=0.2)


def test_one_server_waits_as_m_m_1_does() -> None:
    assert mmc_wait_s(50.0, 0.01, 1) == pytest.approx(0.5 * 0.01 / (1 - 0.5))


def test_two_servers_wait_as_the_closed_form_says() -> None:
    load = 0.75
    assert mmc_wait_s(150.0, 0.01, 2) == pytest.approx(0.01 * load**2 / (1 - load**2))


def test_a_saturated_server_has_no_mean_wait() -> None:
    with pytest.raises(ValueError, match="below 1"):
        md1_wait_s(100.0, 0.01)
    with pytest.raises(ValueError, match="below 1"):
        mmc_wait_s(300.0, 0.01, 2)
