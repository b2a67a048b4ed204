"""Reading a request's body: never more bytes than the limit, and JSON by orjson.

Knows nothing of what the body means.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.errors import error_response
from embedder.errors import BodyTooLarge


class BodyLimit:
    """Refuse a body above ``max_bytes`` as soon as that is known, by its header or its bytes."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application on a body that is counted while it is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = _declared_bytes(scope)
        if declared > self._max_bytes:
            await self._refuse(declared, scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise BodyTooLarge("body", "bytes", seen, self._max_bytes)
            return message

        await self._app(scope, counted, send)

    async def _refuse(self, size: int, scope: Scope, receive: Receive, send: Send) -> None:
        error = BodyTooLarge("body", "bytes", size, self._max_bytes)
        await error_response(error)(scope, receive, send)


class OrjsonRoute(APIRoute):
    """A route whose body is parsed by orjson, which also refuses NaN and infinite numbers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler on a request that parses itself by orjson."""
        handle = super().get_route_handler()

        async def handle_orjson(request: Request) -> Response:
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
            return int(value)
    return 0
