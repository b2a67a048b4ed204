"""Late chunking over HTTP: the model reads a text as a whole, and each chunk gets a vector.

The fake model reads eight tokens at once, every character is one, and a vector counts letters.
"""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    CROSS,
    FakeService,
    message,
    refusal,
)

TEXT = "aab cd abd"
LATE = {"size": 8, "overlap": 0, "late": True}
OTHER = "/models/other"  # with another pooling


async def _embed(
    service: FakeService | None = None, accept: str = "*/*", **body: Any
) -> httpx.Response:
    async with (service or FakeService()).client() as http:
        headers = {"accept": accept}
        return await http.post("/v1/embeddings", json=body, headers=headers)


def _places(data: list[dict[str, Any]]) -> list[tuple[int, ...]]:
    names = ("input", "number", "start", "end", "tokens")
    return [tuple(item["chunk"][name] for name in names) for item in data]


def _read(service: FakeService) -> list[str]:
    """Return what the model has read."""
    return ["".join(map(chr, row)) for rows, _, _ in service.encoder.calls for row in rows]


async def test_the_model_reads_windows_and_each_chunk_gets_a_vector() -> None:
    service = FakeService()
    body = (await _embed(service, input=[TEXT, "d"], chunking=LATE, normalize=False)).json()

    assert _places(body["data"]) == [(0, 0, 0, 6, 6), (0, 1, 7, 10, 3), (1, 0, 0, 1, 1)]
    assert [item["embedding"] for item in body["data"]] == [
        [2, 1, 1, 1],
        [1, 1, 0, 1],
        [0, 0, 0, 1],
    ]
    assert sorted(_read(service)) == ["aab cd a", "b cd abd", "d"]
    assert body["usage"] == {"prompt_tokens": 17, "total_tokens": 17}


async def test_options_of_vectors_apply() -> None:
    given: dict[str, Any] = {"input": TEXT, "chunking": LATE}
    short = (await _embed(**given, dimensions=2)).json()["data"]
    packed = (await _embed(**given, encoding_format="base64")).json()["data"]

    assert [len(item["embedding"]) for item in short] == [2, 2]
    assert np.linalg.norm(short[0]["embedding"]) == pytest.approx(1)
    assert [isinstance(item["embedding"], str) for item in packed] == [True, True]


async def test_the_cache_has_an_entry_for_each_text_and_division() -> None:
    service = FakeService()
    first = await _embed(service, input="aab cd", chunking=LATE)
    again = await _embed(service, input=["aab cd", "aab cd"], chunking=LATE)
    seen = len(service.encoder.calls)
    other = await _embed(service, input="aab cd", chunking={**LATE, "boundaries": "sentences"})
    plain = await _embed(service, input="aab cd")

    assert seen == 1
    assert [one["embedding"] for one in again.json()["data"]] == [
        first.json()["data"][0]["embedding"]
    ] * 2
    assert again.headers["x-cache-hits"] == "1"
    assert other.headers["x-cache-hits"] == "1"  # the same single chunk
    assert plain.headers["x-cache-hits"] == "0"
    assert _read(service) == ["aab cd", "aab cd"]


async def test_lines_have_the_places_too() -> None:
    given: dict[str, Any] = {"input": [TEXT, "d"] * 40, "chunking": LATE}
    streamed = await _embed(accept="application/x-ndjson", **given)
    body = (await _embed(**given)).json()
    lines = [orjson.loads(line) for line in streamed.content.splitlines()]

    assert [line["index"] for line in lines[:-1]] == list(range(120))
    assert _places(lines[:-1]) == _places(body["data"])
    np.testing.assert_array_equal(
        [line["embedding"] for line in lines[:-1]], [item["embedding"] for item in body["data"]]
    )


@pytest.mark.parametrize("late", ["true", 1])
async def test_late_is_true_or_false(late: Any) -> None:
    response = await _embed(input=TEXT, chunking={"late": late})

    assert refusal(response) == (400, "invalid_input", "chunking.late")


async def test_late_false_is_the_default() -> None:
    plain, late = [
        (await _embed(input=TEXT, chunking=chunking)).json()
        for chunking in ({"size": 8}, {"size": 8, "late": False})
    ]

    assert plain == late


async def test_another_pooling_is_refused_before_any_work() -> None:
    service = FakeService({"name": ALIAS}, {"name": OTHER})
    response = await _embed(service, input=TEXT, chunking=LATE, model="other")

    assert refusal(response) == (400, "invalid_input", "chunking.late")
    assert "needs a model with mean pooling; that of 'other' is 'cls'" in message(response)
    assert service.encoder.calls == []


async def test_a_cross_encoder_is_refused() -> None:
    service = FakeService({"name": ALIAS}, {"name": CROSS})
    response = await _embed(service, input=TEXT, chunking=LATE, model="cross")

    assert refusal(response) == (400, "unsupported_task", "model")


@pytest.mark.parametrize("types", [["sparse"], ["dense", "multi_vector"]])
async def test_other_kinds_of_results_are_refused(types: list[str]) -> None:
    service = FakeService()
    response = await _embed(service, input=TEXT, chunking=LATE, output_types=types)

    assert refusal(response) == (400, "invalid_input", "chunking.late")
    assert service.encoder.calls == []


async def test_the_tokens_of_all_windows_are_limited() -> None:
    most = await _embed(FakeService(max_request_tokens=16), input=TEXT, chunking=LATE)
    more = await _embed(FakeService(max_request_tokens=15), input=TEXT, chunking=LATE)

    assert most.status_code == 200
    assert refusal(more) == (400, "limit_exceeded", "input")
    assert "16 tokens to compute" in message(more)


async def test_points_get_the_vectors_of_their_chunks_in_the_text() -> None:
    service = FakeService()
    docs = "/v1/collections/docs"
    async with service.client() as http:
        point = {"id": "one", "text": TEXT}
        stored = await http.post(f"{docs}/points", json={"points": [point], "chunking": LATE})
        include = {"include": ["text", "vector"]}
        page = (await http.post(f"{docs}/points/scroll", json=include)).json()
        found = (await http.post(f"{docs}/search", json={"text": "c", "top_k": 1})).json()
    vectors = {one["text"]: np.array(one["vector"]) for one in page["points"]}

    assert [one["id"] for one in stored.json()["chunks"]] == ["one#0", "one#1"]
    assert _read(service)[:2] == ["aab cd a", "b cd abd"]
    np.testing.assert_allclose(vectors["aab cd"], np.array([2, 1, 1, 1]) / 7**0.5, atol=1e-6)
    np.testing.assert_allclose(vectors["abd"], np.array([1, 1, 0, 1]) / 3**0.5, atol=1e-6)
    assert found["results"][0]["id"] == "one#0"


async def test_points_of_a_model_with_another_pooling_are_refused() -> None:
    service = FakeService({"name": OTHER})
    async with service.client() as http:
        body = {"points": [{"id": "one", "text": TEXT}], "chunking": LATE}
        response = await http.post("/v1/collections/docs/points", json=body)

    assert refusal(response) == (400, "invalid_input", "chunking.late")
    assert service.encoder.calls == []
