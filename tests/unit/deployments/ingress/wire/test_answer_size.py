"""Responses above the limit are refused before any work."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.deployments.ingress.fake_service import FakeService, message, refusal

TEXTS = ["ab", "bc", "cd"]
LARGE = [
    ("/v1/embeddings", {"input": TEXTS}, "input"),
    ("/v1/similarity", {"a": TEXTS * 4, "b": TEXTS * 4}, "a"),
    ("/v1/similarity", {"a": TEXTS * 2, "b": TEXTS * 2, "top_k": 6}, "top_k"),
    ("/v1/cluster", {"inputs": TEXTS, "k": 3, "include": ["centroids"]}, "k"),
    (
        "/v1/cluster",
        {"inputs": [[n] * 8 for n in (1, 2, 3)], "k": 3, "include": ["centroids"]},
        "k",
    ),
]
SMALL = [
    ("/v1/embeddings", {"input": TEXTS, "dimensions": 2}),
    ("/v1/embeddings", {"input": TEXTS, "encoding_format": "base64"}),
    ("/v1/embeddings", {"input": TEXTS, "output_dtype": "int8"}),
    ("/v1/similarity", {"a": TEXTS, "b": TEXTS}),
    ("/v1/cluster", {"inputs": TEXTS, "k": 3}),
    ("/embed", {"inputs": TEXTS, "dimensions": 2}),
]


@pytest.mark.parametrize(("path", "body", "field"), LARGE)
async def test_a_response_above_the_limit_is_refused_before_anything_is_embedded(
    path: str, body: dict[str, Any], field: str
) -> None:
    service = FakeService(max_response_bytes=256)
    async with service.client() as http:
        answer = await http.post(path, json=body)

    assert refusal(answer) == (400, "limit_exceeded", field)
    assert "max_response_bytes" in message(answer)
    assert "256" in message(answer)
    assert service.encoder.calls == []


@pytest.mark.parametrize("path", ["/embed", "/tokenize"])
async def test_routes_of_tei_refuse_it_in_their_shape(path: str) -> None:
    service = FakeService(max_response_bytes=256)
    async with service.client() as http:
        answer = await http.post(path, json={"inputs": TEXTS})

    assert answer.status_code == 422
    assert "max_response_bytes" in answer.json()["error"]
    assert service.encoder.calls == []


@pytest.mark.parametrize(("path", "body"), SMALL)
async def test_a_response_below_the_limit_is_sent(path: str, body: dict[str, Any]) -> None:
    async with FakeService(max_response_bytes=330).client() as http:
        answer = await http.post(path, json=body)

    assert answer.status_code == 200, answer.text
    assert len(answer.content) < 400


async def test_a_stream_and_binary_vectors_may_have_more_vectors_than_json() -> None:
    async with FakeService(max_response_bytes=256).client() as http:
        for kind in ("application/x-ndjson", "application/octet-stream"):
            answer = await http.post(
                "/v1/embeddings", json={"input": TEXTS}, headers={"accept": kind}
            )

            assert answer.status_code == 200


async def test_the_largest_batch_of_a_wide_model_is_within_the_default() -> None:
    size = 2048 * (4096 * 13 + 64)

    assert size < FakeService().settings.limits.max_response_bytes
