"""The application behind the middleware: finds the route of a request and calls its function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import starlette.routing
from pydantic import TypeAdapter
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.ingress.errors.responses import ErrorShape, InvalidRequest
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.large_bodies import convert_body
from deployments.ingress.routing.parameters import validated
from deployments.ingress.routing.route import Route
from deployments.ingress.routing.suggestions import suggested_path
from deployments.ingress.service.service import Service
from deployments.ingress.wire.json_bodies import check_content_type
from deployments.ingress.wire.json_parsing import parse_json

METRICS_ADVICE = (
    "Ray exports the metrics of every node for Prometheus at an address of its own, which Ray's "
    "file prom_metrics_service_discovery.json lists; GET /v1/stats has the counters as JSON"
)
"""The answer to ``/metrics``: one replica of the ingress knows only its own numbers."""

_MISSING = {"type": "missing", "loc": (), "msg": "Field required"}

_NOT_HTTP = starlette.routing.Router()
"""Answers the lifespan messages of a server, and closes WebSockets."""


class Router:
    """Answers requests by a table of routes; errors go to the caller."""

    def __init__(self, routes: Sequence[Route], service: Service) -> None:
        self._routes = routes
        self._service = service
        self._by_path = {
            (route.method, route.path): route for route in routes if not route.has_path_parameters
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whose body has been read and whose context is in its state.

        Raises:
            HTTPException: 404 or 405, no route has the path or the method; 415, the body is not
                JSON by its header.
            InvalidRequest: the body or the query is of another type than declared.
            EmbedderError: as the function of the route.
        """
        if scope["type"] != "http":
            await _NOT_HTTP(scope, receive, send)
            return
        values: Mapping[str, str] = {}
        route = self._by_path.get((scope["method"], scope["path"]))
        if route is None:
            route, values = self._match(scope["method"], scope["path"])
        context: RequestContext = scope["state"]["context"]
        if route.scope is not None:
            context.require(route.scope)  # before a body is parsed for a key that may not send it
        arguments = self._arguments(route, values, scope, context)
        if route.parameters.body is not None:
            check_content_type(scope["headers"])
            name, adapter = route.parameters.body
            content = (await receive()).get("body", b"")
            arguments[name] = await convert_body(context, self._read_body, route, adapter, content)
        answer = await route.endpoint(**arguments)
        if route.returned is not None:
            content = route.returned.dump_json(answer)
            answer = Response(content, route.status, media_type="application/json")
        await answer(scope, receive, send)

    def _match(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """Return the route whose pattern a path has, and the values of its parameters."""
        for route in self._routes:
            if route.method == method and (match := route.pattern.match(path)):
                return route, match.groupdict()
        raise self._unknown(path)

    def _arguments(
        self, route: Route, values: Mapping[str, str], scope: Scope, context: RequestContext
    ) -> dict[str, Any]:
        """Return the arguments of a route's function, except for the body."""
        parameters = route.parameters
        arguments: dict[str, Any] = {}
        for name, kind in parameters.injected:
            arguments[name] = self._service if kind is Service else context
        for name, in_path in parameters.path:
            arguments[name] = values[in_path]
        if parameters.query:
            query = QueryParams(scope["query_string"])
            for parameter in parameters.query:
                arguments[parameter.argument] = parameter.read(query)
        return arguments

    def _read_body(self, route: Route, adapter: TypeAdapter[Any], content: bytes) -> Any:
        if not content and route.errors is ErrorShape.OPENAI:
            raise InvalidRequest(_MISSING)
        value = parse_json(content, self._service.settings.limits.max_body_containers)
        return validated(adapter, value)

    def _unknown(self, path: str) -> HTTPException:
        """Return the error for a path or a method that no route has."""
        methods = {route.method for route in self._routes if route.pattern.match(path)}
        if methods:
            allowed = sorted(methods | {"HEAD"} if "GET" in methods else methods)
            return HTTPException(405, headers={"allow": ", ".join(allowed)})
        if path == "/metrics":
            return HTTPException(404, f"Not Found; {METRICS_ADVICE}")
        near = suggested_path(path, self._routes)
        return HTTPException(
            404, "Not Found" if near is None else f"Not Found; did you mean {near}?"
        )
