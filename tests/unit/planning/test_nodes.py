"""The number of nodes, beside trying every number."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput
from embedder.planning.nodes import NodeShape, StageLoad, nodes_for, smallest, taken

EMPTY = {"cpus": 0.0, "memory_gb": 0.0}

loads = st.lists(
    st.builds(
        StageLoad,
        replicas=st.integers(1, 60),
        cpus=st.floats(0, 1),
        memory_bytes=st.floats(1e8, 1e9),
        gpus=st.sampled_from([0.0, 1.0]),
    ),
    min_size=1,
    max_size=3,
).map(tuple)


@given(stages=loads, cpus=st.integers(4, 16), memory_gb=st.integers(4, 32), gpus=st.integers(3, 8))
def test_the_fewest_nodes_that_hold_every_replica_are_found(
    stages: tuple[StageLoad, ...], cpus: int, memory_gb: int, gpus: int
) -> None:
    each = {"cpus": 0.5, "memory_gb": 0.5}

    def fits(nodes: int) -> bool:
        counts = [ceil(stage.replicas / nodes) for stage in stages]
        pairs = list(zip(counts, stages, strict=True))
        return (
            0.5 + sum(count * stage.cpus for count, stage in pairs) <= cpus + 1e-9
            and 0.5 + sum(count * stage.memory_bytes for count, stage in pairs) / 1e9
            <= memory_gb + 1e-9
            and sum(count * stage.gpus for count, stage in pairs) <= gpus
        )

    assume(fits(60))
    found = nodes_for(stages, each, NodeShape(cpus, memory_gb, gpus))

    assert found == next(nodes for nodes in range(1, 61) if fits(nodes))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (NodeShape(0.5, 8, 1), "'node_cpus' is 0.5; one replica of each stage takes 1"),
        (NodeShape(2, 8, 0), "'node_gpus' is 0; one replica of each stage takes 1"),
        (NodeShape(2, 1, 1), "'node_memory_gb' is 1; one replica of each stage takes 2"),
    ],
)
def test_a_node_that_is_too_small_for_one_replica_is_refused(shape: NodeShape, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        nodes_for((StageLoad(5, 1.0, 2e9, 1.0),), EMPTY, shape)


def test_the_fullest_node_holds_what_an_even_spread_leaves_there() -> None:
    stages = (StageLoad(5, 0.5, 1e9), StageLoad(2, 1.0, 1e9, 1.0))

    held = taken(stages, {"cpus": 0.1, "memory_gb": 1.0}, 2)

    assert held == {"cpus": pytest.approx(2.6), "gpus": 1, "memory_gb": pytest.approx(5)}


@pytest.mark.parametrize(
    ("given_shape", "option"),
    [
        ({"cpus": 0, "memory_gb": 1}, "node_cpus"),
        ({"cpus": 1, "memory_gb": float("nan")}, "node_memory_gb"),
        ({"cpus": 1, "memory_gb": 1, "gpus": -1}, "node_gpus"),
        ({"cpus": 1, "memory_gb": 1, "price_per_hour": -0.1}, "price_per_hour"),
    ],
)
def test_a_shape_that_no_node_has_is_refused(given_shape: dict[str, float], option: str) -> None:
    with pytest.raises(InvalidInput, match=f"'{option}' is"):
        NodeShape(**given_shape)


@given(threshold=st.integers(0, 5000), least=st.integers(0, 5000))
def test_the_smallest_allowed_number_is_found(threshold: int, least: int) -> None:
    assert smallest(lambda number: number >= threshold, least) == max(threshold, least)
