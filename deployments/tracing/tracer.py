"""Records the steps of requests by OpenTelemetry, which Serve sets up where tracing is enabled."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextvars import Context

from opentelemetry import trace
from opentelemetry.context import attach
from opentelemetry.sdk.trace import TracerProvider

from deployments.replica_context import replica_context
from embedder.core.tracing import Attribute, Span, SpanContext, Traced, Tracer

FAULT = 500
"""The lowest status of a response that is a fault of the service, and not of the client."""

_NOT_SAMPLED = trace.SpanContext(1, 1, is_remote=False)


def is_enabled() -> bool:
    """Return whether spans are recorded in this process."""
    return isinstance(trace.get_tracer_provider(), TracerProvider)


def service_tracer() -> Tracer | None:
    """Return the tracer of this replica, or None if tracing is off."""
    return OpenTelemetryTracer(_own_names()) if is_enabled() else None


def _own_names() -> dict[str, str]:
    """Return the deployment and the replica of this process, as Serve's spans have them."""
    if (context := replica_context()) is None:
        return {}
    return {"deployment": context.deployment, "replica_id": context.replica_id.unique_id}


def request_span() -> RequestSpan | None:
    """Return the span of the request that runs in this context, or None if it is not traced."""
    span = trace.get_current_span()
    return RequestSpan(span) if span.is_recording() else None


def traced_call(tracer: Tracer | None) -> Traced | None:
    """Return the call by handle that runs in this context, or None if it is not traced."""
    if tracer is None or (span := request_span()) is None:
        return None
    return Traced(tracer, span.contexts, span)


def sent_requests(tracer: Tracer | None, contexts: tuple[SpanContext, ...]) -> Traced | None:
    """Return the requests that another process has sent, or None if none is traced here."""
    return Traced(tracer, contexts) if tracer is not None and contexts else None


def call_context() -> Context:
    """Return the context for calls by Serve's handles: in it Serve starts no trace of its own."""
    context = Context()
    if is_enabled():
        unsampled = trace.set_span_in_context(trace.NonRecordingSpan(_NOT_SAMPLED))
        context.run(attach, unsampled)
    return context


class OpenTelemetryTracer:
    """Records spans, each with these attributes.

    ``provider`` is that of the process if it is None.
    """

    def __init__(
        self, attributes: Mapping[str, str], provider: trace.TracerProvider | None = None
    ) -> None:
        self._tracer = trace.get_tracer("embedder", tracer_provider=provider)
        self._attributes = attributes

    def start(self, name: str, parents: Sequence[SpanContext], ago_s: float) -> Span:
        """Start a span, as `Tracer.start`."""
        contexts = [_parsed(parent) for parent in parents]
        links = [trace.Link(context) for context in contexts] if len(contexts) > 1 else None
        parent = trace.set_span_in_context(trace.NonRecordingSpan(contexts[0]))
        began_ns = time.time_ns() - round(ago_s * 1e9)
        return RecordedSpan(
            self._tracer.start_span(
                name,
                parent,
                attributes=self._attributes,
                links=links,
                start_time=began_ns,
            )
        )


class RecordedSpan:
    """A span of OpenTelemetry, as the library uses it."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        own = span.get_span_context()
        self.contexts: tuple[SpanContext, ...] = (
            f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}",
        )

    def set(self, **attributes: Attribute) -> None:
        """Set attributes."""
        self._span.set_attributes(attributes)

    def link(self, others: Iterable[SpanContext]) -> None:
        """Refer to other spans."""
        for other in others:
            self._span.add_link(_parsed(other))

    def end(self, error: BaseException | None) -> None:
        """End the span; of an error only the class is recorded, because texts may be in it."""
        if error is not None:
            self._span.set_status(trace.StatusCode.ERROR, type(error).__name__)
        self._span.end()


class RequestSpan(RecordedSpan):
    """The span that Serve starts for a request, and ends."""

    def answered(self, method: str, route: str, status: int) -> None:
        """Describe a request over HTTP by the method and the path of its route, as declared."""
        self._span.update_name(f"{method} {route}")
        self._span.set_attribute("http.request.method", method)
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= FAULT:
            self._span.set_status(trace.StatusCode.ERROR)


def _parsed(context: SpanContext) -> trace.SpanContext:
    _, trace_id, span_id, flags = (int(part, 16) for part in context.split("-"))
    return trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
