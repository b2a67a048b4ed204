"""Null for an optional field means the same as no field, on every route.

The fields come from the description of the routes, so a new one is tested without a line here.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deployments.ingress.asgi import DESCRIBED_ROUTES
from deployments.ingress.description.schema import describe
from tests.unit.deployments.ingress.fake_service import FakeService

STORED = {"points": [{"id": "a", "text": "abc", "metadata": {"lang": "en", "year": 2001}}]}
Schema = dict[str, Any]
Place = tuple[str | int, ...]


async def test_null_for_an_optional_field_is_as_absent_on_every_route() -> None:
    description = _description()
    service = FakeService()
    tried: set[tuple[str, str, Place, str]] = set()
    for method, path, schema, example in _bodies(description):
        for place, name in _optional_fields(example, schema, description):
            case = (method, path, tuple(step for step in place if step != 0), name)
            if case not in tried:
                absent, null = copy.deepcopy(example), copy.deepcopy(example)
                _at(absent, place).pop(name, None)
                _at(null, place)[name] = None
                answers = [await _answer(service, method, path, body) for body in (absent, null)]
                assert answers[0] == answers[1], case
                tried.add(case)
    assert len(tried) > 80, "the walk over the description finds the fields"


async def test_the_description_says_that_every_optional_field_may_be_null() -> None:
    description = _description()
    for _, path, schema, example in _bodies(description):
        for place, name in _optional_fields(example, schema, description):
            field = _schema_at(schema, place, description)["properties"][name]
            assert {"type": "null"} in field["anyOf"], f"{path}: {name} at {place}"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/embeddings", {"input": None}, "'input'"),
        ("/embed", {"inputs": None}, "inputs"),
        ("/rerank", {"query": None, "texts": ["a"]}, "query"),
        ("/v1/cluster", {"inputs": ["a"], "k": None}, "'k'"),
        ("/v1/similarity", {"a": None}, "'a'"),
        ("/v1/collections/c/points", {"points": [{"id": None, "text": "a"}]}, "'points[0].id'"),
        ("/v1/embeddings", {"input": "a", "encoding": None}, "'encoding'"),
    ],
)
async def test_null_for_a_required_or_unknown_field_is_refused_by_name(
    path: str, body: Any, field: str
) -> None:
    async with FakeService().client() as http:
        response = await http.post(path, json=body)

    assert response.status_code in (400, 422)
    assert field in response.text


def _description() -> Schema:
    return describe(DESCRIBED_ROUTES, has_keys=False)


def _bodies(description: Schema) -> Iterator[tuple[str, str, Schema, Any]]:
    """Yield method, path, schema and an example of every body that a route takes."""
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                schema = _resolved(content["schema"], description)
                for example in schema["examples"]:
                    yield method.upper(), path, schema, example


def _optional_fields(
    example: Any, schema: Schema, description: Schema
) -> Iterator[tuple[Place, str]]:
    """Yield the place of every object in an example, with each optional field it may have."""
    for place, inner in _objects(example, schema, description):
        for name in inner["properties"]:
            if name not in inner.get("required", ()):
                yield place, name


def _objects(
    value: Any, schema: Schema, description: Schema, place: Place = ()
) -> Iterator[tuple[Place, Schema]]:
    for one in _choices(schema, description):
        if isinstance(value, dict) and "properties" in one:
            yield place, one
            for name, inner in value.items():
                if name in one["properties"]:
                    yield from _objects(inner, one["properties"][name], description, (*place, name))
        elif isinstance(value, list) and "items" in one:
            for row, inner in enumerate(value):
                yield from _objects(inner, one["items"], description, (*place, row))


def _choices(schema: Schema, description: Schema) -> list[Schema]:
    """Return the alternative schemas of a value."""
    schema = _resolved(schema, description)
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return [one for choice in choices for one in _choices(choice, description)] or [schema]


def _resolved(schema: Schema, description: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    found: Schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _schema_at(schema: Schema, place: Place, description: Schema) -> Schema:
    for step in place:
        for one in _choices(schema, description):
            if isinstance(step, int) and "items" in one:
                schema = one["items"]
            elif step in one.get("properties", ()):
                schema = one["properties"][step]
    return next(one for one in _choices(schema, description) if "properties" in one)


def _at(body: Any, place: Place) -> Any:
    for step in place:
        body = body[step]
    return body


async def _answer(service: FakeService, method: str, path: str, body: Any) -> tuple[int, Any]:
    """Return status and content of a response; the collection is new and has one point."""
    async with service.client() as http:
        if path.startswith("/v1/collections"):
            await http.delete("/v1/collections/c")
            stored = await http.post("/v1/collections/c/points", json=STORED)
            assert stored.status_code == 200
        address = re.sub(r"\{\w+\}", "c", path)
        headers = {"x-request-id": "r-1"}  # some answers have it
        response: httpx.Response = await http.request(method, address, json=body, headers=headers)
        answer = response.json()
        if isinstance(answer, dict):
            answer.pop("identity", None)  # another one for each creation
        return response.status_code, answer
