"""The span of a request over HTTP is described when its response starts."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import ReadableSpan
from starlette.types import ASGIApp

from deployments.ingress import asgi
from deployments.ingress.asgi import build_asgi
from tests.unit.deployments.ingress.fake_service import FakeService
from tests.unit.traces import Traces, context_of, parent_of


@pytest.fixture
def traces() -> Traces:
    """Return what records the spans of the test."""
    return Traces()


@pytest.fixture
async def app(traces: Traces, monkeypatch: pytest.MonkeyPatch) -> ASGIApp:
    """Return the application of a replica with tracing."""
    monkeypatch.setattr(asgi, "service_tracer", lambda: traces.tracer)
    return build_asgi(FakeService())


@pytest.fixture
def sampled(traces: Traces) -> Iterator[trace.Span]:
    """Yield the span of Serve, for a request that is sampled."""
    span = traces.provider.get_tracer("ray.serve").start_span("replica_handle_request")
    token = attach(trace.set_span_in_context(span))
    yield span
    detach(token)


async def _sent(app: ASGIApp, method: str, path: str, **body: object) -> int:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return (await client.request(method, path, json=body)).status_code


def _request(traces: Traces, span: trace.Span) -> ReadableSpan:
    span.end()
    return traces.ended[-1]


async def test_the_steps_of_a_request_are_below_the_span_of_serve(
    app: ASGIApp, traces: Traces, sampled: trace.Span
) -> None:
    status = await _sent(app, "POST", "/v1/embeddings", input="ab")
    request = _request(traces, sampled)
    (embed,) = traces.named("embed")

    assert status == 200
    assert request.name == "POST /v1/embeddings"
    assert parent_of(embed) == context_of(request)
    assert {"cache", "admission", "tokenization", "encode", "queue"} <= {*traces.names}


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/v1/collections/secret", "GET /v1/collections/{name}"),
        ("POST", "/v1/secret", "other other"),
        ("DELETE", "/v1/embeddings", "other other"),
    ],
)
async def test_no_name_of_a_client_is_in_a_span(
    app: ASGIApp, traces: Traces, sampled: trace.Span, method: str, path: str, name: str
) -> None:
    status = await _sent(app, method, path)
    request = _request(traces, sampled)

    assert request.name == name
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == status
    assert "secret" not in "".join(span.to_json() for span in traces.ended)


async def test_a_request_that_is_not_sampled_has_no_span(app: ASGIApp, traces: Traces) -> None:
    assert await _sent(app, "POST", "/v1/embeddings", input="ab") == 200
    assert traces.ended == ()
