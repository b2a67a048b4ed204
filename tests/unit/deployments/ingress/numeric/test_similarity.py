"""Similarity over HTTP: all pairs or the nearest, of texts and vectors."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from embedder.core.errors import Overloaded
from embedder.core.types import Priority
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, message, refusal

cdist = pytest.importorskip("scipy.spatial.distance").cdist

A = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
B = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
MEASURES = {
    "cosine": 1 - cdist(A, B, "cosine"),
    "dot": A @ B.T,
    "euclidean": -cdist(A, B, "euclidean"),
    "squared_euclidean": -cdist(A, B, "sqeuclidean"),
    "manhattan": -cdist(A, B, "cityblock"),
}


async def _compare(service: FakeService | None = None, **body: Any) -> httpx.Response:
    async with (service or FakeService()).client() as http:
        return await http.post("/v1/similarity", json=body)


def _base64(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


@pytest.mark.parametrize("metric", MEASURES)
async def test_every_vector_is_compared_with_every_other(metric: str) -> None:
    response = await _compare(a=A.tolist(), b=B.tolist(), metric=metric)

    assert response.status_code == 200
    np.testing.assert_allclose(response.json().pop("similarity"), MEASURES[metric], atol=1e-6)
    assert {**response.json(), "similarity": None} == {
        "similarity": None,
        "metric": metric,
        "model": None,
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
    }


@pytest.mark.parametrize("metric", MEASURES)
@pytest.mark.parametrize("k", [1, 3, 9])
async def test_with_top_k_the_nearest_come_first(metric: str, k: int) -> None:
    response = await _compare(a=A.tolist(), b=B.tolist(), metric=metric, top_k=k)
    rows = response.json()["results"]

    order = np.argsort(-MEASURES[metric], axis=1)[:, :k]
    assert [[one["index"] for one in row] for row in rows] == order.tolist()
    assert "similarity" not in response.json()
    for row, indices, expected in zip(rows, order, MEASURES[metric], strict=True):
        scores = [one["score"] for one in row]
        np.testing.assert_allclose(scores, expected[indices], atol=1e-6)


async def test_numbers_are_written_as_single_precision_has_them() -> None:
    body: dict[str, Any] = {"a": [[1, 0]], "b": [[0.1, 9]], "metric": "dot"}

    assert (await _compare(**body)).json()["similarity"] == [[0.1]]
    assert (await _compare(**body, top_k=1)).json()["results"] == [[{"index": 0, "score": 0.1}]]


async def test_texts_of_both_sides_are_embedded_in_one_call() -> None:
    service = FakeService()
    response = await _compare(service, a=["aaabbbb", "d"], b=["aaab", "aaabbbb", "cd"])

    # As counts of letters: (3, 4, 0, 0) and "d" against (3, 1, 0, 0), (3, 4, 0, 0), (0, 0, 1, 1).
    expected = [[13 / (5 * 10**0.5), 1, 0], [0, 0, 0.5**0.5]]
    np.testing.assert_allclose(response.json()["similarity"], expected, atol=1e-6)
    assert response.json()["model"] == ALIAS
    assert response.json()["usage"] == {"prompt_tokens": 21, "total_tokens": 21}
    assert len(service.encoder.calls) == 1
    assert response.headers["x-cache-hits"] == "0"


async def test_one_list_alone_is_compared_with_itself() -> None:
    alone = await _compare(a=A.tolist(), metric="euclidean")
    null = await _compare(a=A.tolist(), b=None, metric="euclidean")
    itself = await _compare(a=A.tolist(), b=A.tolist(), metric="euclidean")

    assert alone.json() == null.json() == itself.json()
    np.testing.assert_allclose(alone.json()["similarity"], -cdist(A, A), atol=1e-6)


async def test_texts_and_vectors_may_be_mixed_in_every_form() -> None:
    forms: list[Any] = [
        "aaabbbb",
        [0.6, 0.8, 0, 0],
        {"vector": [0.6, 0.8, 0, 0]},
        {"vector": _base64(0.6, 0.8, 0, 0)},
    ]
    response = await _compare(a=forms, b=[[1, 0, 0, 0], "b"])

    np.testing.assert_allclose(response.json()["similarity"], [[0.6, 0.8]] * 4, atol=1e-6)
    assert response.json()["usage"]["total_tokens"] == 8


async def test_vectors_of_texts_keep_their_length_where_that_is_asked_for() -> None:
    body: dict[str, Any] = {"a": ["aaabbbb"], "b": ["aab"], "metric": "dot"}
    unit = await _compare(**body)
    whole = await _compare(**body, normalize=False)

    np.testing.assert_allclose(unit.json()["similarity"], [[10 / (5 * 5**0.5)]], atol=1e-6)
    assert whole.json()["similarity"] == [[10.0]]


async def test_what_is_asked_of_texts_reaches_the_model() -> None:
    service = FakeService()
    response = await _compare(
        service, a=["aaab" * 3, [1, 0]], dimensions=2, truncate="start", priority="bulk"
    )

    # The last eight letters are six a and two b, of which two dimensions are kept.
    np.testing.assert_allclose(response.json()["similarity"][1], [6 / 40**0.5, 1], atol=1e-6)
    assert response.headers["x-truncated-inputs"] == "1"
    assert [priority for _, priority, _ in service.encoder.calls] == [Priority.BULK]


async def test_both_lists_may_be_as_long_as_the_limit() -> None:
    service = FakeService(max_inputs=3)
    response = await _compare(service, a=["a", "b", "c"], b=["d", "aab", "c" * 9])

    expected: list[list[float]] = [[0, 2 / 5**0.5, 0], [0, 1 / 5**0.5, 0], [0, 0, 1]]
    np.testing.assert_allclose(response.json()["similarity"], expected, atol=1e-6)
    assert response.json()["usage"]["total_tokens"] == 3 + 1 + 3 + 8
    assert response.headers["x-truncated-inputs"] == "1"


@pytest.mark.parametrize(
    ("body", "code", "field", "word"),
    [
        ({}, "invalid_input", "a", "required"),
        ({"a": "text"}, "invalid_input", "a", "list"),
        ({"a": []}, "invalid_input", "a", "empty"),
        ({"a": ["a"], "b": []}, "invalid_input", "b", "empty"),
        ({"a": ["a"], "b": {"vector": [1]}}, "invalid_input", "b", "list"),
        ({"a": ["a", "b", "c", ""]}, "invalid_input", "a[3]", "empty"),
        ({"a": ["a"], "b": [[1, 0, 0, 0], ""]}, "invalid_input", "b[1]", "empty"),
        ({"a": ["a"], "b": ["b" * 51]}, "limit_exceeded", "b[0]", "the limit is 50"),
        ({"a": ["a"], "b": ["a" * 9], "truncate": "none"}, "limit_exceeded", "b[0]", "9 tokens"),
        ({"a": ["a", 5]}, "invalid_input", "a[1]", "text"),
        ({"a": ["a", None]}, "invalid_input", "a[1]", "text"),
        ({"a": ["a", {"text": "b"}]}, "invalid_input", "a[1]", "alone"),
        ({"a": ["a", {"vector": [1], "id": "b"}]}, "invalid_input", "a[1]", "alone"),
        ({"a": [[1, 2], [1, "2"]]}, "invalid_vector", "a[1][1]", "string"),
        ({"a": [[1, 2], [True, 2]]}, "invalid_vector", "a[1][0]", "boolean"),
        ({"a": [[1, 2], []]}, "invalid_vector", "a[1]", "empty"),
        ({"a": [[1, 2], [1, 1e39]]}, "invalid_vector", "a[1][1]", "finite"),
        ({"a": ["a", {"vector": "?"}]}, "invalid_vector", "a[1].vector", "base64"),
        ({"a": [[1, 2], {"vector": "AADAfwAAgD8="}]}, "invalid_vector", "a[1]", "finite"),
        ({"a": [[1, 2], [1, 2, 3]]}, "invalid_vector", "a[1]", "3 components; a[0] has 2"),
        ({"a": [[1, 2]], "b": [[1]]}, "invalid_vector", "b[0]", "1 components; a[0] has 2"),
        ({"a": [[1, 2]], "b": ["a"]}, "invalid_vector", "b[0]", "4 components; a[0] has 2"),
        ({"a": [[1e38]], "metric": "dot"}, "invalid_vector", "a[0]", "too large"),
        ({"a": [[0], [3e38]], "b": [[-3e38]], "metric": "manhattan"}, "invalid_vector", "a[1]", ""),
        ({"a": [[0], [1e20]], "metric": "squared_euclidean"}, "invalid_vector", "a[0]", "squared"),
        ({"a": [[3e38]], "metric": "dot", "top_k": 1}, "invalid_vector", "a[0]", "too large"),
        ({"a": ["a"], "metric": "l2"}, "invalid_input", "metric", "euclidean"),
        ({"a": ["a"], "top_k": 0}, "invalid_input", "top_k", "1"),
        ({"a": ["a"], "top_k": 1001}, "invalid_input", "top_k", "1000"),
        ({"a": ["a"], "top_k": 1.0}, "invalid_input", "top_k", "integer"),
        ({"a": ["a"], "dimensions": 3}, "invalid_input", "dimensions", "3"),
        ({"a": ["a"], "prompt_name": "no"}, "invalid_input", "prompt_name", "no"),
        ({"a": ["a"], "normalize": 1}, "invalid_input", "normalize", "boolean"),
        ({"a": ["a"], "c": ["a"]}, "invalid_input", "c", "permitted"),
    ],
)
async def test_what_cannot_be_compared_is_refused_by_its_field(
    body: dict[str, Any], code: str, field: str, word: str
) -> None:
    response = await _compare(FakeService(max_characters=50), **body)

    assert refusal(response) == (400, code, field)
    assert word in message(response)


@pytest.mark.parametrize(
    ("limits", "body", "field", "words"),
    [
        ({"max_inputs": 2}, {"a": ["a"] * 3}, "a", "3 items; the limit is 2"),
        ({"max_inputs": 2}, {"a": ["a"], "b": [[1]] * 3}, "b", "3 items; the limit is 2"),
        ({"max_similarities": 5}, {"a": ["a"] * 3, "b": ["b"] * 2}, "a", "6 similarities to b"),
        ({"max_similarities": 5}, {"a": ["a"] * 3, "top_k": 2}, "top_k", "6 results in all"),
        ({"max_request_tokens": 3}, {"a": ["ab"], "b": ["cd"]}, "a and b", "4 tokens to compute"),
        ({"max_request_tokens": 3}, {"a": [[1, 0, 0, 0]], "b": ["abcd"]}, "b", "4 tokens"),
        ({"max_inputs": 2}, {"a": ["a", "b"], "b": ["c", ""]}, "b[1]", "empty"),
    ],
)
async def test_what_is_above_a_limit_is_refused_with_its_size_and_the_limit(
    limits: dict[str, int], body: dict[str, Any], field: str, words: str
) -> None:
    service = FakeService(**limits)
    response = await _compare(service, **body)

    assert refusal(response)[::2] == (400, field)
    assert words in message(response)


async def test_top_k_is_no_matter_of_how_large_the_matrix_would_be() -> None:
    response = await _compare(FakeService(max_similarities=4), a=A.tolist()[:4], top_k=1)

    assert [row[0]["index"] for row in response.json()["results"]] == [0, 1, 2, 3]


@pytest.mark.parametrize("item", ["a", [1, 2]])
async def test_a_model_that_is_not_served_is_unknown(item: Any) -> None:
    assert refusal(await _compare(a=[item], model="x")) == (404, "model_not_found", "model")


async def test_a_full_service_says_when_to_retry() -> None:
    service = FakeService()
    service.handles["encoder"].fault = Overloaded(3.5)
    response = await _compare(service, a=["a"])

    assert refusal(response) == (429, "overloaded", None)
    assert response.headers["retry-after"] == "4"
