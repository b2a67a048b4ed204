"""The one table from errors to HTTP statuses, and the error bodies around them.

OpenAI's envelope everywhere, but for the routes that follow text-embeddings-inference, which
answer in its shape and with its codes. No traceback, path or class name leaves here: a client
sees the sentence of a client's error, and for ours no more than that it happened; the log has
the rest.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from ray.exceptions import RayTaskError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from deployments.ingress.errors import http_errors
from deployments.ingress.errors.suggestions import suggested_path
from deployments.ingress.errors.tei_messages import tei_message
from embedder.core import errors, storage_errors

logger = logging.getLogger("ray.serve")

TEI_PATHS = frozenset(
    {
        *("/", "/embed", "/similarity", "/rerank", "/tokenize", "/decode"),
        *("/info", "/health", "/ping"),
    }
)
"""The paths that answer as text-embeddings-inference does."""


@dataclass(frozen=True, slots=True)
class Status:
    """How one class of errors is answered, in both shapes; ``retry`` says whether to try again."""

    http: int
    kind: str
    tei_http: int
    tei_kind: str
    retry: bool = False


_INVALID = Status(400, "invalid_request_error", 422, "Validation")
_NOT_FOUND = Status(404, "invalid_request_error", 404, "Validation")
_CONFLICT = Status(409, "invalid_request_error", 409, "Validation")
_GONE = Status(503, "server_error", 503, "Unhealthy", retry=True)
_FAILED = Status(500, "server_error", 424, "Backend")

STATUSES: Mapping[type[errors.EmbedderError], Status] = {
    errors.EmbedderError: _FAILED,
    errors.InvalidInput: _INVALID,
    errors.LimitExceeded: _INVALID,
    http_errors.BodyTooLarge: Status(413, "invalid_request_error", 413, "Validation"),
    http_errors.InvalidJson: Status(400, "invalid_request_error", 400, "Validation"),
    http_errors.EmptyInput: Status(400, "invalid_request_error", 400, "Empty"),
    errors.InvalidVector: _INVALID,
    errors.NotFound: _NOT_FOUND,
    errors.UnknownModel: _NOT_FOUND,
    errors.UnknownCollection: _NOT_FOUND,
    storage_errors.ModelMismatch: _CONFLICT,
    storage_errors.StaleCollection: _CONFLICT,
    http_errors.AccessDenied: Status(403, "permission_error", 403, "Unauthorized"),
    http_errors.UnknownKey: Status(401, "invalid_request_error", 401, "Unauthorized"),
    http_errors.MissingScope: Status(403, "permission_error", 403, "Unauthorized"),
    errors.Unavailable: _GONE,
    errors.Overloaded: Status(429, "rate_limit_error", 429, "Overloaded", retry=True),
    errors.DeadlineExceeded: Status(408, "server_error", 408, "Overloaded", retry=True),
    http_errors.BodyTooSlow: Status(408, "invalid_request_error", 408, "Validation", retry=True),
    errors.StageUnavailable: _GONE,
    storage_errors.StorageFull: _GONE,
    storage_errors.StorageReadOnly: _GONE,
    storage_errors.StorageDamaged: Status(503, "server_error", 503, "Unhealthy"),
    errors.BackendFailure: _FAILED,
    errors.OutOfMemory: _FAILED,
    errors.ConfigurationError: _FAILED,
    errors.ModelNotFound: _FAILED,
    errors.WeightsMismatch: _FAILED,
    errors.ModelDrift: _FAILED,
    errors.UnsafeModel: _FAILED,
    errors.UnsupportedModel: _FAILED,
    errors.MissingExtra: _FAILED,
    errors.ArchiveError: _FAILED,
    errors.PoolFull: _FAILED,
    storage_errors.BadBackup: _FAILED,
    storage_errors.DirectoryInUse: _FAILED,
    storage_errors.NewerFormat: _FAILED,
    storage_errors.NotWritten: _FAILED,
}
"""Every class of the tree by name; a test fails where one is missing."""

UNKNOWN_FIELD = "unknown_field"
"""The type of pydantic's complaint of a field that a body does not have; its context names it."""

METRICS_ADVICE = (
    "Ray exports the metrics of every node for Prometheus at an address of its own, which Ray's "
    "file prom_metrics_service_discovery.json lists; GET /v1/stats has the counters as JSON"
)
"""The answer to ``/metrics``: one replica of the ingress knows only its own numbers."""

HTTP_CODES = {404: "route_not_found", 405: "method_not_allowed", 415: "unsupported_media_type"}

RETRY_AFTER_S = 1
"""What a client is told to wait where nothing better is known."""


def error_response(error: errors.EmbedderError, path: str) -> Response:
    """Return the answer for an error of the tree to a request for ``path``."""
    status = STATUSES[type(error)]
    if status.http >= 500:
        _log_fault(error, with_traceback=status.http == 500)
    if path in TEI_PATHS:
        sentence = _sentence(error)
        if isinstance(error, errors.InvalidInput):
            sentence = tei_message(error)
        response = tei_envelope(status.tei_http, sentence, status.tei_kind)
    else:
        response = _json(status.http, error_content(error))
    if response.status_code in (408, 429) or response.status_code >= 500:
        response.headers["x-should-retry"] = "true" if status.retry else "false"
    if isinstance(error, errors.Overloaded):
        response.headers["retry-after"] = str(error.whole_s)
        # OpenAI's clients read this first: they come back when it is their turn.
        response.headers["retry-after-ms"] = str(math.ceil(error.retry_after_s * 1000))
    elif status.retry:
        response.headers["retry-after"] = str(RETRY_AFTER_S)
    if isinstance(error, http_errors.UnknownKey):
        response.headers["www-authenticate"] = "Bearer"
    return response


def error_content(error: Exception) -> dict[str, Any]:
    """Return OpenAI's body for an error; one that is not of the tree is a failure of ours."""
    if not isinstance(error, errors.EmbedderError):
        logger.error("unexpected error", exc_info=error)
        error = errors.BackendFailure(repr(error))
    status = STATUSES[type(error)]
    field = error.field if isinstance(error, errors.InvalidInput) else None
    code = "internal_error" if status.http == 500 else error.code
    return _content(_sentence(error), status.kind, field, code)


def _sentence(error: errors.EmbedderError) -> str:
    """Return what a client may read of an error: of a failure of ours, that it happened."""
    if STATUSES[type(error)].http == 500:
        return "the service failed to answer this request"
    return str(error)


def http_response(error: HTTPException, scope: Scope, routes: Iterable[APIRoute] = ()) -> Response:
    """Return the answer for what the protocol or the routing refuses.

    For an unknown path the answer suggests the nearest of ``routes``.
    """
    near = suggested_path(scope["path"], routes) if error.status_code == 404 else None
    advice = "see /openapi.json" if near is None else f"did you mean {near}? see /openapi.json"
    if scope["path"] == "/metrics":
        advice = METRICS_ADVICE
    message = f"{scope['method']} {scope['path'][:200]}: {error.detail} ({advice})"
    if scope["path"] in TEI_PATHS:
        response = tei_envelope(error.status_code, message, "Validation")
    else:
        code = HTTP_CODES.get(error.status_code)
        response = envelope(error.status_code, message, "invalid_request_error", None, code)
    response.headers.update(error.headers or {})
    return response


def _log_fault(error: errors.EmbedderError, *, with_traceback: bool) -> None:
    """Log a fault of the service; the replica that raised an error has logged its traceback."""
    logged_by_replica = isinstance(error.__cause__, RayTaskError)
    traceback = error if with_traceback and not logged_by_replica else None
    logger.error("request failed: %r", error, exc_info=traceback)


def bug_response(path: str) -> Response:
    """Return the answer for an exception that is not of the tree; the gate logs it."""
    failed = STATUSES[errors.BackendFailure]
    message = _sentence(errors.BackendFailure(""))
    if path in TEI_PATHS:
        response = tei_envelope(failed.tei_http, message, failed.tei_kind)
    else:
        response = envelope(failed.http, message, failed.kind, None, "internal_error")
    response.headers["x-should-retry"] = "false"
    return response


def request_validation_response(error: RequestValidationError, path: str) -> Response:
    """Return the answer for a body that FastAPI, or a route in its words, complains of."""
    first: Mapping[str, Any] = error.errors()[0]
    # What FastAPI calls "body" first, clients do not.
    return validation_response({**first, "loc": first["loc"][1:]}, path)


def validation_response(first: Mapping[str, Any], path: str) -> Response:
    """Return the answer for a body of another shape; ``first`` is pydantic's first complaint."""
    field = _field(first["loc"])
    problem = f"{first['msg']}{_given(first.get('input'))}"
    if first["type"] == UNKNOWN_FIELD:
        field = _field((*first["loc"], first["ctx"]["field"]))
    message = f"'{field}': {problem}" if field else f"the body: {problem}"
    if path in TEI_PATHS:
        return tei_envelope(422, message, "Validation")
    return envelope(400, message, "invalid_request_error", field or None, "invalid_input")


def envelope(status: int, message: str, kind: str, param: str | None, code: str | None) -> Response:
    """Return a response in the error shape of OpenAI's API, all four keys present."""
    return _json(status, _content(message, kind, param, code))


def tei_envelope(status: int, message: str, kind: str) -> Response:
    """Return a response in the error shape of text-embeddings-inference."""
    return _json(status, {"error": message, "error_type": kind})


def install_handlers(app: FastAPI) -> None:
    """Answer every failure of the application in its path's shape."""
    app.add_exception_handler(errors.EmbedderError, _on_own)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_bug)


async def _on_own(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.EmbedderError)
    return error_response(error, request.scope["path"])


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return request_validation_response(error, request.scope["path"])


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = http_response(error, request.scope, request.app.state.routes)
    if error.status_code == 405:
        # Starlette names the methods of the first route of a path; there may be others.
        response.headers["allow"] = ", ".join(_methods(request.app.state.routes, request.scope))
    return response


def _methods(routes: Iterable[APIRoute], scope: Scope) -> list[str]:
    matching = (route for route in routes if route.path_regex.match(scope["path"]))
    methods = {method for route in matching for method in route.methods or ()}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


async def _on_bug(request: Request, error: Exception) -> Response:
    return bug_response(request.scope["path"])


def _field(location: tuple[str | int, ...]) -> str:
    """Turn ("points", 3, "id") into ``points[3].id``."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _given(value: Any) -> str:
    """Say what was given, where it is short enough to be shown."""
    if isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 40):
        return f", not {orjson.dumps(value).decode()}" if not _huge(value) else ""
    return ""


def _huge(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= 2**63


def _content(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _json(status: int, body: Any) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")
