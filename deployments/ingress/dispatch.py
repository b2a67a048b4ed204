"""The short way of most requests: from method and path straight to the function of a route.

FastAPI's layers cost a request more than all of ours, and most of what an ingress does when it is
full is to refuse. Here go the routes that take a body and answer with a response of their own;
whatever else goes through the application. Both read, refuse and answer alike: the same bodies,
functions, scopes and error shapes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import get_type_hints

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.ingress.errors.errors import (
    request_validation_response,
    validation_response,
)
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.service import Service
from deployments.ingress.wire.json_bodies import check_content_type
from deployments.ingress.wire.json_parsing import parse_json
from deployments.ingress.wire.large_bodies import convert_body
from deployments.settings.access import Scope as KeyScope

Endpoint = Callable[..., Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Straight:
    """A route's function, the body that it takes, and the scope that it wants."""

    endpoint: Endpoint
    body: type[BaseModel]
    scope: KeyScope


class Dispatch:
    """An application that answers some requests itself and leaves the others to ``app``."""

    def __init__(
        self, app: ASGIApp, service: Service, routes: Iterable[tuple[APIRoute, KeyScope | None]]
    ) -> None:
        self._app = app
        self._service = service
        self._straight = dict(_table(routes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whose body has been read; errors go to the caller."""
        route = None
        if scope["type"] == "http":
            route = self._straight.get((scope["method"], scope["path"]))
        if route is None:
            await self._app(scope, receive, send)
            return
        try:
            response = await self._answer(route, scope, (await receive()).get("body", b""))
        except RequestValidationError as error:
            response = request_validation_response(error, scope["path"])
        await response(scope, receive, send)

    async def _answer(self, route: _Straight, scope: Scope, content: bytes) -> Response:
        context: RequestContext = scope["state"]["context"]
        context.require(route.scope)
        check_content_type(scope["headers"])
        try:
            # As FastAPI does it; otherwise complaints about no object tell the name of a class.
            body = await convert_body(context, self._read, route.body, content)
        except ValidationError as error:
            return validation_response(error.errors()[0], scope["path"])
        return await route.endpoint(body, self._service, context)

    def _read(self, kind: type[BaseModel], content: bytes) -> BaseModel:
        given = parse_json(content, self._service.settings.limits.max_body_containers)
        return kind.model_validate(given, from_attributes=True)


def _table(
    routes: Iterable[tuple[APIRoute, KeyScope | None]],
) -> Iterable[tuple[tuple[str, str], _Straight]]:
    """Yield the routes whose function takes body, service and context, and returns a response."""
    for route, scope in routes:
        hints = get_type_hints(route.endpoint)
        if scope is None or list(hints) != ["body", "service", "context", "return"]:
            continue
        if hints["return"] is Response and "{" not in route.path:
            for method in route.methods or ():
                yield (method, route.path), _Straight(route.endpoint, hints["body"], scope)
