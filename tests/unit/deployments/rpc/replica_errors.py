"""What calls over a handle see of a replica."""

from __future__ import annotations

from typing import Any

import ray.exceptions


def from_replica(cause: Exception) -> Exception:
    """Return what Ray raises here when a replica has raised ``cause``."""
    error: Any = ray.exceptions.RayTaskError("ask", "text", cause)  # type: ignore[no-untyped-call]
    raised: Exception = error.as_instanceof_cause()
    return raised
