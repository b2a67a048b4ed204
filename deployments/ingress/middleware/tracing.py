"""Describes the span that Serve starts for a traced request, whose steps are then recorded."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.ingress.middleware.route_prefix import strip_prefix
from deployments.tracing.tracer import request_span
from embedder.core.tracing import Traced, Tracer, serving


class TraceMiddleware:
    """Wraps an application where tracing is enabled.

    ``route_of`` returns the declared method and path of a request: its own path has names and ids
    of clients.
    """

    def __init__(
        self, app: ASGIApp, tracer: Tracer, route_of: Callable[[str, str], tuple[str, str]]
    ) -> None:
        self._app = app
        self._tracer = tracer
        self._route_of = route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; most of them are not traced."""
        span = request_span() if scope["type"] == "http" else None
        if span is None:
            await self._app(scope, receive, send)
            return

        async def send_described(message: Message) -> None:
            if message["type"] == "http.response.start":
                path, _ = strip_prefix(scope["path"], scope.get("root_path", ""))
                span.answered(*self._route_of(scope["method"], path), message["status"])
            await send(message)

        with serving(Traced(self._tracer, span.contexts, span)):
            await self._app(scope, receive, send_described)
