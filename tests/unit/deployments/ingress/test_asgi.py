"""What no route answers, or answers wrongly, is told in one shape all the same."""

from __future__ import annotations

from typing import NoReturn

import pytest

from tests.unit.deployments.ingress.fake_service import FakeService, refusal


@pytest.mark.parametrize("path", ["/redoc", "/v1", "/v1/embeddings/", "/v2/models", "/static"])
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


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/collections/a", "DELETE, GET, PUT"),
        ("/v1/cache", "DELETE, GET"),
        ("/v1/embeddings", "POST"),
    ],
)
async def test_a_refused_method_is_told_all_that_there_are(path: str, methods: str) -> None:
    async with FakeService().client() as http:
        response = await http.patch(path)

    assert response.status_code == 405
    assert response.headers["allow"] == methods


def broken() -> NoReturn:
    raise ZeroDivisionError("/srv/secret")


async def test_an_unexpected_error_in_a_route_is_answered_without_a_word_about_it() -> None:
    service = FakeService()
    service.models = broken  # type: ignore[method-assign]
    async with service.client() as http:
        response = await http.get("/v1/models")

    assert refusal(response) == (500, "internal_error", None)
    assert "secret" not in response.text
    assert "ZeroDivision" not in response.text
