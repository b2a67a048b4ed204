"""Clusters over HTTP: similar inputs share a group."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, message, refusal

PLACES = [[0.0, 1.0], [0.0, 2.0], [50.0, 50.0], [51.0, 50.0], [0.0, 3.0]]
APART = [0, 0, 1, 1, 0]


async def _group(service: FakeService | None = None, **body: Any) -> httpx.Response:
    async with (service or FakeService()).client() as http:
        return await http.post("/v1/cluster", json=body)


def _same_groups(labels: list[int], expected: list[int]) -> bool:
    """Return whether two lists of labels describe the same groups."""
    pairs = set(zip(labels, expected, strict=True))
    return len(pairs) == len(set(labels)) == len(set(expected))


async def test_vectors_of_one_place_share_a_group() -> None:
    response = await _group(inputs=PLACES, k=2, spherical=False, include=["centroids"])
    body = response.json()
    labels, centroids = body["labels"], np.array(body["centroids"])

    assert response.status_code == 200
    assert _same_groups(labels, APART)
    assert [body["sizes"][label] for label in labels] == [3, 3, 2, 2, 3]
    np.testing.assert_allclose(centroids[labels[0]], [0, 2], atol=1e-5)
    np.testing.assert_allclose(centroids[labels[2]], [50.5, 50], atol=1e-5)
    np.testing.assert_allclose(body["inertia"], 1 + 0 + 1 + 2 * 0.25, rtol=1e-5)
    assert (body["model"], body["usage"]["total_tokens"]) == (None, 0)


async def test_the_answer_holds_what_was_asked_for_and_no_more() -> None:
    body = (await _group(inputs=PLACES, k=2)).json()

    assert body.keys() == {"labels", "sizes", "inertia", "model", "usage"}


async def test_spherical_groups_are_of_directions() -> None:
    inputs = [[1, 0], [9, 0.1], [0, 1], [0.1, 9]]
    body = (await _group(inputs=inputs, k=2, include=["centroids"])).json()

    assert _same_groups(body["labels"], [0, 0, 1, 1])
    np.testing.assert_allclose(np.linalg.norm(body["centroids"], axis=1), 1, atol=1e-6)


async def test_texts_are_embedded_and_may_stand_beside_vectors() -> None:
    service = FakeService()
    vector = base64.b64encode(np.array([0, 0, 0, 3], "<f4").tobytes()).decode()
    inputs = ["aaab", "ddd", "aaaab", {"vector": vector}, [1, 0, 0, 0]]
    body = (await _group(service, inputs=inputs, k=2)).json()

    assert _same_groups(body["labels"], [0, 1, 0, 1, 0])
    assert body["model"] == ALIAS
    assert body["usage"] == {"prompt_tokens": 12, "total_tokens": 12}
    assert len(service.encoder.calls) == 1


async def test_the_same_seed_gives_the_same_groups() -> None:
    inputs = np.random.default_rng(0).normal(size=(60, 4)).tolist()
    first, again = [(await _group(inputs=inputs, k=7, seed=3)).json() for _ in range(2)]
    others = [(await _group(inputs=inputs, k=7, seed=seed)).json() for seed in range(4, 8)]

    assert first == again
    assert any(other["labels"] != first["labels"] for other in others)


@pytest.mark.parametrize("k", [1, 5])
async def test_there_may_be_one_group_or_one_for_each(k: int) -> None:
    body = (await _group(inputs=PLACES, k=k, spherical=False)).json()

    assert len(set(body["labels"])) == k
    assert sum(body["sizes"]) == 5


@pytest.mark.parametrize(
    ("body", "code", "field", "word"),
    [
        ({"k": 1}, "invalid_input", "inputs", "required"),
        ({"inputs": ["a"]}, "invalid_input", "k", "required"),
        ({"inputs": [], "k": 1}, "invalid_input", "inputs", "empty"),
        ({"inputs": "a", "k": 1}, "invalid_input", "inputs", "list"),
        ({"inputs": ["a", ""], "k": 1}, "invalid_input", "inputs[1]", "empty"),
        ({"inputs": ["a"] * 7, "k": 1}, "limit_exceeded", "inputs", "7 items; the limit is 6"),
        ({"inputs": ["a"] * 3, "k": 4}, "invalid_input", "k", "is 4, more than the 3 inputs"),
        ({"inputs": ["a"] * 6, "k": 6}, "limit_exceeded", "k", "6 clusters; the limit is 5"),
        ({"inputs": ["a"], "k": 0}, "invalid_input", "k", "1"),
        ({"inputs": ["a"], "k": True}, "invalid_input", "k", "integer"),
        ({"inputs": ["a"], "k": 1, "seed": -1}, "invalid_input", "seed", "0"),
        ({"inputs": ["a"], "k": 1, "seed": 2**31}, "invalid_input", "seed", "2147483647"),
        ({"inputs": ["a"], "k": 1, "include": ["all"]}, "invalid_input", "include[0]", "centroids"),
        ({"inputs": [[1, 2], [0, 0]], "k": 1}, "invalid_vector", "inputs[1]", "no direction"),
        ({"inputs": [[1, 2], [1]], "k": 1}, "invalid_vector", "inputs[1]", "components"),
        ({"inputs": [[1, 2], ["a", 1]], "k": 1}, "invalid_vector", "inputs[1][0]", "string"),
        ({"inputs": ["a", [1]], "k": 1}, "invalid_vector", "inputs[1]", "inputs[0] has 4"),
        ({"inputs": ["a"], "k": 1, "model": "x"}, "model_not_found", "model", "x"),
    ],
)
async def test_what_cannot_be_grouped_is_refused_by_its_field(
    body: dict[str, Any], code: str, field: str, word: str
) -> None:
    response = await _group(FakeService(max_inputs=6, max_clusters=5), **body)

    assert refusal(response)[1:] == (code, field)
    assert word in message(response)


async def test_nothing_is_embedded_for_a_refused_request() -> None:
    service = FakeService()
    await _group(service, inputs=["a", "b"], k=3)

    assert service.encoder.calls == []
