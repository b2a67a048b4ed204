"""The name of this process's replica and deployment, as in Serve's logs and dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from embedder.pipeline.threads import QueueStats

StateT = TypeVar("StateT")

LOCAL = "local"
"""The name of a replica that Serve has not started, as in Serve's local testing mode."""


@dataclass(frozen=True, slots=True)
class ReplicaStats(Generic[StateT]):
    """The states of one replica's models, and the statistics of its queues."""

    replica: str
    models: list[StateT]
    queues: tuple[QueueStats, ...] = ()


def replica_id() -> str:
    """Return the name of this replica."""
    try:
        return str(serve.get_replica_context().replica_id.unique_id)
    except RayServeException:
        return LOCAL


def own_deployment(name: str) -> DeploymentHandle[Any]:
    """Return a handle to all replicas of this process's deployment, which has this name."""
    try:
        application = serve.get_replica_context().app_name
    except RayServeException:
        application = LOCAL
    # The handle connects when it is first used, so it can be made without Serve.
    return DeploymentHandle(name, application)
