"""The middleware of every request: checks the key, reads the body, and answers errors.

If the service has keys, every path that is not in `OPEN` needs one. Each route declares the scope
that the key must have. Serve adds ``x-request-id`` to the request, the response and the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Container
from contextlib import ExitStack
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.errors.http_errors import UnknownKey
from deployments.ingress.errors.responses import (
    ErrorShape,
    InvalidRequest,
    bug_response,
    error_response,
    http_response,
    validation_response,
)
from deployments.ingress.middleware.body import read_body, replay
from deployments.ingress.middleware.compression import CompressingSend
from deployments.ingress.middleware.context import RequestContext, request_timeout_s
from deployments.ingress.middleware.keys import matching_key, presented_key
from deployments.ingress.middleware.large_bodies import LargeBodies
from deployments.ingress.middleware.request_stats import RequestStats
from deployments.ingress.middleware.route_prefix import strip_prefix
from deployments.settings.service import ServeSettings
from embedder.core.deadline import Deadline
from embedder.core.errors import EmbedderError, InvalidInput
from embedder.pipeline.work_queue import AdmittedJob

logger = logging.getLogger("ray.serve")

OPEN = frozenset({"/healthz", "/readyz", "/health", "/ping"})
"""The paths that need no key: health checks of load balancers and schedulers."""


class RequestMiddleware:
    """Runs before the application and answers the errors that it raises.

    Errors on a path of ``tei_paths`` are answered as by text-embeddings-inference.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServeSettings,
        request_stats: RequestStats,
        large_bodies: LargeBodies,
        *,
        tei_paths: Container[str] = (),
    ) -> None:
        self._app = app
        self._large_bodies = large_bodies
        self._keys = settings.keys
        self._limits = settings.limits
        self._compress_bytes = settings.compress_bytes
        self._request_stats = request_stats
        self._tei_paths = tei_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request to the application, or answer it with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope, prefix = strip_prefix(scope)
        is_tei = scope["path"] in self._tei_paths
        context = RequestContext(
            Deadline.after(self._limits.request_timeout_s),
            accept=dict(scope["headers"]).get(b"accept", b"").decode("latin-1"),
            prefix=prefix,
            error_shape=ErrorShape.TEI if is_tei else ErrorShape.OPENAI,
        )
        scope.setdefault("state", {})["context"] = context
        is_head = scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}
        sender = _ResponseSender(send, context, self._request_stats, has_body=not is_head)
        with self._request_stats.in_progress():
            try:
                await self._pass(scope, receive, sender, context)
            except asyncio.CancelledError:
                self._request_stats.abandoned += 1
                raise
            except Exception as error:
                if sender.begun and not sender.complete:
                    raise  # the server logs it and closes the connection, which the client notices
                response = _response(error, scope, context.error_shape)
                if not sender.begun:
                    await response(scope, receive, sender)

    async def _pass(
        self, scope: Scope, receive: Receive, sender: _ResponseSender, context: RequestContext
    ) -> None:
        headers = scope["headers"]
        # The path of request.url would be wrong: it depends on the Host header of the client.
        if self._keys and not is_open(scope["method"], scope["path"]):
            context.key = matching_key(presented_key(headers), self._keys)
            if context.key is None:
                raise UnknownKey
        _check_path(scope)
        timeout_s = request_timeout_s(headers, self._limits.request_timeout_s)
        context.deadline = Deadline(context.began + timeout_s)
        with ExitStack() as admitted:

            def admit(size: int, start: bytes) -> AdmittedJob:
                job = admitted.enter_context(self._large_bodies.admit(scope["path"], size, start))
                context.large_body = job
                return job

            body = await read_body(receive, headers, self._limits, context.deadline, admit)
            if body is None:
                self._request_stats.abandoned += 1
                return
            send: Send = sender
            if self._compress_bytes is not None and sender.has_body:
                send = CompressingSend(send, headers, self._compress_bytes)
            await self._app(scope, replay(body, receive), send)


def _response(error: Exception, scope: Scope, shape: ErrorShape) -> Response:
    if isinstance(error, EmbedderError):
        return error_response(error, shape)
    if isinstance(error, InvalidRequest):
        return validation_response(error, shape)
    if isinstance(error, HTTPException):
        return http_response(error, scope, shape)
    logger.error("unexpected error", exc_info=error)
    return bug_response(shape)


def _check_path(scope: Scope) -> None:
    """Refuse a path that is not UTF-8: the server replaces bytes by U+FFFD, which may be an id.

    Raises:
        InvalidInput: the decoded path is not UTF-8.
    """
    raw: bytes = scope.get("raw_path") or b""
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise InvalidInput("path", "is not UTF-8 once its percent-encoding is undone") from None


def is_open(method: str, path: str) -> bool:
    """Return whether a request needs no key.

    ``GET /`` is a health check of text-embeddings-inference; ``POST /`` embeds, with a key.
    """
    return path in OPEN or (path == "/" and method in ("GET", "HEAD"))


class _ResponseSender:
    """Sends one response with the headers that all responses have, and counts it."""

    def __init__(
        self, send: Send, context: RequestContext, request_stats: RequestStats, *, has_body: bool
    ) -> None:
        self._send = send
        self.has_body = has_body
        self._context = context
        self._request_stats = request_stats
        self.begun = self.complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self._request_stats.answers[message["status"]] += 1
            total_ms = round((time.monotonic() - self._context.began) * 1000)
            message["headers"] = [
                *message.get("headers", ()),
                (b"x-total-time", b"%d" % total_ms),
            ]
        elif message["type"] == "http.response.body":
            self.complete = not message.get("more_body", False)
            if not self.has_body:
                message = {**message, "body": b""}
        await self._send(message)
