"""Collections, refusals and headers over real HTTP, through the proxy."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.cluster.service import RunningService


def test_texts_are_found_by_their_meaning(service: RunningService) -> None:
    points = [
        {"id": "cat", "text": "A kitten sleeps on the sofa.", "metadata": {"kind": "animal"}},
        {"id": "market", "text": "Share prices fell on Monday."},
        {"id": "code", "text": "The function returns a sorted list."},
    ]
    query = {"text": "pets", "top_k": 1, "include": ["text", "metadata"]}
    collection = f"{service.url}/v1/collections/meanings"
    with httpx.Client() as client:
        stored = client.post(f"{collection}/points", json={"points": points}).json()
        found = client.post(f"{collection}/search", json=query).json()
        client.delete(collection).raise_for_status()
        gone = client.post(f"{collection}/search", json=query)

    assert stored == {"upserted": 3, "sequence": 1}
    assert [result["id"] for result in found["results"]] == ["cat"]
    assert found["results"][0]["metadata"] == {"kind": "animal"}
    assert gone.status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b'{"input": ""}', 400, "'input[0]' must not be empty"),
        (b'{"input": "a", "model": "other"}', 404, "'model' names 'other'"),
        (b'{"input": [101, 999999]}', 400, "'input[0][1]' is 999999"),
        (b'{"input": "a"', 400, "not valid JSON"),
        (b'{"input": "' + b"a" * (16 * 2**20) + b'"}', 413, "the limit is 16777216"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_the_answer_to_a_bad_request_names_the_problem(
    service: RunningService, body: bytes, status: int, says: str, chunked: bool
) -> None:
    content: Any = iter([body[:100], body[100:]]) if chunked else body
    answer = httpx.post(
        f"{service.url}/v1/embeddings",
        content=content,
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_the_service_is_alive_and_has_an_openapi_description(service: RunningService) -> None:
    alive = httpx.get(f"{service.url}/healthz")
    described = httpx.get(f"{service.url}/openapi.json").json()

    assert alive.status_code == 200
    assert "/v1/embeddings" in described["paths"]


def test_every_answer_has_its_request_id(service: RunningService) -> None:
    body = {"input": "a name"}
    with httpx.Client(base_url=service.url) as client:
        named = client.post("/v1/embeddings", json=body, headers={"x-request-id": "mine"})
        refused = client.post("/v1/embeddings", json={"input": ""})

    assert named.headers["x-request-id"] == "mine"
    assert len(refused.headers["x-request-id"]) >= 32
    assert 0 <= int(refused.headers["x-total-time"]) < 30_000
