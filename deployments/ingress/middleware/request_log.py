"""The line of a request in the log: of each one that fails or is slow, and of a share of all.

A line holds no text, no vector, no key and no message of an error that quotes the input.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from deployments.ingress.errors.faults import detail_of, has_traceback, is_fault, reason_of
from deployments.ingress.middleware.context import RequestContext
from deployments.logs.one_line import fields, shortened
from deployments.logs.replica_log import EVENT, replica_fields
from deployments.settings.logs import LogSettings
from deployments.tracing.tracer import request_span

logger = logging.getLogger("ray.serve")

ABANDONED = 499
"""The status in the log of a request whose client has disconnected, as in nginx."""


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """A request after its response; ``status`` is that of the response, or `ABANDONED`."""

    context: RequestContext
    status: int
    seconds: float

    @property
    def reason(self) -> str | None:
        """Return why it was not answered as asked for; None: it was."""
        if self.context.error is not None:
            return reason_of(self.context.error)
        return "abandoned" if self.status == ABANDONED else None

    @property
    def has_failed(self) -> bool:
        """Return whether the service has failed to answer it, also in the middle of a stream."""
        return self.context.error is not None and is_fault(self.context.error)

    def fields(self) -> Mapping[str, object]:
        """Return what the log says about it, by name, without what is not known."""
        context, error = self.context, self.context.error
        values = {
            "method": context.method,
            "route": context.route,
            "path": None if context.path == context.route else context.path,
            "status": self.status,
            "reason": self.reason,
            "duration_ms": round(self.seconds * 1000),
            "key": None if context.key is None else context.key.name,
            "model": context.model,
            "detail": detail_of(error) if error is not None and is_fault(error) else None,
        }
        return {
            name: shortened(one) if isinstance(one, str) else one
            for name, one in values.items()
            if one is not None
        }


class RequestLog:
    """Writes the lines of one ingress replica; ``draw`` returns numbers from 0 to below 1."""

    def __init__(self, settings: LogSettings, draw: Callable[[], float] = random.random) -> None:
        self._slow_s = settings.slow_request_s
        self._access_ratio = settings.access_ratio
        self._draw = draw
        self._replica = replica_fields()

    def finish(self, context: RequestContext, status: int) -> None:
        """Write the line of a request that ends now, if it has one; most requests have none."""
        seconds = time.monotonic() - context.began
        slow = self._slow_s is not None and seconds >= self._slow_s
        if slow or self._access_ratio or context.error is not None:
            self.write(FinishedRequest(context, status, seconds))

    def write(self, request: FinishedRequest) -> None:
        """Write at most one line: of a failed request, else of a slow one, else of a sample."""
        error = request.context.error
        if request.has_failed:
            assert error is not None
            if has_traceback(error):
                logger.error("unexpected error", exc_info=error)
            self._write(logging.ERROR, "request failed", request)
        elif self._slow_s is not None and request.seconds >= self._slow_s:
            self._write(logging.WARNING, "slow request", request)
        elif self._access_ratio and self._draw() < self._access_ratio:
            self._write(logging.INFO, "request", request)

    def _write(self, level: int, event: str, request: FinishedRequest) -> None:
        values = {**request.fields(), **_trace()}
        # Serve's own filter would replace `route` by the prefix of the application.
        extra = {**self._replica, **values, EVENT: event, "skip_context_filter": True}
        if request_id := request.context.request_id:
            extra["request_id"] = request_id
        logger.log(level, "%s: %s", event, fields(values), extra=extra)


def _trace() -> Mapping[str, str]:
    """Return the id of the trace in which the request is recorded, none if it is not."""
    span = request_span()
    return {} if span is None else {"trace_id": span.contexts[0].split("-")[1]}
