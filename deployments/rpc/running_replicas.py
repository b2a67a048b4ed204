"""How many replicas of a deployment run, as a handle knows it.

Serve's controller pushes every change to the router of each handle. Ray has no public interface to
that number, and asking the controller costs a call, so it is read from the router. Of another
version of Ray, whose router may be built differently, it is unknown.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

from deployments.rpc.handle_client import Handle

PATH = ("_router", "_asyncio_router", "request_router", "curr_replicas")
"""The attributes from a handle to the running replicas that it knows."""


def running_replicas(handle: Handle) -> int | None:
    """Return the number of running replicas; None until it is known.

    It is not known before the first call of the handle, nor in Serve's local testing mode.
    """
    replicas = reduce(_attribute, PATH, handle)
    return len(replicas) if isinstance(replicas, dict) else None


def _attribute(owner: Any, name: str) -> Any:
    return getattr(owner, name, None)
