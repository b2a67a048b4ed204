"""What every request passes before its route: a key, and a whole body in time.

Whatever goes wrong here or behind is answered in one shape. Denies by default: a path that is not
in `OPEN` wants a key wherever the service has any. Which scope it wants, each route says. Serve
gives every request its name, ``x-request-id``, and has it in the answer and in the log. Knows
nothing of what routes do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Container
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
from deployments.ingress.middleware.compression import Compressing
from deployments.ingress.middleware.context import RequestContext, request_timeout_s
from deployments.ingress.middleware.keys import matching_key, presented_key
from deployments.ingress.middleware.request_stats import RequestStats
from deployments.ingress.middleware.route_prefix import strip_prefix
from deployments.settings.service import ServeSettings
from embedder.core.errors import EmbedderError, InvalidInput

logger = logging.getLogger("ray.serve")

OPEN = frozenset({"/healthz", "/readyz", "/health", "/ping"})
"""The paths that want no key: what load balancers and schedulers ask."""


class RequestMiddleware:
    """The outermost part of the application.

    Errors on a path of ``tei_paths`` are answered as by text-embeddings-inference.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServeSettings,
        request_stats: RequestStats,
        *,
        tei_paths: Container[str] = (),
    ) -> None:
        self._app = app
        self._keys = settings.keys
        self._limits = settings.limits
        self._compress_bytes = settings.compress_bytes
        self._request_stats = request_stats
        self._tei_paths = tei_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope, prefix = strip_prefix(scope)
        is_tei = scope["path"] in self._tei_paths
        context = RequestContext(
            time.monotonic() + self._limits.request_timeout_s,
            accept=dict(scope["headers"]).get(b"accept", b"").decode("latin-1"),
            prefix=prefix,
            error_shape=ErrorShape.TEI if is_tei else ErrorShape.OPENAI,
        )
        scope.setdefault("state", {})["context"] = context
        is_head = scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}
        answer = _Answer(send, context, self._request_stats, has_body=not is_head)
        with self._request_stats.in_progress():
            try:
                await self._pass(scope, receive, answer, context)
            except asyncio.CancelledError:
                self._request_stats.abandoned += 1
                raise
            except Exception as error:
                if answer.begun and not answer.complete:
                    raise  # the server logs it and closes the connection, which the client notices
                response = _response(error, scope, context.error_shape)
                if not answer.begun:
                    await response(scope, receive, answer)

    async def _pass(
        self, scope: Scope, receive: Receive, answer: _Answer, context: RequestContext
    ) -> None:
        headers = scope["headers"]
        # By the scope's path: that of a URL is partly what the client writes into Host.
        if self._keys and not is_open(scope["method"], scope["path"]):
            context.key = matching_key(presented_key(headers), self._keys)
            if context.key is None:
                raise UnknownKey
        _check_path(scope)
        timeout_s = request_timeout_s(headers, self._limits.request_timeout_s)
        context.deadline = context.began + timeout_s
        body = await read_body(receive, headers, self._limits, context.deadline)
        if body is None:
            self._request_stats.abandoned += 1
            return
        context.body_bytes = len(body)
        send: Send = answer
        if self._compress_bytes is not None and answer.has_body:
            send = Compressing(send, headers, self._compress_bytes)
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
    """Refuse a path whose bytes are not UTF-8: servers put U+FFFD, which may be an id, for them.

    Raises:
        InvalidInput: as said.
    """
    raw: bytes = scope.get("raw_path") or b""
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise InvalidInput("path", "is not UTF-8 once its percent-encoding is undone") from None


def is_open(method: str, path: str) -> bool:
    """Return whether a request needs no key.

    Health checks of text-embeddings-inference read ``/``, to which others send texts with a key.
    """
    return path in OPEN or (path == "/" and method in ("GET", "HEAD"))


class _Answer:
    """Sends an answer with the headers that every answer has, and counts it."""

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
