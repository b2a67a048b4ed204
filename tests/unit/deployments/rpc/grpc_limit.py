"""gRPC between replicas as Serve uses it: a message above a fixed size is refused, either way."""

from __future__ import annotations

from typing import Any

import grpc
from ray import cloudpickle

GRPC_BYTES = 4 * 2**20


def too_large(size: int, limit: int = GRPC_BYTES) -> grpc.aio.AioRpcError:
    """Return the error that gRPC raises for a message of this size."""
    empty = grpc.aio.Metadata()
    details = f"SERVER: Received message larger than max ({size} vs. {limit})"
    return grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, empty, empty, details)


def check_size(message: Any, limit: int) -> int:
    """Return the size of a message, and refuse one that is too large."""
    size = len(cloudpickle.dumps(message))  # type: ignore[no-untyped-call]
    if size > limit:
        raise too_large(size, limit)
    return size
