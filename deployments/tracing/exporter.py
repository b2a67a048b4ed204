"""Sends the spans of requests over OTLP.

Where ``tracing_config`` of a Serve configuration names `otlp`, each replica calls it at its start.
"""

from __future__ import annotations

import os

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from deployments.settings.access import is_open
from embedder.core.errors import ConfigurationError

PROTOCOL = "http/protobuf"
PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

REQUESTS = frozenset({None, "__call__", "embed"})
"""The methods of Serve's spans that are requests of clients, over HTTP or by a handle."""


def otlp() -> list[SpanProcessor]:
    """Return the span processor that sends spans to a collector over OTLP.

    The variables of OpenTelemetry name the collector.

    Raises:
        ConfigurationError: as `check_otlp`.
    """
    return [RequestSpans(check_otlp()())]


def check_otlp() -> type[SpanExporter]:
    """Check that this process can send spans, and return the class that does.

    Raises:
        ConfigurationError: the package that sends them is missing, or a variable of OpenTelemetry
            asks for another protocol.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise ConfigurationError(
            "tracing_config is enabled, and the package that sends traces is missing: install it "
            "with 'pip install opentelemetry-exporter-otlp-proto-http' (the extra traces)"
        ) from None
    for variable in PROTOCOL_VARIABLES:
        protocol = os.environ.get(variable) or PROTOCOL
        if protocol != PROTOCOL:
            raise ConfigurationError(
                f"{variable} is {protocol}: traces are sent as {PROTOCOL}, to port 4318 of most "
                "collectors; remove the variable"
            )
    return OTLPSpanExporter


class RequestSpans(BatchSpanProcessor):
    """Sends the spans of requests, in batches by a thread.

    Serve also starts a trace for each call between deployments. Such a call serves several requests
    or none, and our own spans show it. A health check has a trace only if its client asks for one.
    """

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span until the next batch is sent."""
        attributes = span.attributes or {}
        is_request = attributes.get("call_method") in REQUESTS
        method, route = attributes.get("http.request.method"), attributes.get("http.route")
        is_probe = is_open(str(method), str(route))
        if span.parent is not None or (is_request and not is_probe):
            super().on_end(span)
