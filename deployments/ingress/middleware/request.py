"""The middleware of every request: checks the key, reads the body, and sends the response.

If the service has keys, every request that is not a health check needs one. Each route declares
the scope that the key must have. Serve adds ``x-request-id`` to the request and the response.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from urllib.parse import unquote_to_bytes

import starlette.routing
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.ingress.errors.http_errors import UnknownKey
from deployments.ingress.errors.responses import ErrorShape, error_code, response_to
from deployments.ingress.middleware.accepted_keys import AcceptedKeys
from deployments.ingress.middleware.body import read_body
from deployments.ingress.middleware.context import (
    CURRENT_REQUEST,
    RequestContext,
    request_timeout_s,
)
from deployments.ingress.middleware.keys import matching_key, presented_key
from deployments.ingress.middleware.large_bodies import LargeBodies
from deployments.ingress.middleware.request_log import ABANDONED, RequestLog
from deployments.ingress.middleware.request_stats import MAX_UNCOUNTED, RequestStats
from deployments.ingress.middleware.route_prefix import strip_prefix
from deployments.settings.access import is_open
from deployments.settings.service import ServeSettings
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from embedder.pipeline.work_queue import AdmittedJob

Answer = Callable[[RequestContext, bytes], Awaitable[Response]]
"""Answers a request whose body has been read."""

_NOT_HTTP = starlette.routing.Router()
"""Answers the lifespan messages of a server, and closes WebSockets."""


class RequestMiddleware:
    """The ASGI application, which has requests answered by ``answer``.

    ``error_shapes`` has the shape of errors by path; on any other path they are as OpenAI's.
    """

    def __init__(
        self,
        answer: Answer,
        settings: ServeSettings,
        keys: AcceptedKeys,
        request_stats: RequestStats,
        large_bodies: LargeBodies,
        error_shapes: Mapping[str, ErrorShape],
    ) -> None:
        self._answer = answer
        self._large_bodies = large_bodies
        self._keys = keys
        self._limits = settings.limits
        self._request_stats = request_stats
        self._log = RequestLog(settings.logs)
        self._error_shapes = error_shapes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, also where that fails; count and log it."""
        if scope["type"] != "http":
            await _NOT_HTTP(scope, receive, send)
            return
        context = self._context(scope)
        token = CURRENT_REQUEST.set(context)
        stats = self._request_stats
        stats.in_flight += 1
        status = ABANDONED
        try:
            try:
                response = await self._response(scope, receive, context)
            except Exception as error:  # noqa: BLE001 - answered, and logged if it is a fault
                context.error = error
                stats.failed(context, error_code(error))
                request = f"{context.method} {context.path[:200]}"
                response = response_to(error, request, context.error_shape, context.request_id)
            if response is None:
                stats.abandoned += 1
                return
            total_s = time.monotonic() - context.began
            labels = context.route_label, response.status_code, context.served_model
            stats.answered.append((*labels, context.priority, total_s))
            if len(stats.answered) >= MAX_UNCOUNTED:
                stats.count()
            response.raw_headers.append((b"x-total-time", b"%d" % round(total_s * 1000)))
            # The server drops the body where the method is HEAD.
            await response(scope, receive, send)
            status = response.status_code
        except asyncio.CancelledError:
            stats.abandoned += 1
            raise
        finally:
            if context.admitted is not None:
                context.admitted.close()
            stats.in_flight -= 1
            self._log.finish(context, status)
            CURRENT_REQUEST.reset(token)

    def _context(self, scope: Scope) -> RequestContext:
        path, prefix = scope["path"], scope.get("root_path", "")
        if prefix:
            path, prefix = strip_prefix(path, prefix)
        began = time.monotonic()
        return RequestContext(
            Deadline(began + self._limits.request_timeout_s),
            began=began,
            method=scope["method"],
            path=path,
            query=scope.get("query_string", b""),
            headers=dict(scope["headers"]),
            prefix=prefix,
            error_shape=self._error_shapes.get(path, ErrorShape.OPENAI),
        )

    async def _response(
        self, scope: Scope, receive: Receive, context: RequestContext
    ) -> Response | None:
        """Return the response to a request, or None if its client has disconnected."""
        headers, limits = context.headers, self._limits
        # The path of request.url would be wrong: it depends on the Host header of the client.
        if self._keys.required and not is_open(context.method, context.path):
            context.key = matching_key(presented_key(headers), self._keys.keys)
            if context.key is None:
                raise UnknownKey
        if b"%" in (raw_path := scope.get("raw_path") or b""):
            _check_path(raw_path)
        if b"x-request-timeout" in headers:
            timeout_s = request_timeout_s(headers[b"x-request-timeout"], limits.request_timeout_s)
            context.deadline = Deadline(context.began + timeout_s)
        admit = partial(self._admit, context)
        body = await read_body(receive, headers, limits, context.deadline, admit)
        return None if body is None else await self._answer(context, body)

    def _admit(self, context: RequestContext, size: int, start: bytes) -> AdmittedJob:
        """Admit a large body; the middleware releases it when the request ends."""
        admitted = ExitStack()
        job = admitted.enter_context(self._large_bodies.admit(context.path, size, start))
        context.large_body, context.admitted = job, admitted
        return job


def _check_path(raw: bytes) -> None:
    """Refuse a path that is not UTF-8: the server replaces bytes by U+FFFD, which may be an id.

    Raises:
        InvalidInput: the decoded path is not UTF-8.
    """
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise InvalidInput("path", "is not UTF-8 once its percent-encoding is undone") from None
