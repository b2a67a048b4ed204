"""A key that is limited to one collection neither reads nor changes another one, by any route."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress import asgi
from deployments.ingress.errors.http_errors import SHOWN_CHARACTERS, CollectionDenied
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.keys import digest
from deployments.ingress.routing.route import Route
from deployments.settings.access import ApiKey, Scope
from embedder.core.deadline import NEVER
from tests.unit.deployments.ingress.fake_service import FakeService, message, refusal

ALL, LIMITED, NONE = "key-of-all", "key-of-mine", "key-of-none"
MINE, OTHER = "mine-1", "theirs"
SECRET = "abcd"

LISTING = {("GET", "/v1/collections"), ("GET", "/v1/stats")}
"""The routes that show several collections."""

WITHOUT_COLLECTIONS = {
    *(("GET", path) for path in ("/", "/healthz", "/readyz", "/health", "/ping", "/info")),
    *(("GET", path) for path in ("/v1/models", "/v1/models/{name:path}", "/v1/cache")),
    *(("GET", path) for path in ("/openapi.json", "/docs", "/docs/{name}")),
    *(("POST", path) for path in ("/", "/embed", "/similarity", "/rerank", "/tokenize", "/decode")),
    *(("POST", path) for path in ("/v1/embeddings", "/embeddings", "/v1/similarity")),
    *(("POST", path) for path in ("/v1/cluster", "/v1/embed", "/v2/embed")),
    *(("POST", path) for path in ("/predict", "/v1/rerank", "/v2/rerank")),
    *(("POST", path) for path in ("/embed_sparse", "/embed_all")),
    ("DELETE", "/v1/cache"),
}
"""The routes that neither read nor change a collection."""

BODIES: dict[tuple[str, str], Any] = {
    ("PUT", ""): {},
    ("POST", "/points"): {"points": [{"id": "new", "vector": [0, 0, 0, 1]}]},
    ("POST", "/points/delete"): {"ids": ["a"]},
    ("POST", "/points/fetch"): {"ids": ["a"], "include": ["text"]},
    ("POST", "/points/count"): {},
    ("POST", "/points/scroll"): {"include": ["text"]},
    ("POST", "/search"): {"vector": [1, 0, 0, 0], "include": ["text"]},
}
"""A body that each route of a collection accepts, by its method and the end of its path."""


def _entry(key: str, **fields: Any) -> dict[str, Any]:
    return {"name": f"«{key}»", "sha256": digest(key.encode()), "scopes": list(Scope), **fields}


class Two:
    """A service with two collections, and a client for each key."""

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self._http = service.client()

    async def send(self, key: str, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return await self._http.request(method, path, headers=headers, json=body)

    async def fill(self) -> None:
        for name in (MINE, OTHER):
            points = [{"id": "a", "text": f"{SECRET} of {name}", "vector": [1, 0, 0, 0]}]
            answer = await self.send(
                ALL, "POST", f"/v1/collections/{name}/points", {"points": points}
            )
            assert answer.status_code == 200

    async def state(self, name: str) -> Any:
        """Return everything that a collection holds."""
        described = await self.send(ALL, "GET", f"/v1/collections/{name}")
        body = {"include": ["text", "metadata", "vector"]}
        page = await self.send(ALL, "POST", f"/v1/collections/{name}/points/scroll", body)
        return described.json(), page.json()

    async def close(self) -> None:
        await self._http.aclose()


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    keys = [_entry(ALL), _entry(LIMITED, collections=["mine-*"]), _entry(NONE, collections=[])]
    service = Two(FakeService(keys=keys))
    await service.fill()
    yield service
    await service.close()


def _is_of_a_collection(route: Route) -> bool:
    return route.parameters.collection is not None


OF_COLLECTIONS = [route for route in asgi.ROUTES if _is_of_a_collection(route)]
ids = [f"{route.method} {route.path}" for route in OF_COLLECTIONS]
every_route = pytest.mark.parametrize("route", OF_COLLECTIONS, ids=ids)


def test_every_route_is_classified() -> None:
    """A new route belongs to a collection by its parameter `CollectionName`, or to a set above."""
    others = {(route.method, route.path) for route in asgi.ROUTES if not _is_of_a_collection(route)}

    assert others == LISTING | WITHOUT_COLLECTIONS
    assert len(OF_COLLECTIONS) >= 10
    for route in asgi.ROUTES:
        assert _is_of_a_collection(route) == route.path.startswith("/v1/collections/")


async def _send(two: Two, key: str, route: Route, name: str) -> httpx.Response:
    prefix = "/v1/collections/{name}"
    body = BODIES.get((route.method, route.path.removeprefix(prefix)))
    path = route.path.replace("{name}", name).replace("{point_id:point_id}", "a")
    return await two.send(key, route.method, path, body)


@every_route
async def test_a_limited_key_is_refused_at_another_collection(two: Two, route: Route) -> None:
    before = await two.state(OTHER)
    for key in (LIMITED, NONE):
        answer = await _send(two, key, route, OTHER)
        missing = await _send(two, key, route, "nowhere")

        assert refusal(answer) == refusal(missing) == (403, "collection_denied", None)
        assert message(answer) == f"the key '«{key}»' does not include the collection '{OTHER}'"
        assert SECRET not in answer.text
    assert await two.state(OTHER) == before


@every_route
async def test_a_limited_key_is_good_for_its_own_collection(two: Two, route: Route) -> None:
    allowed = await _send(two, ALL, route, OTHER)
    own = await _send(two, LIMITED, route, MINE)

    assert own.status_code == allowed.status_code
    assert own.status_code in (200, 204)


@pytest.mark.parametrize(("method", "path"), sorted(LISTING))
async def test_lists_show_a_key_its_own_collections(two: Two, method: str, path: str) -> None:
    for key, names in ((ALL, {MINE, OTHER}), (LIMITED, {MINE}), (NONE, set())):
        answer = await two.send(key, method, path)

        assert answer.status_code == 200
        assert {one["name"] for one in answer.json()["collections"]} == names
        assert (OTHER in answer.text) == (OTHER in names)


@pytest.mark.parametrize(("method", "path"), sorted(WITHOUT_COLLECTIONS))
async def test_no_other_route_shows_a_collection(two: Two, method: str, path: str) -> None:
    before = [await two.state(name) for name in (MINE, OTHER)]
    url = path.replace("{name:path}", OTHER).replace("{name}", OTHER)
    body = {"collection": OTHER, "name": OTHER, "input": "x", "inputs": "x"}
    answer = await two.send(LIMITED, method, url, body if method == "POST" else None)

    assert answer.status_code != 403
    assert SECRET not in answer.text
    assert [await two.state(name) for name in (MINE, OTHER)] == before


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_collection_gives_no_scope(scope: Scope) -> None:
    entry = {**_entry(LIMITED, collections=[MINE]), "scopes": [scope]}
    two = Two(FakeService(keys=[entry]))
    try:
        for route in OF_COLLECTIONS:
            answer = await _send(two, LIMITED, route, MINE)
            assert (answer.status_code == 403) == (route.scope is not scope)
            if route.scope is not scope:
                assert refusal(answer)[1] == "missing_scope"
    finally:
        await two.close()


@given(st.text())
def test_a_refusal_shows_any_name_on_one_short_line(collection: str) -> None:
    key = ApiKey(name="ключ 🔑", sha256="0" * 64, collections=())
    with pytest.raises(CollectionDenied) as refused:
        RequestContext(NEVER, key).require_collection(collection)

    shown = str(refused.value)
    assert shown.startswith("the key 'ключ 🔑' does not include the collection ")
    assert shown.isprintable()
    assert len(shown) < 100 + 10 * SHOWN_CHARACTERS


@pytest.mark.parametrize(
    "name", ["THEIRS", "theirs%00", "%74heirs", "mine-%2F..%2Ftheirs", "mine-1%2F..%2Ftheirs", "."]
)
async def test_no_spelling_of_a_path_reaches_another_collection(two: Two, name: str) -> None:
    before = await two.state(OTHER)
    for method, end, body in (
        ("DELETE", "", None),
        ("POST", "/points/delete", {"ids": ["a"]}),
        ("POST", "/search", {"id": "a", "include": ["text"]}),
    ):
        answer = await two.send(LIMITED, method, f"/v1/collections/{name}{end}", body)

        assert answer.status_code in (400, 403, 404, 405)
        assert SECRET not in answer.text
    assert await two.state(OTHER) == before
