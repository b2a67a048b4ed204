"""A request reaches the application only with a valid key, if there are keys, and a whole body."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Scope

from deployments.ingress.errors.responses import ErrorShape
from deployments.ingress.middleware.accepted_keys import AcceptedKeys
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.keys import digest
from deployments.ingress.middleware.large_bodies import LargeBodies
from deployments.ingress.middleware.request import RequestMiddleware
from deployments.ingress.middleware.request_stats import RequestStats
from deployments.settings.access import HEALTH_CHECKS
from deployments.settings.service import ServeSettings
from embedder.core.errors import Overloaded
from tests.unit.deployments.ingress.fake_service import refusal
from tests.unit.fake_model import settle

KEY = "emb-sesame"


class EchoServer:
    """The middleware in front of an application that echoes bodies."""

    def __init__(self, *, keyed: bool = False, **limits: float) -> None:
        self.request_stats = RequestStats()
        self.contexts: list[RequestContext] = []
        self.fault: Exception | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        entry = {"name": "a", "sha256": digest(KEY.encode()), "scopes": ["read"]}
        arguments: dict[str, Any] = {"limits": limits, "keys": [entry] if keyed else []}
        settings = ServeSettings.model_validate(arguments)
        self.app = RequestMiddleware(
            self._answer,
            settings,
            AcceptedKeys(settings),
            self.request_stats,
            LargeBodies(1.0),
            {"/embed": ErrorShape.TEI},
        )

    async def _answer(self, context: RequestContext, body: bytes) -> Response:
        self.contexts.append(context)
        await self.hold.wait()
        if self.fault is not None:
            raise self.fault
        return PlainTextResponse(body)

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://test")

    async def post(self, path: str = "/any", **arguments: Any) -> httpx.Response:
        async with self.client() as http:
            return await http.post(path, **arguments)


async def test_the_application_receives_the_whole_body() -> None:
    response = await EchoServer().post(content=b"hello")

    assert response.text == "hello"


async def test_every_response_has_its_total_time_and_is_counted() -> None:
    server = EchoServer()
    answered = await server.post()
    server.fault = Overloaded(2.0)
    refused = await server.post()

    assert int(answered.headers["x-total-time"]) >= 0
    assert int(refused.headers["x-total-time"]) >= 0
    assert refused.headers["retry-after"] == "2"
    assert server.request_stats.answers == {200: 1, 429: 1}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {KEY}"},
        {"x-api-key": KEY + "x"},
        {"authorization": "Bearer"},
        {"x-forwarded-for": "127.0.0.1", "x-forwarded-user": "admin"},
        {"host": "x/healthz?"},
        {"x-original-url": "/healthz", "x-rewrite-url": "/healthz"},
    ],
)
async def test_without_a_valid_key_nothing_is_read_or_run(headers: dict[str, str]) -> None:
    server = EchoServer(keyed=True)
    response = await server.post(headers=headers, content=b"hello")

    assert refusal(response) == (401, "invalid_api_key", None)
    assert response.headers["www-authenticate"] == "Bearer"
    assert server.contexts == []


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}, {"X-Api-Key": KEY}]
)
async def test_a_valid_key_is_accepted_in_each_header(headers: dict[str, str]) -> None:
    server = EchoServer(keyed=True)
    response = await server.post(headers=headers, content=b"hello")

    assert response.text == "hello"
    [context] = server.contexts
    assert context.key is not None
    assert context.key.name == "a"


@pytest.mark.parametrize("path", sorted(HEALTH_CHECKS))
async def test_the_open_paths_need_no_key(path: str) -> None:
    assert (await EchoServer(keyed=True).post(path)).status_code == 200


async def test_the_root_needs_a_key_to_embed_and_none_for_a_health_check() -> None:
    server = EchoServer(keyed=True)
    async with server.client() as http:
        assert (await http.get("/")).status_code == 200
        assert (await http.head("/")).status_code == 200
        assert (await http.put("/")).status_code == 401


@pytest.mark.parametrize(
    "path", ["/healthz/", "/healthzz", "//healthz", "/HEALTHZ", "/", "/nowhere"]
)
async def test_a_path_similar_to_an_open_path_needs_a_key(path: str) -> None:
    server = EchoServer(keyed=True)
    response = await server.post(f"http://test{path}")

    assert response.status_code == 401
    assert server.contexts == []


async def test_errors_on_tei_paths_have_the_shape_of_tei() -> None:
    response = await EchoServer(keyed=True).post("/embed")

    assert response.status_code == 401
    assert response.json().keys() == {"error", "error_type"}
    assert response.json()["error_type"] == "Unauthorized"


async def test_an_invalid_timeout_and_a_large_body_are_refused_before_the_route() -> None:
    server = EchoServer(max_body_bytes=4)
    late = await server.post(headers={"x-request-timeout": "soon"})
    large = await server.post(content=b"12345")
    packed = await server.post(content=b"1", headers={"content-encoding": "gzip"})

    assert refusal(late) == (400, "invalid_input", "x-request-timeout")
    assert refusal(large) == (413, "body_too_large", "body")
    assert refusal(packed) == (415, "unsupported_media_type", None)
    assert server.contexts == []


async def test_the_deadline_is_the_limit_or_what_the_client_asks_if_that_is_less() -> None:
    server = EchoServer(request_timeout_s=30.0)
    for given in (None, "2.5", "31"):
        await server.post(headers={} if given is None else {"x-request-timeout": given})

    times = [context.deadline - context.began for context in server.contexts]
    assert times == [pytest.approx(seconds) for seconds in (30.0, 2.5, 30.0)]


async def test_requests_in_progress_are_counted_until_they_end() -> None:
    server = EchoServer()
    server.hold.clear()
    running = [asyncio.ensure_future(server.post()) for _ in range(5)]
    await settle()
    during = server.request_stats.in_flight
    for one in running[:2]:
        one.cancel()
    await asyncio.gather(*running[:2], return_exceptions=True)
    server.hold.set()
    await asyncio.gather(*running[2:])

    assert during == 5
    assert server.request_stats.in_flight == 0
    assert server.request_stats.abandoned == 2
    assert server.request_stats.answers == {200: 3}


async def test_a_client_that_disconnects_while_sending_is_counted_and_not_answered() -> None:
    server = EchoServer()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "POST", "path": "/any", "headers": []}
    await server.app(scope, receive, send)

    assert sent == []
    assert server.contexts == []
    assert (server.request_stats.in_flight, server.request_stats.abandoned) == (0, 1)
