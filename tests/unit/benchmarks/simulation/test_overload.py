"""Refused requests return, and an overloaded service answers at its capacity."""

from __future__ import annotations

import pytest

from benchmarks.simulation import overload
from benchmarks.simulation.costs import Calibration, DeviceCosts
from benchmarks.simulation.overload import Overload
from tests.unit.benchmarks.simulation.services import FREE

TWICE = Overload(
    Calibration(FREE, DeviceCosts(4_000.0, 0.002), (20,)), replicas=1, factor=2.0, seconds=6.0
)


@pytest.mark.parametrize("ingresses", [1, 3])
def test_an_overloaded_service_answers_at_its_capacity(ingresses: int) -> None:
    admission = overload.run(TWICE, ingresses, same_ingress=True)

    assert admission.figures.refused > 0.2
    assert admission.of_capacity == pytest.approx(1.0, abs=0.15)
    assert admission.admitted_returns > 0.8
    assert admission.figures.lost < 0.01
