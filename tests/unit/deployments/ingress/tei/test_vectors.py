"""Embedding by text-embeddings-inference's contract: what is read, what is answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embedder.core.types import ModelInfo
from embedder.settings.model import ModelSettings
from tests.unit.deployments.ingress.fake_service import ALIAS, MODEL, REPOSITORY, FakeService
from tests.unit.deployments.ingress.tei.answers import post

HALF = 0.5**0.5
paths = pytest.mark.parametrize("path", ["/embed", "/"])


@paths
@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("aaabbbb", [[0.6, 0.8, 0, 0]]),
        (["aaabbbb"], [[0.6, 0.8, 0, 0]]),
        (["aaabbbb", "d"], [[0.6, 0.8, 0, 0], [0, 0, 0, 1]]),
        ([97, 98, 97], [[0.8**0.5, 0.2**0.5, 0, 0]]),
        ([[97, 98], [100]], [[HALF, HALF, 0, 0], [0, 0, 0, 1]]),
        (["d", [97, 98], "a"], [[0, 0, 0, 1], [HALF, HALF, 0, 0], [1, 0, 0, 0]]),
    ],
)
async def test_texts_and_ids_are_inputs_alone_in_lists_and_mixed(
    path: str, inputs: Any, expected: list[list[float]]
) -> None:
    response = await post(path, {"inputs": inputs})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert np.shape(response.json()) == (len(expected), 4)
    np.testing.assert_allclose(response.json(), expected, atol=1e-6)


async def test_a_vector_may_keep_its_length_and_fewer_components() -> None:
    raw = await post("/embed", {"inputs": "aaabbbbd", "normalize": False})
    cut = await post("/embed", {"inputs": "aaabbbbd", "dimensions": 2})
    both = await post("/embed", {"inputs": "aaabbbbd", "dimensions": 2, "normalize": False})

    assert raw.json() == [[3, 4, 0, 1]]
    np.testing.assert_allclose(cut.json(), [[0.6, 0.8]], atol=1e-6)
    assert both.json() == [[3, 4]]


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({}, [8, 0, 0, 0]),
        ({"truncate": None}, [8, 0, 0, 0]),
        ({"truncate": True}, [8, 0, 0, 0]),
        ({"truncation_direction": "right"}, [8, 0, 0, 0]),
        ({"truncation_direction": "Right"}, [8, 0, 0, 0]),
        ({"truncation_direction": "left"}, [6, 2, 0, 0]),
        ({"truncation_direction": "Left", "truncate": True}, [6, 2, 0, 0]),
    ],
)
async def test_the_end_that_is_named_is_cut_where_nothing_forbids_it(
    fields: dict[str, Any], counts: list[int]
) -> None:
    body = {"inputs": "a" * 8 + "bb", "normalize": False, **fields}
    response = await post("/embed", body)

    assert response.json() == [counts]
    assert response.headers["x-truncated-inputs"] == "1"


async def test_a_prompt_of_the_model_is_put_in_front_of_texts_and_not_of_ids() -> None:
    service = FakeService({"name": ALIAS, "prompts": {"query": "cd"}})
    body = {"inputs": ["a", [97]], "prompt_name": "query", "normalize": False}

    assert (await post("/embed", body, service)).json() == [[1, 0, 1, 1], [1, 0, 0, 0]]


@paths
async def test_fields_that_are_not_known_are_ignored(path: str) -> None:
    body = {"inputs": "a", "user": "me", "encoding_format": "base64", "options": {"x": 1}}

    assert (await post(path, body)).json() == [[1, 0, 0, 0]]


@paths
async def test_parameters_beside_texts_are_not_read(path: str) -> None:
    body = {"inputs": "a" * 8 + "bb", "normalize": False}
    beside = {**body, "parameters": {"truncation_direction": "left", "pooling": "mean"}}

    assert (await post(path, beside)).json() == [[8, 0, 0, 0]]


@pytest.mark.parametrize("name", [None, ALIAS, REPOSITORY])
async def test_without_a_model_the_first_one_answers(name: str | None) -> None:
    service = FakeService({"name": ALIAS}, {"name": "/models/other"})

    assert (await post("/embed", {"inputs": "a", "model": name}, service)).json() == [[1, 0, 0, 0]]


@pytest.mark.parametrize("path", ["/embed", "/"])
async def test_a_model_may_be_named(path: str) -> None:
    service = FakeService({"name": ALIAS}, {"name": "/models/other"})
    response = await post(path, {"inputs": "a", "model": "other"}, service)

    assert response.json() == [[0, 0, 0, 1]]


async def test_the_headers_say_what_was_computed_and_how_long_it_took() -> None:
    service = FakeService()
    service.encoder.queue_s, service.encoder.inference_s = 0.25, 0.5
    response = await post("/embed", {"inputs": ["é" * 3, [97, 98], "a" * 20]}, service)
    headers = response.headers

    assert headers["x-compute-type"] == "cpu+float32"
    assert headers["x-compute-characters"] == str(3 + 2 + 20)
    assert headers["x-compute-tokens"] == str(3 + 2 + 8)
    assert headers["x-inference-time"] == "500"
    assert int(headers["x-queue-time"]) >= 250
    assert int(headers["x-tokenization-time"]) >= 0
    assert 0 <= int(headers["x-compute-time"]) <= int(headers["x-total-time"])


@pytest.mark.parametrize(
    ("device", "dtype", "kind"),
    [("cuda:1", "float16", "cuda+float16"), ("cpu", "bfloat16", "cpu+bfloat16")],
)
async def test_the_kind_of_computing_is_the_true_one(
    device: str, dtype: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def describe(model: ModelSettings) -> ModelInfo:
        return replace(MODEL, device=device, dtype=dtype)

    service = FakeService()
    monkeypatch.setattr(service.encoder, "describe", describe)
    response = await post("/embed", {"inputs": "a"}, service)

    assert response.headers["x-compute-type"] == kind


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"inputs": "a" * 500, "truncate": True}),
        ("/embed", {"inputs": ["b", [97] * 500], "truncate": True}),
        (
            "/rerank",
            {"query": "a" * 500, "texts": ["b" * 500], "truncate": True, "method": "bi-encoder"},
        ),
        ("/v1/embeddings", {"input": "a" * 500, "truncate": "end"}),
        ("/v1/embeddings", {"input": ["b", "a" * 500], "truncate": "start"}),
    ],
)
async def test_what_is_to_be_cut_may_have_any_length(path: str, body: dict[str, Any]) -> None:
    async with FakeService(max_characters=20).client() as http:
        cut = await http.post(path, json=body)
        uncut = await http.post(path, json={**body, "truncate": None})

    assert cut.status_code == 200
    assert uncut.status_code in (400, 422)
    assert "20" in uncut.text or "21" in uncut.text
