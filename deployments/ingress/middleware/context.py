"""The context of one request, which the middleware creates and routes receive."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field

from deployments.ingress.errors.http_errors import CollectionDenied, MissingScope
from deployments.ingress.errors.responses import ErrorShape
from deployments.ingress.middleware.keys import Headers
from deployments.ingress.middleware.request_id import REQUEST_ID, is_request_id
from deployments.metrics.labels import NONE, OTHER
from deployments.settings.access import ApiKey, Scope
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from embedder.core.types import Priority
from embedder.pipeline.work_queue import AdmittedJob

UNKNOWN_ROUTE = (OTHER, OTHER)
"""The method and the path of a request that no route has."""


@dataclass(slots=True)
class RequestContext:
    """The head, the key and the deadline of one request; ``began`` is on ``time.monotonic``.

    ``key`` is None if the service has no keys or the path is open; logs show its name.
    ``large_body`` is the admitted job of a large body, None for a small one, and ``admitted``
    releases it. ``prefix`` is what was removed from the path.

    ``route`` is the declared path, None before a route is found; ``model`` is the one that the body
    names; ``error`` is the error that was answered.

    Labels of metrics never hold what a client sent: ``route_label`` is the declared method and
    path, and ``served_model`` the model that has embedded with ``priority``.
    """

    deadline: Deadline
    key: ApiKey | None = None
    large_body: AdmittedJob | None = None
    admitted: ExitStack | None = None
    method: str = "GET"
    path: str = "/"
    query: bytes = b""
    headers: Headers = field(default_factory=dict)
    prefix: str = ""
    error_shape: ErrorShape = ErrorShape.OPENAI
    began: float = field(default_factory=time.monotonic)
    route: str | None = None
    model: str | None = None
    error: Exception | None = None
    route_label: tuple[str, str] = UNKNOWN_ROUTE
    served_model: str = NONE
    priority: Priority = Priority.INTERACTIVE

    @property
    def request_id(self) -> str:
        """Return ``x-request-id``, which Serve adds where the client sends none; "" without one."""
        given = self.headers.get(REQUEST_ID, b"")
        return given.decode() if is_request_id(given) else ""

    def require(self, scope: Scope) -> None:
        """Check that the key of the request has a scope; a service without keys has no scopes.

        Raises:
            MissingScope: the key lacks the scope.
        """
        if self.key is not None and scope not in self.key.scopes:
            raise MissingScope(scope.value)

    def require_collection(self, collection: str) -> None:
        """Check that the key of the request includes a collection, which need not exist.

        Raises:
            CollectionDenied: the key does not include the collection.
        """
        if not self.may_reach(collection):
            assert self.key is not None
            raise CollectionDenied(self.key.name, collection)

    def may_reach(self, collection: str) -> bool:
        """Return whether the key of the request includes a collection."""
        return self.key is None or self.key.may_reach(collection)


CURRENT_REQUEST: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)
"""The HTTP request that the running task answers; None in a call by handle."""


def request_timeout_s(given: bytes, limit_s: float) -> float:
    """Return the seconds that a request may take: ``x-request-timeout``, at most ``limit_s``.

    Raises:
        InvalidInput: the value of the header is not a number above 0.
    """
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise InvalidInput("x-request-timeout", "must be a number of seconds above 0")
    return min(seconds, limit_s)
