"""Alive is not ready: what each says, and what the application says of itself."""

from __future__ import annotations

import httpx
import pytest

from deployments.ingress.asgi import build_asgi
from embedder.errors import StageUnavailable
from tests.unit.deployments.ingress.fake_service import FakeService, refusal

STAGES = {
    "tokenizer": "Tokenizer",
    "encoder": "Encoder",
    "cache": "EmbeddingCache-0",
    "index": "VectorIndex-0",
}
ROUTES = {
    "/v1/embeddings": {"post"},
    "/v1/models": {"get"},
    "/v1/models/{name}": {"get"},
    "/v1/collections": {"get"},
    "/v1/collections/{name}": {"get", "put", "delete"},
    "/v1/collections/{name}/points": {"post"},
    "/v1/collections/{name}/search": {"post"},
    "/healthz": {"get"},
    "/readyz": {"get"},
}


async def _get(path: str, service: FakeService | None = None) -> httpx.Response:
    async with (service or FakeService()).client() as http:
        return await http.get(path)


async def test_a_service_whose_stages_all_answer_is_ready() -> None:
    response = await _get("/readyz")

    assert response.status_code == 200
    assert response.json() == {
        "ready": True,
        "stages": dict.fromkeys(STAGES.values(), "ready"),
    }


@pytest.mark.parametrize("broken", STAGES)
@pytest.mark.parametrize("fault", [StageUnavailable("it", "secret"), ValueError("secret")])
async def test_a_service_with_a_broken_stage_is_not_ready_and_names_it(
    broken: str, fault: Exception
) -> None:
    service = FakeService()
    service.handles[broken].fault = fault
    response = await _get("/readyz", service)
    stages = response.json()["stages"]

    assert response.status_code == 503
    assert response.json()["ready"] is False
    assert [name for name, state in stages.items() if state != "ready"] == [STAGES[broken]]
    assert "secret" not in response.text


async def test_a_service_asks_again_each_time_whether_it_is_ready() -> None:
    service = FakeService()
    states = [(await _get("/readyz", service)).status_code]
    service.handles["encoder"].fault = ValueError("gone")
    states.append((await _get("/readyz", service)).status_code)
    service.handles["encoder"].fault = None
    states.append((await _get("/readyz", service)).status_code)

    assert states == [200, 503, 200]


async def test_the_ingress_is_alive_whatever_the_stages_do() -> None:
    service = FakeService()
    for handle in service.handles.values():
        handle.fault = ValueError("gone")
    response = await _get("/healthz", service)

    assert (response.status_code, response.json()) == (200, {"status": "alive"})


async def test_the_description_of_the_api_lists_every_route() -> None:
    response = await _get("/openapi.json")
    paths = response.json()["paths"]

    assert response.status_code == 200
    assert {path: set(methods) for path, methods in paths.items()} == ROUTES


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/v1", "/v1/embeddings/", "/v2/models"])
async def test_what_is_no_route_is_not_found(path: str) -> None:
    async with FakeService().client() as http:
        response = await http.get(path, follow_redirects=True)

    assert response.status_code in (404, 405)
    assert refusal(response)[1] in ("route_not_found", "method_not_allowed")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/embeddings"),
        ("DELETE", "/v1/models"),
        ("POST", "/v1/collections"),
        ("POST", "/v1/collections/a"),
        ("PUT", "/v1/collections/a/points"),
        ("GET", "/v1/collections/a/search"),
        ("POST", "/readyz"),
    ],
)
async def test_another_method_than_a_routes_own_is_refused(method: str, path: str) -> None:
    async with FakeService().client() as http:
        response = await http.request(method, path, json={})

    assert refusal(response) == (405, "method_not_allowed", None)
    assert method not in response.headers["allow"].split(", ")


async def test_an_unexpected_error_in_a_route_is_answered_without_a_word_about_it() -> None:
    app = build_asgi(FakeService())

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError("/srv/secret")

    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        response = await http.get("/broken")

    assert refusal(response) == (500, "internal_error", None)
    assert "secret" not in response.text
    assert "ZeroDivision" not in response.text
