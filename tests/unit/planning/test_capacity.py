"""Plans keep the limit in a simulation of their stages, and follow the demand."""

from __future__ import annotations

import heapq
import random
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput
from embedder.planning.calibration import Calibration
from embedder.planning.capacity import MOST_USED, CapacityPlan, Demand, plan_capacity
from embedder.planning.nodes import NodeShape
from tests.unit.planning.calibrations import ENCODER, ON_A_GPU, ON_CPUS, SERVICE

NODE = NodeShape(8, 16, 1, price_per_hour=0.36)
FIXED_S = 0.010 - 0.001 - 0.002 - ENCODER.alone_s(20)
"""Of `ON_CPUS`: a lone text's latency without the ingress, the call and the encoder."""

demands = st.builds(
    Demand,
    rate=st.floats(1, 20_000),
    p99_ms=st.floats(30, 2000),
    tokens=st.integers(1, 256),
    spare_nodes=st.integers(0, 3),
)
calibrations = st.sampled_from([ON_CPUS, ON_A_GPU])


def _replicas(plan: CapacityPlan) -> dict[str, int]:
    return {stage.name: stage.replicas for stage in plan.stages}


@given(demand=demands, calibration=calibrations)
def test_no_replica_is_busier_than_its_share_and_the_limit_is_kept(
    demand: Demand, calibration: Calibration
) -> None:
    plan = plan_capacity(demand, calibration, NODE)

    assert plan.p99_ms <= demand.p99_ms + 1e-6
    assert all(stage.used <= MOST_USED + 1e-9 for stage in plan.stages)
    assert all(
        stage.replicas <= stage.per_node * (plan.nodes - demand.spare_nodes)
        for stage in plan.stages
    )
    assert plan.saturated_rate >= demand.rate / MOST_USED - 1e-6


@given(demand=demands, calibration=calibrations, factor=st.floats(1, 3))
def test_a_harder_demand_never_takes_fewer_nodes(
    demand: Demand, calibration: Calibration, factor: float
) -> None:
    plan = plan_capacity(demand, calibration, NODE)
    more = plan_capacity(replace(demand, rate=factor * demand.rate), calibration, NODE)
    later = plan_capacity(replace(demand, p99_ms=factor * demand.p99_ms), calibration, NODE)

    assert more.nodes >= plan.nodes >= later.nodes
    assert _replicas(more)["ingress"] >= _replicas(plan)["ingress"]


def _simulated_ms(demand: Demand, plan: CapacityPlan, seed: int) -> float:
    """Return the 99th percentile of 4,000 texts in ingresses and encoders of `ON_CPUS`."""
    drawn = random.Random(seed)
    counts = _replicas(plan)
    arrivals = list(accumulate(drawn.expovariate(demand.rate) for _ in range(4_000)))
    busy_s = 0.001 + (demand.tokens - 20) / 500_000
    free, passed = [0.0] * counts["ingress"], []
    for number, arrival in enumerate(arrivals):
        ends = max(heapq.heappop(free), arrival) + busy_s * drawn.uniform(0.5, 1.5)
        heapq.heappush(free, ends)
        passed.append((ends, number))
    passed.sort()
    free, latencies, first = [0.0] * counts["encoder"], list[float](), 0
    while first < len(passed):
        began = max(heapq.heappop(free), passed[first][0])
        ready = passed[first : first + plan.batch_texts]
        batch = [number for ends, number in ready if ends <= began]
        first += len(batch)
        ends = began + 0.002 + ENCODER.batch_s(demand.tokens, len(batch))
        latencies += [ends - arrivals[number] for number in batch]
        heapq.heappush(free, ends)
    return 1e3 * (FIXED_S + sorted(latencies)[len(latencies) * 99 // 100])


@given(
    demand=st.builds(
        Demand, rate=st.floats(5, 3000), p99_ms=st.floats(40, 500), tokens=st.integers(8, 256)
    ),
    seed=st.integers(0, 100),
)
def test_the_simulated_stages_keep_the_predicted_latency(demand: Demand, seed: int) -> None:
    plan = plan_capacity(demand, ON_CPUS, NODE)

    assert _simulated_ms(demand, plan, seed) <= 1.1 * plan.p99_ms


def test_an_impossible_latency_is_refused_with_the_smallest_that_is_not() -> None:
    demand = Demand(rate=100, p99_ms=5, tokens=64)

    with pytest.raises(InvalidInput, match=r"'p99_ms' is 5; the smallest reachable is 11\.7, "):
        plan_capacity(demand, ON_CPUS, NODE)

    plan = plan_capacity(replace(demand, p99_ms=11.7), ON_CPUS, NODE)
    assert plan.p99_ms == pytest.approx(11.7, abs=0.05)


def test_a_text_beyond_the_model_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'tokens' has 257 tokens; the limit is 256"):
        plan_capacity(Demand(1, 100, 257), ON_CPUS, NODE)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate", 0.0),
        ("rate", float("nan")),
        ("rate", float("inf")),
        ("p99_ms", -1.0),
        ("tokens", 0),
        ("spare_nodes", -1),
    ],
)
def test_a_demand_below_its_limits_is_refused(field: str, value: float) -> None:
    given_fields = {"rate": 1.0, "p99_ms": 100.0, "tokens": 8, "spare_nodes": 0, field: value}

    with pytest.raises(InvalidInput, match=f"'{field}' is {value}; it must be"):
        Demand(**given_fields)  # type: ignore[arg-type]


def test_the_cost_is_that_of_all_nodes_by_tokens() -> None:
    demand = Demand(rate=5000, p99_ms=200, tokens=64)
    plan = plan_capacity(demand, ON_CPUS, NODE)
    spare = plan_capacity(replace(demand, spare_nodes=2), ON_CPUS, NODE)

    assert plan.cost_per_million_tokens == pytest.approx(plan.nodes * 0.36 / (5000 * 64 * 0.0036))
    assert spare.nodes == plan.nodes + 2
    assert plan_capacity(demand, ON_CPUS).cost_per_million_tokens is None


def test_a_gpu_pool_takes_gpus_and_is_limited_by_the_scarcer_resource() -> None:
    demand = Demand(rate=50_000, p99_ms=500, tokens=64)

    few = plan_capacity(demand, ON_A_GPU, NodeShape(64, 512, gpus=1))
    many = plan_capacity(demand, ON_A_GPU, NodeShape(64, 512, gpus=64))

    assert few.limited_by == "gpus"
    assert few.nodes == _replicas(few)["encoder"]
    assert many.limited_by == "cpus"


def test_long_texts_are_tokenized_by_the_tokenizer_if_the_ingress_does_not() -> None:
    slow = ON_CPUS.model_copy(
        update={"encoder": ENCODER.model_copy(update={"tokens_per_core_s": 10_000})}
    )
    demand = Demand(rate=200, p99_ms=1000, tokens=200)

    inside = _replicas(plan_capacity(demand, slow, ingress_characters=1000))
    outside = _replicas(plan_capacity(demand, slow, ingress_characters=999))

    assert inside["tokenizer"] == 1 < outside["tokenizer"]
    assert inside["ingress"] > outside["ingress"]


def test_the_bottleneck_is_the_stage_that_saturates_first() -> None:
    slow = SERVICE.model_copy(update={"ingress_s": 0.05})
    plan = plan_capacity(
        Demand(rate=15, p99_ms=2000, tokens=8), ON_CPUS.model_copy(update={"service": slow}), NODE
    )

    assert plan.bottleneck == "ingress"
    assert plan.saturated_rate == pytest.approx(_replicas(plan)["ingress"] / 0.05, rel=0.01)
