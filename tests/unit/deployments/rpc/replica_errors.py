"""Errors of a replica as a caller receives them through a handle."""

from __future__ import annotations

from typing import Any

import ray.exceptions


def from_replica(cause: Exception) -> Exception:
    """Return the error that Ray raises in the caller when a replica has raised ``cause``."""
    error: Any = ray.exceptions.RayTaskError("ask", "text", cause)  # type: ignore[no-untyped-call]
    raised: Exception = error.as_instanceof_cause()
    return raised
