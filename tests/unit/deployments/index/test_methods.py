"""The methods that a replica of the index runs are a fixed set: those of `VectorIndex`."""

from __future__ import annotations

import inspect

import pytest

from deployments.index.methods import METHODS
from deployments.index.replica import IndexReplica
from embedder.index.vector_index import VectorIndex
from tests.unit.deployments.index.shards import NAME, Index

LOCAL = {"close", "health", "stats", "measurements", "run_maintenance", "known_points"}
"""Methods of the index that a replica calls for itself, or not at all."""


def test_every_method_of_the_index_is_called_in_one_way() -> None:
    stated = {name for name, one in vars(VectorIndex).items() if inspect.isfunction(one)}

    assert METHODS.keys() == {name for name in stated if not name.startswith("_")} - LOCAL


@pytest.mark.parametrize("name", [*sorted(LOCAL), "_shard", "__init__", "call", "unknown"])
async def test_a_replica_runs_no_other_method(single: Index, name: str) -> None:
    with pytest.raises(KeyError):
        await single.shards[0].call(name, NAME)


async def test_a_replica_answers_by_the_names_that_serve_and_operators_use(single: Index) -> None:
    shard: IndexReplica = single.shards[0]
    await shard.check_health()

    assert (await shard.health()).status == "ready"
    assert (await shard.stats()).shard == "VectorIndex-0"
