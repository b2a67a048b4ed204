"""Which replica of which deployment this process is, as Serve's logs and dashboard call it.

Knows nothing of what replicas do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from embedder.pipeline.threads import QueueStats

StateT = TypeVar("StateT")

LOCAL = "local"
"""What a replica is called that Serve has not started, as in its local testing."""


@dataclass(frozen=True, slots=True)
class ReplicaStats(Generic[StateT]):
    """What one replica says of its models, and of its queues where it has any."""

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
    """Return a handle to all replicas of the deployment that runs here, which has this name."""
    try:
        application = serve.get_replica_context().app_name
    except RayServeException:
        application = LOCAL
    # Asks nobody until it is used, so it may be had where no Serve runs.
    return DeploymentHandle(name, application)
