"""Every route needs a key with its scope, except for the health checks."""

from __future__ import annotations

import httpx
import pytest

from deployments.ingress import asgi
from deployments.ingress.asgi import build_asgi
from deployments.ingress.middleware.keys import digest
from deployments.ingress.middleware.request import RequestMiddleware
from deployments.settings.access import Scope
from tests.unit.deployments.ingress.fake_service import FakeService, refusal

OPEN = {("GET", path) for path in ("/", "/ping", "/health", "/healthz", "/readyz")}
WRITES = {
    ("POST", "/v1/collections/{name}/points/delete"),
    ("PUT", "/v1/collections/{name}"),
    ("DELETE", "/v1/collections/{name}"),
    ("POST", "/v1/collections/{name}/points"),
}
ADMINISTERS = {("DELETE", "/v1/cache")}


class KeyedService(FakeService):
    """A service with a key for every scope, the scope's name being the key."""

    def __init__(self) -> None:
        super().__init__(
            keys=[
                {"name": scope.value, "sha256": digest(scope.value.encode()), "scopes": [scope]}
                for scope in Scope
            ]
        )


ROUTES: list[tuple[str, str, Scope | None]] = [
    (route.method, route.path, route.scope) for route in asgi.ROUTES
]


def test_exactly_the_health_checks_need_no_key() -> None:
    assert {(method, path) for method, path, scope in ROUTES if scope is None} == OPEN


def test_every_other_route_needs_the_scope_of_its_work() -> None:
    for method, path, scope in ROUTES:
        if (method, path) in WRITES:
            assert scope is Scope.WRITE, (method, path)
        elif (method, path) in ADMINISTERS:
            assert scope is Scope.ADMIN, (method, path)
        elif (method, path) not in OPEN:
            assert scope is Scope.READ, (method, path)


async def _ask(
    http: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> httpx.Response:
    body: dict[str, str] | None = None if method in ("GET", "DELETE") else {}
    url = path.replace("{name:path}", "x").replace("{name}", "x")
    return await http.request(method, url, headers=headers, json=body)


async def _of_every_route(headers: dict[str, str]) -> list[tuple[Scope | None, httpx.Response]]:
    """Return the scope and the answer of every route."""
    async with KeyedService().client() as http:
        return [(scope, await _ask(http, method, path, headers)) for method, path, scope in ROUTES]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"x-api-key": "wrong"},
        {"host": "x/healthz?"},
        {"x-forwarded-for": "127.0.0.1", "x-forwarded-host": "localhost"},
    ],
    ids=["no key", "wrong bearer", "wrong x-api-key", "host like an open path", "forwarded"],
)
async def test_every_route_that_is_not_open_refuses_requests_without_a_valid_key(
    headers: dict[str, str],
) -> None:
    for scope, response in await _of_every_route(headers):
        assert (response.status_code == 401) == (scope is not None), response.url


@pytest.mark.parametrize("held", list(Scope))
async def test_every_route_refuses_a_key_without_its_scope(held: Scope) -> None:
    for scope, response in await _of_every_route({"authorization": f"Bearer {held.value}"}):
        assert (response.status_code == 403) == (scope not in (None, held)), response.url


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/embeddings/x", "/docs/x.js", "/.env"])
async def test_a_path_without_a_route_needs_a_key_too(path: str) -> None:
    async with KeyedService().client() as http:
        response = await _ask(http, "GET", path, {})

    assert refusal(response) == (401, "invalid_api_key", None)


async def _preflight(service: FakeService) -> httpx.Response:
    headers = {"origin": "https://app.example", "access-control-request-method": "POST"}
    async with service.client() as http:
        return await http.options("/v1/embeddings", headers=headers)


async def test_only_configured_origins_may_send_requests() -> None:
    closed = await _preflight(FakeService())
    other = await _preflight(FakeService(cors_origins=["https://other.example"]))
    named = await _preflight(FakeService(cors_origins=["https://app.example"]))

    assert "access-control-allow-origin" not in closed.headers
    assert "access-control-allow-origin" not in other.headers
    assert named.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-credentials" not in named.headers


async def _private(service: FakeService) -> httpx.Response:
    headers = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-private-network": "true",
    }
    async with service.client() as http:
        return await http.options("/v1/embeddings", headers=headers)


async def test_requests_into_a_private_network_need_the_setting() -> None:
    origins = ["https://app.example"]
    unset = await _private(FakeService(cors_origins=origins))
    set_ = await _private(FakeService(cors_origins=origins, cors_private_network=True))
    other = await _private(
        FakeService(cors_origins=["https://x.example"], cors_private_network=True)
    )

    assert unset.status_code == other.status_code == 400
    assert "access-control-allow-private-network" not in unset.headers
    assert set_.status_code == 200
    assert set_.headers["access-control-allow-private-network"] == "true"
    assert set_.headers["access-control-allow-origin"] == "https://app.example"


async def test_the_middleware_is_outermost() -> None:
    assert isinstance(build_asgi(FakeService()), RequestMiddleware)
