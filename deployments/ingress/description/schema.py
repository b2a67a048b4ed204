"""The OpenAPI description of the routes, with the errors and keys that all of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from inspect import Signature
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.responses import Response

from deployments.ingress.errors.responses import ErrorShape
from deployments.ingress.errors.statuses import HTTP_CODES, STATUSES
from deployments.ingress.routing.parameters import INJECTED, Endpoint, parameters_of
from deployments.ingress.routing.route import Route
from deployments.settings.access import is_open

_NULLABLE_TEXT = {"anyOf": [{"type": "string"}, {"type": "null"}]}

ERROR = {
    "type": "object",
    "description": "Every refusal and failure, in the shape of OpenAI's API.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": _NULLABLE_TEXT,
                "code": _NULLABLE_TEXT,
            },
        }
    },
    "examples": [
        {
            "error": {
                "message": "'input' has 2049 items; the limit is 2048",
                "type": "invalid_request_error",
                "param": "input",
                "code": "limit_exceeded",
            }
        }
    ],
}

TEI_ERROR = {
    "type": "object",
    "description": "Every refusal and failure, in the shape of text-embeddings-inference.",
    "required": ["error", "error_type"],
    "properties": {"error": {"type": "string"}, "error_type": {"type": "string"}},
    "examples": [{"error": "'inputs' must not be empty", "error_type": "Empty"}],
}

COHERE_ERROR = {
    "type": "object",
    "description": "Every refusal and failure, in the shape of Cohere's API.",
    "required": ["message"],
    "properties": {"message": {"type": "string"}},
    "examples": [{"message": "'texts' has 2049 items; the limit is 2048"}],
}

JINA_ERROR = {
    "type": "object",
    "description": "Every refusal and failure, in the shape of Jina's API.",
    "required": ["detail"],
    "properties": {"detail": {"type": "string"}},
    "examples": [{"detail": "'documents' has 2049 items; the limit is 2048"}],
}

ERRORS: Mapping[ErrorShape, tuple[str, Mapping[str, Any]]] = {
    ErrorShape.OPENAI: ("Error", ERROR),
    ErrorShape.TEI: ("TeiError", TEI_ERROR),
    ErrorShape.COHERE: ("CohereError", COHERE_ERROR),
    ErrorShape.JINA: ("JinaError", JINA_ERROR),
}
"""The name and the schema of an error in each shape."""

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
}

MEANINGS = {
    400: "a field is wrong, and named in the answer, or the body is no JSON",
    401: "no valid API key",
    403: "the key lacks the scope",
    404: "no such route, model or collection",
    405: "no such method here",
    408: "not in time",
    409: "the collection belongs to another model, or was made again meanwhile",
    413: "the body is too large",
    415: "the body is compressed, or does not say that it is JSON",
    422: "a field is wrong, and named in the answer",
    424: "the model failed",
    429: "full; come back after Retry-After",
    500: "a failure of the service",
    503: "a stage is not available",
}


@lru_cache(maxsize=2)
def describe(routes: Sequence[Route], *, has_keys: bool) -> dict[str, Any]:
    """Return the OpenAPI description of these routes."""
    schema = _application(routes).openapi()
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
    components.update(ERRORS.values())
    shapes = {route.path_format: route.errors for route in routes}
    _add_shadowed(schema["paths"], routes)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            wants_key = has_keys and not is_open(method.upper(), path)
            _add_errors(operation, shapes[path], wants_key=wants_key)
            if has_keys:
                schemes = SECURITY_SCHEMES if wants_key else ()
                operation["security"] = [{name: []} for name in schemes]
    if has_keys:
        schema["components"]["securitySchemes"] = SECURITY_SCHEMES
    return schema


def _application(routes: Sequence[Route]) -> FastAPI:
    """Return an application of FastAPI that describes the routes; it serves no requests."""
    app = FastAPI(
        title="embedder",
        summary="Text in; vectors, similarities, clusters and nearest neighbours out.",
    )
    for route in routes:
        app.add_api_route(
            route.path,
            _client_side(route.endpoint),
            methods=[route.method],
            tags=[] if route.tag is None else [route.tag],
            status_code=route.status,
            response_model=route.response,
            response_class=Response if route.response is None else JSONResponse,
            responses={status: {"model": kind} for status, kind in route.other_responses.items()},
        )
    return app


def _client_side(endpoint: Endpoint) -> Endpoint:
    """Return a stand-in for a function with the parameters that a client sends."""

    async def stand_in() -> None:
        raise NotImplementedError

    sent = [
        parameter.replace(annotation=hint)
        for parameter, hint in parameters_of(endpoint).values()
        if hint not in INJECTED
    ]
    stand_in.__name__, stand_in.__doc__ = endpoint.__name__, endpoint.__doc__
    vars(stand_in)["__signature__"] = Signature(sent)
    return stand_in


def _add_shadowed(paths: dict[str, dict[str, Any]], routes: Sequence[Route]) -> None:
    """Describe under each fixed path the methods of a route whose pattern it matches.

    ``GET …/points/count`` reads the point ``count``, but in OpenAPI a path without parameters takes
    precedence, so its description must have GET too.
    """
    shadowing = [
        (path, route.path_format, route.method.lower())
        for path in paths
        for route in routes
        if route.pattern.match(path)
    ]
    for path, general, method in shadowing:
        if method in paths[path]:
            continue
        operation = deepcopy(paths[general][method])
        word = path.rpartition("/")[2]
        operation["operationId"] += f"_{word}"
        operation["description"] += f" Here the id is `{word}`."
        operation["parameters"] = [
            one
            for one in operation["parameters"]
            if one["in"] != "path" or f"{{{one['name']}}}" in path
        ]
        paths[path][method] = operation


def _add_errors(operation: dict[str, Any], shape: ErrorShape, *, wants_key: bool) -> None:
    """Describe the error of every status that an operation can have."""
    component, _ = ERRORS[shape]
    is_tei = shape is ErrorShape.TEI
    statuses = {status.tei_http if is_tei else status.http for status in STATUSES.values()}
    statuses |= HTTP_CODES.keys()
    if not wants_key:
        statuses -= {401, 403}
    if "requestBody" not in operation:
        statuses -= {413, 415}
    operation["responses"].pop("422", None)
    for status in sorted(statuses):
        operation["responses"].setdefault(str(status), _answer(status, component))


def _answer(status: int, component: str) -> Mapping[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{component}"}}}
    answer: dict[str, Any] = {"description": MEANINGS[status], "content": content}
    if status == 429:
        answer["headers"] = {"retry-after": _header("integer"), "x-should-retry": _header("string")}
    return answer


def _header(kind: str) -> Mapping[str, Any]:
    return {"schema": {"type": kind}}
