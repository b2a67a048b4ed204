"""The rerank routes of Cohere and Jina, with requests as their clients send them."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

from deployments.ingress.cohere.rerank_bodies import MOST_PRIORITY
from embedder.core.errors import BackendFailure, Overloaded, StageUnavailable
from embedder.core.types import Priority
from tests.unit.deployments.ingress.fake_service import ALIAS, CLASSES, CROSS, FakeService
from tests.unit.deployments.ingress.scoring_services import service, sigmoid

COHERE, JINA = "/v2/rerank", "/v1/rerank"
RANKED = {"query": "ab", "documents": ["c", "ab", "a", "abab", "b"]}
SCORES = [sigmoid(count) for count in (-1, 2, 1, 4, 1)]
ORDER = [3, 1, 2, 4, 0]

paths = pytest.mark.parametrize("path", [COHERE, JINA])

RECORDED = {
    "cohere 7.3.1": (
        COHERE,
        {"accept": "*/*", "accept-encoding": "gzip, deflate, zstd"},
        '{"model":"cross","query":"ab","documents":["c","ab","a","abab","b"]}',
    ),
    "llama-index-postprocessor-jinaai-rerank 0.6.0": (
        JINA,
        {"accept-encoding": "identity"},
        '{"query": "ab", "documents": ["c", "ab", "a", "abab", "b"], "model": "cross", "top_n": 5}',
    ),
}


async def post(path: str, body: Any, asked: FakeService | None = None) -> httpx.Response:
    async with (asked or service()).client() as http:
        return await http.post(path, json=body)


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Return the status and the sentence of a refusal in the shape of its route."""
    (message,) = response.json().values()
    assert response.json().keys() == {"message" if "/v2/" in str(response.url) else "detail"}
    return response.status_code, message


@paths
async def test_documents_are_ranked_by_scores_between_zero_and_one(path: str) -> None:
    results = (await post(path, RANKED)).json()["results"]

    assert [result["index"] for result in results] == ORDER
    assert [result["relevance_score"] for result in results] == pytest.approx(
        [SCORES[row] for row in ORDER], abs=1e-6
    )


@pytest.mark.parametrize("client", RECORDED)
async def test_a_recorded_request_is_answered(client: str) -> None:
    path, headers, body = RECORDED[client]
    async with service().client() as http:
        answer = await http.post(
            path, content=body, headers={**headers, "content-type": "application/json"}
        )

    assert [result["index"] for result in answer.json()["results"]] == ORDER


async def test_the_answer_has_the_fields_of_cohere() -> None:
    answer = (await post(COHERE, RANKED)).json()

    assert answer.keys() == {"id", "results", "meta"}
    assert isinstance(answer["id"], str)
    assert answer["meta"] == {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": 2 * 5 + 9},
    }
    assert all(one.keys() == {"index", "relevance_score"} for one in answer["results"])


async def test_the_answer_has_the_fields_of_jina_and_of_coheres_version_one() -> None:
    answer = (await post(JINA, {**RANKED, "top_n": 2, "model": CROSS})).json()

    assert answer.keys() == {"id", "object", "model", "usage", "results", "meta"}
    assert (answer["object"], answer["model"]) == ("list", CROSS)
    assert answer["usage"] == {"prompt_tokens": 19, "total_tokens": 19}
    assert [one["document"] for one in answer["results"]] == [{"text": "abab"}, {"text": "ab"}]
    assert answer["meta"]["api_version"] == {"version": "1"}
    bare = (await post(JINA, {**RANKED, "return_documents": False})).json()
    assert all("document" not in one for one in bare["results"])


@pytest.mark.parametrize(("documents", "units"), [(1, 1), (100, 1), (101, 2), (200, 2)])
async def test_a_search_unit_has_a_hundred_documents(documents: int, units: int) -> None:
    answer = (await post(COHERE, {"query": "a", "documents": ["a"] * documents})).json()

    assert answer["meta"]["billed_units"] == {"search_units": units}


@paths
async def test_documents_may_be_objects_whose_other_fields_are_not_read(path: str) -> None:
    objects = [{"text": text, "title": "x"} for text in RANKED["documents"]]
    mixed = [*objects[:2], *RANKED["documents"][2:]]
    answer = (await post(path, {**RANKED, "documents": mixed})).json()

    assert [result["index"] for result in answer["results"]] == ORDER


@paths
@pytest.mark.parametrize(("top_n", "count"), [(None, 5), (1, 1), (5, 5), (6, 5), (10**9, 5)])
async def test_the_best_few_are_returned(path: str, top_n: int | None, count: int) -> None:
    results = (await post(path, {**RANKED, "top_n": top_n})).json()["results"]

    assert [result["index"] for result in results] == ORDER[:count]


@paths
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"query": ""}, "'query' must not be empty"),
        ({"documents": []}, "'documents' must not be empty"),
        ({"documents": "a"}, "'documents' must be a list"),
        ({"documents": ["a", ""]}, "'documents[1]' must not be empty"),
        ({"documents": ["a", 5]}, "'documents[1]' must be a text"),
        ({"documents": [{"txt": "a"}]}, "'documents[0]' must be a text"),
        ({"documents": ["a"] * 4}, "'documents' has 4 items; the limit is 3"),
        ({"documents": ["a" * 7, "b" * 6]}, "'documents' has 15 tokens to compute"),
        ({"top_n": 0}, "'top_n'"),
        ({"top_n": True}, "'top_n'"),
        ({"top_k": 1}, "did you mean 'top_n'?"),
        ({"method": "vectors"}, "'method'"),
        ({"model": "classes"}, "'model' names 'classes', which cannot rank texts"),
        ({"model": ALIAS}, f"'model' names '{ALIAS}', which cannot rank texts"),
    ],
)
async def test_a_wrong_field_is_named_in_the_shape_of_the_api(
    path: str, wrong: dict[str, Any], sentence: str
) -> None:
    asked = service(max_inputs=3, max_request_tokens=14)
    status, message = refusal(await post(path, {"query": "a", "documents": ["a"], **wrong}, asked))

    assert status == 400
    assert sentence in message


@paths
async def test_an_unknown_model_is_not_found(path: str) -> None:
    status, message = refusal(await post(path, {**RANKED, "model": "rerank-v3.5"}))

    assert status == 404
    assert "'rerank-v3.5'" in message


@paths
async def test_a_document_of_any_length_is_cut(path: str) -> None:
    asked = service(max_characters=20)
    answer = await post(path, {"query": "a", "documents": ["a" * 500, "b"]}, asked)

    assert answer.status_code == 200
    assert answer.headers["x-truncated-inputs"] == "1"


@paths
async def test_vectors_are_compared_only_on_request(path: str) -> None:
    body = {**RANKED, "method": "bi-encoder"}
    refused = await post(path, RANKED, service(ALIAS))
    answer = (await post(path, body, service(ALIAS))).json()

    assert refusal(refused)[0] == 400
    assert answer["results"][0]["relevance_score"] == pytest.approx(1.0, abs=1e-6)
    assert answer["results"][-1] == {**answer["results"][-1], "index": 0, "relevance_score": 0.5}


@pytest.mark.parametrize(
    ("priority", "expected"),
    [(0, Priority.INTERACTIVE), (1, Priority.BULK), (MOST_PRIORITY, Priority.BULK)],
)
async def test_a_priority_above_zero_lets_others_go_first(
    priority: int, expected: Priority
) -> None:
    asked = service()
    await post(COHERE, {**RANKED, "priority": priority}, asked)

    assert asked.encoder.calls[-1][1] is expected


@pytest.mark.parametrize("priority", [-1, MOST_PRIORITY + 1])
async def test_a_priority_out_of_range_is_refused(priority: int) -> None:
    status, message = refusal(await post(COHERE, {**RANKED, "priority": priority}))

    assert (status, "'priority'" in message) == (400, True)


@paths
@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (Overloaded(3.5), 429, "4"),
        (StageUnavailable("Encoder", "secret"), 503, "1"),
        (BackendFailure("secret"), 500, None),
        (ZeroDivisionError("secret"), 500, None),
    ],
)
async def test_a_stage_that_fails_is_answered_in_the_shape_of_the_api(
    path: str, error: Exception, status: int, retry: str | None
) -> None:
    asked = service()
    await post(path, {"query": "d", "documents": ["d"]}, asked)
    asked.handles["encoder"].fault = error
    answer = await post(path, RANKED, asked)

    assert refusal(answer)[0] == status
    assert answer.headers.get("retry-after") == retry
    assert "secret" not in answer.text


@paths
async def test_a_request_without_a_valid_key_is_answered_in_the_shape_of_the_api(path: str) -> None:
    key = {"name": "read", "sha256": "0" * 64, "scopes": ["read"]}
    answer = await post(path, RANKED, FakeService(keys=[key]))

    assert refusal(answer)[0] == 401


async def test_a_classifier_alone_cannot_rank() -> None:
    status, message = refusal(await post(COHERE, RANKED, service(CLASSES)))

    assert status == 400
    assert '"method": "bi-encoder"' in message


def test_the_sigmoid_of_the_tests_is_that_of_the_formula() -> None:
    assert sigmoid(0) == 0.5
    assert sigmoid(2) == pytest.approx(math.exp(2) / (1 + math.exp(2)))
