"""Errors have one shape, their own status, and no internal details."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Path
from pydantic import BaseModel

from deployments.ingress.errors import http_errors
from deployments.ingress.errors.responses import ErrorShape, error_response
from deployments.ingress.errors.statuses import STATUSES
from deployments.ingress.routing.route import Routes
from embedder.core import errors, storage_errors
from embedder.core.errors import EmbedderError
from tests.unit.deployments.ingress.errors.samples import CLASSES, SAMPLES, every_class, sample
from tests.unit.deployments.ingress.fake_service import message, refusal
from tests.unit.deployments.ingress.routes_client import client_of

Raised = tuple[type[EmbedderError], httpx.Response]
"""A class of errors, and the answer to a request that raises it."""


class Item(BaseModel):
    id: str


class Body(BaseModel):
    points: list[Item]
    nested: dict[str, list[int]] = {}


def _client() -> httpx.AsyncClient:
    """Serve routes that raise each error and a bug, and one with a body."""
    routes = Routes(tag=None)

    @routes.add("GET", "/raise/{name}", scope=None)
    async def raise_error(name: Annotated[str, Path()]) -> None:
        raise sample({kind.__name__: kind for kind in CLASSES}[name])

    @routes.add("GET", "/bug", scope=None)
    async def bug() -> None:
        raise ZeroDivisionError("/srv/secret")

    @routes.add("POST", "/body", scope=None)
    async def take(body: Body) -> None:
        return None

    return client_of(routes)


async def _get(path: str) -> httpx.Response:
    async with _client() as http:
        return await http.get(path)


async def _answers() -> dict[type[EmbedderError], httpx.Response]:
    async with _client() as http:
        return {kind: await http.get(f"/raise/{kind.__name__}") for kind in CLASSES}


@pytest.fixture(scope="module")
def answers() -> dict[type[EmbedderError], httpx.Response]:
    """Return the answer to a request that raises an error, for each class."""
    return asyncio.run(_answers())


@pytest.fixture(params=CLASSES, ids=lambda kind: kind.__name__)
def raised(
    request: pytest.FixtureRequest, answers: dict[type[EmbedderError], httpx.Response]
) -> Raised:
    """Return each class of errors, and the answer to a request that raises it."""
    return request.param, answers[request.param]


async def _post(body: Any) -> httpx.Response:
    async with _client() as http:
        return await http.post("/body", json=body)


def test_the_table_has_exactly_the_classes_of_errors() -> None:
    assert set(STATUSES) == set(CLASSES)


@every_class
def test_the_status_of_an_error_follows_from_its_base_class(kind: type[EmbedderError]) -> None:
    late = kind in (errors.Overloaded, errors.DeadlineExceeded, http_errors.BodyTooSlow)
    conflicts = (storage_errors.ModelMismatch, storage_errors.StaleCollection)
    refused = (errors.InvalidInput, http_errors.InvalidJson, http_errors.AccessDenied, *conflicts)
    theirs = issubclass(kind, refused) or late
    status = STATUSES[kind]

    assert status.http // 100 == (4 if theirs else 5)
    assert (status.http == 404) == issubclass(kind, errors.NotFound)
    assert (
        (status.http == 500)
        == (status.tei_http == 424)
        == (
            kind is EmbedderError
            or issubclass(kind, (errors.BackendFailure, errors.ConfigurationError))
        )
    )
    assert status.retry == issubclass(kind, errors.Unavailable)


def test_every_error_has_the_same_shape(raised: Raised) -> None:
    kind, response = raised
    status, code, param = refusal(response)

    assert status == STATUSES[kind].http
    assert code == ("internal_error" if status == 500 else kind.code)
    assert param == ("/srv/secret" if issubclass(kind, errors.InvalidInput) else None)


def test_faults_of_the_service_are_reported_generically(raised: Raised) -> None:
    kind, response = raised
    if response.status_code != 500:
        assert message(response) == str(sample(kind))
        return

    assert "secret" not in response.text
    assert kind.__name__ not in response.text
    assert "/" not in message(response)
    assert "raceback" not in response.text


def test_exactly_temporary_errors_have_retry_after(raised: Raised) -> None:
    kind, response = raised
    expected = str(SAMPLES["int"]) if kind is errors.Overloaded else "1"

    if issubclass(kind, errors.Unavailable):
        assert response.headers["retry-after"] == expected
        ms = "2250" if kind is errors.Overloaded else None
        assert response.headers.get("retry-after-ms") == ms
    else:
        assert "retry-after" not in response.headers


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        (errors.InvalidInput, "invalid_request_error"),
        (errors.UnknownModel, "invalid_request_error"),
        (errors.Overloaded, "rate_limit_error"),
        (errors.StageUnavailable, "server_error"),
        (errors.BackendFailure, "server_error"),
    ],
)
def test_the_type_is_one_that_openais_clients_know(kind: type[EmbedderError], type_: str) -> None:
    assert f'"type":"{type_}"'.encode() in bytes(
        error_response(sample(kind), ErrorShape.OPENAI).body
    )


async def test_a_bug_is_answered_without_its_details() -> None:
    response = await _get("/bug")

    assert refusal(response) == (500, "internal_error", None)
    assert "secret" not in response.text
    assert "ZeroDivision" not in response.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"points": [{"id": "a"}] * 3 + [{"id": 5}]}, "points[3].id"),
        ({"points": [{"id": "a"}, {}]}, "points[1].id"),
        ({"points": [{"id": "a"}, "b"]}, "points[1]"),
        ({"points": 5}, "points"),
        ({}, "points"),
        ({"points": [], "nested": {"x": [1, "y"]}}, "nested.x[1]"),
    ],
)
async def test_a_wrong_field_is_named_by_its_path(body: Any, field: str) -> None:
    response = await _post(body)

    assert refusal(response) == (400, "invalid_input", field)
    assert f"'{field}'" in message(response)


@pytest.mark.parametrize("body", [5, [], "text"])
async def test_a_body_that_is_not_an_object_has_no_field_name(body: Any) -> None:
    response = await _post(body)

    assert refusal(response) == (400, "invalid_input", None)
    assert "body" in message(response)


async def test_an_unknown_route_and_an_unknown_method_have_different_codes() -> None:
    async with _client() as http:
        missing, wrong = await http.get("/nowhere"), await http.put("/body", json={})

    assert refusal(missing) == (404, "route_not_found", None)
    assert "GET /nowhere" in message(missing)
    assert refusal(wrong) == (405, "method_not_allowed", None)
    assert wrong.headers["allow"] == "POST"


def test_a_header_tells_whether_to_retry(raised: Raised) -> None:
    kind, response = raised
    retry = response.headers.get("x-should-retry")

    if response.status_code >= 500 or response.status_code in (408, 429):
        assert retry == ("true" if issubclass(kind, errors.Unavailable) else "false")
    else:
        assert retry is None


async def test_only_a_short_wrong_value_is_shown() -> None:
    short, long = await _post({"points": 7}), await _post({"points": "x" * 41})

    assert message(short).endswith(", not 7")
    assert "xxx" not in message(long)
