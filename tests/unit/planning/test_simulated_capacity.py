"""Planned services keep their latency in the simulation, which runs the shipping batching."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulation.clients import ClientSettings, Load
from benchmarks.simulation.costs import DeviceCosts, IngressCosts
from benchmarks.simulation.ingress import IngressSettings
from benchmarks.simulation.service import PoolSettings, ServiceSettings, SimulatedService
from embedder.planning.capacity import Demand, plan_capacity
from embedder.settings.model import LimitSettings
from tests.unit.planning.calibrations import ENCODER, ON_CPUS, SERVICE

REQUESTS = 3000


@pytest.mark.parametrize(
    ("rate", "p99_ms", "tokens"),
    [(100, 60, 64), (600, 40, 64), (1000, 200, 64), (700, 100, 250), (1500, 30, 32)],
)
def test_a_planned_service_keeps_its_latency(rate: float, p99_ms: float, tokens: int) -> None:
    plan = plan_capacity(Demand(rate, p99_ms, tokens), ON_CPUS)
    ingress, _, encoder = plan.stages
    alone_s = ENCODER.alone_s(tokens)
    each_s = ENCODER.batch_s(tokens, 2) - alone_s
    device = DeviceCosts(tokens / each_s, alone_s - each_s)
    # A lone request's latency without the ingress, the call and the encoder.
    rest_s = SERVICE.alone_p99_s - SERVICE.ingress_s - SERVICE.call_s - ENCODER.alone_s(20)
    costs = IngressCosts(SERVICE.ingress_s, 0.0, hop_s=SERVICE.call_s / 2, base_s=rest_s)
    service = SimulatedService(
        ServiceSettings(
            ClientSettings(Load.constant(rate, REQUESTS / rate), np.array([tokens])),
            IngressSettings(costs, LimitSettings()),
            (PoolSettings("Encoder", encoder.replicas, device, plan.batch_texts * tokens),),
            ingresses=ingress.replicas,
        )
    )

    figures = service.run().figures(0, REQUESTS / rate)

    assert figures.refused == 0
    assert figures.p99_ms <= plan.p99_ms
