"""What is wrong with a request, in the words of text-embeddings-inference.

The status and the kind of an error stay those of the one table. Knows no single route.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import Request
from starlette.responses import Response

from deployments.ingress.errors import STATUSES, tei_envelope
from deployments.ingress.json_bodies import OrjsonRoute
from deployments.ingress.refusals import EmptyInput
from embedder.errors import InvalidInput, LimitExceeded

_INPUT = re.compile(r"input(?:\[(\d+)\](.*))?")


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


@contextmanager
def calling(whole: str, name: Callable[[int], str] | None = None) -> Iterator[None]:
    """Let errors about the pipeline's ``input`` be about what the client calls ``whole``.

    ``name`` returns what the client calls the input of a number; None: ``whole[number]``.
    """
    try:
        yield
    except InvalidInput as error:
        match = _INPUT.fullmatch(error.field)
        if match is None:
            raise
        number, rest = match.groups()
        if number is None:
            raise error.renamed(whole) from None
        named = name(int(number)) if name else f"{whole}[{number}]"
        raise error.renamed(named + rest) from None


def _problem(error: InvalidInput) -> str:
    if isinstance(error, LimitExceeded) and error.unit in ("tokens", "characters"):
        return f"must have less than {error.limit} {error.unit}. Given: {error.size}"
    return "cannot be empty" if error.problem == "must not be empty" else error.problem
