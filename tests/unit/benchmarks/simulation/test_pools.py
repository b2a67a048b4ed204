"""Work goes to pools by the product's rule, whatever the knowledge."""

from __future__ import annotations

import pytest

from benchmarks.simulation import herding
from benchmarks.simulation.costs import Costs, DeviceCosts
from benchmarks.simulation.herding import ROUTERS, Pools
from tests.unit.benchmarks.simulation.services import FREE


@pytest.mark.parametrize("router", ROUTERS)
def test_pools_share_the_work_by_their_rates(router: str) -> None:
    pools = Pools(
        Costs(FREE, DeviceCosts(2_000.0, 0.001)),
        tokens=(20,),
        fast=1,
        slow=2,
        speedup=4.0,
        load=0.8,
        seconds=4.0,
    )
    choice = herding.run(pools, router, ingresses=2)

    assert choice.fast_capacity == pytest.approx(2 / 3)
    assert choice.fast_share == pytest.approx(2 / 3, abs=0.15)
    assert choice.figures.lost == 0
    assert choice.figures.answered_per_s == pytest.approx(choice.figures.sent_per_s, rel=0.1)
