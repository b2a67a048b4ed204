"""Where spans come from in a replica, and where they do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from deployments.tracing.tracer import (
    OpenTelemetryTracer,
    call_context,
    request_span,
    sent_requests,
    service_tracer,
    traced_call,
)
from embedder.core.tracing import serving, step
from tests.unit.traces import Traces, context_of, parent_of


@pytest.fixture
def enabled(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """Enable tracing in this process, with every trace sampled."""
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(1.0))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return provider


@pytest.fixture
def traces() -> Traces:
    """Return what records the spans of the test."""
    return Traces()


@pytest.fixture
def serve_span(traces: Traces) -> Iterator[trace.Span]:
    """Yield a span that is the current one, as Serve makes that of a sampled request."""
    span = traces.provider.get_tracer("ray.serve").start_span("replica_handle_request")
    token = attach(trace.set_span_in_context(span))
    yield span
    detach(token)


def test_without_tracing_there_is_no_tracer() -> None:
    assert service_tracer() is None
    assert request_span() is None
    assert traced_call(None) is None
    assert len(call_context()) == 0


def test_with_tracing_a_replica_has_a_tracer(enabled: TracerProvider) -> None:
    assert isinstance(service_tracer(), OpenTelemetryTracer)


def test_a_request_that_is_not_sampled_is_not_traced(traces: Traces) -> None:
    assert traced_call(traces.tracer) is None


def test_a_call_by_handle_is_traced_below_the_span_of_serve(
    traces: Traces, serve_span: trace.Span
) -> None:
    with serving(traced_call(traces.tracer)), step("embed"):
        pass
    serve_span.end()
    embed, call = traces.ended

    assert parent_of(embed) == context_of(call)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, trace.StatusCode.UNSET),
        (404, trace.StatusCode.UNSET),
        (499, trace.StatusCode.UNSET),
        (500, trace.StatusCode.ERROR),
        (503, trace.StatusCode.ERROR),
    ],
)
def test_a_request_is_named_after_its_route(
    traces: Traces, serve_span: trace.Span, status: int, code: trace.StatusCode
) -> None:
    span = request_span()
    assert span is not None
    span.answered("POST", "/v1/collections/{name}/search", status)
    serve_span.end()
    (ended,) = traces.ended

    assert ended.name == "POST /v1/collections/{name}/search"
    assert ended.status.status_code is code
    assert ended.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/collections/{name}/search",
        "http.response.status_code": status,
    }


def test_a_call_between_deployments_starts_no_trace(enabled: TracerProvider) -> None:
    tracer = enabled.get_tracer("ray.serve")
    routed = call_context().run(tracer.start_span, "route_to_replica")

    assert tracer.start_span("a request").is_recording()
    assert not routed.is_recording()


def test_requests_of_another_process_are_traced_if_both_have_tracing(traces: Traces) -> None:
    (context,) = traces.request().contexts
    sent = sent_requests(traces.tracer, (context,))
    with serving(sent), step("batch"):
        pass

    assert parent_of(traces.ended[0]) == context
    assert sent_requests(None, (context,)) is None
    assert sent_requests(traces.tracer, ()) is None
