"""What a call of the client can raise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_POSITION = re.compile(r"(\w+\[)(\d+)(\].*)", re.DOTALL)


class ClientError(Exception):
    """A call has failed; each subclass says why."""


class ConnectionFailed(ClientError):
    """No answer came before the deadline: the service is not reached, or ends connections."""


class InvalidAnswer(ClientError):
    """The answer is not that of an embedding service, for example the page of a proxy."""


class ServiceError(ClientError):
    """The service answered with an error.

    ``status`` is that of HTTP. ``code`` and ``field`` are the service's names of the error and of
    the field that it concerns, ``request_id`` is the id in the log of the service; each is ""
    where the answer has none.
    """

    def __init__(
        self, message: str, *, status: int, code: str = "", field: str = "", request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.request_id = request_id

    @property
    def position(self) -> int | None:
        """Return the place of the input that the error concerns, None if it concerns no single one.

        It counts from 0 in the inputs of the call.
        """
        found = _POSITION.match(self.field)
        return int(found[2]) if found else None

    def move(self, offset: int) -> None:
        """Add ``offset`` to the position, because the request had a later part of the inputs."""
        found = _POSITION.match(self.field)
        if found and offset:
            moved = f"{found[1]}{int(found[2]) + offset}{found[3]}"
            self.args = (str(self).replace(self.field, moved, 1),)
            self.field = moved


class InvalidRequest(ServiceError):
    """The request is wrong in itself, so that repeating it gives the same error."""


class AccessDenied(ServiceError):
    """The API key is missing, unknown, or does not allow this request."""


class NotFound(ServiceError):
    """The model, collection or point does not exist."""


class Unavailable(ServiceError):
    """The service was full or not ready until the deadline of the call."""


class ServiceFailure(ServiceError):
    """The service has failed; its log has the reason under ``request_id``."""


def error_of(status: int, answer: Any, text: str, headers: Mapping[str, str]) -> ServiceError:
    """Return the exception for the answer of a failed request.

    ``answer`` is the parsed JSON, None if there is none; then the first characters of ``text``
    are the message. The shapes of OpenAI, text-embeddings-inference, Cohere and Jina are known.
    """
    answer = answer if isinstance(answer, dict) else {}
    inner = answer.get("error")
    inner = inner if isinstance(inner, dict) else answer
    message = next(
        (
            str(inner[name])
            for name in ("message", "error", "detail")
            if isinstance(inner.get(name), str)
        ),
        f"status {status}: {text[:200]}",
    )
    return _kind(status)(
        message,
        status=status,
        code=str(inner.get("code") or inner.get("error_type") or ""),
        field=str(inner.get("param") or ""),
        request_id=headers.get("x-request-id", ""),
    )


def _kind(status: int) -> type[ServiceError]:
    if status in (401, 403):
        return AccessDenied
    if status == 404:
        return NotFound
    if status in (408, 425, 429, 502, 503, 504):
        return Unavailable
    return ServiceFailure if status >= 500 else InvalidRequest
