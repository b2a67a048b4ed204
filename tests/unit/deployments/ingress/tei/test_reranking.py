"""Ranking by a cross-encoder by text-embeddings-inference's contract.

Of a pair, the fake model counts the letters of the text that are in the query, less the others.
"""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from tests.unit.deployments.ingress.fake_service import ALIAS, CLASSES, CROSS
from tests.unit.deployments.ingress.scoring_services import service, sigmoid
from tests.unit.deployments.ingress.tei.answers import post, refusal

RANKED = {"query": "ab", "texts": ["c", "ab", "a", "abab", "b"]}
COUNTS = [-1, 2, 1, 4, 1]
ORDER = [3, 1, 2, 4, 0]


async def test_raw_scores_are_those_of_the_model_and_equal_ones_stay_in_order() -> None:
    ranks = (await post("/rerank", {**RANKED, "raw_scores": True}, service())).json()

    assert ranks == [{"index": row, "score": COUNTS[row]} for row in ORDER]


async def test_other_scores_have_a_sigmoid_and_texts_come_back_on_request() -> None:
    ranks = (await post("/rerank", {**RANKED, "return_text": True}, service())).json()

    assert [rank["text"] for rank in ranks] == [RANKED["texts"][row] for row in ORDER]
    assert [rank["score"] for rank in ranks] == pytest.approx(
        [sigmoid(COUNTS[row]) for row in ORDER], abs=1e-6
    )


async def test_the_first_model_that_ranks_answers_and_is_loaded_alone() -> None:
    asked = service(CLASSES, ALIAS, CROSS, "/models/unused")
    response = await post("/rerank", RANKED, asked)
    states = {state.name: state.state for state in asked.models.states()}

    assert response.status_code == 200
    assert states["cross"] == "ready"
    assert states["unused"] == "not loaded"


@pytest.mark.parametrize("name", ["classes", ALIAS])
async def test_a_named_model_that_cannot_rank_is_refused_with_those_that_can(name: str) -> None:
    asked = service()
    await asked.model("cross")
    status, kind, sentence = refusal(await post("/rerank", {**RANKED, "model": name}, asked))

    assert (status, kind) == (422, "Validation")
    assert f"{name!r}, which cannot rank texts" in sentence
    assert sentence.endswith("served models that can: cross")
    assert '"method": "bi-encoder"' in sentence


async def test_without_a_cross_encoder_nothing_falls_back_to_vectors() -> None:
    asked = service(ALIAS)
    status, kind, sentence = refusal(await post("/rerank", RANKED, asked))

    assert (status, kind) == (422, "Validation")
    assert "`model` is left out, and no served model can rank texts" in sentence
    assert asked.encoder.calls == []


async def test_routes_of_vectors_take_the_first_model_of_vectors() -> None:
    asked = service(CROSS, ALIAS)
    async with asked.client() as http:
        openai = await http.post("/v1/embeddings", json={"input": "a"})
        similar = await http.post("/v1/similarity", json={"a": ["a"], "b": ["a"]})
    embedded = await post("/embed", {"inputs": "a"}, asked)
    by_vectors = await post("/rerank", {**RANKED, "method": "bi-encoder"}, asked)
    refused = await post("/embed", {"inputs": "a", "model": "cross"}, asked)

    assert openai.json()["model"] == ALIAS
    assert similar.status_code == embedded.status_code == by_vectors.status_code == 200
    assert [rank["index"] for rank in by_vectors.json()][-1] == 0
    assert refusal(refused)[2].endswith(
        f"which cannot compute dense vectors; served models that can: {ALIAS}"
    )


async def test_the_headers_of_a_ranking_count_the_query_with_every_text() -> None:
    asked = service()
    response = await post("/rerank", {"query": "abc", "texts": ["a", "b" * 9]}, asked)

    assert response.headers["x-compute-characters"] == str(2 * 3 + 1 + 9)
    assert response.headers["x-compute-tokens"] == str(4 + 8)
    assert response.headers["x-truncated-inputs"] == "1"
    assert response.headers["x-compute-type"] == "cpu+float32"


@pytest.mark.parametrize(
    ("body", "limits", "sentence"),
    [
        ({"texts": ["a"] * 4}, {}, "batch size 4 > maximum allowed batch size 3"),
        ({"query": ""}, {}, "`query` cannot be empty"),
        ({"texts": ["a", ""]}, {}, "`texts[1]` cannot be empty"),
        ({"texts": ["a" * 21]}, {}, "`texts[0]` must have less than 21 characters. Given: 21"),
        ({"query": "a" * 21}, {}, "`query` must have less than 21 characters. Given: 21"),
        (
            {"texts": ["a", "a" * 8], "truncate": False},
            {},
            "`texts[1]` must have less than 9 tokens. Given: 9",
        ),
        (
            {"texts": ["a" * 7, "b" * 6]},
            {},
            "`texts` has 15 tokens to compute; the limit is 14",
        ),
    ],
)
async def test_a_limit_is_named_as_the_client_does(
    body: dict[str, Any], limits: dict[str, Any], sentence: str
) -> None:
    asked = service(max_inputs=3, max_characters=20, max_request_tokens=14, **limits)
    answer = await post("/rerank", {"query": "a", "texts": ["a"], **body}, asked)

    assert refusal(answer)[0] in (422,)
    assert refusal(answer)[2].removeprefix("Input validation error: ") == sentence


@pytest.mark.parametrize(
    "body",
    [
        {"texts": ["a", "b", "c"]},
        {"texts": ["a" * 20], "truncate": True},
        {"query": "a" * 20},
        {"texts": ["a" * 7], "truncate": False},
        {"texts": ["a" * 7, "b" * 5]},
        {"texts": ["a" * 500], "truncate": True},
    ],
)
async def test_what_is_at_its_limit_is_ranked(body: dict[str, Any]) -> None:
    asked = service(max_inputs=3, max_characters=20, max_request_tokens=14)
    answer = await post("/rerank", {"query": "a", "texts": ["a"], **body}, asked)

    assert answer.status_code == 200, answer.text


async def _info(name: str) -> httpx.Response:
    async with service().client() as http:
        return await http.get(f"/info?model={name}")


async def test_the_type_of_a_model_is_that_of_its_task() -> None:
    labels = {"id2label": {"0": "a relevance"}, "label2id": {"a relevance": 0}}

    assert (await _info("cross")).json()["model_type"] == {"reranker": labels}
    assert (await _info("classes")).json()["model_type"] == {
        "classifier": {
            "id2label": {"0": "a", "1": "b", "2": "c"},
            "label2id": {"a": 0, "b": 1, "c": 2},
        }
    }
    assert (await _info(ALIAS)).json()["model_type"] == {"embedding": {"pooling": "mean"}}


async def test_the_list_of_models_has_outputs_and_labels() -> None:
    asked = service()
    for name in ("cross", "classes", ALIAS):
        await asked.model(name)
    async with asked.client() as http:
        models = {one["id"]: one for one in (await http.get("/v1/models")).json()["data"]}

    assert (models[ALIAS]["outputs"], models[ALIAS]["labels"]) == (["dense"], [])
    assert (models["cross"]["outputs"], models["cross"]["labels"]) == (["scores"], ["a relevance"])
    assert models["classes"]["labels"] == ["a", "b", "c"]


async def test_tokens_of_pairs_are_counted_for_their_model() -> None:
    asked = service()
    await post("/rerank", {"query": "ab", "texts": ["a", "bb"]}, asked)
    await post("/predict", {"inputs": "abc", "model": "classes"}, asked)

    tokens = {model: count for (model, _), count in asked.token_usage.tokens.items()}
    assert (tokens["cross"], tokens["classes"]) == (3 + 4, 3)
    np.testing.assert_equal(sum(asked.admission.stats.queued_tokens.values()), 0)
