"""The deployments of the index in the composed application."""

from __future__ import annotations

from typing import Any

from ray.serve import Deployment

from deployments.app import build


def _shard(arguments: dict[str, Any], name: str = "VectorIndex-0") -> Deployment:
    """Return the deployment of a shard in the application for these arguments."""
    bound: Any = build(arguments)._bound_deployment.init_kwargs
    shard: Deployment = bound["indexes"][name]._bound_deployment
    return shard


def test_the_shards_of_an_index_in_a_database_scale() -> None:
    stage = {"min_replicas": 2, "max_replicas": 5, "max_replicas_per_node": 1}
    index = {"url": "postgresql://here/db", "shards": 2}
    shard = _shard({"vector_index": stage, "index": index}, "VectorIndex-1")
    scaling = shard._deployment_config.autoscaling_config

    assert scaling is not None
    assert (scaling.min_replicas, scaling.max_replicas) == (2, 5)
    assert shard._replica_config.max_replicas_per_node == 1
    assert shard._deployment_config.max_surge_percent == 25
    assert shard._deployment_config.health_check_period_s == 1
