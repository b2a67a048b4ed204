"""The response for every error, in the shape that its route declares.

No response holds a traceback, a path or the name of a class. Faults of the service are reported
generically; the log has the details.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from deployments.ingress.errors.http_errors import UnknownKey
from deployments.ingress.errors.statuses import HTTP_CODES, STATUSES, Status
from deployments.ingress.errors.tei_messages import tei_message
from embedder.core.errors import BackendFailure, EmbedderError, InvalidInput, Overloaded

UNKNOWN_FIELD = "unknown_field"
"""The type of a validation error for a field that a body does not have; its context names it."""

RETRY_AFTER_S = 1
"""Seconds in ``retry-after`` where the error has no estimate."""


INTERNAL_ERROR = "internal_error"
"""The code of every fault of the service."""

ERROR_CODES = sorted(
    {kind.code for kind, status in STATUSES.items() if status.http != 500}
    | {*HTTP_CODES.values(), INTERNAL_ERROR}
)


class ErrorShape(str, Enum):
    """Which API an error is answered in the shape of, with the statuses of that API."""

    OPENAI = "openai"
    TEI = "text-embeddings-inference"
    COHERE = "cohere"
    JINA = "jina"


class InvalidRequest(Exception):
    """A body or a parameter, which ``place`` names, is not of its declared type.

    ``complaint`` is pydantic's error, whose location begins with the place.
    """

    def __init__(self, complaint: Mapping[str, Any], *place: str) -> None:
        super().__init__(complaint, *place)
        self.complaint = {**complaint, "loc": (*place, *complaint["loc"])}

    def as_input_error(self) -> InvalidInput:
        """Return the error of this library for callers of a handle."""
        return InvalidInput(*_field_and_problem(self.complaint))


def response_to(
    error: Exception, request: str, shape: ErrorShape, request_id: str = ""
) -> Response:
    """Return the response for an exception; ``request`` is the method and the path."""
    if isinstance(error, EmbedderError):
        return error_response(error, shape, request_id)
    if isinstance(error, InvalidRequest):
        return _validation_response(error.complaint, shape)
    if isinstance(error, HTTPException):
        message = f"{request}: {error.detail} (see /openapi.json)"
        code = error.status_code
        status = Status(code, "invalid_request_error", code, "Validation")
        response = _response(shape, status, message, code=HTTP_CODES.get(code))
        response.headers.update(error.headers or {})
        return response
    return error_response(BackendFailure(""), shape, request_id)


def error_code(error: Exception) -> str:
    """Return the code of an exception, one of `ERROR_CODES`."""
    if isinstance(error, EmbedderError):
        return _code(error)
    if isinstance(error, InvalidRequest):
        return InvalidInput.code
    if isinstance(error, HTTPException):
        return HTTP_CODES.get(error.status_code, HTTP_CODES[404])
    return INTERNAL_ERROR


def error_response(error: EmbedderError, shape: ErrorShape, request_id: str = "") -> Response:
    """Return the response for an error of `STATUSES`; a 500 names the request, as OpenAI's does."""
    status = STATUSES[type(error)]
    field, message = None, _message(error)
    if status.http == 500 and request_id:
        message = f"{message} (request ID {request_id})"
    if isinstance(error, InvalidInput):
        field = error.field
        message = tei_message(error) if shape is ErrorShape.TEI else message
    response = _response(shape, status, message, field, _code(error))
    if response.status_code in (408, 429) or response.status_code >= 500:
        response.headers["x-should-retry"] = "true" if status.retry else "false"
    if isinstance(error, Overloaded):
        response.headers["retry-after"] = str(error.whole_s)
        # OpenAI's clients prefer this header to retry-after, and so retry earlier.
        response.headers["retry-after-ms"] = str(math.ceil(error.retry_after_s * 1000))
    elif status.retry:
        response.headers["retry-after"] = str(RETRY_AFTER_S)
    if isinstance(error, UnknownKey):
        response.headers["www-authenticate"] = "Bearer"
    return response


def error_content(error: Exception) -> dict[str, Any]:
    """Return the JSON of an error in OpenAI's shape."""
    if not isinstance(error, EmbedderError):
        error = BackendFailure("")
    field = error.field if isinstance(error, InvalidInput) else None
    return _content(_message(error), STATUSES[type(error)].kind, field, _code(error))


def tei_envelope(status: int, message: str, kind: str) -> Response:
    """Return a response in the error shape of text-embeddings-inference."""
    return _json(status, {"error": message, "error_type": kind})


def _validation_response(complaint: Mapping[str, Any], shape: ErrorShape) -> Response:
    """Return the response for a body or a parameter that is not of its declared type."""
    field, problem = _field_and_problem(complaint)
    message = f"'{field}': {problem}" if field else f"the body: {problem}"
    return _response(shape, STATUSES[InvalidInput], message, field or None, InvalidInput.code)


def _field_and_problem(complaint: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of the field of pydantic's error, "" for the body, and what is wrong."""
    field = _field(complaint["loc"])
    if complaint["type"] == UNKNOWN_FIELD:
        field = _field((*complaint["loc"], complaint["ctx"]["field"]))
    return field, f"{complaint['msg']}{_given(complaint.get('input'))}"


def _response(
    shape: ErrorShape,
    status: Status,
    message: str,
    field: str | None = None,
    code: str | None = None,
) -> Response:
    """Return the response for an error in a shape; only OpenAI's has a place for the field."""
    if shape is ErrorShape.TEI:
        return tei_envelope(status.tei_http, message, status.tei_kind)
    if shape is ErrorShape.COHERE:
        return _json(status.http, {"message": message})
    if shape is ErrorShape.JINA:
        return _json(status.http, {"detail": message})
    return _json(status.http, _content(message, status.kind, field, code))


def _code(error: EmbedderError) -> str:
    return INTERNAL_ERROR if STATUSES[type(error)].http == 500 else error.code


def _message(error: EmbedderError) -> str:
    """Return the client-visible message; faults of the service are reported generically."""
    if STATUSES[type(error)].http == 500:
        return "the service failed to answer this request"
    return str(error)


def _field(location: tuple[str | int, ...]) -> str:
    """Turn ("points", 3, "id") into ``points[3].id``."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _given(value: Any) -> str:
    """Return ", not VALUE" for a value that is short enough to be shown."""
    is_number = isinstance(value, (bool, int, float))
    if isinstance(value, int) and abs(value) >= 2**63:
        return ""  # orjson does not write it
    is_shown = is_number or (isinstance(value, str) and len(value) <= 40)
    return f", not {orjson.dumps(value).decode()}" if is_shown else ""


def _content(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    """Return the JSON of an error in OpenAI's shape, with all four keys."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _json(status: int, body: Any) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")
