"""Each request calls the function of the route with its method and path."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Path, Query
from pydantic import BaseModel
from starlette.types import Message

from deployments.ingress.asgi import ERROR_SHAPES, ROUTES, build_asgi
from deployments.ingress.errors.responses import ErrorShape
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.service import Service
from tests.unit.deployments.ingress.fake_service import FakeService, refusal
from tests.unit.deployments.ingress.routes_client import client_of
from tests.unit.deployments.ingress.test_access import KeyedService


class Numbers(BaseModel):
    numbers: list[int]


def _client() -> httpx.AsyncClient:
    """Serve routes whose parameter names differ from the declared names."""
    routes = Routes(tag=None)

    @routes.add("POST", "/sum/{label}", "/total/{label}", scope=None)
    async def total(
        given: Numbers,
        asked: RequestContext,
        named: Annotated[str, Path(alias="label")],
        behind: Service,
        factor: Annotated[int, Query(alias="times")] = 1,
        tags: Annotated[list[str], Query(alias="tag")] = ["none"],  # noqa: B006 - never changed
    ) -> dict[str, Any]:
        assert asked.large_body is None
        assert isinstance(behind, FakeService)
        return {"label": named, "sum": factor * sum(given.numbers), "tags": tags}

    @routes.add("GET", "/sum/{label:path}", scope=None)
    async def label(named: Annotated[str, Path(alias="label")]) -> str:
        return named

    return client_of(routes)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/sum/a", {"label": "a", "sum": 3, "tags": ["none"]}),
        ("/total/%C3%A9", {"label": "é", "sum": 3, "tags": ["none"]}),
        ("/sum/{label}", {"label": "{label}", "sum": 3, "tags": ["none"]}),
        ("/sum/a?times=5&times=2", {"label": "a", "sum": 6, "tags": ["none"]}),
        ("/sum/a?tag=x&tag=&other=1", {"label": "a", "sum": 3, "tags": ["x", ""]}),
    ],
)
async def test_arguments_are_found_by_type_and_declaration(
    path: str, expected: dict[str, Any]
) -> None:
    async with _client() as http:
        response = await http.post(path, json={"numbers": [1, 2]})

    assert (response.status_code, response.json()) == (200, expected)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/sum/a?times=x", {"numbers": []}, "times"),
        ("/sum/a?times=", {"numbers": []}, "times"),
        ("/sum/a", {"numbers": [1, "x"]}, "numbers[1]"),
        ("/sum/a", {}, "numbers"),
    ],
)
async def test_a_value_of_another_type_is_refused_by_name(path: str, body: Any, param: str) -> None:
    async with _client() as http:
        response = await http.post(path, json=body)

    assert refusal(response) == (400, "invalid_input", param)


async def test_one_path_can_have_a_function_for_each_method() -> None:
    async with _client() as http:
        read = await http.get("/sum/a/b")
        refused = await http.put("/sum/a")

    assert read.content == b'"a/b"'
    assert refused.headers["allow"] == "GET, HEAD, POST"


def test_no_two_routes_have_one_method_and_path() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize("path", sorted(path for path in ERROR_SHAPES if "{" not in path))
async def test_a_path_answers_in_the_error_shape_that_its_route_declares(path: str) -> None:
    async with KeyedService().client() as http:
        response = await http.patch(path, headers={"x-api-key": "read"})

    keys = {
        ErrorShape.OPENAI: {"error"},
        ErrorShape.TEI: {"error", "error_type"},
        ErrorShape.COHERE: {"message"},
        ErrorShape.JINA: {"detail"},
    }
    assert response.status_code == 405
    assert response.json().keys() == keys[ERROR_SHAPES[path]]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/collections/c/search"])
async def test_an_empty_body_is_missing(path: str) -> None:
    async with FakeService().client() as http:
        response = await http.post(path, headers={"content-type": "application/json"})

    assert refusal(response) == (400, "invalid_input", None)


async def test_a_server_may_announce_its_start_and_its_end() -> None:
    received = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(received)

    async def send(message: Message) -> None:
        sent.append(message)

    await build_asgi(FakeService())({"type": "lifespan", "state": {}}, receive, send)

    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_a_websocket_is_closed() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/embeddings", "root_path": "", "headers": []}
    await build_asgi(FakeService())(scope, receive, send)

    assert [message["type"] for message in sent] == ["websocket.close"]
