"""Routers with old and with perfect knowledge share the work between pools."""

from __future__ import annotations

import pytest

from benchmarks.simulation import pool_choice
from benchmarks.simulation.costs import Calibration, DeviceCosts
from benchmarks.simulation.pool_choice import ROUTERS, Pools
from tests.unit.benchmarks.simulation.services import FREE


@pytest.mark.parametrize("router", ROUTERS)
def test_pools_share_the_work_by_their_rates(router: str) -> None:
    pools = Pools(
        Calibration(FREE, DeviceCosts(2_000.0, 0.001), (20,)),
        fast=1,
        slow=2,
        speedup=4.0,
        load=0.8,
        seconds=4.0,
    )
    choice = pool_choice.run(pools, router, ingresses=2)

    assert choice.fast_capacity == pytest.approx(2 / 3)
    assert choice.fast_share == pytest.approx(2 / 3, abs=0.15)
    assert choice.figures.lost == 0
    assert choice.figures.answered_per_s == pytest.approx(choice.figures.sent_per_s, rel=0.1)
