"""Services of different sizes are measured alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.simulation import growth
from benchmarks.simulation.costs import Calibration, DeviceCosts, IngressCosts
from benchmarks.simulation.growth import Growth
from benchmarks.simulation.plots import draw_growth

SMALL = Growth(
    Calibration(IngressCosts(0.0002, 0.0002), DeviceCosts(20_000.0, 0.001), (20,)),
    rate_per_s=500.0,
    ingresses=1.0,
    seconds=1.5,
)


def test_answers_grow_with_the_replicas(tmp_path: Path) -> None:
    sizes = [growth.run(SMALL, replicas) for replicas in (2, 6)]

    assert [size.ingresses for size in sizes] == [2, 6]
    each = [size.figures.answered_per_s / size.replicas for size in sizes]
    assert each == pytest.approx([500.0, 500.0], rel=0.1)
    assert draw_growth(sizes, tmp_path).stat().st_size > 0


def test_an_ingress_that_is_slower_than_an_encoder_is_busier() -> None:
    slow = IngressCosts(0.003, 0.0)
    size = growth.run(replace(SMALL, calibration=replace(SMALL.calibration, ingress=slow)), 1)

    assert size.ingress_busy > size.encoder_busy
