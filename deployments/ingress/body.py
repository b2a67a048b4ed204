"""Reading a request's body: never more bytes than the limit, and JSON by orjson.

Knows nothing of what the body means.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.errors import error_response
from embedder.errors import BodyTooLarge

MAX_LENGTH_DIGITS = 18


class BodyLimit:
    """Read each body before the application sees it, and refuse it above ``max_bytes``.

    Refused by its header where that tells, else as soon as one byte too many has come.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application on a body that has been read and counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size = _declared_bytes(scope)
        body = bytearray()
        more = True
        while more and size <= self._max_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            size = max(size, len(body))
            more = message.get("more_body", False)
        if size > self._max_bytes:
            error = BodyTooLarge("body", "bytes", size, self._max_bytes)
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, _replay(bytes(body), receive), send)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once, then whatever else comes: a disconnect."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


class OrjsonRoute(APIRoute):
    """A route whose body is JSON by its header, parsed by orjson.

    orjson also refuses what JSON does not have: NaN, infinite numbers, lone surrogates.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler on a request that parses itself by orjson."""
        handle = super().get_route_handler()

        async def handle_orjson(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if request.method in ("POST", "PUT") and kind != "application/json":
                raise HTTPException(415, "the content-type must be application/json")
            return await handle(_OrjsonRequest(request.scope, request.receive))

        return handle_orjson


class _OrjsonRequest(Request):
    async def json(self) -> Any:
        return orjson.loads(await self.body())


def json_response(content: Any) -> Response:
    """Return a JSON response; numpy arrays are written as they are, without Python floats."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            # More digits than any body has; int() itself refuses thousands of them.
            return int(value[:MAX_LENGTH_DIGITS])
    return 0
