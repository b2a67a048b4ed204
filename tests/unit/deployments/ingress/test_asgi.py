"""Unknown paths, refused methods and bugs are answered in one shape."""

from __future__ import annotations

import re
from typing import NoReturn

import httpx
import pytest

from deployments.ingress.asgi import ROUTES, build_asgi
from deployments.ingress.routing import router
from deployments.ingress.service import readiness
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, message, refusal


@pytest.mark.parametrize("path", ["/redoc", "/v1", "/v1/embeddings/", "/v2/models", "/static"])
async def test_an_unknown_path_is_not_found(path: str) -> None:
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


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/collections/a", "DELETE, GET, HEAD, PUT"),
        ("/v1/collections/a/points/count", "GET, HEAD, POST"),
        ("/v1/cache", "DELETE, GET, HEAD"),
        ("/v1/embeddings", "POST"),
    ],
)
async def test_a_refused_method_gets_all_allowed_methods(path: str, methods: str) -> None:
    async with FakeService().client() as http:
        response = await http.patch(path)

    assert response.status_code == 405
    assert response.headers["allow"] == methods


def broken() -> NoReturn:
    raise ZeroDivisionError("/srv/secret")


async def test_an_unexpected_error_is_answered_without_its_details() -> None:
    service = FakeService()
    service.models.states = broken  # type: ignore[method-assign]
    async with service.client() as http:
        response = await http.get("/v1/models")

    assert refusal(response) == (500, "internal_error", None)
    assert "secret" not in response.text
    assert "ZeroDivision" not in response.text


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("//embed", "/embed"),
        ("/v1//embeddings", "/v1/embeddings"),
        ("/v1/v1/embeddings", "/v1/embeddings"),
        ("/v1/embeddings/", "/v1/embeddings"),
        ("/v1/embedings", "/v1/embeddings"),
        ("/v2/embeddings", "/embeddings"),
        ("/openai/deployments/small/embeddings", "/embeddings"),
        ("/v1/collections/a//search", "/v1/collections/a/search"),
        ("/rerank/", "/rerank"),
        ("/api/v1/similarity", "/v1/similarity"),
    ],
)
async def test_a_misspelt_path_gets_a_suggestion(path: str, meant: str) -> None:
    async with FakeService().client() as http:
        response = await http.post(httpx.URL("http://test").copy_with(raw_path=path.encode()))

    assert refusal(response)[:2] == (404, "route_not_found")
    assert f"did you mean {meant}?" in message(response)


async def test_an_unknown_path_is_compared_with_the_routes_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []
    monkeypatch.setattr(router, "suggested_path", lambda path, _: compared.append(path))
    async with FakeService().client() as http:
        await http.get("/v1/embedings")

    assert compared == ["/v1/embedings"]


@pytest.mark.parametrize("path", ["/zzz", "/" + "a" * 50_000, "/static/.env"])
async def test_a_path_similar_to_none_gets_no_suggestion(path: str) -> None:
    async with FakeService().client() as http:
        response = await http.get(path)

    assert refusal(response) == (404, "route_not_found", None)
    assert "did you mean" not in message(response)


async def test_a_request_for_metrics_gets_their_location() -> None:
    async with FakeService().client() as http:
        response = await http.get("/metrics")

    assert refusal(response)[:2] == (404, "route_not_found")
    assert "prom_metrics_service_discovery.json" in message(response)


READABLE = sorted(
    re.sub(r"\{.*?\}", ALIAS if "models" in route.path else "a", route.path)
    for route in ROUTES
    if route.method == "GET" and route.path != "/docs/{name}"
)


@pytest.mark.parametrize("path", READABLE)
async def test_head_is_get_without_the_body(path: str) -> None:
    async with FakeService().client() as http:
        points = {"points": [{"id": "a", "text": "abc"}]}
        assert (await http.post("/v1/collections/a/points", json=points)).is_success
        # A length without its body is that of the answer as it is, not compressed.
        http.headers["accept-encoding"] = "identity"
        read = await http.get(path)
        head = await http.head(path)

    assert head.status_code == read.status_code == 200
    assert head.content == b""
    assert head.headers.get("content-type") == read.headers.get("content-type")
    if path not in ("/v1/stats", "/v1/cache"):  # they hold times, which are of any length
        assert head.headers["content-length"] == read.headers["content-length"]


async def test_head_is_refused_where_there_is_no_get() -> None:
    async with FakeService().client() as http:
        response = await http.head("/v1/embeddings")

    assert response.status_code == 405
    assert response.content == b""
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/", "/ping", "/health"])
async def test_the_health_checks_of_tei_say_whether_the_service_is_ready(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "KEEP_S", 0.0)
    service = FakeService()
    async with service.client() as http:
        await http.post("/v1/embeddings", json={"input": "a"})
        ready = await http.get(path)
        service.handles["encoder"].fault = OSError("lost")
        unready = await http.get(path)

    assert (ready.status_code, ready.content) == (200, b"")
    assert unready.status_code == 503


async def test_below_a_route_prefix_everything_is_as_at_the_root() -> None:
    """Serve leaves the prefix in the path and names it as the root."""
    keys = [{"name": "only", "sha256": "0" * 64, "scopes": ["read"]}]
    answers = {}
    for prefix in ("", "/api"):
        service = FakeService(keys=keys)
        await service.model(None)
        transport = httpx.ASGITransport(build_asgi(service), root_path=prefix)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://test{prefix}") as http:
            asked = [await http.get(path) for path in ("/healthz", "/readyz", "/health", "/ping")]
            asked += [
                await http.get(""),
                await http.post("/v1/embeddings", json={"input": "a"}),
                await http.post("/embed", json={"inputs": "a"}),
                await http.post("", json={"inputs": "a"}),
                await http.post("/api/healthz"),
            ]
        answers[prefix] = [(one.status_code, one.content) for one in asked]

    assert [status for status, _ in answers[""]] == [200] * 5 + [401] * 4
    assert answers["/api"] == answers[""]


async def test_the_description_has_the_route_prefix() -> None:
    transport = httpx.ASGITransport(build_asgi(FakeService()), root_path="/api")
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        described = (await http.get("/api/openapi.json")).json()

    assert described["servers"] == [{"url": "/api"}]
