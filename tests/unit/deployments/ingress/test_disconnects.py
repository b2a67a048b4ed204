"""A cancelled request stops at any step and leaves no work behind.

Serve cancels the request when its client disconnects.
"""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.types import ASGIApp, Message, Scope

from deployments.ingress.asgi import build_asgi
from embedder.core.deadline import Deadline
from embedder.core.types import Encoded, Priority, TokenBatch
from embedder.settings.model import ModelSettings
from tests.unit.deployments.ingress.fake_service import ALIAS, CLASSES, CROSS, FakeService

MODELS = (ALIAS, CROSS, CLASSES)
MAX_TURNS = 60
"""More turns of the event loop than a request takes to reach the encoder."""


def _service(patch: pytest.MonkeyPatch) -> FakeService:
    """Return a service whose encoder never answers, so requests end only by cancellation."""
    service = FakeService(*({"name": name} for name in MODELS))
    answer = service.encoder.encode

    async def encode(
        model: ModelSettings, tokens: TokenBatch, priority: Priority, deadline: Deadline
    ) -> Encoded:
        if tokens.ids.tolist() != [0]:  # the probe of a new connection
            await asyncio.Event().wait()
        return await answer(model, tokens, priority, deadline)

    patch.setattr(service.encoder, "encode", encode)
    return service


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _request(app: ASGIApp, path: str, body: object) -> asyncio.Task[None]:
    content = json.dumps(body).encode()
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "state": {},
    }
    messages: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        raise AssertionError(f"an answer without an encoder: {message}")

    return asyncio.ensure_future(app(scope, receive, send))


BODIES = {
    "/v1/embeddings": {"input": ["aab", "b"]},
    "/embed": {"inputs": "aab"},
    "/rerank": {"query": "a", "texts": ["aab", "b"], "method": "bi-encoder"},
    "/v2/rerank": {"query": "a", "documents": ["aab", "b"], "max_tokens_per_doc": 2},
    "/predict": {"inputs": [["aab"], ["b"]], "model": "classes"},
    "/v1/similarity": {"a": ["a"], "b": ["b"]},
    "/v1/cluster": {"inputs": ["a", "b"], "k": 2},
    "/v1/collections/c/points": {"points": [{"id": "1", "text": "aab"}]},
}


@pytest.mark.parametrize("path", BODIES)
async def test_a_request_can_be_cancelled_at_any_step(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = _service(monkeypatch)
    for name in MODELS:
        await service.model(name)
    app = build_asgi(service)
    for turns in range(MAX_TURNS):
        request = _request(app, path, BODIES[path])
        await _turns(turns)

        request.cancel()
        await _turns(MAX_TURNS)

        assert request.cancelled(), f"cancelled after {turns} turns and still running"
        assert service.request_stats.in_flight == 0
        assert not any(service.admission.stats.queued_tokens.values())
        for connection in service.models.serving():
            assert connection.pipeline.in_flight == 0
