"""What is wrong with a request, in the words of text-embeddings-inference.

The status and the kind of an error stay those of the one table. Knows no single route.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from starlette.responses import Response

from deployments.ingress.door.errors import STATUSES, tei_envelope
from deployments.ingress.door.refusals import EmptyInput
from deployments.ingress.wire.json_bodies import OrjsonRoute
from embedder.errors import InvalidInput, LimitExceeded


class TeiRoute(OrjsonRoute):
    """A route that refuses what it is sent in these words."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with its refusals worded."""
        handle = super().get_route_handler()

        async def handle_tei(request: Request) -> Response:
            try:
                return await handle(request)
            except InvalidInput as error:
                status = STATUSES[type(error)]
                return tei_envelope(status.tei_http, sentence(error), status.tei_kind)

        return handle_tei


def sentence(error: InvalidInput) -> str:
    """Return what the client reads; clients may look for these words."""
    if isinstance(error, EmptyInput):
        return f"`{error.field}` cannot be empty"
    if isinstance(error, LimitExceeded) and error.unit == "items":
        return f"batch size {error.size} > maximum allowed batch size {error.limit}"
    return f"Input validation error: `{error.field}` {_problem(error)}"


def _problem(error: InvalidInput) -> str:
    if isinstance(error, LimitExceeded) and error.unit in ("tokens", "characters"):
        return f"must have less than {error.limit} {error.unit}. Given: {error.size}"
    return "cannot be empty" if error.problem == "must not be empty" else error.problem
