"""Which replicas of a deployment run, as a handle knows it.

Serve's controller pushes every change to the router of each handle. Ray has no public interface to
them, and asking the controller costs a call, so they are read from the router. Of another
version of Ray, whose router may be built differently, they are unknown.
"""

from __future__ import annotations

from collections.abc import Hashable
from operator import attrgetter
from typing import Any

from ray.serve.handle import DeploymentHandle

PATH = ("_router", "_asyncio_router", "_request_router", "curr_replicas")
"""The attributes from a handle to the running replicas that it knows; reading them changes nothing,
while the property `request_router` would make a router in this thread."""

_known_replicas = attrgetter(".".join(PATH))


def running_replicas(handle: DeploymentHandle[Any]) -> int | None:
    """Return the number of running replicas; None until it is known.

    It is not known before the first call of the handle, nor in Serve's local testing mode.
    """
    replicas = _replicas(handle)
    return None if replicas is None else len(replicas)


def replica_ids(handle: DeploymentHandle[Any]) -> frozenset[Hashable] | None:
    """Return the ids of the running replicas, as Serve compares them; None as above."""
    replicas = _replicas(handle)
    return None if replicas is None else frozenset(replicas)


def _replicas(handle: DeploymentHandle[Any]) -> dict[Hashable, Any] | None:
    try:
        replicas = _known_replicas(handle)
    except AttributeError:
        return None
    return replicas if isinstance(replicas, dict) else None
