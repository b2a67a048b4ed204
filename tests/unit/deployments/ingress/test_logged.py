"""The log of an ingress has no errors of clients, and a line and a traceback for each fault."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import httpx
import pytest

from deployments.ingress.asgi import build_asgi
from tests.unit.deployments.ingress.fake_service import FakeService, refusal


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/embeddings", b'{"input": ""}'),
        ("POST", "/v1/embeddings", b'{"input": '),
        ("POST", "/v1/embeddings", b'{"input": "a", "model": "other"}'),
        ("POST", "/v1/collections/none/search", b'{"text": "a"}'),
        ("POST", "/decode", b'{"ids": [5000]}'),
        ("GET", "/nowhere", b""),
        ("GET", "/v1/embeddings", b""),
    ],
)
async def test_an_error_of_the_client_is_no_warning_in_the_log(
    caplog: pytest.LogCaptureFixture, method: str, path: str, body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    async with FakeService().client() as http:
        response = await http.request(method, path, content=body, headers=headers)

    assert 400 <= response.status_code < 500
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def broken(*_: Any, **__: Any) -> NoReturn:
    raise ZeroDivisionError("/srv/secret")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/models"), ("POST", "/v1/embeddings")],
    ids=["without a body", "with a body"],
)
async def test_an_unexpected_error_is_logged_once_with_its_traceback(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    service = FakeService()
    monkeypatch.setattr(service.models, "states", broken)
    monkeypatch.setattr(service, "embed_by", broken)
    async with service.client() as http:
        response = await http.request(method, path, json={"input": "a"})

    assert refusal(response) == (500, "internal_error", None)
    errors = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert [one.getMessage().partition(":")[0] for one in errors] == [
        "unexpected error",
        "request failed",
    ]
    assert errors[0].exc_info is not None
    assert errors[0].exc_info[0] is ZeroDivisionError


async def test_an_unexpected_error_goes_no_further_than_the_answer() -> None:
    """The server would log it a second time."""
    service = FakeService()
    service.models.states = broken  # type: ignore[method-assign]
    strict = httpx.ASGITransport(app=build_asgi(service), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=strict, base_url="http://test") as http:
        response = await http.get("/v1/models")

    assert refusal(response) == (500, "internal_error", None)
