"""The application behind the middleware: finds the route of a request and calls its function."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import Response

from deployments.ingress.errors.responses import ErrorShape, InvalidRequest
from deployments.ingress.middleware.context import UNKNOWN_ROUTE, RequestContext
from deployments.ingress.middleware.large_bodies import convert_body
from deployments.ingress.routing.route import Route
from deployments.ingress.routing.suggestions import suggested_path
from deployments.ingress.service.service import Service
from deployments.ingress.wire.compression import compressed
from deployments.ingress.wire.json_bodies import MEDIA_TYPE, check_content_type
from deployments.ingress.wire.json_parsing import parse_json

METRICS_ADVICE = (
    "Ray exports the metrics of every node for Prometheus at an address of its own, which Ray's "
    "file prom_metrics_service_discovery.json lists; GET /v1/stats has the counters as JSON"
)
"""The answer to ``/metrics``: one replica of the ingress knows only its own numbers."""

JSON = MEDIA_TYPE.encode()

_MISSING = {"type": "missing", "loc": (), "msg": "Field required"}


class Router:
    """Answers requests by a table of routes; errors go to the caller."""

    def __init__(self, routes: Sequence[Route], service: Service) -> None:
        self._routes = routes
        self._service = service
        self._compress_bytes = service.settings.compress_bytes or math.inf
        self._by_path = {
            (route.method, route.path): route for route in routes if not route.has_path_parameters
        }

    async def answer(self, context: RequestContext, content: bytes) -> Response:
        """Return the response to one request, whose body is ``content``.

        Raises:
            HTTPException: 404 or 405, no route has the path or the method; 415, the body is not
                JSON by its header.
            InvalidRequest: the body or the query is of another type than declared.
            EmbedderError: as the function of the route.
        """
        if (found := self._find(context.method, context.path)) is None:
            raise self._unknown(context.path)
        route, values = found
        context.route, context.route_label = route.path, route.label
        if route.scope is not None and context.key is not None:
            # Before a body is parsed for a key that may not send it.
            context.require(route.scope)
            if route.parameters.collection is not None:
                context.require_collection(values[route.parameters.collection])
        arguments = self._arguments(route, values, context)
        if route.parameters.body is not None:
            name, adapter = route.parameters.body
            kind = context.headers.get(b"content-type", b"")
            if kind != JSON:
                check_content_type(kind)
            read = partial(self._read_body, route, adapter, content)
            large = context.large_body is not None
            body = await convert_body(context, read) if large else read()
            context.model = getattr(body, "model", None)
            arguments[name] = body
        response = await route.endpoint(**arguments)
        if route.returned is not None:
            content = route.returned.dump_json(response)
            response = Response(content, route.status, media_type=MEDIA_TYPE)
        if self._compress_bytes < math.inf:
            length = dict(response.raw_headers).get(b"content-length", b"0")
            large = int(length) >= self._compress_bytes
            response = await compressed(response, context) if large else response
        return cast("Response", response)

    def label_of(self, method: str, path: str) -> tuple[str, str]:
        """Return the method and the path of the route of a request, as they are declared."""
        found = self._find(method, path)
        return UNKNOWN_ROUTE if found is None else found[0].label

    def _find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """Return the route of a request, and the values of the parameters in its path."""
        method = "GET" if method == "HEAD" else method
        if fixed := self._by_path.get((method, path)):
            return fixed, {}
        for route in self._routes:
            if route.method == method and (match := route.pattern.match(path)):
                return route, match.groupdict()
        return None

    def _arguments(
        self, route: Route, values: Mapping[str, str], context: RequestContext
    ) -> dict[str, Any]:
        """Return the arguments of a route's function, except for the body."""
        parameters = route.parameters
        arguments: dict[str, Any] = {}
        for name, kind in parameters.injected:
            arguments[name] = self._service if kind is Service else context
        for name, in_path in parameters.path:
            arguments[name] = values[in_path]
        if parameters.query:
            query = QueryParams(context.query)
            for parameter in parameters.query:
                arguments[parameter.argument] = parameter.read(query)
        return arguments

    def _read_body(self, route: Route, adapter: TypeAdapter[Any], content: bytes) -> Any:
        if not content and route.errors is not ErrorShape.TEI:
            raise InvalidRequest(_MISSING)
        value = parse_json(content, self._service.settings.limits.max_body_containers)
        try:
            # With from_attributes, the message about a body that is no object names no class.
            return adapter.validate_python(value, from_attributes=True)
        except ValidationError as error:
            raise InvalidRequest(error.errors()[0]) from None

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
