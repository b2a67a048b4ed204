"""The deployments of the index in the composed application."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.serve import Deployment
from ray.serve.config import HTTPOptions

from deployments.app import build
from embedder.core.errors import ConfigurationError


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


@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        ({}, False),
        ({"vector_index": {"resources": {"data": 0.1}}}, True),
        ({"index": {"url": "postgresql://here/db"}}, True),
        ({"data_directory": None}, True),
    ],
)
def test_on_several_machines_an_index_in_files_stays_on_one(
    arguments: dict[str, Any], accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [
        {"Alive": True, "NodeManagerAddress": address, "Resources": {"CPU": 9.0, **own}}
        for address, own in (("10.0.0.1", {"data": 1.0}), ("10.0.0.2", {}))
    ]
    client = SimpleNamespace(http_config=HTTPOptions(host="0.0.0.0"))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 18.0})
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr("deployments.app._get_global_client", lambda **_: client)
    keys = [{"name": "all", "sha256": "0" * 64}]

    with nullcontext() if accepted else pytest.raises(ConfigurationError, match=r"index\.url"):
        build({"keys": keys, **arguments})
