"""Requests of clients that are not installed here, recorded from their packages.

Each was sent once by the package of the version in its name, with the key ``read`` and the texts
"abc" and "d", to a server that wrote down path, headers and body. Headers that only a server reads,
such as the length of the body, are left out.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import pytest

from deployments.ingress.middleware.keys import digest
from deployments.settings.access import Scope
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, message, refusal

JSON = "application/json"
BEARER = {"authorization": "Bearer read", "content-type": JSON}
NVIDIA = {**BEARER, "accept": JSON, "x-billing-source": "langchain-nvidia-ai-endpoints"}
COHERE = {**BEARER, "accept": "*/*", "accept-encoding": "gzip, deflate, zstd"}
AZURE = {"api-key": "read", "accept": JSON, "content-type": JSON}

QUERY, DOCUMENT = {"input_type": "query"}, {"input_type": "document"}

SERVED: Mapping[str, tuple[Mapping[str, str], str, Any, Mapping[str, Any]]] = {
    "langchain-nvidia-ai-endpoints 1.5.0, embed_documents": (
        NVIDIA,
        '{"input": ["abc", "d"], "model": "all-MiniLM-L6-v2", "encoding_format": "float", '
        '"input_type": "passage", "truncate": "NONE"}',
        ["abc", "d"],
        DOCUMENT,
    ),
    "langchain-nvidia-ai-endpoints 1.5.0, embed_query": (
        NVIDIA,
        '{"input": ["abc"], "model": "all-MiniLM-L6-v2", "encoding_format": "float", '
        '"input_type": "query", "truncate": "NONE"}',
        ["abc"],
        QUERY,
    ),
    "langchain-nvidia-ai-endpoints 1.5.0, truncate and dimensions": (
        NVIDIA,
        '{"input": ["abc", "d"], "model": "all-MiniLM-L6-v2", "encoding_format": "float", '
        '"input_type": "passage", "truncate": "END", "dimensions": 2}',
        ["abc", "d"],
        {**DOCUMENT, "dimensions": 2},
    ),
    "dify_plugin 0.7.4, check of the address": (
        BEARER,
        '{"input": "ping", "model": "all-MiniLM-L6-v2"}',
        ["ping"],
        {},
    ),
    "dify_plugin 0.7.4, embed": (
        BEARER,
        '{"input": ["abc"], "model": "all-MiniLM-L6-v2", "user": "abc", '
        '"encoding_format": "float"}',
        ["abc"],
        {},
    ),
}
"""The headers and the body of each request, its texts, and our fields for what it asks for."""

REFUSED: Mapping[str, tuple[str, Mapping[str, str], str, tuple[int, str, str | None], str]] = {
    "voyageai 0.5.0, embed": (
        "/v1/embeddings",
        BEARER,
        '{"input": ["abc", "d"], "model": "all-MiniLM-L6-v2", "input_type": "document", '
        '"truncation": false, "output_dtype": "float", "output_dimension": 64, '
        '"encoding_format": "base64"}',
        (400, "invalid_input", "truncation"),
        "did you mean 'truncate'?",
    ),
    "openai 3.57.0, AzureOpenAI with base_url": (
        "/v1/deployments/all-MiniLM-L6-v2/embeddings?api-version=2024-10-21",
        AZURE,
        '{"model":"all-MiniLM-L6-v2","input":["abc","d"],"encoding_format":"base64"}',
        (404, "route_not_found", None),
        "did you mean /embeddings?",
    ),
    "openai 3.57.0, AzureOpenAI with azure_endpoint": (
        "/openai/deployments/all-MiniLM-L6-v2/embeddings?api-version=2024-10-21",
        AZURE,
        '{"model":"all-MiniLM-L6-v2","input":["abc","d"],"encoding_format":"base64"}',
        (404, "route_not_found", None),
        "did you mean /embeddings?",
    ),
}
"""The path, the headers and the body of each request; the refusal, and what its message says."""


def _client() -> httpx.AsyncClient:
    key = {"name": "read", "sha256": digest(b"read"), "scopes": [Scope.READ]}
    prompted = {"name": ALIAS, "prompts": {"query": "aa", "document": "bb"}}
    return FakeService(prompted, keys=[key]).client()


@pytest.mark.parametrize("name", SERVED)
async def test_a_recorded_request_gets_its_vectors(name: str) -> None:
    headers, body, texts, meant = SERVED[name]
    async with _client() as http:
        answer = await http.post("/v1/embeddings", content=body, headers=headers)
        ours = {"input": texts, "encoding_format": "base64", **meant}
        expected = await http.post("/v1/embeddings", json=ours, headers={"api-key": "read"})

    vectors = [
        np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in expected.json()["data"]
    ]
    assert answer.json()["model"] == ALIAS
    np.testing.assert_array_equal(
        np.array([row["embedding"] for row in answer.json()["data"]], np.float32), vectors
    )


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_names_the_most_similar_field_or_path(name: str) -> None:
    path, headers, body, refused, advice = REFUSED[name]
    async with _client() as http:
        answer = await http.post(path, content=body, headers=headers)

    assert refusal(answer) == refused
    assert advice in message(answer)


async def test_the_key_of_azures_client_is_accepted_on_the_suggested_path() -> None:
    *_, body, _, _ = REFUSED["openai 3.57.0, AzureOpenAI with azure_endpoint"]
    async with _client() as http:
        answer = await http.post("/embeddings?api-version=2024-10-21", content=body, headers=AZURE)

    assert answer.is_success, answer.text
