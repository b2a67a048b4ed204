"""Traced requests of a test, and the spans that were recorded for them."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deployments.tracing.tracer import OpenTelemetryTracer, RequestSpan
from embedder.core.tracing import SpanContext, Traced


class Traces:
    """Starts requests, and returns the spans of their steps in the order in which they ended."""

    def __init__(self) -> None:
        self.provider = TracerProvider()
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OpenTelemetryTracer({"replica_id": "r1"}, self.provider)

    def request(self) -> Traced:
        """Return a traced request."""
        span = RequestSpan(self.provider.get_tracer("serve").start_span("request"))
        return Traced(self.tracer, span.contexts, span)

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the ended spans of a name."""
        return [span for span in self.ended if span.name == name]

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        """Return all spans that have ended."""
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        """Return the names of all spans that have ended."""
        return [span.name for span in self.ended]


def context_of(span: ReadableSpan) -> SpanContext:
    """Return the identity of a span."""
    return _written(span.get_span_context())


def parent_of(span: ReadableSpan) -> SpanContext:
    """Return the identity of a span's parent."""
    assert span.parent is not None
    return _written(span.parent)


def links_of(span: ReadableSpan) -> list[SpanContext]:
    """Return the identities of the spans to which a span is linked."""
    return [_written(link.context) for link in span.links]


def seconds_of(span: ReadableSpan) -> float:
    """Return the duration of a span."""
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def _written(context: trace.SpanContext | None) -> SpanContext:
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
