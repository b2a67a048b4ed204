"""What is sent over OTLP, and what prevents that at the start."""

from __future__ import annotations

import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deployments.settings.access import HEALTH_CHECKS
from deployments.tracing.configuration import TRACE_EXPORTER
from deployments.tracing.exporter import (
    PROTOCOL_VARIABLES,
    RequestSpans,
    check_otlp,
    otlp,
)
from embedder.core.errors import ConfigurationError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the variables of the machine that runs the tests."""
    for variable in PROTOCOL_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def _sent(attributes: dict[str, str], *, has_parent: bool = False) -> list[str]:
    """Return the names of the spans that are sent of one span, and of a parent if it has one."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(RequestSpans(exporter))
    tracer = provider.get_tracer("ray.serve")
    parent = trace.SpanContext(1, 1, is_remote=True, trace_flags=trace.TraceFlags(1))
    context = trace.set_span_in_context(trace.NonRecordingSpan(parent)) if has_parent else None
    tracer.start_span("span", context, attributes=attributes).end()
    provider.shutdown()
    spans: tuple[ReadableSpan, ...] = exporter.get_finished_spans()
    return [span.name for span in spans]


@pytest.mark.parametrize("method", ["__call__", "embed"])
def test_the_span_of_a_request_is_sent(method: str) -> None:
    assert _sent({"call_method": method}) == ["span"]
    assert _sent({}) == ["span"]


@pytest.mark.parametrize("method", ["encode", "tokenize", "reservations", "embed_for"])
def test_the_trace_that_serve_starts_for_a_call_between_deployments_is_not_sent(
    method: str,
) -> None:
    assert _sent({"call_method": method}) == []
    assert _sent({"call_method": method}, has_parent=True) == ["span"]


@pytest.mark.parametrize("path", [*sorted(HEALTH_CHECKS), "/"])
def test_a_health_check_is_sent_only_in_the_trace_of_its_client(path: str) -> None:
    check = {"call_method": "__call__", "http.request.method": "GET", "http.route": path}

    assert _sent(check) == []
    assert _sent(check, has_parent=True) == ["span"]


def test_a_request_for_embeddings_on_the_path_of_a_health_check_is_sent() -> None:
    request = {"call_method": "__call__", "http.request.method": "POST", "http.route": "/"}

    assert _sent(request) == ["span"]


def test_serve_gets_what_sends_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, name = TRACE_EXPORTER.partition(":")
    (processor,) = otlp()
    processor.shutdown()

    assert getattr(sys.modules[module], name) is otlp
    assert isinstance(processor, RequestSpans)
    assert issubclass(check_otlp(), SpanExporter)


def test_without_the_package_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError) as error:
        otlp()

    assert "tracing_config" in str(error.value)
    assert "pip install opentelemetry-exporter-otlp-proto-http" in str(error.value)


@pytest.mark.parametrize("variable", PROTOCOL_VARIABLES)
def test_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for accepted in ("http/protobuf", ""):
        monkeypatch.setenv(variable, accepted)
        check_otlp()
    monkeypatch.setenv(variable, "grpc")

    with pytest.raises(ConfigurationError, match=f"{variable} is grpc: .* remove the variable"):
        check_otlp()
