"""The description has every route, its errors and its keys; its page works offline."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deployments.ingress.asgi import ERROR_SHAPES
from deployments.ingress.errors.responses import ErrorShape
from deployments.ingress.errors.statuses import STATUSES
from deployments.ingress.middleware.keys import digest
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService
from tests.unit.deployments.ingress.test_access import ROUTES, KeyedService

NAMES = {
    ErrorShape.OPENAI: "Error",
    ErrorShape.TEI: "TeiError",
    ErrorShape.COHERE: "CohereError",
    ErrorShape.JINA: "JinaError",
}
"""The schema of an error in each shape."""

OPERATIONS = [(method, path) for method, path, _ in ROUTES if not re.match("/(docs|openapi)", path)]


async def _describe(kind: Callable[[], FakeService], **headers: str) -> dict[str, Any]:
    async with kind().client() as http:
        response = await http.get("/openapi.json", headers=headers)
    described: dict[str, Any] = response.json()
    return described


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Return the description of a service without keys; it takes a second to make."""
    return asyncio.run(_describe(FakeService))


def _operation(schema: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    operation: dict[str, Any] = schema["paths"][re.sub(r":\w+(?=})", "", path)][method.lower()]
    return operation


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_describes_its_errors(
    schema: dict[str, Any], method: str, path: str
) -> None:
    operation = _operation(schema, method, path)
    shape = ERROR_SHAPES[path]
    tei = shape is ErrorShape.TEI
    expected = {status.tei_http if tei else status.http for status in STATUSES.values()}
    expected -= {401, 403} | (set() if "requestBody" in operation else {413})

    assert {str(status) for status in expected} <= operation["responses"].keys()
    for status in expected:
        content = operation["responses"][str(status)].get("content")
        if path not in ("/readyz", "/health"):
            error = content["application/json"]["schema"]
            assert error["$ref"].endswith(f"/{NAMES[shape]}")


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_has_a_description_and_a_valid_example(
    schema: dict[str, Any], method: str, path: str
) -> None:
    operation = _operation(schema, method, path)

    assert operation["summary"]
    assert operation["description"]
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        described = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
        assert described["examples"], path
        for example in described["examples"]:
            full = {**described, "components": schema["components"]}
            jsonschema.validate(example, _resolved(full))


async def test_every_path_allows_exactly_the_described_methods(
    schema: dict[str, Any],
) -> None:
    async with FakeService().client() as http:
        for path, operations in schema["paths"].items():
            refused = await http.patch(re.sub(r"\{\w+\}", ALIAS, path))
            taken = set(refused.headers["allow"].lower().split(", "))

            assert refused.status_code == 405
            assert taken == operations.keys() | ({"head"} if "get" in operations else set()), path


@pytest.mark.parametrize("word", ["count", "delete", "fetch", "scroll"])
def test_a_point_with_the_name_of_a_route_is_described_under_it(
    schema: dict[str, Any], word: str
) -> None:
    points = "/v1/collections/{name}/points"
    operation = schema["paths"][f"{points}/{word}"]["get"]
    every = [one for path in schema["paths"].values() for one in path.values()]

    assert [one["name"] for one in operation["parameters"]] == ["name", "include", "consistency"]
    general = schema["paths"][f"{points}/{{point_id}}"]["get"]
    assert operation["responses"] == general["responses"]
    assert len({one["operationId"] for one in every}) == len(every)


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose references are found in itself."""
    return {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"}


async def test_keys_are_described_only_if_the_service_has_keys(
    schema: dict[str, Any],
) -> None:
    with_keys = await _describe(KeyedService, **{"x-api-key": "read"})

    assert "securitySchemes" not in schema["components"]
    assert with_keys["components"]["securitySchemes"].keys() == {
        "bearer",
        "x-api-key",
        "api-key",
    }
    for method, path in OPERATIONS:
        operation = _operation(with_keys, method, path)
        is_open = path in ("/healthz", "/readyz", "/health", "/ping") or (method, path) == (
            "GET",
            "/",
        )
        schemes: list[dict[str, list[str]]] = [{"bearer": []}, {"x-api-key": []}, {"api-key": []}]
        assert operation["security"] == ([] if is_open else schemes)
        assert ("401" in operation["responses"]) == (not is_open)


async def test_keys_of_a_file_are_described(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(f"[{{name: one, sha256: {digest(b'one')}, scopes: [read]}}]")
    path.chmod(0o600)
    service = partial(FakeService, keys_file=str(path))
    described = await _describe(service, **{"x-api-key": "one"})

    assert "securitySchemes" in described["components"]


async def test_the_page_loads_nothing_from_other_hosts() -> None:
    async with FakeService().client() as http:
        page = await http.get("/docs")
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assets = [await http.get(f"/{link}") for link in links]

    assert len(links) == 3
    assert all(not re.match(r"\w+:|//", link) for link in links)
    assert [asset.status_code for asset in assets] == [200] * 3
    assert b"SwaggerUIBundle" in b"".join(asset.content for asset in assets)


@pytest.mark.parametrize("name", ["../core.py", "%2e%2e/core.py", "core.py", "redoc.standalone.js"])
async def test_only_files_of_the_page_are_served(name: str) -> None:
    async with FakeService().client() as http:
        response = await http.get(f"/docs/{name}")

    assert response.status_code == 404
