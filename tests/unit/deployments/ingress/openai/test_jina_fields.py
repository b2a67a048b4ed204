"""Fields of Jina's API on the embeddings route mean the same as fields of this API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, message, refusal

PROMPTS = {"query": "aa", "document": "bb", "classification": "bbb", "clustering": "cc"}
TEXTS = ["aaabbbb", "d"]


async def _embed(body: Mapping[str, Any]) -> httpx.Response:
    service = FakeService({"name": ALIAS, "prompts": PROMPTS, "default_prompt": "query"})
    async with service.client() as http:
        return await http.post("/v1/embeddings", json={"input": TEXTS, **body})


@pytest.mark.parametrize(
    ("jina", "own"),
    [
        ({"task": "retrieval.query"}, {"input_type": "query"}),
        ({"task": "retrieval.passage"}, {"input_type": "document"}),
        ({"task": "classification"}, {"input_type": "classification"}),
        ({"task": "separation"}, {"input_type": "clustering"}),
        ({"task": "text-matching"}, {}),
        ({"normalized": False}, {"normalize": False}),
        ({"normalized": True}, {"normalize": True}),
        ({"embedding_type": "float"}, {}),
        ({"embedding_type": "base64"}, {"encoding_format": "base64"}),
        ({"embedding_type": "binary"}, {"output_dtype": "binary"}),
        ({"encoding_type": "ubinary"}, {"output_dtype": "ubinary"}),
        ({"embedding_type": "int8", "encoding_type": "base64"}, {"output_dtype": "int8"}),
        ({"late_chunking": False}, {}),
        ({"task": None, "normalized": None, "late_chunking": None}, {}),
        (
            {"task": "retrieval.query", "dimensions": 2, "normalized": True},
            {"input_type": "query", "dimensions": 2},
        ),
    ],
)
async def test_a_field_of_jina_means_a_field_of_this_api(
    jina: dict[str, Any], own: dict[str, Any]
) -> None:
    if "encoding_type" in jina and "embedding_type" in jina:
        own = {**own, "encoding_format": "base64"}
    answer, expected = await _embed(jina), await _embed(own)

    assert answer.status_code == 200, answer.text
    assert answer.json() == expected.json()


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({"task": "code.query"}, "task", "Input should be 'retrieval.query'"),
        ({"task": "retrieval.query", "input_type": "query"}, "task", "beside 'input_type'"),
        ({"task": "retrieval.query", "prompt_name": "query"}, "input_type", "beside 'prompt_name'"),
        ({"normalized": False, "normalize": False}, "normalized", "beside 'normalize'"),
        ({"embedding_type": "int8", "output_dtype": "int8"}, "embedding_type", "'output_dtype'"),
        (
            {"embedding_type": "base64", "encoding_format": "base64"},
            "embedding_type",
            "beside 'encoding_format'",
        ),
        (
            {"embedding_type": "float", "encoding_type": "float"},
            "encoding_type",
            "beside 'embedding_type'",
        ),
        ({"embedding_type": "int8", "normalized": False}, "output_dtype", "normalize is false"),
        ({"embedding_type": ["float"]}, "embedding_type", "Input should be 'float'"),
        ({"late_chunking": True}, "late_chunking", "send the whole text with 'chunking'"),
        ({"late_chunking": "no"}, "late_chunking", "valid boolean"),
        ({"return_multivector": True}, "return_multivector", "is not permitted here"),
    ],
)
async def test_what_has_no_meaning_here_is_refused_by_its_name(
    body: dict[str, Any], field: str, problem: str
) -> None:
    response = await _embed(body)

    assert refusal(response) == (400, "invalid_input", field)
    assert problem in message(response)


async def test_an_input_of_an_object_is_refused_by_its_place() -> None:
    response = await _embed({"input": ["a", {"image": "data:image/png;base64,AA=="}]})

    assert refusal(response) == (400, "invalid_input", "input[1]")
