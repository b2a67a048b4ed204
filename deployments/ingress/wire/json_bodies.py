"""JSON in and out by orjson: a route class that parses so, and responses of arrays.

Knows nothing of what is said in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.ingress.middleware.keys import Headers
from deployments.ingress.wire.json_chunks import json_chunks
from deployments.ingress.wire.json_parsing import parse_json
from deployments.ingress.wire.large_bodies import convert_body
from deployments.rpc.cooperative_yield import CooperativeYield


class OrjsonRoute(APIRoute):
    """A route whose body is JSON by its header, parsed by orjson.

    A large body is parsed and validated beside the event loop.
    orjson also refuses what JSON does not have: NaN, infinite numbers, lone surrogates.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler on a request that parses itself by orjson."""
        handle = super().get_route_handler()
        field = self.body_field

        def read(body: bytes, max_containers: int) -> Any:
            # As FastAPI does it, which takes what it finds validated as it is.
            assert field is not None
            value, problems = field.validate(parse_json(body, max_containers), {}, loc=("body",))
            if problems:
                raise RequestValidationError(problems[:1])
            return value

        async def handle_orjson(request: Request) -> Response:
            parsed = _ParsedRequest(request.scope, request.receive)
            context = request.scope["state"]["context"]
            scope = request.app.state.scopes.get(self.endpoint)
            if scope is not None:
                context.require(scope)  # before a body is read for a key that may not send it
            if field is not None:
                check_content_type(request.scope["headers"])
                # Here, because FastAPI would answer in its own words. It refuses an empty body.
                body = await parsed.body()
                limit = request.app.state.service.settings.limits.max_body_containers
                parsed.content = await convert_body(context, read, body, limit) if body else None
            return await handle(parsed)

        return handle_orjson


class _ParsedRequest(Request):
    content: Any = None

    async def json(self) -> Any:
        return self.content


PART_BYTES = 2**20
"""Bytes of an answer that are sent together: copies of more would hold the interpreter too."""


class _PartsResponse(Response):
    """A large JSON response, sent in parts."""

    media_type = "application/json"

    def __init__(self, parts: Sequence[bytes]) -> None:
        super().__init__(headers={"content-length": str(sum(map(len, parts)))})
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, and let others run after each part."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        for at, part in enumerate(self._parts, 1):
            more = at < len(self._parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})
            await asyncio.sleep(0)


async def json_response(content: Any) -> Response:
    """Return a JSON response, written in pieces as `json_chunks` has them; others run in between.

    numpy arrays are written as they are, without Python floats.
    """
    parts, pieces, size = list[bytes](), list[bytes](), 0
    yielding = CooperativeYield()
    for piece in json_chunks(content):
        pieces.append(piece)
        size += len(piece)
        if size >= PART_BYTES:
            parts.append(b"".join(pieces))
            pieces, size = [], 0
        await yielding.after(len(piece))
    parts.append(b"".join(pieces))
    return (
        Response(parts[0], media_type="application/json")
        if len(parts) == 1
        else _PartsResponse(parts)
    )


def json_lines(objects: Iterable[Any]) -> bytes:
    """Return a line of JSON for every object."""
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(one, option=option) for one in objects)


def check_content_type(headers: Headers) -> None:
    """Refuse a body that does not say that it is JSON.

    Raises:
        HTTPException: 415, as said.
    """
    kind = dict(headers).get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise HTTPException(415, "the content-type must be application/json")
