"""The one table from errors to HTTP statuses, and OpenAI's error body around them.

No traceback, path or class name leaves here: a client sees the sentence of a client's error, and
for ours no more than that it happened; the log has the rest.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from embedder import errors

logger = logging.getLogger("ray.serve")

STATUSES: Mapping[type[errors.EmbedderError], int] = {
    errors.EmbedderError: 500,
    errors.InvalidInput: 400,
    errors.LimitExceeded: 400,
    errors.BodyTooLarge: 413,
    errors.InvalidVector: 400,
    errors.NotFound: 404,
    errors.UnknownModel: 404,
    errors.UnknownCollection: 404,
    errors.Unavailable: 503,
    errors.Overloaded: 429,
    errors.DeadlineExceeded: 408,
    errors.StageUnavailable: 503,
    errors.BackendFailure: 500,
    errors.OutOfMemory: 500,
    errors.ConfigurationError: 500,
    errors.ModelNotFound: 500,
    errors.WeightsMismatch: 500,
    errors.ModelDrift: 500,
    errors.UnsafeModel: 500,
    errors.UnsupportedModel: 500,
    errors.MissingExtra: 500,
    errors.PoolFull: 500,
}
"""Every class of the tree by name; a test fails where one is missing."""

_HTTP_CODES = {404: "route_not_found", 405: "method_not_allowed", 415: "not_json"}

RETRY_AFTER_S = 1
"""What a client is told to wait where nothing better is known."""


def error_response(error: errors.EmbedderError) -> Response:
    """Return the answer for an error of the library."""
    status = STATUSES[type(error)]
    if isinstance(error, errors.InvalidInput):
        return envelope(status, str(error), "invalid_request_error", error.field, error.code)
    if status >= 500:
        logger.error("request failed: %r", error)
    hidden = status == 500
    response = envelope(
        status,
        "the service failed to answer this request" if hidden else str(error),
        "rate_limit_error" if status == 429 else "server_error",
        None,
        "internal_error" if hidden else error.code,
    )
    if isinstance(error, errors.Unavailable):
        seconds = error.retry_after_s if isinstance(error, errors.Overloaded) else RETRY_AFTER_S
        response.headers["retry-after"] = str(math.ceil(seconds))
    return response


def envelope(status: int, message: str, kind: str, param: str | None, code: str | None) -> Response:
    """Return a response in the error shape of OpenAI's API, all four keys present."""
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")


def install_handlers(app: FastAPI) -> None:
    """Answer every failure of the application in one shape."""
    app.add_exception_handler(errors.EmbedderError, _on_own)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_bug)


async def _on_own(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.EmbedderError)
    return error_response(error)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: Mapping[str, Any] = error.errors()[0]
    if first["type"] == "json_invalid":
        problem = first.get("ctx", {}).get("error", "")
        message = f"the body is not valid JSON: {problem}"
        return envelope(400, message, "invalid_request_error", None, "invalid_json")
    field = _field(first["loc"])
    message = f"'{field}': {first['msg']}" if field else f"the body: {first['msg']}"
    return envelope(400, message, "invalid_request_error", field or None, "invalid_input")


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = envelope(
        error.status_code,
        f"{request.method} {request.url.path}: {error.detail} (see /openapi.json)",
        "invalid_request_error",
        None,
        _HTTP_CODES.get(error.status_code),
    )
    response.headers.update(error.headers or {})
    return response


async def _on_bug(request: Request, error: Exception) -> Response:
    logger.exception("unexpected error", exc_info=error)
    return error_response(errors.BackendFailure(repr(error)))


def _field(location: tuple[str | int, ...]) -> str:
    """Turn ("body", "points", 3, "id") into ``points[3].id``."""
    path = ""
    for part in location[1:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path
