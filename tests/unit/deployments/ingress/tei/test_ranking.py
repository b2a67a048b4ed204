"""Comparing and ranking by vectors, against cosines by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from embedder.core.deadline import Deadline
from embedder.core.errors import BackendFailure
from embedder.core.request import Embeddings, EmbedOptions
from embedder.core.types import Input
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService
from tests.unit.deployments.ingress.tei.answers import post

SIMILAR = {"inputs": {"source_sentence": "aaabbbb", "sentences": ["a", "b", "d", "bbbbaaa"]}}
PROMPTED: dict[str, Any] = {"name": ALIAS, "prompts": {"query": "a", "document": "b"}}
paths = pytest.mark.parametrize("path", ["/similarity", "/"])


@paths
@pytest.mark.parametrize("parameters", [{}, {"parameters": None}, {"parameters": {}}])
async def test_sentences_are_answered_with_their_cosines_in_order(
    path: str, parameters: dict[str, Any]
) -> None:
    response = await post(path, {**SIMILAR, **parameters})

    assert response.status_code == 200
    np.testing.assert_allclose(response.json(), [0.6, 0.8, 0, 1], atol=1e-6)
    assert max(response.json()) <= 1


@paths
async def test_parameters_say_how_all_sentences_are_read(path: str) -> None:
    inputs = {"source_sentence": "a" * 8 + "b", "sentences": ["a" * 8, "c" * 8 + "b"]}
    parameters = {"truncation_direction": "left", "prompt_name": "query", "unknown": 1}
    service = FakeService(PROMPTED)
    response = await post(path, {"inputs": inputs, "parameters": parameters}, service)

    # Of each text only the last eight letters are left: a7b1, a8 and c7b1.
    expected = [7 / 50**0.5, 1 / 50]
    np.testing.assert_allclose(response.json(), expected, atol=1e-6)


async def test_the_headers_of_a_comparison_count_the_source_as_well() -> None:
    headers = (await post("/similarity", SIMILAR)).headers

    assert headers["x-compute-characters"] == str(7 + 1 + 1 + 1 + 7)
    assert headers["x-compute-tokens"] == str(7 + 1 + 1 + 1 + 7)
    assert headers["x-compute-type"] == "cpu+float32"


@paths
async def test_sentences_may_be_compared_by_a_model_that_is_named(path: str) -> None:
    service = FakeService({"name": ALIAS}, {"name": "/models/other"})
    await post(path, {**SIMILAR, "model": "other"}, service)

    assert service.handles["encoder"].multiplexed[-1].startswith("other-")


RANKED = {"query": "aaabbbb", "texts": ["c", "a", "ab", "d", "b"], "method": "bi-encoder"}
BY_VECTORS = {"method": "bi-encoder"}
COSINES = [0, 0.6, 1.4 / 2**0.5, 0, 0.8]


async def test_raw_scores_are_cosines_the_largest_first_and_equal_ones_in_order() -> None:
    ranks = (await post("/rerank", {**RANKED, "raw_scores": True})).json()

    assert [rank["index"] for rank in ranks] == [2, 4, 1, 0, 3]
    assert all(rank.keys() == {"index", "score"} for rank in ranks)
    for rank in ranks:
        assert rank["score"] == pytest.approx(COSINES[rank["index"]], abs=1e-6)


async def test_other_scores_are_the_same_between_zero_and_one() -> None:
    ranks = (await post("/rerank", {**RANKED, "return_text": True})).json()

    assert [rank["text"] for rank in ranks] == ["ab", "b", "a", "c", "d"]
    for rank in ranks:
        assert rank["score"] == pytest.approx((1 + COSINES[rank["index"]]) / 2, abs=1e-6)


async def test_a_query_and_texts_have_the_models_prompts_for_them_in_front() -> None:
    body = {**BY_VECTORS, "query": "c", "texts": ["c", "a", "b"], "raw_scores": True}
    ranks = (await post("/rerank", body, FakeService(PROMPTED))).json()
    scores = {rank["index"]: rank["score"] for rank in ranks}

    # "ac" beside "bc", "ba" and "bb".
    assert scores == pytest.approx({0: 0.5, 1: 0.5, 2: 0.0}, abs=1e-6)
    assert [rank["index"] for rank in ranks] == [0, 1, 2]


async def test_the_headers_of_a_ranking_are_of_query_and_texts_together() -> None:
    service = FakeService()
    service.encoder.inference_s = 0.5
    body = {**BY_VECTORS, "query": "ab", "texts": ["a" * 9, "b", "ab"]}
    response = await post("/rerank", body, service)

    assert response.headers["x-compute-characters"] == str(2 + 9 + 1 + 2)
    assert response.headers["x-compute-tokens"] == str(2 + 8 + 1 + 2)
    assert response.headers["x-inference-time"] == "500"
    assert response.headers["x-truncated-inputs"] == "1"


async def test_as_many_texts_are_ranked_as_a_request_may_have_inputs() -> None:
    service = FakeService(max_inputs=3)
    body = {**BY_VECTORS, "query": "a", "texts": ["a", "b", "c"]}
    response = await post("/rerank", body, service)

    assert len(response.json()) == 3


@pytest.mark.parametrize("failing", ["the query", "one text"])
async def test_when_one_half_fails_nothing_more_is_computed_for_the_other(
    failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, left = FakeService(), []

    async def embed(
        inputs: Sequence[Input],
        options: EmbedOptions,
        deadline: Deadline,
        *,
        model: str | None = None,
    ) -> Embeddings:
        if failing in inputs:
            await asyncio.sleep(0)
            raise BackendFailure("broken")
        try:
            await asyncio.sleep(3600)
        finally:
            left.append(inputs)
        raise AssertionError

    monkeypatch.setattr(service, "embed", embed)
    body = {**BY_VECTORS, "query": "the query", "texts": ["one text", "another"]}
    response = await post("/rerank", body, service)
    await asyncio.sleep(0)

    assert response.status_code == 424
    assert len(left) == 1
