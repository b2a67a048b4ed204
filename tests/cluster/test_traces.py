"""Traces of a real service, received over OTLP.

It traces the requests that ask for it, and no share of the others.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator, Sequence, Set

import httpx
import pytest

from deployments.commands.traces.receiver import receiving
from deployments.commands.traces.tree import ReceivedSpan
from tests.cluster.service import RunningService

pytestmark = pytest.mark.cluster

CLIENT = "00f067aa0ba902b7"
"""The id of the client's own span."""

STEPS = {"embed", "admission", "cache", "tokenization", "encode", "queue"}
"""What every request that is computed has."""

TRIES = 5
WAIT_S = 60.0
SECRET = "confidential"


class Received:
    """The spans of a service."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self.probes = set[str]()

    @property
    def traces(self) -> set[str]:
        """Return the traces of which spans have been received, without those of probes."""
        return {span.trace_id for span in self.spans} - self.probes

    def of(self, trace: str) -> list[ReceivedSpan]:
        """Return the spans of a trace."""
        return [span for span in self.spans if span.trace_id == trace]

    def wait(self, traces: Sequence[str], steps: Set[str]) -> None:
        """Wait until each trace has these steps, and the parent of each step."""
        deadline = time.monotonic() + WAIT_S
        while missing := [trace for trace in traces if not self._is_complete(trace, steps)]:
            names = {trace: [span.name for span in self.of(trace)] for trace in missing}
            assert time.monotonic() < deadline, f"incomplete of {len(traces)}: {names}"
            time.sleep(0.1)

    def _is_complete(self, trace: str, steps: Set[str]) -> bool:
        spans = self.of(trace)
        parents = {span.parent_id for span in spans} - {span.span_id for span in spans}
        return parents == {CLIENT} and steps <= {span.name for span in spans}


@pytest.fixture(scope="module")
def received(service: RunningService, traces_port: int) -> Iterator[Received]:
    """Yield the spans that are received, once a request is traced.

    After a change of the configuration, as by earlier tests, HAProxy sends requests through Serve's
    proxy for some seconds, which does not read the header.
    """
    received = Received()
    with receiving(received.spans.extend, traces_port):
        deadline = time.monotonic() + WAIT_S
        while not received.spans:
            assert time.monotonic() < deadline, "no request is traced"
            probe = secrets.token_hex(16)
            received.probes.add(probe)
            header = {"traceparent": f"00-{probe}-{CLIENT}-01"}
            httpx.post(f"{service.url}/v1/embeddings", json={"input": "cached"}, headers=header)
            time.sleep(1)
        yield received


async def _send(url: str, *traces: str) -> None:
    """Send bulk work, which delays no other, and while it is computed, a text for each trace."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def embed(texts: list[str], priority: str = "interactive", **headers: str) -> None:
            body = {"input": texts, "priority": priority}
            answer = await client.post("/v1/embeddings", json=body, headers=headers)
            answer.raise_for_status()

        mark = secrets.token_hex(8)
        long = [f"{mark} {row} " + "words " * 200 for row in range(24)]
        large = asyncio.ensure_future(embed(long, "bulk"))
        await asyncio.sleep(0.3)
        await asyncio.gather(
            embed([f"{SECRET} {mark} not traced"], traceparent=f"00-{'5' * 32}-{CLIENT}-00"),
            *(
                embed([f"{SECRET} {mark} {trace}"], traceparent=f"00-{trace}-{CLIENT}-01")
                for trace in traces
            ),
        )
        await large


def _shared_batch(received: Received, traces: list[str]) -> ReceivedSpan | None:
    """Return a batch of several of these traces."""
    batches = (span for trace in traces for span in received.of(trace) if span.name == "batch")
    return next((span for span in batches if len({*span.links}) > 1), None)


def test_requests_that_share_a_batch_are_traced_to_it(
    service: RunningService, received: Received
) -> None:
    known = received.traces
    sent: list[str] = []
    batch = None
    for _ in range(TRIES):
        traces = [secrets.token_hex(16) for _ in range(6)]
        asyncio.run(_send(service.url, *traces))
        received.wait(traces, STEPS)
        sent += traces
        batch = _shared_batch(received, traces)
        if batch is not None:
            break
    assert batch is not None, "no two requests have shared a batch"
    spans = {(span.trace_id, span.span_id): span for span in received.spans}

    for link in batch.links:
        encode = spans[link]
        assert encode.name == "encode"
        assert (batch.trace_id, batch.span_id) in encode.links
    assert (batch.trace_id, batch.parent_id) == batch.links[0]
    assert batch.attributes["texts"] >= len(batch.links)  # type: ignore[operator]
    assert str(batch.attributes["deployment"]) in ("Encoder", "Ingress")
    assert batch.attributes["replica_id"]
    for trace in sent:
        _check_tree(received.of(trace))
    assert received.traces == known | {*sent}
    assert SECRET not in str(received.spans)


def _check_tree(trace: list[ReceivedSpan]) -> None:
    """Check the steps of one request, and the parent of each."""
    by_id = {span.span_id: span for span in trace}
    (root,) = (span for span in trace if span.parent_id == CLIENT)
    (embed,) = (span for span in trace if span.name == "embed")

    assert root.name == "POST /v1/embeddings"
    assert root.attributes["http.response.status_code"] == 200
    assert embed.parent_id == root.span_id
    assert all(span is root or span.parent_id in by_id for span in trace)
    assert all(root.start_s <= span.start_s <= span.end_s for span in trace)


def test_a_search_by_text_is_traced_to_the_index(
    service: RunningService, received: Received
) -> None:
    name = f"traces-{secrets.token_hex(4)}"
    trace = secrets.token_hex(16)
    collection = f"{service.url}/v1/collections/{name}"
    header = {"traceparent": f"00-{trace}-{CLIENT}-01"}
    with httpx.Client(timeout=60) as client:
        points = {"points": [{"id": "one", "text": "a text"}]}
        client.post(f"{collection}/points", json=points).raise_for_status()
        query = {"text": "text", "top_k": 1}
        found = client.post(f"{collection}/search", json=query, headers=header)
        client.delete(collection).raise_for_status()
    found.raise_for_status()
    received.wait([trace], {"embed", "search", "queue"})
    (root,) = (span for span in received.of(trace) if span.parent_id == CLIENT)

    assert root.name == "POST /v1/collections/{name}/search"
    assert name not in str(received.spans)


def test_a_header_that_is_no_trace_is_ignored(service: RunningService, received: Received) -> None:
    trace = secrets.token_hex(16)
    headers = [b"", b"\xff\xfe", b"00-%b-%b-01" % (b"0" * 32, b"0" * 16), b"x" * 999]
    known = received.traces
    statuses = [
        httpx.post(
            f"{service.url}/v1/embeddings",
            json={"input": "cached"},
            headers=[(b"traceparent", header)],
        ).status_code
        for header in (*headers, f"00-{trace}-{CLIENT}-01".encode())
    ]
    received.wait([trace], {"embed", "cache"})

    assert statuses == [200] * 5
    assert received.traces == known | {trace}
