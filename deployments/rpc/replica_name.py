"""The name of this process's replica and deployment, as in Serve's logs and dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ray.serve.handle import DeploymentHandle

from deployments.replica_context import replica_context
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
    context = replica_context()
    return LOCAL if context is None else context.replica_id.unique_id


def own_deployment(name: str) -> DeploymentHandle[Any]:
    """Return a handle to all replicas of this process's deployment, which has this name."""
    context = replica_context()
    application = LOCAL if context is None else context.app_name
    # The handle connects when it is first used, so it can be made without Serve.
    return DeploymentHandle(name, application)
