"""Messages about wrong input in the words of text-embeddings-inference."""

from __future__ import annotations

from deployments.ingress.errors.http_errors import EmptyInput
from embedder.core.errors import InvalidInput, LimitExceeded


def tei_message(error: InvalidInput) -> str:
    """Return the message for the client; clients may search it for these words."""
    if isinstance(error, EmptyInput):
        return f"`{error.field}` cannot be empty"
    if isinstance(error, LimitExceeded) and error.unit == "items":
        return f"batch size {error.size} > maximum allowed batch size {error.limit}"
    return f"Input validation error: `{error.field}` {_problem(error)}"


def _problem(error: InvalidInput) -> str:
    if isinstance(error, LimitExceeded) and error.unit in ("tokens", "characters"):
        return f"must have less than {error.limit + 1} {error.unit}. Given: {error.size}"
    return "cannot be empty" if error.problem == "must not be empty" else error.problem
