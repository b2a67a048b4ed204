"""What the receiver of traces reads, and what it refuses."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from deployments.commands.traces import receiver
from deployments.commands.traces.receiver import HOST, PATH, receiving
from deployments.commands.traces.tree import ReceivedSpan
from embedder.core.errors import ConfigurationError
from embedder.core.tracing import Traced, serving, step
from tests.unit.traces import Traces, context_of


@pytest.fixture
def received() -> list[ReceivedSpan]:
    """Return the list of the received spans."""
    return []


@pytest.fixture
def address(received: list[ReceivedSpan]) -> Iterator[str]:
    """Yield the address of a receiver."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    with receiving(received.extend, port):
        yield f"http://{HOST}:{port}{PATH}"


def _message() -> tuple[Traces, bytes]:
    traces = Traces()
    one, two = traces.request(), traces.request()
    with suppress(KeyError), serving(Traced.merged([one, two])), step("batch") as span:
        span.set(texts=3, seconds=0.5, model="m", cached=True)
        raise KeyError
    return traces, encode_spans(traces.ended).SerializeToString()


def test_a_span_is_received_as_it_was_sent(address: str, received: list[ReceivedSpan]) -> None:
    traces, message = _message()
    answer = httpx.post(address, content=message)
    (span,) = received
    _, trace_id, span_id, _ = context_of(traces.ended[0]).split("-")

    assert answer.status_code == 200
    assert (span.trace_id, span.span_id, span.name) == (trace_id, span_id, "batch")
    assert len(span.parent_id) == 16
    assert next(trace for trace, _ in span.links) == trace_id
    assert span.attributes == {
        "replica_id": "r1",
        "texts": 3,
        "seconds": 0.5,
        "model": "m",
        "cached": True,
    }
    assert span.error == "KeyError"
    assert span.start_s <= span.end_s


def test_another_path_and_other_bytes_are_refused(
    address: str, received: list[ReceivedSpan]
) -> None:
    assert httpx.post(address, content=b"\xff\xff").status_code == 400
    assert httpx.post(address + "/more", content=b"").status_code == 404
    assert received == []


def test_a_message_is_read_up_to_its_limit(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, message = _message()
    monkeypatch.setattr(receiver, "MAX_BYTES", len(message))
    assert httpx.post(address, content=message).status_code == 200
    monkeypatch.setattr(receiver, "MAX_BYTES", len(message) - 1)

    assert httpx.post(address, content=message).status_code == 413


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_cannot_be_used_is_named(port: int) -> None:
    with (
        pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}"),
        receiving(lambda _: None, port),
    ):
        pass


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match="see --port"), receiving(lambda _: None, port):
            pass
