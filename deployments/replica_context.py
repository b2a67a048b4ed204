"""The names that Serve gives this process: its application, deployment and replica."""

from __future__ import annotations

from ray import serve
from ray.serve.context import ReplicaContext
from ray.serve.exceptions import RayServeException


def replica_context() -> ReplicaContext | None:
    """Return the context of this replica, or None in a process that Serve has not started."""
    try:
        return serve.get_replica_context()
    except RayServeException:
        return None
