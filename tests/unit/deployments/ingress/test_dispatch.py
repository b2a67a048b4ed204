"""Most requests go straight to their function; both ways read, refuse and answer alike."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.ingress.asgi import build_asgi, build_routes, routes
from deployments.ingress.dispatch import Dispatch
from deployments.ingress.middleware.request import RequestMiddleware
from tests.unit.deployments.ingress.fake_service import FakeService

JSON = "application/json"


async def _nothing_else(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError(f"{scope['path']} went the long way")


def _gated(app: ASGIApp, service: FakeService) -> ASGIApp:
    return RequestMiddleware(app, service.settings, service.request_stats)


async def _ask(app: ASGIApp, path: str, content: bytes, kind: str) -> tuple[int, Any]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        response = await http.post(path, content=content, headers={"content-type": kind})
        return response.status_code, response.json()


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings", "/embed", "/v1/similarity"])
async def test_what_is_asked_most_goes_straight(path: str) -> None:
    service = FakeService()
    app = _gated(Dispatch(_nothing_else, service, routes()), service)

    status, _ = await _ask(app, path, b'{"input":"a","inputs":"a","a":["a"]}', JSON)
    assert status in (200, 400)


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("/v1/embeddings", {"input": ["aab", "d"]}, JSON),
        ("/v1/embeddings", {"input": ""}, JSON),
        ("/v1/embeddings", {"input": "a", "dimensions": "x"}, JSON),
        ("/v1/embeddings", {}, JSON),
        ("/v1/embeddings", [], JSON),
        ("/v1/embeddings", b"{", JSON),
        ("/v1/embeddings", b"{}", "text/plain"),
        ("/v1/similarity", {"a": ["a", "b"]}, JSON),
        ("/embed", {"inputs": ["aab", [97]]}, JSON),
        ("/embed", {"inputs": []}, JSON),
        ("/embed", {"inputs": "a", "normalize": "x"}, JSON),
        ("/embed", b"{", JSON),
        ("/similarity", {"inputs": 5}, JSON),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": 5},
            JSON,
        ),
        ("/", {"inputs": {"source_sentence": "a", "sentences": ["b", 5]}}, JSON),
    ],
    ids=str,
)
async def test_the_short_way_answers_as_the_long_one(path: str, content: Any, kind: str) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    service = FakeService()

    short = await _ask(build_asgi(service), path, body, kind)
    assert "instance of" not in str(short), "no class is named"
    assert short == await _ask(_gated(build_routes(service), service), path, body, kind)
