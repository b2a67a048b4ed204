"""What is refused returns, and the service answers what it can."""

from __future__ import annotations

import pytest

from benchmarks.simulation import crowd
from benchmarks.simulation.costs import Costs, DeviceCosts
from benchmarks.simulation.crowd import Crowd
from tests.unit.benchmarks.simulation.services import FREE

CROWD = Crowd(
    Costs(FREE, DeviceCosts(4_000.0, 0.002)), (20,), 2048, replicas=1, factor=2.0, seconds=6.0
)


@pytest.mark.parametrize("ingresses", [1, 3])
def test_an_overloaded_service_answers_what_it_can(ingresses: int) -> None:
    refusals = crowd.run(CROWD, ingresses, same_ingress=True)

    assert refusals.figures.refused > 0.2
    assert refusals.of_capacity == pytest.approx(1.0, abs=0.15)
    assert refusals.admitted_returns > 0.8
